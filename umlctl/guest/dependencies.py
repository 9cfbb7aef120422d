"""Which guest is started after which, and ended before it.

A guest's definition names in `after` the guests that come before it. Pure: the caller that has
guests started or ended passes the function that runs several tasks side by side.
"""

from __future__ import annotations

from graphlib import CycleError, TopologicalSorter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping


def starts(after: Mapping[str, Iterable[str]]) -> tuple[TopologicalSorter[str], dict[str, str]]:
    """The order in which guests are started, and the guests that never can be, each with the
    reason.

    after: names that are no keys are left out
    """
    left = {name: set(before) for name, before in after.items()}
    never: dict[str, str] = {}
    while True:
        sorter = _sorter(left)
        circle = _prepare(sorter)
        if not circle:
            return sorter, never
        names = circle[::-1]
        for name in names[1:]:
            never[name] = f"these wait for each other: {' after '.join(names)}"
            del left[name]


def ends(after: Mapping[str, Iterable[str]]) -> TopologicalSorter[str]:
    """The order in which guests are ended: each when those that come after it have ended.

    Guests that run have to end, so a circle is cut somewhere.
    """
    later: dict[str, set[str]] = {name: set() for name in after}
    for name, before in after.items():
        for each in set(before) & after.keys():
            later[each].add(name)
    while True:
        sorter = _sorter(later)
        circle = _prepare(sorter)
        if not circle:
            return sorter
        later[circle[1]].discard(circle[0])


def in_order(
    sorter: TopologicalSorter[str],
    work: Callable[[str], Awaitable[None]],
    start_soon: Callable[..., None],
) -> None:
    """Do the work for each name as soon as it is done for all before it.

    start_soon: of a nursery, which is over when all is done
    """

    async def do(name: str) -> None:
        await work(name)
        sorter.done(name)
        begin()

    def begin() -> None:
        for name in sorter.get_ready():
            start_soon(do, name)

    begin()


def _sorter(before: Mapping[str, set[str]]) -> TopologicalSorter[str]:
    names = sorted(before)
    return TopologicalSorter({name: sorted(before[name] & before.keys()) for name in names})


def _prepare(sorter: TopologicalSorter[str]) -> list[str]:
    """Make a sorter ready for use. Returns: the circle that keeps it from that, each before the
    next."""
    try:
        sorter.prepare()
    except CycleError as problem:
        circle: list[str] = problem.args[1]
        return circle
    return []
