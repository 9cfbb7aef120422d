from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing

from umlctl.host import paths
from umlctl.state.event_log import Reader, encode
from umlctl.supervisor.history import MAX_EVENTS, MAX_EVENTS_BEHIND, History, Subscription, brief

if TYPE_CHECKING:
    from umlctl.protocol.events import Event, EventName


def names(events: list[Event]) -> list[str]:
    return [event["event"] for event in events]


def texts(events: list[Event]) -> list[str]:
    """What was said, or what has happened if nothing was."""
    return [str(event.get("text", event["event"])) for event in events]


def test_event_has_its_time_its_guest_and_its_facts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.time", lambda: 1234.56789)
    assert History("demo").last is None
    history = History("demo")
    history.add("failed", request="config", text="", console=None, uid=0)
    expected: Event = {"time": 1234.568, "umid": "demo", "event": "failed", "request": "config"}
    expected["uid"] = 0
    assert history.last == expected
    assert list(history) == [expected]


def test_events_are_told_as_they_happen() -> None:
    told: list[Event] = []
    history = History("demo", told.append)
    history.add("started")
    history.add("ready")
    assert names(told) == ["started", "ready"]


def test_event_is_one_line_of_json() -> None:
    history = History("demo")
    history.add("panicked", text="two\nlines \udcff ü")
    assert history.last is not None
    said = encode(history.last)
    assert said.endswith(b"\n")
    assert said.count(b"\n") == 1
    assert json.loads(said)["text"].startswith("two\nlines ")


def test_oldest_events_are_forgotten() -> None:
    history = History("demo")
    for number in range(MAX_EVENTS + 5):
        history.add("user", text=f"e{number}")
    assert texts(list(history)) == [f"e{number}" for number in range(5, MAX_EVENTS + 5)]


async def test_subscriber_sees_what_was_and_what_comes_once() -> None:
    history = History("demo")
    history.add("stopped")
    past, subscription = history.subscribe()
    history.add("resumed")
    assert names(past) == ["stopped"]
    assert (await next_of(subscription))["event"] == "resumed"
    with pytest.raises(trio.TooSlowError), trio.fail_after(0):
        await subscription.get()


async def next_of(subscription: Subscription) -> Event:
    event = await subscription.get()
    assert event is not None
    return event


async def test_waiting_subscriber_is_woken() -> None:
    history = History("demo")
    _past, subscription = history.subscribe()
    got: list[Event] = []

    async def read() -> None:
        got.append(await next_of(subscription))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(read)
        await trio.testing.wait_all_tasks_blocked()
        history.add("ready")
    assert names(got) == ["ready"]


async def test_subscribers_hear_the_rest_and_that_it_is_all() -> None:
    history = History("demo")
    _past, early = history.subscribe()
    history.add("ended")
    history.end()
    past, late = history.subscribe()
    assert names(past) == ["ended"]
    assert (await next_of(early))["event"] == "ended"
    assert await early.get() is None
    assert await late.get() is None


async def test_slow_subscriber_is_told_where_and_how_many_it_missed() -> None:
    history = History("demo")
    _past, slow = history.subscribe()
    _past, quick = history.subscribe()
    seen: list[Event] = []
    for number in range(MAX_EVENTS_BEHIND + 7):
        history.add("user", text=f"e{number}")
        seen.append(await next_of(quick))
    got = [await next_of(slow)]
    history.add("stopped")
    got += [await next_of(slow) for _ in range(MAX_EVENTS_BEHIND)]
    history.add("resumed")
    got.append(await next_of(slow))
    assert texts(seen) == [f"e{number}" for number in range(MAX_EVENTS_BEHIND + 7)]
    assert texts(got) == [*(f"e{n}" for n in range(MAX_EVENTS_BEHIND)), "missed", "resumed"]
    assert got[MAX_EVENTS_BEHIND]["count"] == 7 + 1


async def test_subscriber_that_left_is_not_kept() -> None:
    history = History("demo")
    _past, subscription = history.subscribe()
    subscription.close()
    subscription.close()
    history.add("ready")
    assert not history.subscriptions


# On disk


@pytest.fixture
def kept(house: str) -> History:
    os.makedirs(paths.record_dir("demo"))
    return History("demo", on_disk=True)


def written() -> list[str]:
    return names(list(Reader("demo").read()))


def test_events_are_written_down_as_they_happen(kept: History) -> None:
    kept.add("started")
    assert written() == ["started"]
    kept.add("panicked", text="\udcff")
    assert written() == ["started", "panicked"]


def test_guest_that_goes_on_has_the_history_of_this_life(kept: History) -> None:
    lives: tuple[EventName, ...] = ("started", "ended", "started", "ready")
    for name in lives:
        kept.add(name)
    later = History("demo", on_disk=True)
    later.load()
    assert names(list(later)) == ["started", "ready"]
    assert written() == ["started", "ended", "started", "ready"], "and not twice"


def test_what_a_full_disk_did_not_take_is_written_once_there_is_room(
    kept: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept.add("started")
    with monkeypatch.context() as patch:
        patch.setattr("umlctl.state.event_log.append", full)
        kept.add("stopped")
        kept.add("resumed")
        assert not kept.flush()
    assert written() == ["started"]
    kept.add("rebooting")
    assert written() == ["started", "stopped", "resumed", "rebooting"]
    assert kept.flush()
    assert written() == names(list(kept)) == ["started", "stopped", "resumed", "rebooting"]


def test_what_is_too_much_to_be_kept_for_then_is_counted(
    kept: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("umlctl.state.event_log.append", full)
        for number in range(MAX_EVENTS + 2):
            kept.add("user", text=f"e{number}")
    assert kept.flush()
    said = texts(list(Reader("demo").read()))
    assert said == ["missed", *(f"e{number}" for number in range(2, MAX_EVENTS + 2))]
    assert next(iter(Reader("demo").read()))["count"] == 2


def full(*_: object) -> None:
    raise OSError(28, "No space left on device")


def test_brief_event_has_no_console() -> None:
    assert brief(None) is None
    assert brief({"event": "panicked", "console": ["a"]}) == {"event": "panicked"}
