from __future__ import annotations

import os
import socket
from types import SimpleNamespace
from typing import TYPE_CHECKING

from umlctl.checks import guests as checks
from umlctl.checks.findings import FATAL, NOTE, WARNING
from umlctl.client import background
from umlctl.host import confine, paths, processes
from umlctl.recovery import discover, process_tree
from umlctl.state import records

if TYPE_CHECKING:
    import pytest


def record(umid: str, **fields: object) -> SimpleNamespace:
    return SimpleNamespace(definition=SimpleNamespace(umid=umid, kernel="/k"), **fields)


def test_host_without_guests_is_well(house: str) -> None:
    looks = (
        *(checks.unsupervised, checks.unreadable_records, checks.set_aside, checks.stale_names),
        *(checks.unconfined, checks.old_supervisor, checks.supervisor_is_reached),
    )
    assert [found for look in looks for found in look()] == []


def test_what_a_dead_kernel_has_left_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    left = process_tree.Orphans(77, "web", tuple(range(100, 107)))
    monkeypatch.setattr(process_tree, "orphans", lambda: [left])
    (found,) = checks.orphans()
    assert (found.severity, found.remedy) == (WARNING, "kill -KILL -- -77")
    assert "7 processes" in found.what
    assert found.what.endswith("of web: 100, 101, 102, 103, 104 and 2 more")


def test_guest_without_supervisor_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(discover, "without_supervisor", lambda: [record("a"), record("b")])
    (found,) = checks.unsupervised()
    assert (found.what, found.remedy) == ("nobody supervises a, b", "umlctl adopt")


def test_records_that_cannot_be_read_are_told(house: str) -> None:
    directory = paths.record_dir("web")
    os.makedirs(directory)
    with open(f"{directory}/record.json", "w") as file:
        file.write("nonsense")
    (found,) = checks.unreadable_records()
    assert (found.severity, "record of web cannot be read" in found.what) == (WARNING, True)
    os.rename(f"{directory}/record.json", f"{directory}/{records.ASIDE_PREFIX}1")
    (found,) = checks.set_aside()
    assert (found.severity, "records of web" in found.what) == (NOTE, True)
    assert list(checks.unreadable_records()) == []


def test_names_of_dead_kernels_are_told(house: str) -> None:
    public = paths.public_dir()
    for name, pid in (("dead", f"{1 << 22}"), ("begins", ""), ("other", f"{os.getpid()}")):
        os.makedirs(f"{public}/{name}")
        if pid:
            with open(f"{public}/{name}/pid", "w") as file:
                file.write(pid)
    os.makedirs(f"{public}/elsewhere")
    with open(f"{public}/elsewhere/pid", "w") as file:
        file.write("1")
    held = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    held.bind(f"{public}/elsewhere/mconsole")
    os.makedirs(f"{public}/gone")
    os.symlink("/nonexistent/mconsole", f"{public}/gone/mconsole")
    with held:
        (found,) = checks.stale_names()
    assert found.severity == NOTE
    assert found.what.endswith("left: dead, gone, other")
    assert found.remedy == f"rm -r {public}/dead"


def test_guests_that_are_not_confined_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    running = [record("a", confined="writes"), record("b", confined="off")]
    monkeypatch.setattr(discover, "running", lambda: running)
    monkeypatch.setattr(confine, "unable", lambda _kernel: "")
    (found,) = checks.unconfined()
    assert (found.severity, found.what) == (NOTE, "not confined: b")
    monkeypatch.setattr(confine, "unable", lambda _kernel: "no Landlock")
    assert list(checks.unconfined()) == [], "that is told of the host"


def test_supervisor_that_cannot_be_asked_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(background, "out_of_reach", lambda: "it cannot be asked; set UMLCTL_DIR")
    (found,) = checks.supervisor_is_reached()
    assert (found.severity, found.what) == (FATAL, "it cannot be asked")
    assert found.remedy == "set UMLCTL_DIR"


def test_supervisor_of_before_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(background, "pid", lambda: 7)
    monkeypatch.setattr(processes, "start_time", lambda _pid: 1)
    monkeypatch.setattr(os, "stat", lambda _path: SimpleNamespace(st_mtime=1e11))
    (found,) = checks.old_supervisor()
    assert (found.severity, "pid 7, is older" in found.what) == (NOTE, True)
    monkeypatch.setattr(os, "stat", lambda _path: SimpleNamespace(st_mtime=0.0))
    assert list(checks.old_supervisor()) == []
