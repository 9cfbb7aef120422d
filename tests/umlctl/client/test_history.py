from __future__ import annotations

import itertools
import os

from umlctl.client import history
from umlctl.host import paths
from umlctl.state import event_log


def append(umid: str, time: float) -> None:
    paths.make_run_dir()
    os.makedirs(paths.record_dir(umid), exist_ok=True)
    event_log.append(umid, event_log.encode({"time": time, "umid": umid, "event": "ready"}))


def test_histories_are_one_in_their_order(house: str) -> None:
    for umid, time in (("a", 1.0), ("b", 2.0), ("a", 3.0)):
        append(umid, time)
    readers = {umid: event_log.Reader(umid) for umid in ("a", "b")}
    assert [event["umid"] for event in history.merged(readers)] == ["a", "b", "a"]


def test_new_events_come_as_they_are_written_of_new_guests_too(house: str) -> None:
    append("a", 1.0)
    waited: list[float] = []

    def wait(_descriptor: int, seconds: float) -> bool:
        waited.append(seconds)
        append("b", 1.0 + len(waited))
        return True

    found = itertools.islice(history.following({}, None, wait), 3)
    assert [(event["umid"], event["time"]) for event in found] == [("a", 1), ("b", 2), ("b", 3)]
    assert waited == [history.LOOK_INTERVAL] * 2


def test_history_of_a_guest_that_is_gone_ends(house: str) -> None:
    append("a", 1.0)
    readers = {"a": event_log.Reader("a")}
    assert len(list(history.following(readers, "a", lambda *_: False))) == 1
