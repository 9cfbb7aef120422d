from __future__ import annotations

from errno import EBUSY, EINVAL, EPERM

import pytest
from hypothesis import given
from hypothesis import strategies as st

from umlctl.errors import Refusal
from umlctl.protocol.commands import COMMANDS, KERNEL, SYSRQ
from umlctl.protocol.guard import (
    PROC_ENDLESS,
    check,
    is_guest_file,
    is_query,
    proc_harm,
    read,
    seconds_of,
)

NAMES = [command.name for command in COMMANDS]


def refusal(text: str, *, stopped: bool = False) -> Refusal:
    with pytest.raises(Refusal) as caught:
        check(read(text), stopped=stopped)
    return caught.value


def passes(text: str, *, stopped: bool = False) -> str:
    line = read(text)
    check(line, stopped=stopped)
    return line.text


# Reading


@pytest.mark.parametrize(
    ("text", "name", "argument"),
    [
        ("version", "version", ""),
        ("version  ", "version", ""),
        ("remove   ubd1 ", "remove", "ubd1"),
        ("remove\tubd1\n", "remove", "ubd1"),
        ("stack 1", "stack", "1"),
        ("sysrq", "sysrq", ""),
        ("config ubd1=/tmp/a b.img", "config", "ubd1=/tmp/a b.img"),
        ("config  ubd1= /x", "config", "ubd1= /x"),
        ("proc  meminfo ", "proc", "meminfo"),
        ("shutdown", "shutdown", ""),
        ("proc  1/root/a \n", "proc", "1/root/a "),
        ("proc 1/root/a  b  ", "proc", "1/root/a  b  "),
        ("proc 1/root/a\r\n", "proc", "1/root/a"),
        ("shutdown 2.5", "shutdown", "2.5"),
    ],
)
def test_line_is_read_by_the_table(text: str, name: str, argument: str) -> None:
    line = read(text)
    assert (line.command.name, line.argument, line.forced) == (name, argument, False)


def test_words_of_a_log_line_are_kept_as_they_stand() -> None:
    assert read("log  two  blanks \n").argument == " two  blanks \n"
    assert read("log  two  blanks \n").text == "log  two  blanks \n"


@pytest.mark.parametrize(
    "text", ["stopx", "haltfoo", "versionfoo", "gopher", "procuptime", "helpx"]
)
def test_prefixes_that_the_kernel_would_take_are_unknown(text: str) -> None:
    problem = refusal(text)
    assert problem.error == 1
    assert "did you mean" in str(problem)


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("resume", "did you mean `go`?"),
        ("ver", "did you mean `version`?"),
        ("stopx", "did you mean `stop`?"),
        ("rem", "`help` lists the commands"),
        ("resum", "`help` lists the commands"),
        ("sto", "`help` lists the commands"),
    ],
)
def test_likeness_leads_to_what_is_harmless_or_what_the_kernel_would_do(
    text: str, hint: str
) -> None:
    assert str(refusal(text)).endswith(hint)


@pytest.mark.parametrize(
    "text", ["", " version", "VERSION", "k", "\0", "!", "!!version", "ver sion"]
)
def test_what_is_no_command_is_unknown(text: str) -> None:
    assert refusal(text).error == 1


def test_long_rubbish_is_not_repeated_whole() -> None:
    assert len(str(refusal("x" * 500))) < 120


@pytest.mark.parametrize("text", ["remove", "remove  ", "config", "log", "proc ", "stack", "start"])
def test_missing_argument_is_named(text: str) -> None:
    problem = refusal(text)
    assert problem.error == -EINVAL
    assert "needs" in str(problem)


@pytest.mark.parametrize("text", ["version now", "stack 1 2", "halt -f", "sysrq t t", "stop 1 2"])
def test_argument_too_many_is_named(text: str) -> None:
    problem = refusal(text)
    assert problem.error == -EINVAL
    assert repr(text.rsplit(maxsplit=1)[-1]) in str(problem)


