from __future__ import annotations

import errno
import grp
import os
import pwd
import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from umlctl.errors import HostError, Refusal
from umlctl.guest.definition import Definition
from umlctl.guest.grants import CONTROL, READ
from umlctl.protocol.commands import COMMANDS, GUEST, KERNEL
from umlctl.protocol.guard import CommandLine, proc_harm, read
from umlctl.supervisor import access
from umlctl.supervisor.access import Access, check, check_names, of_guest, readable

OWNER = os.geteuid()
SOMEBODY = OWNER + 4711
NUMBERS = st.integers(0, 2**32 - 2)
QUESTIONS = ["version", "help", "status", "stack 1", "proc meminfo", "devices", "events", "wait"]


def define(*users: str, groups: tuple[str, ...] = ()) -> Definition:
    return Definition(umid="demo", kernel="/k", allow_users=users, allow_groups=groups)


def line_of(text: str) -> CommandLine | None:
    try:
        return read(text)
    except Refusal:
        return None


def allowed(text: str, level: str) -> bool:
    try:
        check(line_of(text), level, SOMEBODY)
    except Refusal:
        return False
    return True


def test_refusal_says_that_it_is_one_of_permission() -> None:
    with pytest.raises(Refusal, match=r"^permission denied: uid") as caught:
        check(line_of("halt"), READ, SOMEBODY)
    assert caught.value.error == -errno.EPERM


# Who


@given(NUMBERS, NUMBERS, st.sampled_from(["", READ, CONTROL]), st.sampled_from(["", READ, CONTROL]))
def test_level_is_the_greater_of_what_user_and_group_give(
    uid: int, gid: int, user: str, group: str
) -> None:
    given_to = Access({uid: user} if user else {}, {gid: group} if group else {})
    known = given_to.known(uid, gid)
    if uid in (0, OWNER) or CONTROL in (user, group):
        assert known == CONTROL
    elif group:
        assert known is None, "it may be in other groups too"
        assert given_to.level(uid, gid) == READ
    else:
        assert known == user


@given(NUMBERS, NUMBERS)
def test_nobody_else_may_do_anything(uid: int, gid: int) -> None:
    nobody = of_guest(define())
    assert nobody.level(uid, gid) == (CONTROL if uid in (0, OWNER) else "")
    assert nobody.level(-1, -1) == ""


def test_who_is_not_known_is_nobody_in_any_group() -> None:
    assert Access({}, {0: CONTROL, 2**32 - 1: CONTROL}).level(-1, -1) == ""


def test_groups_are_those_of_the_hosts_database() -> None:
    user = pwd.getpwnam("nobody")
    group = grp.getgrgid(user.pw_gid).gr_name
    given_to = of_guest(define(groups=(f"{group}:control",)))
    assert given_to.known(user.pw_uid, 4711) is None
    assert given_to.level(user.pw_uid, 4711) == CONTROL
    assert given_to.known(user.pw_uid, 4711) == CONTROL, "it is remembered"


def test_membership_is_asked_for_again_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    groups: frozenset[int] = frozenset({7})
    monkeypatch.setattr(time, "monotonic", lambda: now)
    monkeypatch.setattr(access, "groups_of", lambda _uid: groups)
    given_to = Access({}, {7: READ})
    assert given_to.level(SOMEBODY, 1) == READ
    groups = frozenset()
    assert given_to.level(SOMEBODY, 1) == READ
    now += access.MEMBERS_KEPT_SECONDS + 1
    assert given_to.level(SOMEBODY, 1) == ""


def test_grants_are_found_by_name_and_by_number() -> None:
    nobody = pwd.getpwnam("nobody")
    assert of_guest(define("nobody:control")).level(nobody.pw_uid, 1) == CONTROL
    assert of_guest(define(f"{SOMEBODY}:read")).level(SOMEBODY, 1) == READ
    assert of_guest(define("nobody:control", "nobody:read")).level(nobody.pw_uid, 1) == CONTROL


def test_name_that_this_host_does_not_have_is_said_and_gives_nothing() -> None:
    for definition, what in (
        (define("nosuchuser"), "user"),
        (define(groups=("nosuchuser",)), "group"),
        (define("4294967295"), "user"),
        (define("9" * 40), "user"),
    ):
        with pytest.raises(HostError, match=rf"demo: this host has no {what} "):
            check_names(definition)
        assert of_guest(definition).level(SOMEBODY, 1) == ""
    check_names(define("nobody", "4711"))


