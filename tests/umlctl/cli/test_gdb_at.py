from __future__ import annotations

import os
import signal
import sys
from typing import TYPE_CHECKING

import pytest

from umlctl.cli import gdb, gdb_at
from umlctl.errors import HostError
from umlctl.guest.definition import Definition

if TYPE_CHECKING:
    from pathlib import Path

GUEST = Definition(umid="demo", kernel="/linux")


def test_gdb_opens_the_gate_and_is_waited_for(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    said = tmp_path / "said"
    asks = f"import signal; print(signal.getsignal(2), file=open({str(said)!r}, 'w'))"

    def command(
        _kernel: str, _user: str, pid: int, _words: tuple[str, ...], gate: str
    ) -> list[str]:
        assert pid == 4711
        return ["sh", "-c", f'echo >{gate} && "$0" -c "$1"', sys.executable, asks]

    monkeypatch.setattr(gdb, "command_of", command)
    with gdb_at.gate() as gate:
        with gdb_at.debugging(GUEST, 4711, gate):
            assert os.read(gate.reader, 10) == b"\n"
            assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN
        assert "default_int_handler" in said.read_text()  # an interrupt is gdb's
    assert signal.getsignal(signal.SIGINT) != signal.SIG_IGN


def test_gdb_that_cannot_be_run_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gdb, "command_of", lambda *_: ["/no/such/gdb"])
    with (
        gdb_at.gate() as gate,
        pytest.raises(HostError, match="cannot run /no/such/gdb"),
        gdb_at.debugging(GUEST, 1, gate),
    ):
        pass
    assert signal.getsignal(signal.SIGINT) != signal.SIG_IGN
