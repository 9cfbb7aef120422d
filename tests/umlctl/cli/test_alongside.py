from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import threading
from contextlib import ExitStack, closing
from typing import TYPE_CHECKING

import pytest

from umlctl import streams
from umlctl.cli import alongside
from umlctl.cli.alongside import Copy, Tie
from umlctl.errors import HostError
from umlctl.state import console_log

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    Copying = Callable[[str], Copy]


@pytest.fixture
def copying() -> Iterator[Copying]:
    """Makes copies, which are closed in the end."""
    with ExitStack() as stack:
        yield lambda path: stack.enter_context(closing(Copy(path)))


def test_log_is_copied_as_it_grows_and_after_it_is_gone(copying: Copying, tmp_path: Path) -> None:
    log, place = tmp_path / "console.log", tmp_path / "copy"
    place.write_text("of the last run")
    copy = copying(str(place))
    log.write_text("one\n")
    copy.begin(str(log))
    copy.step()
    assert place.read_text() == "one\n"
    with log.open("a") as file:
        file.write("two\n")
    log.unlink()  # as the records of a guest without a name of its own
    copy.step()
    assert place.read_text() == "one\ntwo\n"
    log.write_text("of its next life\n")
    copy.look()
    copy.step()
    assert place.read_text() == "one\ntwo\nof its next life\n"
    assert not copy.problem


def test_log_that_comes_late_is_copied_whole(copying: Copying, tmp_path: Path) -> None:
    copy = copying(str(tmp_path / "copy"))
    copy.begin(str(tmp_path / "log"))
    copy.step()
    (tmp_path / "log").write_text("here")
    copy.look()
    copy.step()
    assert (tmp_path / "copy").read_text() == "here"


def test_log_that_cannot_be_copied_whole_is_said(copying: Copying, tmp_path: Path) -> None:
    with pytest.raises(HostError, match=r"cannot write the log to .*none/copy: No such file"):
        Copy(str(tmp_path / "none" / "copy"))
    (tmp_path / "log").write_text("here")
    copy = copying("/dev/full")
    copy.begin(str(tmp_path / "log"))
    copy.step()
    assert copy.problem == "the log is not whole in /dev/full: No space left on device"


@pytest.fixture
def fifo(tmp_path: Path) -> Path:
    os.mkfifo(tmp_path / "fifo")
    return tmp_path / "fifo"


@pytest.mark.parametrize("opened", [False, True])
def test_reader_that_takes_nothing_keeps_no_run_from_its_end(
    copying: Copying, fifo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, opened: bool
) -> None:
    monkeypatch.setattr(alongside, "LAST_OUTPUT_TIMEOUT", 0.05)
    (tmp_path / "log").write_bytes(bytes(1 << 20))
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK) if opened else -1
    copy = copying(str(fifo))
    copy.begin(str(tmp_path / "log"))
    copy.step()
    assert not copy.problem, "it may be taken yet"
    copy.finish()
    room = 0
    if opened:
        while data := os.read(reader, 1 << 20):
            room += len(data)
            if room == _capacity(reader):
                break
        os.close(reader)
    left = (1 << 20) - room
    why = f"{left} bytes were not taken in time"
    assert copy.problem == f"the log is not whole in {fifo}: {why}"


def test_what_the_log_has_lost_before_it_was_copied_is_said(
    copying: Copying, tmp_path: Path
) -> None:
    log, place = tmp_path / "log", tmp_path / "copy"
    log.write_bytes(b"old " * 4096 + b"new " * 1024)
    console_log.trim(str(log), 4096)
    copy = copying(str(place))
    copy.begin(str(log))
    copy.finish()
    assert place.read_bytes() == b"new " * 1024
    assert copy.problem == f"the log is not whole in {place}: 16384 bytes were not taken in time"


def _capacity(pipe: int) -> int:
    return fcntl.fcntl(pipe, fcntl.F_GETPIPE_SZ)


def test_reader_that_comes_late_and_is_slow_gets_all_of_the_log(
    copying: Copying, fifo: Path, tmp_path: Path
) -> None:
    whole = os.urandom(1 << 20)
    (tmp_path / "log").write_bytes(whole)
    copy = copying(str(fifo))
    copy.begin(str(tmp_path / "log"))
    copy.step()
    read: list[bytes] = []
    reader = threading.Thread(target=lambda: read.append(fifo.read_bytes()))
    reader.start()
    copy.finish()
    copy.close()
    reader.join(60)
    assert read == [whole]
    assert not copy.problem


