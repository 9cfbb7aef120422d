from __future__ import annotations

import errno
from typing import TYPE_CHECKING

import pytest
import trio

from umlctl.supervisor.endurance import FIRST_RETRY_INTERVAL, MAX_RETRY_INTERVAL, endure
from umlctl.supervisor.history import History

if TYPE_CHECKING:
    from trio.testing import MockClock


class Task:
    """Fails with what it is given, one after another, and then is done."""

    def __init__(self, *problems: Exception) -> None:
        self.left = list(problems)
        self.begun: list[float] = []
        self.takes = 0.0

    async def run(self) -> None:
        self.begun.append(trio.current_time())
        await trio.sleep(self.takes)
        if self.left:
            raise self.left.pop(0)


def lack() -> OSError:
    return OSError(errno.EMFILE, "Too many open files")


def said(history: History) -> list[tuple[str, str]]:
    return [(event["event"], event["request"]) for event in history]


async def test_task_that_lacks_something_begins_again_and_says_so_once(
    autojump_clock: MockClock,
) -> None:
    task, history = Task(*(lack() for _ in range(20))), History("demo")
    await endure(history, "watching", task.run)
    pauses = [later - sooner for sooner, later in zip(task.begun, task.begun[1:], strict=False)]
    assert len(pauses) == 20
    assert pauses[:2] == pytest.approx([FIRST_RETRY_INTERVAL, 2 * FIRST_RETRY_INTERVAL])
    assert pauses[-1] == pytest.approx(MAX_RETRY_INTERVAL)
    assert said(history) == [("failed", "watching")]
    last = history.last
    assert last is not None
    assert "`ulimit -n`" in last["text"]


async def test_task_that_ran_for_long_begins_with_the_first_pause(
    autojump_clock: MockClock,
) -> None:
    task, history = Task(*(lack() for _ in range(3))), History("demo")
    task.takes = MAX_RETRY_INTERVAL + 1
    await endure(history, "watching", task.run)
    pauses = [later - sooner for sooner, later in zip(task.begun, task.begun[1:], strict=False)]
    assert pauses == pytest.approx([task.takes + FIRST_RETRY_INTERVAL] * 3)
    assert len(said(history)) == 3


async def test_error_of_ours_is_told_with_its_trace_and_ends_no_guest(
    autojump_clock: MockClock,
) -> None:
    history = History("demo")
    await endure(history, "pauses", Task(ValueError("wrong"), KeyError("other")).run)
    assert said(history) == [("internal error", "pauses")] * 2
    last = history.last
    assert last is not None
    assert "test_endurance.py" in last["text"]


async def test_error_of_ours_is_raised_where_only_a_lack_is_borne(
    autojump_clock: MockClock,
) -> None:
    history = History("demo")
    group = ExceptionGroup("nursery", [lack()])
    with pytest.raises(ValueError, match="wrong"):
        await endure(history, "end", Task(group, ValueError("wrong")).run, errors=False)
    assert said(history) == [("failed", "end")]
