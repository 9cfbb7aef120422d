"""COW files between us and a real kernel: each reads what the other wrote, and what we merge is
what the guest read."""

from __future__ import annotations

import hashlib
import json
import os
import random
from typing import TYPE_CHECKING

import pytest

from tests.cows import KINDS, make, read
from tests.live.conftest import unless_strict

if TYPE_CHECKING:
    from pathlib import Path

    from tests.live.conftest import House

PAGE = 4096
PAGES = 256
WRITE = "dd if=/dev/urandom of=/dev/{} bs=4096 count=5 seek={} conv=notrunc"
READ_BACK = "sync; echo 3 >/proc/sys/vm/drop_caches; sha256sum </dev/{}"


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def pages(chance: random.Random, count: int) -> list[int]:
    """The sectors of so many pages."""
    return [8 * page + n for page in chance.sample(range(PAGES), count) for n in range(8)]


@unless_strict("its backing file is not given to the guest when that starts")
@pytest.mark.timeout(300)
def test_kernel_and_we_agree_on_what_is_in_a_cow_file(
    house: House, umid: str, tmp_path: Path
) -> None:
    house.start(umid)
    house.has_shell(umid)
    chance = random.Random(18)
    for number, kind in enumerate(KINDS):
        directory = str(tmp_path / f"k{number}")
        os.mkdir(directory)
        discarded = set(pages(chance, 30))
        made = make(directory, 8 * PAGES, pages(chance, 60), kind=kind, discarded=discarded)
        block = plug(house, umid, made.cow)
        seen = house.shell(umid, READ_BACK.format(block)).split()[0]
        assert seen == digest(made.disk), f"the kernel reads what we made, version {kind}"
        places = [WRITE.format(block, chance.randrange(PAGES - 5)) for _ in range(4)]
        now = house.shell(umid, " && ".join([*places, READ_BACK.format(block)])).split()[-2]
        assert now != seen
        if not number:
            refused = house.umlctl("cow", "merge", "--in-place", made.cow)
            assert refused.returncode == 7
            assert f"is written by {umid} as its ubd1" in refused.stderr
        assert house.ask(umid, "remove ubd1").ok
        house.ok("cow", "merge", made.cow, f"{directory}/merged")
        assert digest(read(f"{directory}/merged")) == now
        house.ok("cow", "merge", "--in-place", made.cow)
        assert digest(read(made.backing)) == now
    assert house.shell(umid, READ_BACK.format(plug(house, umid, made.cow))).split()[0] == now
    house.shell(umid, WRITE.format(block, 7))
    assert house.ask(umid, "remove ubd1").ok
    assert json.loads(house.ok("cow", "du", made.cow, "--json"))[0]["written"] == 5 * PAGE


def plug(house: House, umid: str, path: str) -> str:
    """Plug a disk; what the guest calls it."""
    outcome = house.ask(umid, f"plug disk {path},slot=1")
    assert outcome.ok, outcome
    return str(json.loads(outcome.data)["observed"]["block"])
