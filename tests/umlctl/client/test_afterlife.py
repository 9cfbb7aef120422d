"""A guest whose supervisor is gone and whose record is lost, without anybody to adopt it."""

from __future__ import annotations

import os
import shutil
import signal
import threading
from typing import TYPE_CHECKING

import msgspec
import pytest

from tests.umlctl.recovery.test_discover import leave, run_dir, running, spoil
from tests.umlctl.state.test_records import write_record
from umlctl import exitcodes
from umlctl.client import afterlife, guests, unsupervised
from umlctl.host import processes
from umlctl.state import event_log, records, umid_lock

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["run_dir"]


@pytest.fixture
def nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """No supervisor comes."""
    adopt: Callable[..., bool] = lambda _guest, **_how: False  # noqa: E731
    monkeypatch.setattr(unsupervised, "ask_to_adopt", adopt)


def test_running_guest_is_listed(run_dir: str, nobody: None) -> None:
    leave()
    spoil()
    with running() as pid:
        (row,) = guests.gather()
    assert (row.umid, row.state, row.pid) == ("demo", "unsupervised", pid)
    assert row.kernel == "/usr/bin/linux"


def test_running_guest_is_killed_and_its_record_kept(
    run_dir: str, nobody: None, capsys: pytest.CaptureFixture[str]
) -> None:
    leave()
    spoil()
    with running() as pid:
        assert afterlife.answer("kill", "demo", json=False) == exitcodes.OK
        assert processes.start_time(pid) is None
    said = capsys.readouterr()
    assert said.out == "demo killed\n"
    assert "it is kept as record.json.unreadable-" in said.err
    kept = records.load("demo")
    assert kept is not None
    assert kept.ending is not None
    assert kept.ending.cause == "killed"
    assert [event["event"] for event in event_log.Reader("demo").read()] == ["record lost", "ended"]


def test_guest_is_said_to_be_killed_when_it_is(
    run_dir: str, nobody: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The host takes its time to end a process."""
    leave()
    spoil()
    with running() as pid:
        late = threading.Timer(0.2, os.kill, (pid, signal.SIGKILL))
        monkeypatch.setattr(processes, "kill_guest", lambda *_: late.start())
        assert afterlife.answer("kill", "demo", json=False) == exitcodes.OK
        assert processes.start_time(pid) is None
        late.join()


def test_dead_guest_is_said_to_have_an_unreadable_record(
    run_dir: str, capsys: pytest.CaptureFixture[str]
) -> None:
    spoil()
    assert afterlife.answer("status", "demo", json=True) == exitcodes.FAILED
    assert "status demo: the record of demo cannot be read" in capsys.readouterr().err
    assert afterlife.answer("status", "nobody", json=True) is None
    assert afterlife.answer("status", "/demo", json=True) is None


def test_guest_whose_supervisor_has_another_tmp_is_not_said_to_have_none(
    run_dir: str, nobody: None
) -> None:
    with umid_lock.claim("demo"):
        write_record()
        shutil.rmtree(run_dir)
        (row,) = guests.gather()
        assert (row.state, row.supervisor_pid) == ("silent", os.getpid())
        assert "cannot be asked from here" in (row.trouble or "")
        assert "UMLCTL_DIR sets a place that all see" in unsupervised.epitaph("demo")


def test_guest_whose_supervisor_makes_its_directory_anew_is_not_said_to_have_none(
    run_dir: str, nobody: None
) -> None:
    """The directory is there again, and the socket not yet."""
    with umid_lock.claim("demo"):
        write_record()
        (row,) = guests.gather()
        assert (row.state, row.supervisor_pid) == ("silent", os.getpid())
        assert f"pid {os.getpid()}, has not opened" in (row.trouble or "")


def test_guest_that_would_be_started_again_out_of_reach_is_not_killed(
    run_dir: str,
    nobody: None,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Its supervisor has another /tmp, and nobody can tell it that a user has ended the guest."""
    killed: list[int] = []
    monkeypatch.setattr(processes, "kill_guest", lambda pid, *_: killed.append(pid))
    monkeypatch.setattr(afterlife, "KILL_TIMEOUT", 0.0)
    with umid_lock.claim("demo"):
        write_record()
        record = records.read("demo")
        assert record is not None
        definition = msgspec.structs.replace(record.definition, restart="on-failure")
        records.save(msgspec.structs.replace(record, definition=definition))
        shutil.rmtree(run_dir)
        assert afterlife.answer("kill", "demo", json=False) == exitcodes.FAILED
        said = capsys.readouterr()
    assert said.out == ""
    assert f"would start it again, and its supervisor, pid {os.getpid()}, cannot" in said.err
    assert not killed


def test_nobody_is_said_to_be_gone_who_has_another_tmp(
    run_dir: str, nobody: None, capsys: pytest.CaptureFixture[str]
) -> None:
    with umid_lock.claim("demo"):
        write_record()
        shutil.rmtree(run_dir)
        assert afterlife.answer("wait", "demo", json=False) == exitcodes.NO_GUEST
        said = capsys.readouterr().err
    assert "cannot be asked from here" in said
    assert "gone" not in said
