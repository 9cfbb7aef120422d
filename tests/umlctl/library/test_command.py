from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from umlctl.errors import GuestEnded, NotExecuted, TimedOut, UmlctlError, UsageError
from umlctl.execution import in_guest
from umlctl.library import command, gone
from umlctl.library.command import Asked, CommandFailed, CommandTimedOut

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from umlctl.execution.session import Streams


class Guest:
    """What runs commands: it writes what it has read, and a word of its own.

    Fields:
        code: the status; problem: what is raised instead
        given: what it was told beside
    """

    def __init__(self) -> None:
        self.code = 0
        self.problem: Exception | None = None
        self.given: dict[str, Any] = {}
        self.words: list[str] = []

    def run(self, _umid: str, words: Sequence[str], own: Streams, **given: Any) -> int:
        self.words, self.given = list(words), given
        if own.source != in_guest.NO_SOURCE:
            own.takers[0](os.read(own.source, 1000))
        own.takers[1](b"err\xff")
        if self.problem is not None:
            raise self.problem
        return self.code


@pytest.fixture
def guest(monkeypatch: pytest.MonkeyPatch) -> Guest:
    made = Guest()
    monkeypatch.setattr(in_guest, "run", made.run)
    monkeypatch.setattr(gone, "explained", lambda problem, _umid: problem)
    return made


def run(words: Sequence[Any] = ("x",), **options: Any) -> subprocess.CompletedProcess[Any]:
    return command.run("demo", Asked(words, **options))


def test_what_is_read_and_written_is_bytes_or_text(guest: Guest) -> None:
    guest.code = 3
    done = run(["a", b"b"], input=b"in")
    assert (done.args, done.returncode) == (["a", "b"], 3)
    assert (done.stdout, done.stderr) == (b"in", b"err\xff")
    done = run(input="in", text=True)
    assert (done.stdout, done.stderr) == ("in", "err\ufffd")
    assert run().stdout == b""


def test_environment_is_roots_with_what_is_given(guest: Guest) -> None:
    run(env={"A": "b", "HOME": "/x"}, cwd="/usr", timeout=5.0)
    variables: Mapping[str, str] = guest.given["variables"]
    assert (variables["A"], variables["HOME"], variables["USER"]) == ("b", "/x", "root")
    assert (guest.given["directory"], guest.given["limit"]) == ("/usr", 5.0)


def test_streams_may_be_files(guest: Guest, tmp_path: Path) -> None:
    (tmp_path / "in").write_bytes(b"from a file")
    with open(tmp_path / "in", "rb") as source, open(tmp_path / "out", "wb") as target:
        target.write(b"before ")
        done = run(stdin=source, stdout=target, stderr=subprocess.DEVNULL)
    assert (done.stdout, done.stderr) == (None, None)
    assert (tmp_path / "out").read_bytes() == b"before from a file"
    done = run(input=b"both ", stderr=subprocess.STDOUT)
    assert (done.stdout, done.stderr) == (b"both err\xff", None)


@pytest.mark.parametrize(
    ("words", "options", "said"),
    [
        ("ls -l", {}, "a list of words"),
        ([], {}, "a list of words"),
        ([""], {}, "a list of words"),
        (["x"], {"input": b"", "stdin": 0}, "give one of them"),
        (["x"], {"stdout": "file"}, "an open file"),
        (["x"], {"stdin": -7}, "an open file"),
    ],
)
def test_what_is_no_command_is_refused(
    guest: Guest, words: Sequence[str], options: dict[str, Any], said: str
) -> None:
    with pytest.raises(UsageError, match=said):
        run(words, **options)
    assert guest.words == []


def test_failure_is_an_error_where_that_is_asked_for(guest: Guest) -> None:
    guest.code = -11
    with pytest.raises(CommandFailed, match="SIGSEGV") as caught:
        run(input=b"out", check=True)
    assert isinstance(caught.value, UmlctlError)
    assert isinstance(caught.value, subprocess.CalledProcessError)
    assert (caught.value.returncode, caught.value.stdout) == (-11, b"out")


def test_time_that_is_up_is_an_error_of_both_trees(guest: Guest) -> None:
    guest.problem = TimedOut("late")
    with pytest.raises(CommandTimedOut, match="timed out after 2 seconds") as caught:
        run(input=b"out", timeout=2)
    assert isinstance(caught.value, TimedOut)
    assert isinstance(caught.value, subprocess.TimeoutExpired)
    assert caught.value.stdout == b"out"


@pytest.mark.parametrize("problem", [GuestEnded("gone"), NotExecuted("none")])
def test_what_is_no_status_is_an_error(guest: Guest, problem: Exception) -> None:
    guest.problem = problem
    with pytest.raises(type(problem), match=str(problem)):
        run()
