from __future__ import annotations

import fcntl
import os
import stat
from pathlib import Path

import pytest

from umlctl.compat.cow_files import Failed, ended, replacing
from umlctl.errors import HostError


@pytest.fixture(autouse=True)
def _here(house: str, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkdir(f"{house}/w")
    monkeypatch.chdir(f"{house}/w")


def test_file_is_replaced_when_the_new_one_is_whole() -> None:
    Path("a").write_text("old")
    os.chmod("a", 0o600)
    os.symlink("a", "link")
    with replacing("x", "link") as descriptor:
        os.write(descriptor, b"new")
        assert Path("a").read_text() == "old"
    assert Path("a").read_text() == "new"
    assert os.readlink("link") == "a"
    assert stat.S_IMODE(os.stat("a").st_mode) == 0o600  # as private as it was
    assert sorted(os.listdir()) == ["a", "link"]


def test_file_stays_if_the_new_one_fails() -> None:
    Path("a").write_text("old")
    with pytest.raises(TypeError), replacing("x", "a") as descriptor:
        os.write(descriptor, None)  # type: ignore[arg-type]
    assert Path("a").read_text() == "old"
    assert os.listdir() == ["a"]


def test_what_must_not_be_lost_is_not_replaced() -> None:
    Path("a").write_text("old")
    os.link("a", "b")
    with pytest.raises(HostError, match="b is a itself, which would be lost"):
        replacing("x", "b", "a").__enter__()
    os.mkdir("d")
    os.mkfifo("p")
    for path in ("d", "p", "/dev/null"):
        with pytest.raises(HostError, match="no plain file"):
            replacing("x", path).__enter__()


def test_file_that_a_kernel_has_is_not_replaced() -> None:
    Path("a").write_text("old")
    with open("a", "r+b") as file:
        if os.fork() == 0:  # locks of this process would not be seen by itself
            try:
                replacing("x", "a").__enter__()
            except BaseException:  # noqa: BLE001
                os._exit(1)
            os._exit(0)
        assert os.wait()[1] == 0
        fcntl.lockf(file, fcntl.LOCK_EX)
        pid = os.fork()
        if pid == 0:
            try:
                replacing("x", "a").__enter__()
            except HostError as problem:
                os._exit(7 if "is locked by" in str(problem) else 1)
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7


def test_errors_end_with_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert ended("p", Failed("as they say")) == ended("p", HostError("as we say")) == 1
    assert capsys.readouterr().err == "as they say\np: as we say\n"