def test_reader_that_has_left_is_said(copying: Copying, fifo: Path, tmp_path: Path) -> None:
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    copy = copying(str(fifo))
    os.close(reader)
    (tmp_path / "log").write_text("here")
    copy.begin(str(tmp_path / "log"))
    copy.finish()
    assert copy.problem == f"the log is not whole in {fifo}: nobody reads it"


def live_again(copy: Copy, log: Path, said: bytes) -> None:
    """Another life of the guest begins."""
    console_log.begin(str(log))
    log.write_bytes(said)
    copy.look()


def test_all_lives_are_copied_though_the_reader_takes_the_first_meanwhile(
    copying: Copying, fifo: Path, tmp_path: Path
) -> None:
    lives = [os.urandom(size) for size in (1 << 18, 50_000, 0, 1 << 18)]
    log = tmp_path / "log"
    log.write_bytes(lives[0])
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    copy = copying(str(fifo))
    copy.begin(str(log))
    copy.step()
    for said in lives[1:]:
        live_again(copy, log, said)
    copy.step()
    whole = b"".join(lives)
    found = b""
    while len(found) < len(whole):
        found += os.read(reader, 1 << 20)
        copy.step()
    copy.finish()
    os.close(reader)
    assert found == whole
    assert not copy.problem


def test_what_is_not_taken_is_counted_over_all_lives(
    copying: Copying, fifo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(alongside, "LAST_OUTPUT_TIMEOUT", 0.05)
    monkeypatch.setattr(alongside, "MAX_WAITING_LOGS", 2)
    log = tmp_path / "log"
    log.write_bytes(bytes(1000))
    copy = copying(str(fifo))
    copy.begin(str(log))
    for size in (200, 30, 4):
        live_again(copy, log, bytes(size))
        copy.step()
    assert len(copy._logs) == 2
    copy.finish()
    assert copy.problem == f"the log is not whole in {fifo}: 1234 bytes were not taken in time"


def test_first_reason_is_said(copying: Copying, fifo: Path, tmp_path: Path) -> None:
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    copy = copying(str(fifo))
    log = tmp_path / "log"
    log.write_bytes(bytes(1 << 20))
    console_log.trim(str(log), 1 << 18)
    copy.begin(str(log))
    copy.step()
    os.close(reader)
    copy.finish()
    assert copy._lost
    assert copy.problem == f"the log is not whole in {fifo}: nobody reads it"


@pytest.mark.parametrize("killed", [False, True])
def test_guest_is_killed_with_who_is_tied_to_it(tmp_path: Path, killed: bool) -> None:
    """Whether `umlctl kill` is called; another program stands for it."""
    called = tmp_path / "called"
    recorder = tmp_path / "recorder"
    recorder.write_text(f'#!/bin/sh\necho "$@" >{called}\n')
    recorder.chmod(0o755)
    program = (
        "import os, signal\nfrom umlctl import streams\nfrom umlctl.cli import alongside\n"
        f"streams.PYTHON = ({str(recorder)!r},)\n"
        "tie = alongside.Tie('demo')\nprint(tie._watcher.pid, flush=True)\n"
        + ("os.kill(os.getpid(), signal.SIGKILL)" if killed else "tie.loosen()")
    )
    done = subprocess.run([sys.executable, "-c", program], stdout=subprocess.PIPE, check=False)
    assert (done.returncode == -signal.SIGKILL) == killed
    watcher = int(done.stdout)
    try:
        descriptor = os.pidfd_open(watcher)
    except ProcessLookupError:
        pass
    else:
        with os.fdopen(descriptor) as file:
            os.set_blocking(descriptor, True)
            import select

            assert select.select([file], [], [], 30)[0]
    assert called.exists() == killed
    if killed:
        assert called.read_text() == "umlctl kill demo\n"


def test_watcher_that_somebody_killed_is_no_matter() -> None:
    tie = Tie("demo")
    tie._watcher.kill()
    tie._watcher.wait()
    tie.loosen()
    assert streams.PYTHON
