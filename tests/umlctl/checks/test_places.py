from __future__ import annotations

import os
import time
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from umlctl.checks import places as checks
from umlctl.checks.findings import FATAL, NOTE, WARNING
from umlctl.host import paths

if TYPE_CHECKING:
    from pathlib import Path


def test_place_that_is_well_is_nothing_to_be_told(house: str) -> None:
    looks = (checks.proc, checks.run_directory, checks.state_directory, checks.home, checks.cache)
    assert [found for look in looks for found in look()] == []
    assert [*checks.space(), *checks.socket_paths()] == []


def test_directories_that_cannot_be_written_are_told(
    house: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/elsewhere")
    monkeypatch.setattr(os, "access", lambda *_: False)
    found = [*checks.run_directory(), *checks.state_directory(), *checks.home(), *checks.cache()]
    assert [each.severity for each in found] == [FATAL, FATAL, WARNING, NOTE]
    assert all("is not yours to write" in each.what for each in found)
    monkeypatch.setattr(os, "statvfs", lambda _: SimpleNamespace(f_flag=os.ST_RDONLY))
    assert all("mounted read-only" in each.what for each in checks.home())


def test_place_that_cannot_be_used_is_told_with_what_to_do(
    house: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UMLCTL_DIR", "relative")
    for look in (checks.run_directory, checks.state_directory):
        (found,) = look()
        assert found.severity == FATAL
        assert "UMLCTL_DIR" in found.what + found.remedy


def test_user_without_a_home_is_told(house: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paths, "home", lambda: "")
    (found,) = checks.home()
    assert (found.severity, found.what) == (WARNING, "this user has no home")


@pytest.mark.parametrize(
    ("blocks", "files", "severities"),
    [
        *((0, 9999, [FATAL]), (9, 9999, [FATAL]), (1000, 9999, [WARNING])),
        *((1 << 20, 9, [FATAL]), (1 << 20, 200, [WARNING]), (1 << 20, 9999, [])),
    ],
)
def test_disk_without_room_is_told(
    house: str,
    monkeypatch: pytest.MonkeyPatch,
    blocks: int,
    files: int,
    severities: list[str],
) -> None:
    room = SimpleNamespace(
        f_bavail=blocks, f_blocks=1 << 20, f_frsize=4096, f_files=99999, f_favail=files
    )
    monkeypatch.setattr(os, "statvfs", lambda _: room)
    assert [each.severity for each in checks.space()] == severities
    os.makedirs(paths.run_dir(), 0o700)
    monkeypatch.setattr(checks, "_device", len)
    assert [each.severity for each in checks.space()] == 2 * severities, "of both directories"


def test_file_in_the_place_of_a_directory_is_told(
    house: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open(f"{house}/file", "w"):
        monkeypatch.setenv("UMLCTL_DIR", f"{house}/file")
    for look in (checks.run_directory, checks.state_directory):
        (found,) = look()
        assert (found.severity, f"{house}/file is no directory" in found.what) == (FATAL, True)


def test_paths_that_are_too_long_for_sockets_are_told(
    house: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", f"/{'h' * 90}")
    (found,) = checks.socket_paths()
    assert found.severity == WARNING
    assert "room for 1 letters" in found.what
    monkeypatch.setenv("HOME", "/h")
    for length, severity in ((80, WARNING), (100, FATAL)):
        monkeypatch.setenv("UMLCTL_DIR", f"/{'u' * length}")
        (found,) = checks.socket_paths()
        assert (found.severity, "UMLCTL_DIR" in found.remedy) == (severity, True)


def test_clock_that_is_behind_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tmp_path / "source"
    monkeypatch.setattr(checks, "_CLOCK_SOURCE", str(source))
    assert list(checks.clock()) == []
    source.write_text("hpet\n")
    (found,) = checks.clock()
    assert (found.severity, "hpet" in found.what) == (NOTE, True)
    source.write_text("tsc\n")
    monkeypatch.setattr(time, "time", lambda: 0.0)
    (found,) = checks.clock()
    assert (found.severity, "says 1970-01-01" in found.what) == (WARNING, True)


def test_proc_of_others_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "readlink", lambda _: "1")
    (found,) = checks.proc()
    assert (found.severity, "another namespace" in found.what) == (FATAL, True)

    def missing(_path: str) -> str:
        raise FileNotFoundError(2, "No such file or directory")

    monkeypatch.setattr(os, "readlink", missing)
    (found,) = checks.proc()
    assert "there is no /proc" in found.what
