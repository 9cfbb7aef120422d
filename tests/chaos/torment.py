"""A seeded run of steps over some guests."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from tests.chaos.steps import STEPS
from tests.chaos.world import Violation, World

if TYPE_CHECKING:
    from collections.abc import Callable


def torment(seed: int, steps: int, guests: int, say: Callable[[str], None]) -> int:
    """Take so many steps; how many requests the clients beside them had answered.

    say: told of each step

    Raises: Violation: with the step after which it was seen
    """
    chosen = random.Random(seed)
    world = World(random.Random(seed), guests)
    done = 0
    name = "the start"
    try:
        names, weights = list(STEPS), [weight for weight, _ in STEPS.values()]
        for done in range(1, steps + 1):
            world.random = random.Random(f"{seed}.{done}")
            (name,) = chosen.choices(names, weights)
            guest = chosen.choice(world.guests)
            say(f"{seed}.{done} {name} {guest.umid}")
            STEPS[name][1](world, guest)
            world.check()
        name = "the end"
        world.check_end()
    except (AssertionError, OSError) as problem:
        told = f"step {done}, {name}: {problem}"
        raise Violation("\n".join([told, *world.story()])) from problem
    finally:
        world.close()
    return world.requests
