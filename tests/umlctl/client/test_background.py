from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import threading
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from socketproto.exchange import pieces
from tests.conftest import Bare
from umlctl import exitcodes
from umlctl.cli import main
from umlctl.client import background
from umlctl.errors import HostError
from umlctl.host import paths
from umlctl.supervisor.lock import Lock

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from tests.conftest import Address


def _yes(_server: Bare, _data: bytes, _address: Address) -> Iterable[bytes]:
    return [reply.encode() for reply in pieces(b"")]


@pytest.fixture
def supervisor(house: str) -> Iterator[Bare]:
    """Not there yet; the one before it was a service, and has crashed."""
    paths.make_run_dir()
    Path(paths.supervisor_returns()).touch()
    made = Bare(paths.supervisor_socket(), _yes, 0o600)
    with closing(made):
        yield made


def test_command_waits_for_a_service_that_is_started_again(
    supervisor: Bare, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = threading.Event()
    ask = background.ask_running_supervisor

    def ask_and_tell(*arguments: object) -> object:
        asked.set()
        return ask(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(background, "ask_running_supervisor", ask_and_tell)
    monkeypatch.setattr(background, "RETURN_TIMEOUT", 1e6)

    def start_again() -> None:
        asked.wait()
        supervisor.start()

    manager = threading.Thread(target=start_again)
    manager.start()
    assert background.ask_supervisor("adopt").ok
    manager.join()


@pytest.mark.parametrize("crashed", [True, False])
def test_supervisor_that_does_not_return_is_replaced(
    supervisor: Bare, monkeypatch: pytest.MonkeyPatch, crashed: bool
) -> None:
    started = []

    def start() -> int:
        started.append(True)
        supervisor.start()
        return os.getpid()

    if crashed:
        monkeypatch.setattr(background, "RETURN_TIMEOUT", 0.1)
    else:
        os.unlink(paths.supervisor_returns())
    monkeypatch.setattr(background, "_start", start)
    assert background.ask_supervisor("adopt").ok
    assert started == [True]


def test_supervisor_with_another_tmp_is_said_to_be_there(
    house: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(background, "START_TIMEOUT", 0.0)
    monkeypatch.setattr(background, "_start", lambda: 0)
    paths.make_run_dir()
    lock = Lock()
    assert lock.take(fcntl.LOCK_NB)
    os.unlink(paths.supervisor_lock())
    with pytest.raises(HostError, match=f"the supervisor, pid {os.getpid()}, cannot be asked from"):
        background.ask_supervisor("adopt")
    assert main.run(["quit"]) == exitcodes.FAILED
    said = capfd.readouterr()
    assert said.out == ""
    assert f"the supervisor, pid {os.getpid()}, cannot be asked from" in said.err
    os.close(lock._descriptor)


OPENS: Final = "import sys; lock = open(sys.argv[1])"
TAKES: Final = "from umlctl.supervisor.lock import Lock; lock = Lock(); assert lock.take(0)"


def test_process_that_waits_for_the_lock_is_not_the_supervisor(house: str) -> None:
    paths.make_run_dir()
    Path(paths.supervisor_lock()).touch()
    with ExitStack() as stack:
        pids = []
        for script in (OPENS, TAKES, OPENS):
            words = [sys.executable, "-c", f"{script}\nprint(flush=True)\ninput()"]
            child = stack.enter_context(
                subprocess.Popen(
                    [*words, paths.supervisor_lock()], stdin=subprocess.PIPE, stdout=subprocess.PIPE
                )
            )
            stack.callback(child.kill)
            assert child.stdout is not None
            child.stdout.readline()
            pids.append(child.pid)
        assert background.pid() == pids[1]


def test_supervisor_that_cannot_be_started_is_an_error(house: str) -> None:
    with open(f"{house}/u/state", "w"):
        pass  # where its log is to be
    with pytest.raises(HostError, match="the supervisor cannot be started: Not a directory"):
        background.ask_supervisor("adopt")
