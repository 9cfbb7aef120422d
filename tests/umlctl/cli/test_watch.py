from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from umlctl import exitcodes
from umlctl.client import guests
from umlctl.protocol.status import Status

if TYPE_CHECKING:
    from tests.umlctl.cli.conftest import Supervisor


def test_guests_that_run_are_shown_once_where_no_person_looks(
    supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = [Status(umid="a", state="dead"), Status(umid="b", state="running")]
    monkeypatch.setattr(guests, "gather", lambda: found)
    assert supervisor.main("top") == 0
    assert [line.split()[0] for line in supervisor.out.splitlines()] == ["NAME", "b"]


def test_guest_is_asked_again_and_again_until_it_is_interrupted(
    supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr("umlctl.shell.repeated.trio.sleep", sleep)
    supervisor.answers["proc uptime"] = (b"\n1.00 0.50\n", 0)
    assert supervisor.main("watch", "-n", "0.5", "demo", "proc", "uptime") == 0
    assert supervisor.out == "1.00 0.50\n" * 3
    assert pauses == [0.5] * 3
    assert supervisor.asked == ["proc uptime"] * 3


def test_guest_that_does_not_answer_is_watched_no_more(supervisor: Supervisor) -> None:
    supervisor.refuse("proc none", "Failed to open file", -2)
    assert supervisor.main("watch", "demo", "proc", "none") == exitcodes.REFUSED
    assert "no such file" in supervisor.err
    assert supervisor.main("watch", "nobody", "version") == exitcodes.NO_GUEST


@pytest.mark.parametrize(
    "words", [["demo"], ["demo", "halt"], ["demo", "nonsense"], ["-n", "0", "demo", "version"]]
)
def test_what_does_not_ask_is_a_usage_error_and_nothing_is_sent(
    supervisor: Supervisor, words: list[str]
) -> None:
    assert supervisor.main("watch", *words) == exitcodes.USAGE
    assert not supervisor.asked
