"""Errors as users are told them who start a guest."""

from __future__ import annotations

import ctypes
import errno
import os
import shutil
import socket
from typing import TYPE_CHECKING

import pytest

from umlctl.errors import SEE_DOCTOR, GuestInUse, HostError, NoKernel, UnfitHost
from umlctl.host import limits, paths
from umlctl.host.starting import happened, starting, unfit

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

NOWHERE = "/nonexistent/file"
CANNOT = "demo cannot be run"


def library_call() -> None:
    """As many of ours do what Python has no function for."""
    ctypes.set_errno(errno.EROFS)
    raise OSError(ctypes.get_errno(), "Read-only file system", NOWHERE)


@pytest.mark.parametrize(
    ("fail", "said"),
    [
        (lambda: os.open(NOWHERE, os.O_RDONLY), f"open {NOWHERE}: No such file or directory"),
        (lambda: shutil.copyfile(NOWHERE, "/x"), f"copyfile {NOWHERE}: No such file or directory"),
        (lambda: os.makedirs("/proc/no/directory"), "makedirs /proc/no: No such file or directory"),
        (lambda: os.rename(NOWHERE, "/x"), f"rename {NOWHERE} /x: No such file or directory"),
        (lambda: os.rename(os.fsencode(NOWHERE), b"/x"), f"rename {NOWHERE} /x: No such file"),
        (lambda: os.memfd_create("x", 1 << 30), "memfd_create: Invalid argument"),
        (lambda: socket.socket(socket.AF_UNIX, 77), "socket: Invalid argument"),
        (library_call, f"library_call {NOWHERE}: Read-only file system"),
    ],
)
def test_what_was_tried_is_told_with_its_file(fail: Callable[[], object], said: str) -> None:
    with pytest.raises(UnfitHost) as told, starting("demo"):
        fail()
    assert str(told.value).startswith(f"demo cannot be started: {said}")
    assert str(told.value).endswith(f"; {SEE_DOCTOR}")


def test_error_that_says_all_itself_is_told_as_it_is() -> None:
    assert happened(OSError("what?")) == "what?"
    assert happened(paths.BadPlace("not there: make it")) == "not there: make it"
    with pytest.raises(UnfitHost) as told, starting("demo"):
        raise paths.BadPlace("not there: make it")
    assert str(told.value) == f"demo cannot be started: not there: make it; {SEE_DOCTOR}"


def test_error_without_the_text_of_its_program_is_told(tmp_path: Path) -> None:
    code = compile("import os\nos.fstat(-1)", str(tmp_path / "gone.py"), "exec")
    with (
        pytest.raises(UnfitHost, match=r"^demo cannot be started: Bad file desc"),
        starting("demo"),
    ):
        exec(code)


def test_lack_is_told_with_what_helps_and_once() -> None:
    with pytest.raises(UnfitHost) as told, starting("demo"):
        raise OSError(errno.EMFILE, "Too many open files")
    text = str(told.value)
    assert f"Too many open files; {limits.few_descriptors()}; {SEE_DOCTOR}" in text
    assert limits.explained(told.value) == text


def test_first_of_a_group_is_told() -> None:
    group = ExceptionGroup("outer", [ExceptionGroup("inner", [OSError(errno.EROFS, "read-only")])])
    with pytest.raises(UnfitHost, match=r"^demo cannot be run: .*read-only"), unfit(CANNOT):
        raise group
    with pytest.raises(UnfitHost, match=r"^no tun"), unfit(CANNOT):
        raise ExceptionGroup("", [UnfitHost("no tun")])
    with pytest.raises(ExceptionGroup), unfit(CANNOT):
        raise ExceptionGroup("", [ValueError("a mistake of ours")])


def test_thread_that_cannot_be_had_is_a_lack() -> None:
    with pytest.raises(UnfitHost, match=limits.NO_THREAD_TEXT), unfit(CANNOT):
        raise RuntimeError(limits.NO_THREAD_TEXT)
    with pytest.raises(RuntimeError, match="ours"), unfit(CANNOT):
        raise RuntimeError("ours")


def test_error_in_our_words_keeps_them_and_names_the_doctor_for_a_lack() -> None:
    full, forbidden = OSError(errno.ENOSPC, "full"), OSError(errno.EACCES, "forbidden")
    with pytest.raises(UnfitHost) as told, starting("demo"):
        raise HostError("ubd0: cannot make the COW file x: full") from full
    assert str(told.value) == f"ubd0: cannot make the COW file x: full; {SEE_DOCTOR}"
    with pytest.raises(HostError) as kept, starting("demo"):
        raise HostError("ubd0: cannot open x: forbidden") from forbidden
    assert str(kept.value) == "ubd0: cannot open x: forbidden", "it is a file of the user's"
    for problem in (NoKernel("none"), GuestInUse("demo")):
        with pytest.raises(type(problem)) as same, starting("demo"):
            raise problem
        assert same.value is problem