@given(st.text(max_size=60))
def test_any_text_is_a_line_or_a_refusal(text: str) -> None:
    try:
        check(line := read(text))
    except Refusal as problem:
        error, said = problem.error, str(problem)
    else:
        error, said = 0, line.text
        assert said.startswith(line.command.name)
    assert error in (0, 1, -EINVAL, -EPERM)
    assert said


@given(st.sampled_from(NAMES), st.text(max_size=30))
def test_what_is_passed_on_reads_the_same_again(name: str, rest: str) -> None:
    try:
        line = read(f"{name} {rest}")
    except Refusal:
        return
    again = read(line.text)
    assert (again.command, again.argument) == (line.command, line.argument)


def test_exclamation_mark_forces() -> None:
    for text in ("!proc kcore", "! proc kcore", "!sysrq t"):
        assert read(text).forced
        assert passes(text) == text.lstrip("! ")
    assert passes("!halt", stopped=True) == "halt"


def test_forced_line_is_read_as_strictly() -> None:
    assert refusal("!stopx").error == 1
    assert refusal("!remove").error == -EINVAL


# What harms a running kernel


def test_sysrq_t_is_refused_and_crash_is_not() -> None:
    problem = refusal("sysrq t")
    assert problem.error == -EPERM
    assert "--force" in str(problem)
    for letter in set(SYSRQ) - {"t"}:
        assert passes(f"sysrq {letter}")


def test_sysrq_t_is_refused_up_to_the_release_that_mends_it() -> None:
    line = read("sysrq t")
    for release in ((0, 0), (6, 1), (6, 12)):
        with pytest.raises(Refusal, match="panics the kernel"):
            check(line, release=release)
    for release in ((7, 2), (7, 10), (10, 0)):
        check(line, release=release)


def test_sysrq_takes_one_letter() -> None:
    assert "would act on 't'" in str(refusal("sysrq tasks"))


@pytest.mark.parametrize(
    "path",
    [
        "kcore",
        "/kcore",
        "//kcore",
        "  kcore",
        "./kcore",
        "self/../kcore",
        "sys/../kcore",
        "1/../kcore",
        "1/root/../kcore",
        "1/root/proc/kcore",
        "/1/root/proc/kcore",
        "1//root//proc//kcore",
        "1/root/./proc/kcore",
        "1/root/sys/../proc/kcore",
        "1/root/proc/1/root/proc/kcore",
        "1/root/proc/self/../kcore",
        "1/task/1/root/proc/kcore",
        "self/root/proc/kcore",
        "thread-self/root/proc/kcore",
        "net/../root/proc/kcore",
        "1/cwd/kcore",
        "1/cwd/proc/kcore",
        "/1/cwd/kcore",
        "1/task/1/cwd/kcore",
        "1/root/proc/1/cwd/kcore",
        "1/fd/3/kcore",
    ],
)
def test_kcore_is_refused_by_any_path(path: str) -> None:
    assert proc_harm(path)
    assert refusal(f"proc {path}").error == -EPERM


@pytest.mark.parametrize(
    "path",
    [
        "kmsg",
        "1/mem",
        "1/task/1/mem",
        "self/pagemap",
        "kpagecount",
        "1/fd/0",
        "/1/fd/0",
        "1/task/7/fd/0",
        "self/fd/../fd/0",
        "1/map_files/400000-500000",
        "1/root/dev/tty0",
        "/1/root/dev/tty0",
        "//1/root/dev/console",
        "1/root/./dev/kmsg",
        "1/root/proc/kmsg",
        "1/root/proc/1/fd/0",
        "1/cwd/tty0",
        "1/root/sys/kernel/tracing/trace_pipe",
        "1/root/tmp/../dev/tty0",
        "1/root/../1/fd/0",
        "1/cwd/../fd/0",
    ],
)
def test_reading_that_may_not_come_back_is_refused(path: str) -> None:
    assert refusal(f"proc {path}").error == -EPERM
    assert passes(f"!proc {path}") == f"proc {path}"


