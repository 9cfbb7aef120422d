"""Merges of COW files are killed at any time; nothing is lost of what the guest wrote."""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import signal
import subprocess
import tempfile
import time
from typing import TYPE_CHECKING, Final

from tests.chaos.world import Violation
from tests.cows import make, read
from tests.program import UMLCTL
from umlctl.storage.cow_file import check_fits, open_backing, open_cow
from umlctl.storage.journal import journal_of
from umlctl.storage.rebase import differences, rebase

if TYPE_CHECKING:
    from collections.abc import Callable

SECTORS: Final = 64 << 11
"""Of the disk: 64 MB."""
RUNS: Final = 3000
"""Parts of it that the guest wrote, each a sector or some: so that a merge has many steps."""
PAUSE: Final = 0.001
KILLS_OF_ONE: Final = 3
"""How often one merge in place is killed, and begun again, before it is finished."""


def kill_merges(count: int, say: Callable[[str], None]) -> int:
    """Kill so many merges that are not done yet, in place and into new files; how many it took.

    Raises: Violation
    """
    chance = random.Random(count)
    directory = tempfile.mkdtemp(prefix="cow", dir="/var/tmp")
    turn = begun = killed = 0
    try:
        tested = _Tested(directory, chance)
        while killed < count:
            kill = tested.kill_in_place if turn % 4 == 3 else tested.kill_into_new
            merges, met, what = kill()
            turn, begun, killed = turn + 1, begun + merges, killed + met
            say(f"kill {killed}: {what}")
    finally:
        shutil.rmtree(directory)
    say(f"{killed} of {begun} merges killed before they were done: well")
    return begun


class _Tested:
    """A COW file that is merged again and again, and what comes out if it is right."""

    def __init__(self, directory: str, chance: random.Random) -> None:
        self._directory = directory
        self._chance = chance
        starts = [chance.randrange(SECTORS) for _ in range(RUNS)]
        written = [start + n for start in starts for n in range(chance.randrange(1, 24))]
        discarded = set(chance.sample(written, len(written) // 10))
        os.mkdir(f"{directory}/kept")
        made = make(f"{directory}/kept", SECTORS, written, discarded=discarded)
        self._sum = hashlib.sha256(made.disk).digest()
        self._kept = made
        self._cow = f"{directory}/a.cow"
        self._base = f"{directory}/base.img"
        self._took = dict.fromkeys(("new", "in place"), 0.0)
        for way in self._took:
            self._begin()
            begun = time.monotonic()
            self._merge(way).wait()
            self._took[way] = time.monotonic() - begun
            self._check(f"{directory}/image" if way == "new" else self._base)

    def _begin(self) -> None:
        """Have the two files as they were."""
        for path in (f"{self._directory}/image", self._cow, self._base):
            if os.path.lexists(path):
                os.unlink(path)
        command = ["cp", "--sparse=always", "-p", self._kept.backing, self._kept.cow]
        subprocess.run([*command, self._directory], check=True)
        with open_cow(self._cow, write=True) as of, open_backing(of, self._base) as backing:
            rebase(of, differences(of, backing, self._base))

    def _umlctl(self, *words: str) -> list[str]:
        return [*UMLCTL, *words]

    def _merge(self, way: str) -> subprocess.Popen[bytes]:
        target = f"{self._directory}/image" if way == "new" else "--in-place"
        return subprocess.Popen(
            self._umlctl("cow", "merge", self._cow, target), stdout=subprocess.DEVNULL
        )

    def _killed(self, way: str) -> bool:
        """Begin a merge, and kill it in the time that the last took that was done; whether it was
        not done."""
        begun = time.monotonic()
        process = self._merge(way)
        left = self._took[way]
        while way == "in place" and not self._has_begun() and process.poll() is None and left > 0:
            time.sleep(PAUSE)
            left -= PAUSE
        try:
            process.wait(self._chance.uniform(0.0 if self._has_begun() else 0.3, 0.9) * left)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
        else:
            self._took[way] = time.monotonic() - begun
        return process.wait() == -signal.SIGKILL

    def _has_begun(self) -> bool:
        return os.path.exists(journal_of(self._cow))

    def kill_into_new(self) -> tuple[int, int, str]:
        """Merges, those of them that were killed before they were done, and what came of it."""
        self._begin()
        before = [os.stat(path).st_mtime_ns for path in (self._cow, self._base)]
        killed = self._killed("new")
        whole = self._names() == {"image"}
        if self._names() and not whole:
            raise Violation(f"a merge that was killed left {self._names()}")
        if whole:
            self._check(f"{self._directory}/image")
        if before != [os.stat(path).st_mtime_ns for path in (self._cow, self._base)]:
            raise Violation("a merge into a new file wrote to what it read")
        return 1, killed, f"into a new file, which is {'whole' if whole else 'not there'}"

    def kill_in_place(self) -> tuple[int, int, str]:
        """The same of several in place, each going on where the last was killed; then the merge is
        finished."""
        self._begin()
        killed = begun = 0
        for _ in range(KILLS_OF_ONE):
            killed += self._killed("in place")
            begun += self._has_begun()
        finish = ["check"] if self._has_begun() else ["merge", "--in-place"]
        done = subprocess.run(
            self._umlctl("cow", *finish, self._cow), capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise Violation(f"a merge that was killed is not finished: {done}")
        self._check(self._base)
        if self._names():
            raise Violation(f"a merge that was finished left {self._names()}")
        with open_cow(self._cow) as of, open_backing(of) as backing:
            check_fits(of, backing, self._base)
            if of.written():
                raise Violation(f"a merge that was finished left {of.written()} bytes to merge")
        return KILLS_OF_ONE, killed, f"{KILLS_OF_ONE} in place, {begun} in the middle"

    def _names(self) -> set[str]:
        return set(os.listdir(self._directory)) - {"kept", "a.cow", "base.img"}

    def _check(self, path: str) -> None:
        if hashlib.sha256(read(path)).digest() != self._sum:
            raise Violation(f"{path} is not what the guest wrote")
