from __future__ import annotations

import os
import subprocess
import tempfile

import pytest

from umlctl.errors import UsageError
from umlctl.guest.definition import Definition
from umlctl.host import processes
from umlctl.supervisor import passed_descriptors


def define(*arguments: str) -> Definition:
    return Definition(umid="demo", kernel="/linux", arguments=arguments)


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> int:
    """A descriptor that the caller seems to have left open."""
    monkeypatch.setattr(processes, "was_given", lambda number: number in (0, 1, 2, 9))
    return 9


def test_descriptors_of_the_caller_are_passed(given: int) -> None:
    definition = define(f"ssl3=fd:{given}", "con1=fd:0,fd:1")
    assert passed_descriptors.check(definition, passes=True) == [0, 1, given]
    assert passed_descriptors.check(define("ssl3=pts"), passes=False) == []


@pytest.mark.parametrize(
    ("words", "passes", "said"),
    [
        (["con0=fd:0,fd:1"], False, "in the background has no descriptors of yours"),
        (["ssl3=fd:20"], True, "17 to 56 are umlctl's own"),
        (["ssl3=fd:17"], True, "17 to 56 are umlctl's own"),
        (["ssl3=fd:57"], True, "descriptor 57 is not open"),
        (["vec0:transport=fd,fd=9"], True, "does not survive a reboot"),
    ],
)
def test_what_cannot_be_passed_is_refused(
    given: int, words: list[str], passes: bool, said: str
) -> None:
    with pytest.raises(UsageError, match=said):
        passed_descriptors.check(define(*words), passes=passes)
    assert passed_descriptors.check(define("vec0:transport=fd,fd=9", "noreboot"), passes=True) == [
        given
    ]


def test_only_what_the_caller_left_open_was_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "_given", set())
    with tempfile.TemporaryFile() as ours:
        assert not processes.was_given(ours.fileno())
        os.set_inheritable(ours.fileno(), True)
        assert processes.was_given(ours.fileno())
    assert not processes.was_given(2**31)


def test_copies_have_their_own_numbers_in_the_end() -> None:
    reader, writer = os.pipe()
    with passed_descriptors.copied([writer], 64) as copies:
        (copy,) = copies
        assert copy >= 64
        command = [*passed_descriptors.placing({copy: 9}), "sh", "-c", "echo from 9 >&9"]
        subprocess.run(command, pass_fds=[copy], check=True)
    os.close(writer)
    with open(reader, "rb") as file:
        assert file.read() == b"from 9\n"
    assert passed_descriptors.placing({}) == []
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(copy)
