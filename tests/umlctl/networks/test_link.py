"""The character of links, under a clock of the test's own."""

from __future__ import annotations

import heapq
import itertools
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.switches import mac
from umlctl.errors import UsageError
from umlctl.networks import link
from umlctl.networks.link import MAX_QUEUED_FRAMES, PLAIN, Character, Lane

if TYPE_CHECKING:
    from collections.abc import Callable


class Clock:
    """Time that passes when it is told to, and what is to be done then."""

    def __init__(self) -> None:
        self.now = 100.0
        self._numbers = itertools.count()
        self._timers: list[tuple[float, int, Callable[[], None]]] = []

    def monotonic(self) -> float:
        return self.now

    def after(self, seconds: float, action: Callable[[], None]) -> None:
        heapq.heappush(self._timers, (self.now + seconds, next(self._numbers), action))

    def run(self, seconds: float) -> None:
        end = self.now + seconds
        while self._timers and self._timers[0][0] <= end:
            self.now, _, action = heapq.heappop(self._timers)
            action()
        self.now = end


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(link, "time", made)
    return made


def lane(clock: Clock, **values: Any) -> tuple[Lane, list[tuple[float, bytes]]]:
    """A lane, and what has passed it, with the times."""
    passed: list[tuple[float, bytes]] = []
    made = Lane(
        Character(**values),
        clock.after,
        lambda each: passed.append((round(clock.now - 100, 6), bytes(each))),
    )
    return made, passed


def test_frames_are_delayed(clock: Clock) -> None:
    made, passed = lane(clock, delay=0.02)
    assert made.take(memoryview(b"one"))
    clock.run(0.005)
    made.take(memoryview(b"two"))
    clock.run(1)
    assert passed == [(0.02, b"one"), (0.025, b"two")]


def test_jitter_is_within_its_bounds_and_keeps_the_order(clock: Clock) -> None:
    made, passed = lane(clock, delay=0.02, jitter=0.01)
    for number in range(100):
        made.take(memoryview(bytes([number])))
    clock.run(1)
    assert [each[1][0] for each in passed] == list(range(100))
    assert all(0.01 <= at <= 0.03 for at, _ in passed)
    passed.clear()
    for number in range(100):  # far enough from each other that none waits for another
        made.take(memoryview(b"x"))
        clock.run(1)
        passed[-1] = (passed[-1][0] - 1 - number, b"x")
    assert len({at for at, _ in passed}) > 3
    assert all(0.01 <= at <= 0.0301 for at, _ in passed)


def test_rate_is_kept_to(clock: Clock) -> None:
    made, passed = lane(clock, rate=1e6)
    for _ in range(100):
        made.take(memoryview(bytes(1250)))  # 10 ms each
    clock.run(10)
    assert [at for at, _ in passed] == pytest.approx([0.01 * (n + 1) for n in range(100)])
    made.take(memoryview(bytes(1250)))  # time that nobody used is not made up for
    clock.run(1)
    assert passed[-1][0] == pytest.approx(10.01)


def test_as_many_are_lost_as_is_asked(clock: Clock) -> None:
    made, passed = lane(clock, loss=0.25)
    taken = sum(made.take(memoryview(b"x")) for _ in range(10_000))
    assert taken == len(passed)
    assert 7_000 < taken < 8_000


def test_nothing_passes_a_link_that_is_down(clock: Clock) -> None:
    made, passed = lane(clock, down=True)
    assert not made.take(memoryview(b"x"))
    made.character = PLAIN
    assert made.take(memoryview(b"y"))
    assert [each for _, each in passed] == [b"y"]


def test_what_waits_is_bounded(clock: Clock) -> None:
    made, passed = lane(clock, delay=1)
    taken = sum(made.take(memoryview(b"x")) for _ in range(2 * MAX_QUEUED_FRAMES))
    assert taken == MAX_QUEUED_FRAMES
    clock.run(2)
    assert len(passed) == MAX_QUEUED_FRAMES
    assert made.take(memoryview(b"x"))


def test_frames_that_wait_are_not_overtaken_when_the_link_is_plain_again(clock: Clock) -> None:
    made, passed = lane(clock, delay=1)
    made.take(memoryview(b"one"))
    made.character = PLAIN
    made.take(memoryview(b"two"))
    clock.run(2)
    assert [each for _, each in passed] == [b"one", b"two"]


@pytest.mark.parametrize(
    "values",
    [
        {"delay": -1},
        {"delay": 61},
        {"delay": "1"},
        {"loss": 1.1},
        {"loss": True},
        {"rate": float("nan")},
        {"rate": float("inf")},
        {"down": 1},
        {"colour": 1},
        {1: 1},
    ],
)
def test_what_is_no_character_is_refused(values: dict[Any, Any]) -> None:
    with pytest.raises(UsageError, match="a link has no"):
        link.read(values)


@given(
    st.builds(
        Character,
        st.floats(0, 60),
        st.floats(0, 60),
        st.floats(0, 1),
        st.floats(0, 1e12),
        st.booleans(),
    )
)
def test_what_is_written_down_of_a_character_is_read(character: Character) -> None:
    assert link.read(link.described(character)) == character


ONE, TWO = mac(1).hex(":"), mac(2).hex(":")


def test_status_says_what_a_link_is() -> None:
    status = {"links": [{"mac": ONE, "pid": 7, "delay": 1.0}]}
    assert link.of_status(status, ONE) == Character(delay=1.0)
    assert link.of_status(status, TWO) == PLAIN
    assert link.of_status({}, ONE) == PLAIN
