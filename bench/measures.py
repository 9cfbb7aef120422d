"""What is measured, and what was wanted of it.

Peers are measured side by side, one after the other within a pair, so that what else the
machine does falls on both; a ratio is the median over the pairs, with the least and the
greatest beside it.
"""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from bench.house import House

GUEST: Final = "bench"
BATCH: Final = 1000
PAUSE: Final = 500
"""Between paced requests, microseconds."""


@dataclass(frozen=True)
class Counts:
    """How often each thing is measured."""

    oneshot: int = 100
    batch: int = 3
    rounds: int = 30
    trips: int = 300
    late: int = 20_000
    dead_rounds: int = 8
    dead_trips: int = 1500
    flood_rounds: int = 5
    flood_trips: int = 1500
    boots: int = 7
    confined_boots: int = 20
    transfers: int = 7
    guests: int = 100
    snapshots: int = 100


QUICK: Final = Counts(
    oneshot=15,
    batch=1,
    rounds=8,
    trips=200,
    late=3000,
    dead_rounds=3,
    dead_trips=800,
    flood_rounds=3,
    flood_trips=800,
    boots=3,
    confined_boots=4,
    transfers=3,
    guests=20,
    snapshots=20,
)


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Fields:
        what: what is compared with what
        figure: the median ratio, or the count
        least, greatest: of the pairs; the same as the figure for a count
        unit: "x" for a ratio, else what is counted
        wanted: the bound in words; empty where there is none
        met: whether it was kept; None where there is none
        detail: the times behind the figure
    """

    what: str
    figure: float
    least: float
    greatest: float
    unit: str
    wanted: str
    met: bool | None
    detail: str


def ratio(
    what: str,
    ours: list[float],
    theirs: list[float],
    *,
    most: float | None = None,
    least: float | None = None,
) -> Row:
    """A ratio of pairs: ours to theirs, or the other way round where `least` asks how much
    faster we are. `most` and `least` are the bounds; neither: only to be seen."""
    pairs = list(zip(theirs, ours, strict=True) if least else zip(ours, theirs, strict=True))
    ratios = [one / other for one, other in pairs]
    figure = statistics.median(ratios)
    wanted, met = "", None
    if most is not None:
        wanted, met = f"<= {most:g} x", figure <= most
    elif least is not None:
        wanted, met = f">= {least:g} x", figure >= least
    times = f"{_time(statistics.median(ours))} : {_time(statistics.median(theirs))}"
    return Row(what, figure, min(ratios), max(ratios), "x", wanted, met, times)


def _time(seconds: float) -> str:
    if seconds >= 1:
        return f"{seconds:.2f} s"
    return f"{seconds * 1e3:.1f} ms" if seconds >= 0.001 else f"{seconds * 1e6:.0f} us"


def oneshot(house: House, counts: Counts) -> Iterator[Row]:
    """A command against the start of its interpreter, and against uml_mconsole."""
    commands = {
        "umlctl": [house.umlctl, "version", GUEST],
        "python": [house.python, "-I", "-c", "pass"],
        "peer": [house.uml_mconsole, GUEST, "version"],
    }
    taken: dict[str, list[float]] = {name: [] for name in commands}
    for command in commands.values():
        house.seconds(command)
    for _ in range(counts.oneshot):
        for name, command in commands.items():
            taken[name].append(house.seconds(command))
    yield ratio(
        "umlctl version GUEST : python -I -c pass", taken["umlctl"], taken["python"], most=1.25
    )
    yield ratio("umlctl version GUEST : uml_mconsole GUEST version", taken["umlctl"], taken["peer"])


def batch(house: House, counts: Counts) -> Iterator[Row]:
    """A thousand commands over one connection against a thousand processes."""
    lines = house.top / "lines"
    lines.write_text("version\n" * BATCH)
    ours: list[float] = []
    theirs: list[float] = []
    for _ in range(counts.batch):
        ours.append(house.seconds([house.umlctl, "mconsole", GUEST, "-"], str(lines)))
        peer = [house.uml_mconsole, GUEST, "version"]
        theirs.append(sum(house.seconds(peer) for _ in range(BATCH)))
    yield ratio(
        f"{BATCH} uml_mconsole : a batch of {BATCH}, umlctl mconsole GUEST -",
        ours,
        theirs,
        least=5,
    )


def trips(house: House, counts: Counts) -> Iterator[Row]:
    """Round trips of `version`: back to back, and paced, when all have gone to sleep between.

    Back to back, much depends on which processor the host puts whom on.
    """
    kernel, public = house.kernel_socket(GUEST), house.public_socket(GUEST)
    for how, pause in (("", 0), (", paced", PAUSE)):
        found: Any = house.probe("trips", kernel, public, counts.rounds, counts.trips, pause)
        for name, what, most in (
            ("client", "round trip, trio client : bare loop", 3),
            ("public", "round trip, supervisor : kernel, bare loop", 5),
        ):
            bound = None if pause else most  # what was wanted is wanted back to back
            yield ratio(f"{what}{how}, p50", found[name]["p50"], found["direct"]["p50"], most=bound)
            yield ratio(f"{what}{how}, p99", found[name]["p99"], found["direct"]["p99"])


def late(house: House, counts: Counts) -> Iterator[Row]:
    """Requests that wait: the kernel loses wake-ups when it goes idle."""
    kernel, public = house.kernel_socket(GUEST), house.public_socket(GUEST)
    found: Any = house.probe("late", kernel, public, counts.late)
    for name, what in (("direct", "to the kernel"), ("public", "through the supervisor")):
        number = found[name]["late"]
        yield Row(
            f"requests of {counts.late} over 20 ms, trio client {what}",
            number,
            number,
            number,
            "late",
            "0",
            number == 0,
            f"longest {_time(found[name]['longest'])}",
        )


def dead(house: House, counts: Counts) -> Iterator[Row]:
    """A live client among forty that asked for much and never read."""
    public = house.public_socket(GUEST)
    found: Any = house.probe("dead", public, counts.dead_rounds, counts.dead_trips)
    yield ratio(
        "p99 of a client among 40 dead ones : alone", found["among"], found["alone"], most=2
    )


def flood(house: House, counts: Counts) -> Iterator[Row]:
    """A quiet client while another process sends as fast as it can."""
    public = house.public_socket(GUEST)
    found: Any = house.probe("flood", public, counts.flood_rounds, counts.flood_trips, PAUSE)
    alone = found.pop("alone")
    for name, taken in found.items():
        yield ratio(f"p99 of a client while another floods, {name} : alone", taken, alone, most=20)


def boots(house: House, counts: Counts) -> Iterator[Row]:
    """Boot, run an init, power off: `umlctl run` against the kernel as it comes."""
    kernel = house.kernel()
    # Without a ubd0 it looks for a file root_fs.
    bare = [
        *(kernel, "mem=256M", "umid=bare", "root=/dev/root", "rootfstype=hostfs", "rootflags=/"),
        *("ro", f"init={house.init}", "ubd0=/dev/null"),
        *("con0=fd:0,fd:1", "con=null", "ssl=null"),
    ]
    run = [house.umlctl, "run", "boot", "--init", str(house.init)]
    ours: list[float] = []
    theirs: list[float] = []
    for _ in range(counts.boots):
        ours.append(house.seconds(run))
        theirs.append(house.seconds(bare))
    yield ratio("boot, run, power off: the bare kernel : umlctl run", ours, theirs, least=4)


WITH_GUEST: Final[dict[str, Callable[[House, Counts], Iterator[Row]]]] = {
    "oneshot": oneshot,
    "batch": batch,
    "trips": trips,
    "late": late,
    "dead": dead,
    "flood": flood,
}
ALONE: Final[dict[str, Callable[[House, Counts], Iterator[Row]]]] = {"boots": boots}
