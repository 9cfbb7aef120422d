from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from umlctl.host import daemonlog

if TYPE_CHECKING:
    from pathlib import Path

MOST = 1000
LINE = "x" * 99 + "\n"


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("UMLCTL_DIR", str(tmp_path))
    monkeypatch.setattr(daemonlog, "MAX_LOG_BYTES", MOST)
    (tmp_path / "state").mkdir()
    return tmp_path / "state" / "supervisor.log"


def test_log_is_bounded_while_it_is_written(log: Path) -> None:
    descriptor = os.open(daemonlog.path(), daemonlog.OPEN_FLAGS, 0o600)
    for number in range(100):
        daemonlog.say(f"{number:<99}\n", descriptor)
    os.close(descriptor)
    lines = (log.with_suffix(".log.1").read_text() + log.read_text()).split()
    assert lines == [str(number) for number in range(100 - len(lines), 100)]
    assert MOST <= len(lines) * 100 <= 2 * MOST + 200
    assert log.stat().st_mode & 0o777 == 0o600


def test_log_that_is_too_long_is_put_aside(log: Path) -> None:
    daemonlog.put_aside()
    log.write_text("a" * MOST)
    daemonlog.put_aside()
    assert log.exists()
    log.write_text("b" * (MOST + 1))
    daemonlog.put_aside()
    assert log.with_suffix(".log.1").read_text() == "b" * (MOST + 1)
    assert not log.exists()


def test_what_is_no_log_of_ours_is_left_as_it_is(log: Path, tmp_path: Path) -> None:
    log.touch()
    path = tmp_path / "file"
    with path.open("ab") as file:
        for _ in range(30):
            daemonlog.say(LINE, file.fileno())
    assert path.read_text() == LINE * 30
    reader, writer = os.pipe()
    daemonlog.say(LINE, writer)
    assert os.read(reader, 200) == LINE.encode()
    os.close(writer)
    os.close(reader)


def test_full_disk_takes_no_words(log: Path) -> None:
    with open("/dev/full", "wb") as full:
        daemonlog.say(LINE, full.fileno())
    assert not log.exists()
