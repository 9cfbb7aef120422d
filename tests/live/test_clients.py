"""Clients of a guest: other users, a thousand at once, one that floods."""

from __future__ import annotations

import json
import os
import socket
import struct
import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from socketproto.blocking import encode
from socketproto.exchange import Exchange
from socketproto.wire import REPLY_BYTES
from tests.live.conftest import DEADLINE, wait_for
from umlctl.host import paths

if TYPE_CHECKING:
    from collections.abc import Iterator

    from socketproto.exchange import Outcome
    from tests.live.conftest import House

READER, CONTROLLER, STRANGER = 61_001, 61_002, 61_003
"""Users without a name, whom nobody else is."""
ROOT = os.geteuid() == 0


def ask_as(uid: int, path: str, command: str) -> Outcome:
    """One request with the credentials of another user, which root can have."""
    credentials = struct.pack("=iII", os.getpid(), uid, uid)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind("")
        sock.settimeout(DEADLINE)
        gift = [(socket.SOL_SOCKET, socket.SCM_CREDENTIALS, credentials)]
        sock.sendmsg([encode(command)], gift, 0, path)
        exchange = Exchange()
        while exchange.outcome is None:
            exchange.receive(sock.recv(REPLY_BYTES))
        return exchange.outcome


def events(house: House, umid: str, name: str) -> list[dict[str, Any]]:
    """What the history has of one kind, so far."""
    lines = [json.loads(line) for line in house.ask(umid, "events past").data.splitlines()]
    return [line for line in lines if line["event"] == name]


@pytest.fixture
def open_to_others(house: House, umid: str) -> Iterator[str]:
    """A guest that others may use; its second socket."""
    house.start(umid, "--allow-user", f"{READER}", "--allow-user", f"{CONTROLLER}:control")
    yield house.status(umid)["sockets"]["shared"]
    house.ok("kill", umid)
    wait_for(lambda: not os.path.exists(paths.open_dir(umid)), "its place is removed")


def test_owner_has_the_second_socket_too(house: House, umid: str, open_to_others: str) -> None:
    assert open_to_others == paths.shared_socket(umid)
    assert os.stat(open_to_others).st_mode & 0o777 == 0o666
    for path in (open_to_others, os.path.dirname(open_to_others)):
        assert house.ok("version", path).startswith(f"Linux {umid}")
        assert house.ok("proc", path, "loadavg")


def test_guest_of_nobody_else_has_no_second_socket(house: House, shared: str) -> None:
    assert "shared" not in house.status(shared)["sockets"]
    assert not os.path.exists(os.path.dirname(paths.shared_socket(shared)))
    assert os.stat(house.public(shared)).st_mode & 0o777 == 0o600


def test_name_that_is_nobodys_is_refused_before_anything_starts(house: House, umid: str) -> None:
    for option in ("--allow-user", "--allow-group"):
        done = house.umlctl("start", umid, option, "no-such-name")
        assert (done.returncode, "this host has no" in done.stderr) == (7, True)
    done = house.umlctl("start", umid, "--allow-user", "root:write")
    assert (done.returncode, "NAME:read or NAME:control" in done.stderr) == (2, True)


