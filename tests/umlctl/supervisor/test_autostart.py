from __future__ import annotations

import os
from contextlib import closing
from typing import TYPE_CHECKING

import trio

from socketproto.exchange import pieces
from tests.conftest import Bare
from umlctl.guest.definition import Definition
from umlctl.host import paths
from umlctl.protocol.starting import AutostartResult, Started
from umlctl.protocol.status import Status
from umlctl.state import enabled
from umlctl.state.umid_lock import claim
from umlctl.supervisor.autostart import Autostart

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.conftest import Address

DEADLINE = 30.0


def enable(umid: str, *after: str) -> None:
    enabled.enable(Definition(umid=umid, kernel="/linux", after=after))


class Round:
    """A round of starts that only fail for `bad`."""

    def __init__(self, *bad: str) -> None:
        self.bad = bad
        self.started: list[str] = []
        self.results: dict[str, AutostartResult] = {}

    async def run(self) -> Round:
        with trio.fail_after(DEADLINE):
            await Autostart(self._start, self._tell).run()
        return self

    async def _start(self, definition: Definition) -> Started:
        self.started.append(definition.umid)
        await trio.lowlevel.checkpoint()
        if definition.umid in self.bad:
            return Started(code=125, text="it never started")
        return Started(code=0, status=Status(state="running", pid=7))

    def _tell(self, result: AutostartResult) -> None:
        assert result.umid not in self.results
        self.results[result.umid] = result

    @property
    def up(self) -> set[str]:
        return {umid for umid, result in self.results.items() if result.up}


async def test_nothing_enabled_is_nothing_to_do(house: str) -> None:
    assert not (await Round().run()).results


async def test_guests_start_after_those_that_they_name(house: str) -> None:
    enable("proxy", "web")
    enable("db")
    enable("web", "db")
    done = await Round().run()
    assert done.started == ["db", "web", "proxy"]
    assert done.results["web"] == AutostartResult(umid="web", up=True, outcome="started", pid=7)
    assert done.up == {"db", "web", "proxy"}


async def test_failure_keeps_only_those_from_starting_that_come_after_it(house: str) -> None:
    enable("db")
    enable("web", "db")
    enable("proxy", "web")
    enable("mail")
    done = await Round("db").run()
    assert sorted(done.started) == ["db", "mail"]
    assert done.up == {"mail"}
    assert (done.results["db"].code, done.results["db"].text) == (125, "it never started")
    assert done.results["web"].text == "it comes after db, which was not started"
    assert done.results["proxy"].text == "it comes after web, which was not started"


async def test_guests_that_wait_for_each_other_are_named(house: str) -> None:
    enable("a", "b")
    enable("b", "a")
    enable("c", "a")
    enable("d")
    done = await Round().run()
    assert done.started == ["d"]
    assert done.results["a"].text.startswith("these wait for each other: ")
    assert done.results["c"].text == "it comes after a, which was not started"


async def test_guest_that_is_not_there_is_named(house: str) -> None:
    enable("web", "db")
    done = await Round().run()
    assert not done.started
    assert done.results["web"].text == "it comes after db, which is not enabled and does not run"


async def test_definition_that_cannot_be_read_is_told_and_the_others_start(house: str) -> None:
    enable("db")
    enable("web", "db")
    enable("mail")
    with open(f"{paths.state_dir()}/enabled/db.json", "w") as file:
        file.write("{")
    done = await Round().run()
    assert done.started == ["mail"]
    assert "db.json" in done.results["db"].text
    assert done.results["web"].text == "it comes after db, which was not started"


async def test_guests_that_run_are_left_alone_and_waited_for(house: str) -> None:
    enable("a", "b")
    enable("b", "a")  # somebody has broken the circle
    enable("web", "db")
    states = [b"what?", b'{"state": "booting"}', b"{}", b'{"state": "running"}']

    def answer(_server: Bare, _data: bytes, _address: Address) -> Iterable[bytes]:
        said = states.pop(0) if len(states) > 1 else states[0]
        return [reply.encode() for reply in pieces(said)]

    with claim("db") as _db, claim("a") as _a:
        os.makedirs(f"{house}/u/run/g/a", exist_ok=True)
        with (
            closing(Bare(f"{house}/u/run/g/db/mconsole", answer, 0o600)) as db,
            closing(Bare(f"{house}/u/run/g/a/mconsole", answer, 0o600)) as a,
        ):
            db.start()
            a.start()
            done = await Round().run()
            assert len(states) == 1
    assert done.started == ["web"]
    assert done.up == {"a", "web"}
    assert done.results["a"].outcome == "ran already"
    assert done.results["b"].text.startswith("these wait for each other")


async def test_guest_that_has_just_died_is_started(house: str) -> None:
    enable("db")

    def dead(_server: Bare, _data: bytes, _address: Address) -> Iterable[bytes]:
        return [reply.encode() for reply in pieces(b'{"state": "dead"}')]

    with claim("db"), closing(Bare(f"{house}/u/run/g/db/mconsole", dead, 0o600)) as server:
        server.start()
        done = await Round().run()
    assert done.started == ["db"]
