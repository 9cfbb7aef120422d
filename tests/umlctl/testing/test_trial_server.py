from __future__ import annotations

import os
import select
import signal
import threading
from typing import TYPE_CHECKING

import pytest

from tests.conftest import DEADLINE
from tests.trial_shells import shells
from umlctl.errors import HostError
from umlctl.testing.trial_server import Forked, TrialServer

if TYPE_CHECKING:
    from pathlib import Path


def rest(forked: Forked) -> list[bytes]:
    """What a process writes until its end, to standard output and error."""
    found = []
    for output in forked.outputs:
        with open(output, "rb") as file:
            found.append(file.read())
    assert select.select([forked.descriptor], [], [], DEADLINE)[0]
    os.close(forked.descriptor)
    return found


def test_process_is_forked_for_each_trial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = 'echo "$1 $$"; read -r _ _ _ _ group _ </proc/$$/stat; echo $group >&2; cat'
    with shells(str(tmp_path), monkeypatch, script), TrialServer() as server:
        for name in ("/one", "/two\udcff"):
            forked = server.fork(name)
            output, error = rest(forked)
            assert output == os.fsencode(f"{name} {forked.pid}\n")
            assert int(error) == forked.pid, "a process group of its own"


def test_answers_are_not_mixed_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = []

    def ask(server: TrialServer, name: str) -> None:
        forked = server.fork(name)
        found.append((rest(forked)[0], f"{name} {forked.pid}\n".encode()))

    with shells(str(tmp_path), monkeypatch, 'echo "$1 $$"'), TrialServer() as server:
        threads = [threading.Thread(target=ask, args=(server, f"/{n}")) for n in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(found) == 8
    assert all(said == meant for said, meant in found)


def test_server_that_is_gone_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with shells(str(tmp_path), monkeypatch, "exit"), TrialServer() as server:
        server._process.kill()
        server._process.wait()
        with pytest.raises((HostError, OSError)):
            server.fork("/one")


def test_trials_end_with_their_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the real server: one whose directory has a FIFO for what is asked waits for ever."""
    os.mkfifo(tmp_path / "asked.json")
    with TrialServer() as server:
        forked = server.fork(str(tmp_path))
        assert not select.select([forked.descriptor], [], [], 0)[0]
    assert select.select([forked.descriptor], [], [], DEADLINE)[0]
    assert rest(forked) == [b"", b""]


def test_process_can_be_ended_by_its_descriptor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with shells(str(tmp_path), monkeypatch, "exec sleep 600"), TrialServer() as server:
        forked = server.fork("/one")
        signal.pidfd_send_signal(forked.descriptor, signal.SIGKILL)
        assert rest(forked) == [b"", b""]
