"""Holding what a guest connects to real switches; this process stands for its kernel."""

from __future__ import annotations

import os
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio.testing

from tests.switches import Guest, kill, lock_holder, place, talk
from umlctl.errors import HostError
from umlctl.host import netns, paths
from umlctl.networks import definitions, holder, segments, switch_client
from umlctl.networks.bridge import unable
from umlctl.supervisor import switch_links
from umlctl.supervisor.history import History
from umlctl.supervisor.switch_links import keep_links

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable


__all__ = ["place"]

DEADLINE = 30.0


class Table:
    """The networks of a guest's table."""

    def __init__(self, *networks: str) -> None:
        self.wanted = set(networks)
        self.having: list[tuple[str, str, str]] = []
        self.given: list[str] = []
        self.changed = trio.Event()

    def networks(self) -> set[str]:
        return self.wanted

    def taps(self, _network: str) -> list[tuple[str, str, str]]:
        return self.having

    def addresses(self, _network: str) -> list[str]:
        return self.given

    def change(self, *networks: str) -> None:
        self.wanted = set(networks)
        self.changed.set()
        self.changed = trio.Event()


class Holding:
    """What is being held for the networks of a table."""

    def __init__(self, *networks: str) -> None:
        self.table = Table(*networks)
        self.history = History("demo")

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(keep_links, self.table, os.getpid(), self.history)
            yield
            nursery.cancel_scope.cancel()

    def events(self) -> list[dict[str, Any]]:
        return list(self.history)

    async def until_event(self, event: str) -> None:
        await until(lambda: any(each["event"] == event for each in self.history))


async def until(condition: Callable[[], object]) -> None:
    with trio.fail_after(DEADLINE):
        while not condition():  # noqa: ASYNC110 - a host has nobody to tell
            await trio.sleep(0.005)


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


async def test_switch_that_is_killed_is_replaced_and_nobody_notices(place: str) -> None:
    lan = segments.start("lan", idle=60)
    first = lock_holder("lan")
    holding = Holding("lan")
    with Guest(lan) as a, Guest(lan) as b:
        before = descriptors()
        async with holding.running():
            await until(lambda: descriptors() >= before + 3)  # the holder and two connections
            await trio.to_thread.run_sync(talk, a, b)
            kill("lan")
            await holding.until_event("network back")
            assert lock_holder("lan") != first
            await trio.to_thread.run_sync(talk, a, b)
    assert [each["event"] for each in holding.events()] == ["network lost", "network back"]


async def test_network_that_is_left_is_held_no_more(place: str) -> None:
    lan = segments.start("lan", idle=60)
    holding = Holding()
    async with holding.running():
        await trio.testing.wait_all_tasks_blocked()
        before = descriptors()
        with Guest(lan):
            held = descriptors()
            holding.table.change("lan")
            await until(lambda: descriptors() > held)
            holding.table.change()
            await until(lambda: descriptors() <= held)
        assert descriptors() <= before
        kill("lan")
        holding.table.change()
        await trio.testing.wait_all_tasks_blocked()
    assert holding.events() == []


async def test_network_that_was_ended_on_purpose_is_not_started_again(place: str) -> None:
    lan = segments.start("lan")
    holding = Holding("lan")
    with Guest(lan):
        async with holding.running():
            await until(lambda: lan.status()["holders"] == 1)
            await trio.to_thread.run_sync(lan.quit)
            await holding.until_event("network ended")
            assert not segments.running("lan")
            lan = segments.start("lan")
            holding.table.change("lan")  # a NIC was plugged into the new one
            await until(lambda: lan.status()["holders"] == 1)
    assert [each["event"] for each in holding.events()] == ["network ended"]


