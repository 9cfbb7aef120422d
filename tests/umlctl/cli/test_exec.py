from __future__ import annotations

import signal
from errno import EACCES, ENODEV, ENOENT
from typing import Any

import pytest

from umlctl import exitcodes
from umlctl.cli import exec as execs
from umlctl.cli import exec_guest, main
from umlctl.cli.exec_guest import Result
from umlctl.errors import NeverStarted, UsageError
from umlctl.execution.session import Outcome
from umlctl.guest.command import Command, Root, steps
from umlctl.guest.overlay import IN_MEMORY
from umlctl.host import room
from umlctl.kernels import find
from umlctl.kernels.find import ProbedKernel
from umlctl.protocol.control_line import Said
from umlctl.protocol.status import Ending

TODO = steps(Root(), Command(("x",), "/", {}, "ppp", "t"))
WISHES: dict[str, Any] = {
    "load": (),
    "user": "",
    "timeout": None,
    "kernel": None,
    "clean_env": False,
    "variables": (),
    "readonly": False,
    "rw": (),
    "shares": (),
    "kept": IN_MEMORY,
}


def kernel(**config: str) -> ProbedKernel:
    return ProbedKernel("/no/bin/linux.uml", "6.1.176", frozenset(), config)


def code(said: Said | None, **outcome: Any) -> int:
    result = Result(Outcome(said, **{"began": True, **outcome}), None, TODO, b"", "")
    return execs._code(result, "cmd", {**WISHES, "timeout": 2.0})


@pytest.mark.parametrize(
    ("word", "number", "expected"),
    [
        ("status", 7 << 8, 7),
        ("status", 0, 0),
        ("status", signal.SIGSEGV, 139),
        ("noexec", ENOENT, 127),
        ("noexec", EACCES, 126),
        ("nowhere", ENOENT, 125),
        ("unprepared", 256, 125),
    ],
)
def test_exit_code_is_the_commands_or_why_it_has_none(
    word: str, number: int, expected: int
) -> None:
    assert code(Said(word, (number,))) == expected


def test_exit_code_of_what_did_not_end_by_itself(capfd: pytest.CaptureFixture[str]) -> None:
    assert code(None, late=True) == exitcodes.LIMIT
    assert code(None, caught=signal.SIGTERM) == 143
    assert code(Said("failed", (1, ENODEV))) == exitcodes.NEVER_STARTED
    said = capfd.readouterr().err
    assert "not over within 2 seconds" in said
    assert "no overlay file system" in said


def test_panic_is_shown_with_its_stack(capfd: pytest.CaptureFixture[str]) -> None:
    tail = b"\n".join(
        [
            *(b"old %d" % n for n in range(50)),
            b"Kernel panic - not syncing: x",
            b"Call Trace:",
        ]
    )
    ending = Ending(cause="panicked", code=255, text="x", time=0.0)
    assert execs._code(Result(Outcome(None, True), ending, TODO, tail, ""), "cmd", WISHES) == 255
    said = capfd.readouterr().err.splitlines()
    assert said[-2:] == ["Kernel panic - not syncing: x", "Call Trace:"]
    assert "old 49" in said
    assert "old 1" not in said
    # Before the command it is no end of the command's.
    assert execs._code(Result(Outcome(None, False), ending, TODO, tail, ""), "cmd", WISHES) == 125


def test_what_could_not_be_passed_on_is_a_failure() -> None:
    done = Result(Outcome(Said("status", (0,)), True), None, TODO, b"", "no room")
    assert execs._code(done, "cmd", WISHES) == exitcodes.FAILED


def test_environment_leaves_out_what_is_of_this_host_and_secrets(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("KEPT", "GH_TOKEN", "AWS_SECRET_ACCESS_KEY", "DB_PASSWORD", "DISPLAY", "KEYMAP"):
        monkeypatch.setenv(name, "x")
    found = execs._environment(WISHES)
    assert {"KEPT", "KEYMAP", "PATH"} <= found.keys()
    assert not {"GH_TOKEN", "AWS_SECRET_ACCESS_KEY", "DB_PASSWORD", "DISPLAY"} & found.keys()
    found = execs._environment({**WISHES, "variables": ("GH_TOKEN", "A=1", "NONE", "KEPT=")})
    assert (found["GH_TOKEN"], found["A"], found["KEPT"]) == ("x", "1", "")
    assert "NONE" not in found
    assert "KEPT" not in execs._environment({**WISHES, "clean_env": True})
    with pytest.raises(UsageError):
        execs._environment({**WISHES, "variables": ("=x",)})


def test_directory_that_is_shared_has_to_be_there() -> None:
    for wishes in ({"rw": ("/no/such",)}, {"shares": ("/no/such:/mnt",)}):
        with pytest.raises(UsageError, match="/no/such is no directory"):
            execs.make_root({**WISHES, **wishes}, kernel(OVERLAY_FS="y"))


def test_root_takes_an_overlay_file_system_unless_it_is_only_read() -> None:
    assert execs.make_root(WISHES, kernel(OVERLAY_FS="y")) == Root(release="6.1.176")
    for config in ({}, {"OVERLAY_FS": "m"}):
        with pytest.raises(NeverStarted, match="--ro does without"):
            execs.make_root(WISHES, kernel(**config))
        assert execs.make_root({**WISHES, "readonly": True}, kernel(**config)).kind == "ro"
    with pytest.raises(UsageError, match="exclude"):
        execs.make_root({**WISHES, "readonly": True, "kept": "/x"}, kernel())
    with pytest.raises(UsageError, match="no such directory"):
        execs.make_root({**WISHES, "kept": "/no/such"}, kernel(OVERLAY_FS="y"))


def test_more_memory_than_is_free_is_told_before_the_guest(
    house: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(find, "find", lambda _name=None: "/no/bin/linux.uml")
    monkeypatch.setattr(find, "probe", lambda *_: kernel(OVERLAY_FS="y"))
    monkeypatch.setattr(room, "look", lambda _path: room.Space(200 << 30, 24 << 30))
    said: list[str] = []

    def execute(*_: object, **__: object) -> Result:
        said.append(capfd.readouterr().err)
        return Result(Outcome(Said("status", (0,)), began=True), None, TODO, b"", "")

    monkeypatch.setattr(exec_guest, "execute", execute)
    for mem in ("100G", "1G"):
        assert main.run(["exec", "--mem", mem, "--", "true"]) == 0
    doubt = "umlctl: it may have 102400M of memory, and 24576M are free in "
    assert (said[0].startswith(doubt), said[1]) == (True, "")


@pytest.mark.parametrize("words", [[], ["--"], ["ls"], ["a", "b", "--", "x"]])
def test_command_stands_behind_two_dashes(
    words: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    assert main.run(["exec", *words]) == exitcodes.USAGE
    assert "--" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("option", "said"),
    [
        (("--gdb",), "; `umlctl gdb demo` does that"),
        (("--share", "/"), "; `umlctl share add demo DIR` does that"),
        (("--mem", "1G"), "for one that runs\n"),
    ],
)
def test_option_of_a_fresh_guest_says_what_one_that_runs_has(
    capsys: pytest.CaptureFixture[str], option: tuple[str, ...], said: str
) -> None:
    assert main.run(["exec", "demo", *option, "--", "true"]) == exitcodes.USAGE
    assert said in capsys.readouterr().err


def test_what_is_to_be_said_of_options_names_options() -> None:
    assert {each.name for each in execs.execute.params} >= set(execs.INSTEAD)
