from __future__ import annotations

import os

import pytest

from umlctl.errors import NeverStarted
from umlctl.supervisor.launch import spawn


def test_what_does_not_begin_a_kernel_in_time_is_ended_with_all_that_it_has_started(
    house: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spawn, "BEGIN_TIMEOUT", 0.2)
    reader, writer = os.pipe()
    log = f"{house}/log"
    os.close(os.open(log, os.O_CREAT, 0o600))
    words = ["sh", "-c", "sleep 600 & sleep 600"]
    with pytest.raises(NeverStarted, match=r"did not begin a kernel within 0\.2 seconds"):
        spawn.spawn(words, (writer, -1, -1), log, dict(os.environ), [], [])
    os.close(writer)
    assert os.read(reader, 1) == b""  # the end comes when the last that has it open is gone
    os.close(reader)
