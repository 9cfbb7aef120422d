"""A guest with a COW file of 100 MB is taken again and again: for how long it is stopped."""

from __future__ import annotations

import json
import os
import statistics
from typing import TYPE_CHECKING, Final

from bench.cow import fill
from bench.measures import Row

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bench.house import House
    from bench.measures import Counts

NAME: Final = "taken"
MOST: Final = 2.0
"""Wanted of the longest pause but one in a hundred, seconds: the host copies 100 MB meanwhile."""


def pauses(house: House, counts: Counts) -> Iterator[Row]:
    """The pause as `snapshot create` says it."""
    base, cow = (str(house.top / name) for name in ("base.img", "a.cow"))
    fill(house, base, cow)
    pauses = []
    with house.guest(NAME, "--mem", "64M", "--disk", f"{cow},slot=1"):
        for number in range(counts.snapshots):
            words = ["snapshot", "create", NAME, f"s{number}", "--keep", "1", "--json"]
            pauses.append(json.loads(house.output([house.umlctl, *words]))["pause"])
    pauses.sort()
    late = pauses[min(len(pauses) - 1, int(0.99 * len(pauses)))]
    what = f"snapshot create of 100 MB, {len(pauses)} times, p99 of the pause"
    middle = f"p50 {1000 * statistics.median(pauses):.0f} ms"
    yield Row(what, late, pauses[0], pauses[-1], "s", f"<= {MOST:g} s", late <= MOST, middle)
    house.output([house.umlctl, "snapshot", "rm", NAME, f"s{counts.snapshots - 1}"])
    for path in (base, cow):
        os.unlink(path)
