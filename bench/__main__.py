"""`python -m bench`: measure, print a table, end with 1 if something wanted was not met."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from typing import TYPE_CHECKING, Final

from bench import consoles, cow, jail, many, networks, snapshot
from bench.house import BenchError, house
from bench.measures import ALONE, GUEST, QUICK, WITH_GUEST, Counts, Row

if TYPE_CHECKING:
    from collections.abc import Iterator


OTHERS: Final = {
    **ALONE,
    "networks": networks.throughput,
    "consoles": consoles.throughput,
    "guests": many.guests,
    "merges": cow.merges,
    "jail": jail.costs,
    "snapshots": snapshot.pauses,
}


def main() -> int:
    names = [*WITH_GUEST, *OTHERS]
    parser = argparse.ArgumentParser(
        prog="bench", description="Measure umlctl, installed from a wheel, against its peers."
    )
    parser.add_argument("only", nargs="*", metavar="WHAT", help=f"some of: {', '.join(names)}")
    parser.add_argument("--quick", action="store_true", help="small counts, rough figures")
    parser.add_argument("--json", action="store_true", help="print an array of objects")
    options = parser.parse_args()
    wanted = set(options.only) or set(names)
    if wanted - set(names):
        parser.error(f"there is no {', '.join(wanted - set(names))}; there is {', '.join(names)}")
    rows = []
    try:
        for row in measure(wanted, QUICK if options.quick else Counts()):
            rows.append(row)
            if not options.json:
                # As they come: the whole takes minutes.
                print(HEADING if len(rows) == 1 else "", end="")
                print(line(row), flush=True)
    except BenchError as problem:
        print(f"bench: {problem}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    if options.json:
        print(json.dumps([dataclasses.asdict(row) for row in rows], indent=2))
    return int(any(row.met is False for row in rows))


def measure(wanted: set[str], counts: Counts) -> Iterator[Row]:
    """Everything that is wanted, a row as soon as it is known."""
    with house() as here:
        print("bench: building the wheel and installing it", file=sys.stderr)
        here.install()
        if wanted & set(WITH_GUEST):
            with here.guest(GUEST):
                for name, rows in WITH_GUEST.items():
                    if name in wanted:
                        yield from rows(here, counts)
        for name, rows in OTHERS.items():
            if name in wanted:
                yield from rows(here, counts)


def cells(*texts: str) -> str:
    widths = (66, 9, 13, 9, 5)
    return "  ".join([f"{t:<{w}}" for t, w in zip(texts, widths, strict=False)] + [texts[-1]])


HEADING = cells("what", "ratio", "min-max", "wanted", "met", "medians") + "\n"


def line(row: Row) -> str:
    if row.unit == "x":
        figure, spread = f"{row.figure:.2f} x", f"{row.least:.2f}-{row.greatest:.2f}"
    else:
        figure, spread = f"{row.figure:.3g} {row.unit}", ""
    met = {True: "yes", False: "NO", None: "-"}[row.met]
    return cells(row.what, figure, spread, row.wanted or "-", met, row.detail)


if __name__ == "__main__":
    sys.exit(main())
