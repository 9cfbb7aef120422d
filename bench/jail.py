"""What it costs to confine a guest: boots and questions, side by side with one that is not."""

from __future__ import annotations

import contextlib
import statistics
from typing import TYPE_CHECKING, Any, Final

from bench.measures import ratio

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bench.house import House
    from bench.measures import Counts, Row

OFF: Final = "off"
CONFINED: Final = ("writes", "strict")
MOST: Final = 1.02
"""What a confined guest may take of an open one's time."""


def costs(house: House, counts: Counts) -> Iterator[Row]:
    """Each way of confinement against none."""
    yield from _boots(house, counts)
    yield from _questions(house, counts)


def _boots(house: House, counts: Counts) -> Iterator[Row]:
    """Boot, run an init, power off."""
    taken: dict[str, list[float]] = {mode: [] for mode in (*CONFINED, OFF)}
    for number in range(counts.confined_boots + 1):
        # Who comes first has what the one before has left: each is that as often.
        modes = list(taken) if number % 2 else list(taken)[::-1]
        for mode in modes:
            run = [house.umlctl, "run", "jail", "--confine", mode, "--init", str(house.init)]
            seconds = house.seconds(run)
            if number:  # the first warms up
                taken[mode].append(seconds)
    for mode in CONFINED:
        what = f"boot, run, power off: confined ({mode}) : not confined"
        yield ratio(what, taken[mode], taken[OFF], most=MOST)


def _questions(house: House, counts: Counts) -> Iterator[Row]:
    """`proc`, which the kernel answers from a file of the guest."""
    with contextlib.ExitStack() as stack:
        for mode in (*CONFINED, OFF):
            stack.enter_context(house.guest(f"jail-{mode}", "--confine", mode))
        sockets = [house.public_socket(f"jail-{mode}") for mode in (*CONFINED, OFF)]
        found: Any = house.probe("proc", counts.rounds, counts.trips, *sockets)
    taken = {
        mode: [statistics.median(trips) for trips in rounds]
        for mode, rounds in zip((*CONFINED, OFF), found, strict=True)
    }
    for mode in CONFINED:
        what = f"round trip of `proc`, p50: confined ({mode}) : not confined"
        yield ratio(what, taken[mode], taken[OFF], most=MOST)
