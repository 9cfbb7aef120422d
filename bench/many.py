"""A hundred guests in one supervisor: what each costs it, and that one broken harms no other."""

from __future__ import annotations

import json
import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from bench.house import BenchError
from bench.measures import Row

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bench.house import House
    from bench.measures import Counts

STARTING: Final = 4
"""Commands that start guests at once: the supervisor boots as many."""
IDLE: Final = 20.0
"""How long the supervisor is watched while nobody asks anything, seconds."""
SETTLE: Final = 60.0
"""How long the guests may take to come to rest after the last boot, seconds."""
MB: Final = 1 << 20
WAYS: Final[dict[str, str | signal.Signals]] = {
    "it panics": "echo c >/proc/sysrq-trigger",
    "it hangs": "echo -1 >/proc/sys/kernel/sched_rt_runtime_us; "
    "exec chrt -f 99 sh -c 'while :; do :; done'",
    "its root floods the supervisor": "while :; do echo flood >/proc/mconsole; done",
    "its root floods the console": "while :; do echo flood; done",
    "it is killed": signal.SIGKILL,
    "it is suspended": signal.SIGSTOP,
}
"""How a guest is broken: by its own shell, or by a signal to its kernel."""
SPREAD: Final = 5
"""One in so many of the others is asked each time."""


def guests(house: House, counts: Counts) -> Iterator[Row]:
    """What the supervisor needs with one guest, and with a hundred."""
    names = [f"many{number}" for number in range(counts.guests)]
    try:
        _start(house, names[:1])
        pid = _status(house, names[0])["supervisor_pid"]
        _rest(pid)
        first = _pss(pid), _idle_cpu(pid)
        with ThreadPoolExecutor(STARTING) as pool:
            list(pool.map(lambda name: _start(house, [name]), names[1:]))
        _rest(pid)
        all_of_them = _pss(pid), _idle_cpu(pid)
        more = len(names) - 1
        yield _count(
            f"supervisor's Pss a guest, of {more} after the first",
            (all_of_them[0] - first[0]) / MB / more,
            "MB",
            2.0,
        )
        yield _count(
            f"supervisor's idle CPU a guest, of {more} after the first",
            (all_of_them[1] - first[1]) * 100 / more,
            "%",
            0.2,
        )
        taken = [house.seconds([house.umlctl, "list"]) for _ in range(5)]
        yield _count(f"umlctl list, {len(names)} guests", sorted(taken)[2], "s", 1.0)
        listed = json.loads(house.output([house.umlctl, "list", "--json"]))
        running = [row["umid"] for row in listed if row["state"] == "running"]
        if not {*names} <= {*running}:
            raise BenchError(f"not all {len(names)} guests run: {running}")
        yield _broken(house, names)
    finally:
        house.output([house.umlctl, "quit"])


def _start(house: House, names: list[str]) -> None:
    for name in names:
        house.output([house.umlctl, "start", name, "--mem", "48M"])


def _broken(house: House, names: list[str]) -> Row:
    """One after another is broken, each in a way of its own: the slowest answer of the others.

    Raises: BenchError: one of them does not answer
    """
    victims = dict(zip(WAYS, names, strict=False))
    others = names[len(victims) :]
    slowest = 0.0
    for way, victim in victims.items():
        broken = WAYS[way]
        if isinstance(broken, str):
            Path(house.console(victim)).write_text(f"{broken}\n")
        else:
            os.kill(_status(house, victim)["pid"], broken)
        for name in others[::SPREAD]:
            slowest = max(slowest, house.seconds([house.umlctl, "version", name]))
    rows = {row["umid"]: row for row in json.loads(house.output([house.umlctl, "list", "--json"]))}
    for name in others:
        found = [rows[name][fact] for fact in ("state", "reboots", "restarts", "trouble")]
        if found != ["running", 0, 0, None]:
            raise BenchError(f"{name} was well until others were broken: {rows[name]}")
    for victim in victims.values():
        if rows[victim]["state"] != "dead":
            house.output([house.umlctl, "kill", victim])
    what = f"umlctl version of {len(others)} guests while {len(victims)} are broken, slowest"
    return _count(what, slowest, "s", 1.0)


def _status(house: House, name: str) -> dict[str, Any]:
    status: dict[str, Any] = json.loads(house.output([house.umlctl, "status", name, "--json"]))
    return status


def _count(what: str, figure: float, unit: str, most: float) -> Row:
    wanted = f"<= {most:g} {unit}"
    return Row(what, figure, figure, figure, unit, wanted, figure <= most, "")


def _pss(pid: int) -> int:
    """Bytes of memory that are a process's share."""
    with open(f"/proc/{pid}/smaps_rollup") as file:
        for line in file:
            if line.startswith("Pss:"):
                return int(line.split()[1]) << 10
    raise BenchError("no Pss here")


def _cpu(pid: int) -> float:
    """Seconds of CPU that a process has used."""
    with open(f"/proc/{pid}/stat") as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _idle_cpu(pid: int) -> float:
    """The part of a processor that a process uses while nobody asks it anything."""
    begin, used = time.monotonic(), _cpu(pid)
    time.sleep(IDLE)
    return (_cpu(pid) - used) / (time.monotonic() - begin)


def _rest(pid: int) -> None:
    """Wait until what a boot has caused is over."""
    end = time.monotonic() + SETTLE
    before = _cpu(pid)
    while time.monotonic() < end:
        time.sleep(3)
        now = _cpu(pid)
        if now - before < 0.1:
            return
        before = now
