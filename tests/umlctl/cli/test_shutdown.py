from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING, Any

import pytest

from socketproto.exchange import pieces
from socketproto.wire import Reply
from tests.conftest import Bare
from tests.umlctl.state.test_records import write_record
from umlctl.cli import main, shutdown
from umlctl.protocol.status import Ending
from umlctl.state import records, umid_lock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from tests.conftest import Address

    Guests = Callable[..., "Guest"]

SHUT_DOWN = {"cause": "shut down", "code": 0, "text": "", "time": 1.0}


class Guest:
    """What a guest's supervisor answers to `shutdown`, and what it was asked."""

    def __init__(self, house: str, umid: str, after: tuple[str, ...], asked: list[str]) -> None:
        self.umid = umid
        self.ending: dict[str, Any] | None = SHUT_DOWN
        self.meanwhile: Callable[[], None] = lambda: None
        self._asked = asked
        self.claim = umid_lock.claim(umid)
        write_record(umid, after=after)
        self.server = Bare(f"{house}/u/run/g/{umid}/mconsole", self._answer, 0o600)
        self.server.start()

    def _answer(self, _server: Bare, data: bytes, _address: Address) -> Iterable[bytes]:
        self._asked.append(f"{self.umid}: {data.decode()}")
        if self.ending is None:
            return [Reply(1, False, b"no").encode()]
        self.meanwhile()
        return [reply.encode() for reply in pieces(json.dumps(self.ending).encode())]

    def close(self) -> None:
        self.server.close()
        self.claim.release()


class Said:
    def __init__(self, capfd: pytest.CaptureFixture[str]) -> None:
        self._capfd = capfd
        self.out = self.err = ""
        self.asked: list[str] = []

    def main(self, *words: str) -> int:
        code = main.run(["shutdown", *words])
        sys.stdout.flush()
        self.out, self.err = self._capfd.readouterr()
        return code


@pytest.fixture
def said(capfd: pytest.CaptureFixture[str]) -> Said:
    return Said(capfd)


@pytest.fixture
def guests(house: str, said: Said) -> Iterator[Guests]:
    made: list[Guest] = []

    def make(umid: str, *after: str) -> Guest:
        made.append(Guest(house, umid, after, said.asked))
        return made[-1]

    yield make
    for guest in made:
        guest.close()


def test_no_guest_is_no_failure(house: str, said: Said) -> None:
    assert said.main("--all") == 0
    assert (said.out, said.err) == ("", "umlctl: no guest runs\n")
    assert said.main("--all", "--json") == 0
    assert (json.loads(said.out), said.err) == ([], "")


def test_those_that_come_after_others_end_first(guests: Guests, said: Said) -> None:
    guests("db")
    guests("web", "db")
    guests("proxy", "web", "elsewhere")
    assert said.main("--all", "5") == 0
    assert said.asked == ["proxy: shutdown 5", "web: shutdown 5", "db: shutdown 5"]
    ends = [line.partition(", after ")[0] for line in said.err.splitlines()]
    assert ends == [f"umlctl: {name}: shut down" for name in ("proxy", "web", "db")]
    assert said.out == ""


def test_those_that_have_nothing_to_do_with_each_other_end_side_by_side(
    guests: Guests, said: Said
) -> None:
    for name in ("a", "b", "c"):
        guests(name)
    assert said.main("--all") == 0
    assert sorted(said.asked) == [f"{name}: shutdown 30" for name in ("a", "b", "c")]


def test_several_are_named_and_the_others_run_on(guests: Guests, said: Said) -> None:
    guests("db")
    guests("web", "db")
    guests("proxy", "web")
    assert said.main("db", "proxy", "7.5") == 0
    assert sorted(said.asked) == ["db: shutdown 7.5", "proxy: shutdown 7.5"]
    said.asked.clear()
    assert said.main("web", "web") == 0
    assert said.asked == ["web: shutdown 30"]


