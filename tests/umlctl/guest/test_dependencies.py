from __future__ import annotations

import itertools
import string
from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from umlctl.guest.dependencies import ends, in_order, starts

if TYPE_CHECKING:
    from graphlib import TopologicalSorter

NAMES = st.text(string.ascii_lowercase, min_size=1, max_size=1)
AFTER = st.dictionaries(NAMES, st.lists(NAMES, max_size=4).map(tuple), max_size=12)


def waves(sorter: TopologicalSorter[str]) -> list[set[str]]:
    """Those that can be done side by side, one set after another."""
    found = []
    while sorter.is_active():
        ready = sorter.get_ready()
        found.append(set(ready))
        sorter.done(*ready)
    return found


DIAMOND = {"db": (), "web": ("db",), "mail": ("db",), "proxy": ("web", "mail"), "alone": ()}


def test_guests_start_after_those_that_they_name() -> None:
    sorter, never = starts(DIAMOND)
    assert waves(sorter) == [{"db", "alone"}, {"web", "mail"}, {"proxy"}]
    assert not never


def test_guests_end_the_other_way_round() -> None:
    assert waves(ends(DIAMOND)) == [{"proxy", "alone"}, {"web", "mail"}, {"db"}]


def test_names_that_are_not_there_hold_up_nobody() -> None:
    after = {"web": ("db", "web2")}
    assert waves(starts(after)[0]) == waves(ends(after)) == [{"web"}]


def test_circle_is_named_and_the_others_start() -> None:
    sorter, never = starts({"a": ("b",), "b": ("c",), "c": ("a",), "d": ("a",), "e": ("e",)})
    assert waves(sorter) == [{"d"}]
    assert set(never) == {"a", "b", "c", "e"}
    assert never["e"] == "these wait for each other: e after e"
    assert never["a"] == never["b"] == never["c"]
    circle = never["a"].removeprefix("these wait for each other: ").split(" after ")
    assert circle[0] == circle[-1]
    links = set(itertools.pairwise(circle))
    assert links == {("a", "b"), ("b", "c"), ("c", "a")}


@given(AFTER)
def test_all_start_or_never_can_and_none_before_those_that_it_names(
    after: dict[str, tuple[str, ...]],
) -> None:
    sorter, never = starts(after)
    seen: set[str] = set()
    for wave in waves(sorter):
        for name in wave:
            assert set(after[name]) & after.keys() - never.keys() <= seen
        seen |= wave
    assert seen | never.keys() == after.keys()
    assert not seen & never.keys()


@given(AFTER)
def test_all_end_and_none_before_those_that_come_after_it(
    after: dict[str, tuple[str, ...]],
) -> None:
    found = waves(ends(after))
    assert set().union(*found) == after.keys()
    assert sum(len(wave) for wave in found) == len(after)
    if not starts(after)[1]:
        ended: set[str] = set()
        for wave in found:
            for name in wave:
                assert {other for other in after if name in after[other]} <= ended
            ended |= wave


async def test_work_begins_as_soon_as_what_is_before_it_is_done() -> None:
    begun: list[str] = []
    go = {name: trio.Event() for name in DIAMOND}

    async def work(name: str) -> None:
        begun.append(name)
        await go[name].wait()

    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            in_order(starts(DIAMOND)[0], work, nursery.start_soon)
            await trio.testing.wait_all_tasks_blocked()
            assert sorted(begun) == ["alone", "db"]
            go["db"].set()
            await trio.testing.wait_all_tasks_blocked()
            assert sorted(begun[2:]) == ["mail", "web"]  # though `alone` goes on
            go["mail"].set()
            await trio.testing.wait_all_tasks_blocked()
            assert len(begun) == 4
            for event in go.values():
                event.set()
    assert begun[4:] == ["proxy"]


async def test_work_that_fails_ends_it_all() -> None:
    async def work(name: str) -> None:
        raise ValueError(name)

    with pytest.raises(ExceptionGroup):
        async with trio.open_nursery() as nursery:
            in_order(starts({"a": (), "b": ("a",)})[0], work, nursery.start_soon)