# What


@pytest.mark.parametrize("text", QUESTIONS)
def test_who_may_read_can_ask(text: str) -> None:
    assert allowed(text, READ)
    assert not allowed(text, "")
    assert allowed(text, CONTROL)


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: str(command.name))
def test_every_command_that_does_something_is_refused_to_readers(command: object) -> None:
    name = str(getattr(command, "name", ""))
    example = str(getattr(command, "example", "")) or "x" * int(getattr(command, "required", 0))
    text = f"{name} {example}".strip()
    asks = name in {text.split()[0] for text in QUESTIONS}
    assert allowed(text, READ) == asks
    assert allowed(text, CONTROL)
    assert not allowed(text, "")


def test_config_asks_or_does_by_any_equals_sign() -> None:
    assert allowed("config ubd0", READ)
    for text in ("config ubd1=/etc/shadow", "config mem=-1M", "config ubd0 =x", "config vec0:a=b"):
        assert not allowed(text, READ)


@pytest.mark.parametrize("text", ["!version", "!proc kcore", "! halt", "!halt"])
def test_who_may_read_cannot_insist(text: str) -> None:
    assert not allowed(text, READ)


@pytest.mark.parametrize("text", ["", "nonsense", "version x y z", "\udcff", "haltx"])
def test_what_cannot_be_read_is_told_to_readers_and_to_nobody_else(text: str) -> None:
    assert allowed(text, READ), "the guard says what is wrong"
    assert not allowed(text, "")


@pytest.mark.parametrize(
    "path",
    [
        *("1/root/etc/shadow", "1/cwd/x", "1/environ", "1/fd/0", "1/maps", "1/mem", "self/root/x"),
        *("kcore", "kmsg", "config.gz", "sysrq-trigger", "mconsole", "1/task/1/environ"),
        *("sys/net/ipv4/tcp_fastopen_key", "1/../kcore", "meminfo/../kcore", "./kcore", "//kcore"),
        *("1/root", "1", "", "/", "1/", "thread-self/root/etc/shadow", "1/cmdline", "1/auxv"),
        *("٣/status", "-1/status", "1 /status", "meminfo ", "1/net/../root/etc/passwd"),
    ],
)
def test_paths_that_lead_elsewhere_are_not_for_readers(path: str) -> None:
    assert not readable(path)
    assert not allowed(f"proc {path}x", READ)


@pytest.mark.parametrize("path", ["meminfo", "/meminfo", "1/status", "/42/mounts", "self/stat"])
def test_paths_that_tell_of_the_guest_are_for_readers(path: str) -> None:
    assert readable(path)
    assert allowed(f"proc {path}", READ)


@given(
    st.lists(
        st.sampled_from(["1", "self", "root", "..", ".", "", "meminfo", "status", "kcore", "fd"]),
        max_size=6,
    ).map("/".join)
    | st.text(max_size=20)
)
def test_what_readers_may_read_has_at_most_one_process_and_nothing_odd(path: str) -> None:
    if readable(path):
        assert re.fullmatch(r"/?[a-z][a-z0-9_/-]*|/?([0-9]+|self|thread-self)/[a-z_]+", path)
        assert not {"root", "cwd", "fd", "environ", "mem", ".."} & set(path.split("/"))
        assert not proc_harm(path)


@given(st.text(max_size=40))
def test_whatever_is_sent_readers_change_nothing(text: str) -> None:
    if not allowed(text, READ):
        return
    try:
        line = read(text)
    except Refusal:
        return
    check(line, READ, SOMEBODY)
    assert line.command.served in (KERNEL, GUEST)
    asks = {*(text.split()[0] for text in QUESTIONS), "config"}
    assert line.command.name in asks
    assert line.command.name != "config" or "=" not in line.argument
    assert not line.forced


def test_code_of_a_confined_guest_is_refused_whoever_it_runs_as(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    access.check_is_free(os.getpid())
    monkeypatch.setattr("umlctl.host.brand.is_on", lambda pid: pid == os.getpid())
    with pytest.raises(Refusal, match="confined guest"):
        access.check_is_free(os.getpid())
