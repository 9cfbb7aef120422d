"""Torment guests: `python -m tests.chaos --seed 7 --steps 100`. The same seed does the same."""

from __future__ import annotations

import argparse
import random
import sys
import time

from tests.chaos.kills import kill_supervisors
from tests.chaos.merges import kill_merges
from tests.chaos.torment import torment
from tests.chaos.world import Violation


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seed", type=int, help="of the first run; made up unless given")
    parser.add_argument("--seeds", type=int, default=1, help="how many runs, each with the next")
    parser.add_argument("--steps", type=int, default=100, help="of each run")
    parser.add_argument("--guests", type=int, default=3)
    parser.add_argument("--kills", type=int, metavar="N", help="only kill the supervisor N times")
    parser.add_argument("--merges", type=int, metavar="N", help="only kill N merges of COW files")
    parser.add_argument("--quiet", action="store_true", help="do not say each step")
    options = parser.parse_args()
    first = random.randrange(1 << 32) if options.seed is None else options.seed
    if options.kills:
        kill_supervisors(options.kills, options.guests, print)
        return 0
    if options.merges:
        kill_merges(options.merges, print)
        return 0
    failed = 0
    for seed in range(first, first + options.seeds):
        begun = time.monotonic()
        say = (lambda _text: None) if options.quiet else print
        try:
            requests = torment(seed, options.steps, options.guests, say)
        except Violation as problem:
            failed += 1
            print(f"seed {seed}: VIOLATION: {problem}", flush=True)
            again = f"--seed {seed} --steps {options.steps} --guests {options.guests}"
            print(f"`python -m tests.chaos {again}` takes the same steps again", flush=True)
            continue
        took = time.monotonic() - begun
        print(f"seed {seed}: {options.steps} steps, {requests} requests, {took:.0f}s: well")
    print(f"{options.seeds} seeds, {failed} with violations")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
