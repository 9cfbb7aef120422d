"""The supervisor is killed again and again, under load; nothing of its guests is lost."""

from __future__ import annotations

import random
import re
import time
from typing import TYPE_CHECKING

from tests.chaos.steps import plug_a_network_or_unplug_it, plug_or_unplug
from tests.chaos.world import Violation, World

if TYPE_CHECKING:
    from collections.abc import Callable

COUNTING = "n=0; while :; do n=$((n+1)); echo line $n; sleep 0.05; done\n"
_LINE = re.compile(r"^line (\d+)\r?$", re.MULTILINE)


def kill_supervisors(count: int, guests: int, say: Callable[[str], None]) -> float:
    """Kill the supervisor so often; the longest that all guests took to answer again, seconds.

    Raises: Violation
    """
    world = World(random.Random(count), guests)
    worst = 0.0
    try:
        first = world.guests[0]
        plug_or_unplug(world, first)
        plug_a_network_or_unplug_it(world, first)
        world.house.has_shell(first.umid)
        with open(f"{world.house.run}/g/{first.umid}/con0.in", "w") as console:
            console.write(COUNTING)
        for number in range(1, count + 1):
            world.kill_supervisor()
            begun = time.monotonic()
            for guest in world.guests:
                world.house.ok("version", guest.umid)
            took = time.monotonic() - begun
            worst = max(worst, took)
            world.check()
            say(f"kill {number}: all {guests} guests answer after {took:.2f}s")
        _check_log(world.house.ok("logs", first.umid))
        world.check_end()
    except (AssertionError, OSError) as problem:
        raise Violation(str(problem)) from problem
    finally:
        world.close()
    say(f"{count} kills, {world.requests} requests, at most {worst:.2f}s: well")
    return worst


def _check_log(text: str) -> None:
    numbers = [int(number) for number in _LINE.findall(text)]
    if not numbers or numbers != list(range(1, len(numbers) + 1)):
        raise Violation(f"the console's log lacks lines: it has {numbers[:10]} to {numbers[-10:]}")