@pytest.mark.parametrize("name", sorted(PROC_ENDLESS))
def test_every_endless_file_is_refused_with_its_reason(name: str) -> None:
    assert PROC_ENDLESS[name] in str(refusal(f"proc {name}"))


@pytest.mark.parametrize(
    "path",
    [
        "meminfo",
        "/meminfo",
        "uptime",
        "1/mounts",
        "1/mountinfo",
        "self/mounts",
        "sys/kernel/random/boot_id",
        "sys/fs/file-nr",
        "1/root/etc/hostname",
        "/1/root/etc/hostname",
        "1/root/sys/class/net/vec0/statistics/rx_bytes",
        "1/root/sys/block/ubda/size",
        "1/root/tmp/mem",
        "1/root/tmp/kcore",
        "1/root/home/fd/list",
        "1/root/home/cwd/notes",
        "1/root/proc/meminfo",
        "fd",
        "mounts",
    ],
)
def test_harmless_reading_passes(path: str) -> None:
    assert passes(f"proc {path}") == f"proc {path}"


def test_mistyped_disk_is_named() -> None:
    assert "did you mean `ubd`" in str(refusal("config udb1=/tmp/x"))


# What harms a stopped kernel


@pytest.mark.parametrize(
    "text",
    [
        "version",
        "help",
        "stop",
        "go",
        "config ubd0",
        "config con0",
        "proc meminfo",
        "proc uptime",
        "stack 1",
        "log hello",
        "status",
        "events",
        "wait",
        "shutdown",
        "kill",
        "sysrq",
        *(f"sysrq {letter}" for letter in "0123456789bhmwsuei"),
    ],
)
def test_stopped_guest_takes_what_is_safe(text: str) -> None:
    assert passes(text, stopped=True) == text


@pytest.mark.parametrize(
    "text",
    [
        "config ubd1=/tmp/x",
        "config eth0=mcast",
        "config mem=+10M",
        "remove con1",
        "remove ubd1",
        "reboot",
        *(f"sysrq {letter}" for letter in sorted(set(SYSRQ) - set("0123456789bhmwsueit"))),
    ],
)
def test_stopped_guest_is_not_sent_what_would_wedge_it(text: str) -> None:
    problem = refusal(text, stopped=True)
    assert problem.error == -EBUSY
    assert "send `go` first" in str(problem)
    assert passes(text) == text


def test_harm_is_refused_stopped_or_not() -> None:
    assert refusal("proc kcore", stopped=True).error == -EPERM


# Questions


def test_questions_change_nothing() -> None:
    questions = {"version", "help", "config ubd0", "proc uptime", "stack 1", "status"}
    others = {"config ubd0=/x", "remove ubd0", "sysrq m", "stop", "go", "log x", "halt", "kill"}
    assert {text for text in questions | others if is_query(read(text))} == questions


def test_every_kernel_command_can_be_sent() -> None:
    for command in COMMANDS:
        if command.served == KERNEL:
            assert passes(f"{command.name} {command.example}".strip())


@pytest.mark.parametrize(
    ("path", "is_file"),
    [
        ("1/root/etc/hostname", True),
        ("/1/root/process", True),
        ("self/root/tmp/../a", True),
        ("1/root/proc/meminfo", False),
        ("1/root/./sys/kernel", False),
        ("1/root/tmp/../proc/stat", False),
        ("meminfo", False),
        ("1/cwd/a", False),
    ],
)
def test_files_of_the_guest_are_told_from_those_that_are_made_up(path: str, is_file: bool) -> None:
    assert is_guest_file(path) == is_file


@pytest.mark.parametrize(("text", "seconds"), [("0", 0.0), ("1e6", 1e6), ("1000000", 1e6)])
def test_time_of_a_shutdown_is_as_long_as_it_can_be_written(text: str, seconds: float) -> None:
    assert seconds_of(read(f"shutdown {text}")) == seconds