async def test_network_that_is_ended_while_it_is_asked_to_hold_is_not_started_again(
    place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    lan = segments.start("lan")
    real = switch_client.readable

    def late(fd: int, deadline: float) -> bool:
        monkeypatch.setattr(holder, "readable", real)
        while lan.status()["holders"] != 1:
            time.sleep(0.005)
        lan.quit()
        return real(fd, deadline)

    holding = Holding("lan")
    with Guest(lan):
        monkeypatch.setattr(holder, "readable", late)
        async with holding.running():
            await holding.until_event("network ended")
            assert not segments.running("lan")
    assert [each["event"] for each in holding.events()] == ["network ended"]


async def test_switch_that_cannot_be_had_again_is_tried_until_it_can(
    place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(switch_links, "FIRST_RETRY_INTERVAL", 0.001)
    tries = []
    real = segments.revive

    def revive(name: str) -> Any:
        tries.append(name)
        if len(tries) < 8:
            raise HostError("no memory" if len(tries) < 3 else "no descriptors")
        return real(name)

    monkeypatch.setattr(switch_links, "revive", revive)
    monkeypatch.setattr(definitions, "start_switch", revive)
    segments.start("lan", idle=60)
    held = Holding("lan")
    async with held.running():
        await until(lambda: len(tries) == 8)
    assert [each["text"] for each in held.events()] == ["no memory", "no descriptors"], "once each"


async def test_switch_that_ended_for_want_of_guests_is_started_again(place: str) -> None:
    """Hooks of other NICs can take longer than it waits."""
    segments.start("lan").quit()
    held = Holding("lan")
    async with held.running():
        await until(lambda: segments.running("lan"))
    assert held.events() == []


async def test_switch_whose_options_are_damaged_is_started_as_it_is_defined(place: str) -> None:
    segments.start("lan", idle=60)
    held = Holding("lan")
    with Guest(segments.Segment("lan")) as connection:
        async with held.running():
            await until(lambda: segments.Segment("lan").status()["holders"] == 1)
            with open(paths.network_options("lan"), "r+b") as file:
                file.truncate(20)
            kill("lan")
            await held.until_event("network back")
            status = await trio.to_thread.run_sync(segments.Segment("lan").status)
        assert len(status["ports"]) == 1
        connection.send(b"x" * 60)
    assert [each["event"] for each in held.events()] == ["network lost", "network back"]


@pytest.mark.parametrize("start", [segments.revive, definitions.start_switch])
async def test_names_are_known_though_the_switch_was_started_by_who_did_not_ask_for_it(
    place: str, start: Callable[[str], segments.Segment]
) -> None:
    """By this guest's supervisor, once somebody else has started it, and once it has itself."""
    names = definitions.range_of("lan").resolvers[0]
    lan = segments.start("lan", idle=60)
    kill("lan")
    start("lan")
    assert "names" not in lan.status()
    holding = Holding("lan")
    holding.table.given = ["10.9.0.1/24", f"{definitions.range_of('lan').address(5)}/22"]
    async with holding.running():
        await until(lambda: lan.status().get("names") == names)
        os.unlink(paths.network_options("lan"))
        first = lock_holder("lan")
        kill("lan")
        await holding.until_event("network back")
        assert lock_holder("lan") != first
        assert (await trio.to_thread.run_sync(lan.status))["names"] == names
    assert [each["event"] for each in holding.events()] == ["network lost", "network back"]


async def test_network_on_which_nobody_has_an_address_of_it_has_no_names(place: str) -> None:
    lan = segments.start("lan", idle=60)
    holding = Holding("lan")
    holding.table.given = ["10.9.0.1/24"]
    async with holding.running():
        await until(lambda: lan.status()["holders"] == 1)
        kill("lan")
        await holding.until_event("network back")
        assert "names" not in await trio.to_thread.run_sync(lan.status)


@pytest.mark.skipif(bool(unable()), reason="this host has no such namespace")
async def test_taps_that_went_with_a_switch_are_there_again(
    place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    lan, other = segments.start("lan", idle=60), segments.start("other", idle=60)
    inode = lan.namespace()
    assert other.namespace() == inode  # which keeps the namespace, as the kernel does
    lan.make_tap("t1", "02:00:00:00:00:01", "demo", inode)
    lan.quit()
    await until(lambda: not segments.running("lan"))
    monkeypatch.setattr(netns, "inode_of", lambda _pid: inode)
    holding = Holding("lan")
    holding.table.having = [("t1", "02:00:00:00:00:01", "demo")]
    async with holding.running():
        await until(lambda: segments.running("lan"))
        await until(lambda: [each["tap"] for each in lan.status()["ports"]] == ["t1"])
        number = lan.status()["ports"][0]["id"]
        lan.make_tap("t1", "02:00:00:00:00:01", "demo", inode, kept=True)
        assert lan.status()["ports"][0]["id"] == number, "it is the same"
    assert holding.events() == []
    for each in (lan, other):
        each.quit()
