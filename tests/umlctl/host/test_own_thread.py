from __future__ import annotations

import errno
import os
import threading

import pytest

from umlctl.host import own_thread


def test_what_a_thread_returns_or_raises_is_the_callers() -> None:
    here = threading.get_ident()
    assert own_thread.run(threading.get_ident) != here

    def fail() -> None:
        raise KeyError("a")

    with pytest.raises(KeyError):
        own_thread.run(fail)


def test_what_it_sets_of_itself_is_nobody_elses() -> None:
    before = os.sched_getaffinity(0)

    def narrow() -> set[int]:
        os.sched_setaffinity(0, {min(before)})
        return os.sched_getaffinity(0)

    assert own_thread.run(narrow) == {min(before)}
    assert os.sched_getaffinity(0) == before


def test_host_without_threads_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def none(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", none)
    with pytest.raises(OSError, match="can't start") as told:
        own_thread.run(int)
    assert told.value.errno == errno.EAGAIN