if ROOT:  # nobody else can be somebody else

    def test_stranger_is_refused_everything(house: House, umid: str, open_to_others: str) -> None:
        for path in (open_to_others, house.public(umid)):
            for command in ("version", "status", "halt", "", "nonsense"):
                outcome = ask_as(STRANGER, path, command)
                assert outcome.error == -1
                assert outcome.text.startswith(f"permission denied: uid {STRANGER} may not")
        refused = events(house, umid, "client refused")
        assert {(each["uid"], each["pid"]) for each in refused} == {(STRANGER, os.getpid())}
        assert house.status(umid)["clients_refused"] == 10
        assert house.status(umid)["refused"] == 0

    def test_reader_asks_and_changes_nothing(house: House, umid: str, open_to_others: str) -> None:
        before = house.table(umid)
        for command in ("version", "help", "stack 1", "status", "devices", "proc 1/status", "go"):
            outcome = ask_as(READER, open_to_others, command)
            assert outcome.ok == (command not in ("proc 1/status", "go")), outcome
        for command in (
            *("halt", "reboot", "cad", "stop", "sysrq b", "sysrq s", "kill", "shutdown", "log x"),
            *("config ubd1=/etc/passwd", "remove ubd0", "plug disk /etc/passwd", "!halt"),
            *("proc 1/root/etc/shadow", "proc 1/environ", "proc kcore", "!proc meminfo"),
        ):
            outcome = ask_as(READER, open_to_others, command)
            assert outcome.error == -1, command
            assert outcome.text.startswith("permission denied: "), command
        assert house.table(umid) == before
        assert house.status(umid)["state"] == "running"
        assert house.status(umid)["reboots"] == 0

    def test_controller_does_what_the_owner_can(
        house: House, umid: str, open_to_others: str
    ) -> None:
        assert ask_as(CONTROLLER, open_to_others, "stop").ok
        assert house.status(umid)["state"] == "stopped"
        assert ask_as(CONTROLLER, open_to_others, "go").ok
        (stopped,) = events(house, umid, "stopped")
        assert (stopped["uid"], stopped["pid"]) == (CONTROLLER, os.getpid())

    def test_other_user_reaches_it_with_the_stock_client(umid: str, open_to_others: str) -> None:
        """Through the directories: a process that is nobody else."""
        said = {}
        for command in ("version", "halt"):
            done = subprocess.run(
                ["uml_mconsole", open_to_others, command],
                user=READER,
                group=READER,
                extra_groups=[],
                env={"PATH": os.environ["PATH"], "HOME": "/nonexistent"},
                cwd="/",
                capture_output=True,
                text=True,
                timeout=DEADLINE,
                check=False,
            )
            said[command] = done.stdout
        assert said["version"].startswith(f"OK Linux {umid}")
        assert said["halt"].startswith("ERR permission denied: ")

    def test_background_supervisor_is_its_owners_alone(house: House, shared: str) -> None:
        path = f"{house.run}/supervisor/mconsole"
        for command in ("list", "quit", "adopt", "start /etc/passwd"):
            outcome = ask_as(READER, path, command)
            assert (outcome.error, "permission denied" in outcome.text) == (-1, True)
        assert house.listed(shared)["state"] == "running"


def test_access_outlives_the_supervisor(house: House, umid: str, open_to_others: str) -> None:
    supervisor = house.status(umid)["supervisor_pid"]
    os.kill(supervisor, 9)
    wait_for(lambda: house.status(umid)["supervisor_pid"] not in (None, supervisor), "adopted")
    wait_for(lambda: house.umlctl("version", open_to_others).returncode == 0, "it answers")
    assert house.status(umid)["sockets"]["shared"] == open_to_others


# Many, and too many


@contextmanager
def bound(count: int) -> Iterator[list[socket.socket]]:
    socks = [socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) for _ in range(count)]
    try:
        for sock in socks:
            sock.bind("")
            sock.settimeout(DEADLINE)
        yield socks
    finally:
        for sock in socks:
            sock.close()


@pytest.mark.parametrize("command", ["version", "status", "stack 1", "proc meminfo"])
def test_a_thousand_clients_at_once_get_one_answer_each(
    house: House, shared: str, command: str
) -> None:
    """All sent before any is read."""
    path = house.public(shared)
    with bound(1000) as socks:
        for sock in socks:
            sock.sendto(encode(command), path)
        for sock in socks:
            exchange = Exchange()
            while exchange.outcome is None:
                exchange.receive(sock.recv(REPLY_BYTES))
            assert exchange.outcome.ok, exchange.outcome
        assert house.ask(shared, "version").ok
        for sock in socks:
            sock.setblocking(False)
            with pytest.raises(BlockingIOError):
                sock.recv(1)


def test_open_subscriptions_are_bounded_and_leave_room_for_questions(
    house: House, umid: str
) -> None:
    house.start(umid)
    path = house.public(umid)
    with bound(70) as socks:
        kinds = []
        for sock in socks:
            sock.sendto(encode("wait"), path)
        for sock in socks:
            exchange = Exchange()
            reply = exchange.receive(sock.recv(REPLY_BYTES))
            kinds.append(reply.error)
        assert sorted(kinds) == [-16] * 6 + [0] * 64
        assert house.ask(umid, "version").ok


def test_flood_of_lines_is_slowed_down(house: House, umid: str) -> None:
    """And what is slowed down is printed all the same."""
    house.start(umid)
    lines = "\n".join(f"log line {number}." for number in range(260)) + "\n"
    done = house.umlctl("mconsole", umid, "-", stdin=lines)
    assert done.returncode == 0
    wait_for(lambda: "line 259." in house.ok("logs", umid), "the last is printed")