def test_name_that_is_nobodys_keeps_the_others_from_being_shut_down(
    guests: Guests, said: Said
) -> None:
    guests("db")
    assert said.main("db", "soon") == 3
    assert "no guest 'soon', so none is shut down" in said.err
    assert said.asked == []


def test_one_of_several_that_has_ended_is_told(guests: Guests, said: Said) -> None:
    guests("db")
    over = guests("web")
    record = records.load("web")
    assert record is not None
    record.ending = Ending(cause="shut down", code=0, time=1.0)
    over.server.close()
    records.save(record)
    assert said.main("db", "web", "1") == 3
    assert "web does not run: shut down" in said.err
    assert said.asked == ["db: shutdown 1"]


@pytest.mark.parametrize(
    ("ending", "told"),
    [
        ({**SHUT_DOWN, "text": "not in 1s"}, "did not end in order: shut down: not in 1s"),
        ({**SHUT_DOWN, "cause": "killed", "text": "stuck"}, "did not end in order: killed: stuck"),
        ({**SHUT_DOWN, "cause": "panicked"}, "did not end in order: panicked"),
        (None, "did not end in order: not seen to end: its supervisor did not end it: no"),
    ],
)
def test_guest_that_does_not_end_in_order_is_told_and_the_others_end(
    guests: Guests, said: Said, ending: dict[str, Any] | None, told: str
) -> None:
    guests("db")
    guests("web", "db").ending = ending
    assert said.main("--json", "--all") == 7
    assert f"umlctl: web: {told}" in said.err
    found = {each["umid"]: each for each in json.loads(said.out)}
    assert [found["web"]["in_order"], found["db"]["in_order"]] == [False, True]
    assert found["db"]["ending"] == SHUT_DOWN


def test_guest_whose_end_takes_too_long_is_told_and_the_others_end(
    guests: Guests, said: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutdown, "FORCED_END_TIMEOUT", 0.1)
    db = guests("db")
    guests("web", "db").meanwhile = lambda: db.server.wait_seen(1)
    assert said.main("--all", "0") == 7
    assert (
        "web: did not end in order: not seen to end: it is still there after 0.1 seconds"
        in said.err
    )
    db.server.wait_seen(1)  # it may be late, too
    assert db.server.commands == [b"shutdown 0"]


def test_guest_that_has_ended_by_the_time_it_is_asked_to_has_ended(
    guests: Guests, said: Said
) -> None:
    guest = guests("db")

    def end() -> None:
        guest.server.close()
        guest.server.unbind()
        record = records.load("db")
        assert record is not None
        record.ending = Ending(cause="exited", code=3)
        records.save(record)

    guests("web", "db").meanwhile = end
    assert said.main("--all") == 0
    assert "umlctl: db: exited with status 3, after" in said.err


def test_guest_that_cannot_be_asked_is_told(guests: Guests, said: Said) -> None:
    guest = guests("db")
    guest.server.close()
    guest.server.unbind()
    assert said.main("--all") == 7
    assert "db: did not end in order: not seen to end: its supervisor, pid " in said.err
    assert "has not opened" in said.err


def test_bare_kernel_is_left_alone(house: str, said: Said) -> None:
    os.makedirs(f"{house}/h/.uml/hand")
    server = Bare(f"{house}/h/.uml/hand/mconsole", lambda *_: [])
    try:
        server.start()
        assert said.main("--all") == 0
        assert not server.commands
    finally:
        server.close()


@pytest.mark.parametrize("words", [["many"], ["-1"], ["nan"], ["1", "2"]])
def test_wrong_number_of_seconds_ends_nobody(guests: Guests, said: Said, words: list[str]) -> None:
    guests("db")
    assert said.main("--all", "--", *words) == 2
    assert "takes a number of seconds" in said.err
    assert not said.asked


def test_guest_has_to_be_named_without_all(house: str, said: Said) -> None:
    assert said.main("--timeout", "5") == 2
    assert "Missing argument 'GUEST'" in said.err
