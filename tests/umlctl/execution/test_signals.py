from __future__ import annotations

import math
import os
import select
import signal
import time
from typing import TYPE_CHECKING

from umlctl import streams
from umlctl.execution import signals
from umlctl.execution.signals import Unheard, heeded

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def test_signals_are_handed_over_and_wake_who_waits() -> None:
    taken: list[int] = []
    before = signal.getsignal(signal.SIGUSR1)
    woken, wake = os.pipe()
    os.set_blocking(wake, False)
    with heeded(lambda number, _: taken.append(number), wake):
        os.kill(os.getpid(), signal.SIGUSR1)
        assert select.select([woken], [], [], 60)[0]
    assert taken == [signal.SIGUSR1]
    assert signal.getsignal(signal.SIGUSR1) == before
    os.close(woken)
    os.close(wake)


def test_signal_that_is_ignored_is_left_so() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    taken: list[int] = []
    with heeded(lambda number, _: taken.append(number), -1):
        os.kill(os.getpid(), signal.SIGHUP)
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    signal.signal(signal.SIGHUP, before)
    assert taken == []


def test_what_is_not_heard_of_in_time_is_said_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = os.open(tmp_path / "err", os.O_CREAT | os.O_WRONLY)
    monkeypatch.setattr(streams, "STDERR", told)
    unheard = Unheard()
    assert unheard.due(0) == math.inf
    assert not unheard.told()  # the guest has its time
    monkeypatch.setattr(signals, "UNHEARD_TIMEOUT", 0.0)
    assert unheard.told()
    for _ in range(2):
        unheard.say(time.monotonic(), "\n")
    assert (tmp_path / "err").read_text().count("once more gives up") == 1
    unheard.heard()
    assert unheard.due(time.monotonic()) == math.inf
    os.close(told)
