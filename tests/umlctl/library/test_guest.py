from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

import pytest

import umlctl
from umlctl import exitcodes
from umlctl.checks import boot_warnings
from umlctl.errors import (
    GuestEnded,
    HostError,
    NeverStarted,
    NoGuest,
    Refused,
    TimedOut,
    UmlctlError,
    UsageError,
)
from umlctl.guest.definition import Definition
from umlctl.host import naming, paths
from umlctl.library import guest as module
from umlctl.protocol.starting import Started
from umlctl.protocol.status import Ending, Status
from umlctl.state import event_log, records

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture
def become(house: str, monkeypatch: pytest.MonkeyPatch) -> list[Definition]:
    """Guests that were started."""
    asked: list[Definition] = []
    monkeypatch.setattr(module, "described", lambda word, *_: Definition(umid=word, kernel="/k"))
    monkeypatch.setattr(boot_warnings, "of_start", lambda _: [])

    def start(definition: Definition, *, wait: bool) -> Started:
        asked.append(definition)
        return Started(code=0, status=Status(state="running" if wait else "booting"))

    monkeypatch.setattr(module, "start_there", start)
    return asked


def keep(umid: str) -> None:
    """What is left of a guest that has ended."""
    paths.make_run_dir()
    os.makedirs(paths.record_dir(umid))
    records.save(
        records.Record(
            definition=Definition(umid=umid, kernel="/linux"),
            supervisor_pid=1,
            pid=1 << 22,
            started=1,
            boot_id=records.host_boot_id(),
            since=1.0,
            ending=Ending(cause="exited", code=3, time=2.0),
        )
    )


def test_guest_without_a_name_gets_one_of_its_own(become: list[Definition]) -> None:
    first, second = umlctl.start(), umlctl.start()
    assert first.name != second.name
    assert all(naming.check_umid(each.umid).startswith(f"py-{os.getpid()}-") for each in become)
    assert umlctl.start("demo").name == "demo"


@pytest.mark.parametrize(
    ("code", "error"), [(exitcodes.NEVER_STARTED, NeverStarted), (exitcodes.REFUSED, Refused)]
)
def test_guest_that_is_not_up_is_an_error(
    become: list[Definition], monkeypatch: pytest.MonkeyPatch, code: int, error: type[UmlctlError]
) -> None:
    monkeypatch.setattr(module, "start_there", lambda *_, **__: Started(code=code, text="no"))
    with pytest.raises(error, match="no") as caught:
        umlctl.start()
    assert caught.value.code == code


def test_error_of_the_host_is_one_of_ours(
    become: list[Definition], monkeypatch: pytest.MonkeyPatch
) -> None:
    def start(*_: object, **__: object) -> Started:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(module, "start_there", start)
    with pytest.raises(HostError, match="No space left"):
        umlctl.start()


def test_guest_that_nobody_knows_is_not_attached_to(house: str) -> None:
    with pytest.raises(NoGuest, match="no guest 'nope'"):
        umlctl.attach("nope")
    keep("old")
    with pytest.raises(NoGuest, match="old does not run: exited with status 3"):
        umlctl.attach("old")


def test_guest_that_has_ended_says_how_and_is_removed(house: str) -> None:
    keep("old")
    guest = module.Guest("old", is_own=True)
    assert (guest.wait().code, guest.status().state) == (3, "dead")
    assert guest.kill().cause == "exited"
    with guest:
        pass
    assert records.names() == []
    with pytest.raises(NoGuest):
        guest.status()
    guest.remove()


def test_guest_that_was_attached_to_is_left(house: str) -> None:
    keep("old")
    with module.Guest("old", is_own=False):
        pass
    assert records.names() == ["old"]


def test_events_are_those_of_its_history(house: str) -> None:
    keep("old")
    for number, name in enumerate(("started", "ready", "ended")):
        line = event_log.encode({"time": float(number), "umid": "old", "event": name})
        event_log.append("old", line)
    guest = module.Guest("old", is_own=False)
    assert [event["event"] for event in guest.events()] == ["started", "ready", "ended"]
    assert guest.wait_for("ready")["time"] == 1.0
    with pytest.raises(GuestEnded, match="never 'panicked'") as caught:
        guest.wait_for("panicked")
    assert caught.value.ending.code == 3


def test_patience_is_no_longer_than_it_is_said() -> None:
    begin = time.monotonic()
    wait = module._patience("demo", 0.05)
    with pytest.raises(TimedOut, match=r"demo: it has not happened within 0\.05 seconds"):
        _wait_for_ever(wait)
    assert time.monotonic() - begin >= 0.05
    with pytest.raises(UsageError):
        module._patience("demo", -1)


def _wait_for_ever(wait: Callable[[int, float], bool]) -> None:
    while True:
        wait(-1, 0.02)


@pytest.mark.parametrize(
    ("problem", "error"),
    [
        (Refused("late", exitcodes.TIMED_OUT), TimedOut),
        (Refused("gone", exitcodes.GONE), GuestEnded),
        (Refused("no"), Refused),
        (OSError(24, "too many"), HostError),
    ],
)
def test_answers_that_never_came_are_errors_of_their_own(
    problem: Exception, error: type[Exception]
) -> None:
    with pytest.raises(error), module.translated():
        raise problem
