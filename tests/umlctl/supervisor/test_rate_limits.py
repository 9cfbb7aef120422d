from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from umlctl.supervisor.history import History
from umlctl.supervisor.rate_limits import (
    EVENTS_AT_ONCE,
    FIRST_EVENT_INTERVAL,
    MAX_EVENT_INTERVAL,
    NOTIFICATIONS_A_SECOND,
    NOTIFICATIONS_AT_ONCE,
    QUIET_SECONDS,
    REBOOT_COST,
    EventLimit,
    KeyedCounter,
    NotificationLimit,
    TokenBucket,
)

DAY = 24 * 3600


def test_each_key_has_its_own_bound() -> None:
    counted = KeyedCounter(2, 3)
    assert counted.take(("a", "all"))
    assert counted.take(("a", "all"))
    assert not counted.take(("a", "all"))
    assert counted.take(("b", "all"))
    assert not counted.take(("c", "all"))
    counted.give_back(("a", "all"))
    assert counted.take(("c", "all"))


@given(st.lists(st.floats(0, 10), max_size=200))
def test_bucket_keeps_its_pace_and_makes_nobody_wait_too_long(pauses: list[float]) -> None:
    bucket = TokenBucket(5, 2.0, 3.0)
    now, given_at = 1000.0, []
    for pause in pauses:
        now += pause
        wait = bucket.take(now)
        if wait is not None:
            assert 0 <= wait <= 3.0
            given_at.append(now + wait)
    for first, last in zip(given_at, given_at[6:], strict=False):
        assert last - first >= 0.4, "seven cannot come within less than two need"


def test_bucket_lets_its_most_through_at_once_and_then_one_after_another() -> None:
    bucket = TokenBucket(3, 2.0, 1.0)
    assert [bucket.take(1.0) for _ in range(6)] == [0, 0, 0, 0.5, 1.0, None]
    assert bucket.take(100.0) == 0


def test_what_does_much_counts_for_more() -> None:
    hearing = NotificationLimit(History("demo"))
    assert hearing.wait(1000.0, 1, 1) < 0.01
    assert hearing.wait(2000.0, NOTIFICATIONS_AT_ONCE, 0) == 0
    assert hearing.wait(2000.0, 64, 64) == pytest.approx(
        64 * (1 + REBOOT_COST) / NOTIFICATIONS_A_SECOND
    )
    assert hearing.wait(2000.0, 10**9, 0) == NOTIFICATIONS_AT_ONCE


def test_what_is_rare_is_all_let_through() -> None:
    sparing = EventLimit()
    for number in range(1000):
        assert sparing.take(1000 + number * FIRST_EVENT_INTERVAL) == 0


def test_flood_leaves_room_for_other_things_and_is_counted() -> None:
    sparing = EventLimit()
    said = [sparing.take(1000 + number / 10) for number in range(DAY * 10)]
    noted = [count for count in said if count is not None]
    assert EVENTS_AT_ONCE < len(noted) < EVENTS_AT_ONCE + 20 + DAY / MAX_EVENT_INTERVAL
    assert sum(noted) + len(noted) <= DAY * 10
    assert sum(noted) + len(noted) >= (DAY - MAX_EVENT_INTERVAL) * 10, (
        "the last gap is yet to be told"
    )


def test_after_quiet_all_is_let_through_again() -> None:
    sparing = EventLimit()
    for _ in range(EVENTS_AT_ONCE + 5):
        sparing.take(1000.0)
    later = 1000.0 + 2 * QUIET_SECONDS
    assert sparing.take(later) == 5
    assert [sparing.take(later) for _ in range(EVENTS_AT_ONCE)] == [0] * (EVENTS_AT_ONCE - 1) + [
        None
    ]


@given(st.lists(st.floats(0, 2000), max_size=300))
def test_nothing_is_left_out_uncounted(pauses: list[float]) -> None:
    sparing = EventLimit()
    now, told, last = 1000.0, 0, 0
    for pause in pauses:
        now += pause
        count = sparing.take(now)
        if count is None:
            last += 1
        else:
            assert count == last
            told, last = told + 1 + count, 0
    assert told + last == len(pauses)
