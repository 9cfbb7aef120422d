from __future__ import annotations

import os
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from umlctl.checks import memory as checks
from umlctl.checks.findings import FATAL, WARNING
from umlctl.definitions import host_file
from umlctl.guest.bounds import Bounds
from umlctl.host import cgroups, processes, room
from umlctl.recovery import discover

if TYPE_CHECKING:
    from pathlib import Path

M = 1 << 20


@pytest.fixture(autouse=True)
def spaces(monkeypatch: pytest.MonkeyPatch) -> dict[str, room.Space]:
    """What directories have; /dev/shm is a tmpfs, and all else is on a disk."""
    found: dict[str, room.Space] = {}
    for name in room.TEMPORARY_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(room, "look", lambda path: found.get(path, room.Space(9 << 30, 9 << 30)))
    monkeypatch.setattr(room, "kind", lambda path: "tmpfs" if path == checks.SHM else "ext4")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    return found


@pytest.mark.parametrize(
    ("kind", "remedy"),
    [
        (room.NOEXEC, "mount -o remount,exec /dev/shm; or give"),
        (room.SMALL, "mount -o remount,size=50% /dev/shm; or give"),
        (room.MISSING, "mkdir -p /dev/shm; mount -t tmpfs tmpfs /dev/shm; or give"),
        (room.DENIED, "chmod 1777 /dev/shm; or give"),
        (room.FULL, "shows what takes it; or give"),
    ],
)
def test_each_flaw_has_a_command_that_mends_it(
    monkeypatch: pytest.MonkeyPatch, kind: str, remedy: str
) -> None:
    flaw = room.MemoryFlaw(kind, "it is so", "give another")
    monkeypatch.setattr(room, "memory_flaw", lambda *_: flaw)
    (found,) = checks.place()
    assert (found.severity, found.what) == (
        FATAL,
        "guests have their memory in /dev/shm, and cannot: it is so",
    )
    assert remedy in found.remedy


def test_variable_that_leads_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMP", "/data")
    monkeypatch.setattr(room, "memory_flaw", lambda *_: room.MemoryFlaw(room.NOEXEC, "x", "y"))
    (found,) = checks.place()
    assert found.remedy == "unset TMP; or y"
    monkeypatch.setattr(host_file, "load", lambda: Bounds(overcommit=True))
    assert len(list(checks.place())) == 1
    monkeypatch.setattr(room, "memory_flaw", lambda *_: room.MemoryFlaw(room.SMALL, "x", "y"))
    assert list(checks.place()) == [], "who wants it so may have it"
    (found,) = checks.on_a_disk()
    assert (found.severity, "as TMP says" in found.what) == (WARNING, True)
    assert list(checks.shared_memory()) == []


def test_small_shared_memory_is_told_though_there_is_another_place(
    spaces: dict[str, room.Space],
) -> None:
    spaces[checks.SHM] = room.Space(64 * M, 64 * M)
    (found,) = checks.shared_memory()
    assert (found.severity, "can hold 64.0M" in found.what) == (WARNING, True)
    assert "mount -o remount,size=50% /dev/shm" in found.remedy
    (found,) = checks.on_a_disk()
    assert "on a disk (ext4)" in found.what
    spaces.clear()
    assert [*checks.shared_memory(), *checks.on_a_disk()] == []


def test_shared_memory_that_is_none_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "kind", lambda _path: "overlay")
    (found,) = checks.shared_memory()
    assert (found.what, found.severity) == ("/dev/shm is no tmpfs", WARNING)


def test_guests_with_more_memory_than_there_is_are_told(
    monkeypatch: pytest.MonkeyPatch, spaces: dict[str, room.Space]
) -> None:
    record = SimpleNamespace(definition=SimpleNamespace(mem=512 * M), pid=1)
    monkeypatch.setattr(discover, "running", lambda: [record, record])
    monkeypatch.setattr(processes, "memory_used", lambda _pid: 100 * M)
    monkeypatch.setattr(room, "memory", lambda: {"MemAvailable": 9 << 30})
    assert list(checks.against_guests()) == []
    spaces[checks.SHM] = room.Space(9 << 30, 823 * M)
    (found,) = checks.against_guests()
    assert found.severity == WARNING
    assert "2 guests may take 824.0M more" in found.what
    monkeypatch.setattr(host_file, "load", lambda: Bounds(overcommit=True))
    assert list(checks.against_guests()) == [], "it is wanted so"


def test_cgroup_that_allows_too_little_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cgroups, "own", lambda: str(tmp_path))
    assert list(checks.of_cgroup()) == []
    (tmp_path / "memory.max").write_text("max\n")
    (tmp_path / "memory.current").write_text(f"{100 * M}\n")
    assert list(checks.of_cgroup()) == []
    (tmp_path / "memory.max").write_text(f"{300 * M}\n")
    (found,) = checks.of_cgroup()
    assert (found.severity, "may take 200.0M more" in found.what) == (WARNING, True)
