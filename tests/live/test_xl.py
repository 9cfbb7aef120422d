"""`xl` on guests that run."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

from tests.live.conftest import DEADLINE, wait_for

if TYPE_CHECKING:
    from pathlib import Path

    from tests.live.conftest import House


def xl(house: House, *words: str) -> str:
    """Run `xl WORDS`, which must succeed; what it printed."""
    done = subprocess.run(
        [sys.executable, "-m", "umlctl.compat.xl", *words],
        env=house.env,
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, ""), (words, done)
    return done.stdout


def state(house: House, umid: str) -> str:
    """The letters of a domain's state; empty if it is not listed."""
    rows = [line.split() for line in xl(house, "list").splitlines()]
    return next((row[4] for row in rows if row[0] == umid), "")


def test_domain_lives_as_with_xen(house: House, umid: str, tmp_path: Path) -> None:
    disk = tmp_path / "d.img"
    disk.write_bytes(b"\0" * (1 << 20))
    house.start(umid, "--disk", f"{disk},slot=1")
    house.has_init(umid)
    number = xl(house, "domid", umid).strip()
    assert int(number) == house.status(umid)["pid"]
    assert xl(house, "domname", number) == f"{umid}\n"
    xl(house, "pause", umid)
    assert state(house, umid) == "--p---"
    xl(house, "unpause", number)
    assert state(house, umid) == "r-----"
    assert xl(house, "block-list", umid).splitlines()[1].split()[0] == "51728"
    xl(house, "block-detach", umid, "xvdb")
    assert len(xl(house, "block-list", umid).splitlines()) == 1
    xl(house, "mem-set", umid, "48m")
    assert house.table(umid)["mem"]["kernel"] == "mem=-16M"
    xl(house, "mem-set", umid, "64m")
    xl(house, "reboot", umid)
    assert xl(house, "domid", umid).strip() != number
    house.has_init(umid)
    xl(house, "shutdown", "-w", umid)
    assert state(house, umid) == ""


def test_request_to_shut_down_stands_while_nobody_waits(house: House, umid: str) -> None:
    house.start(umid)
    house.has_init(umid)
    number = xl(house, "domid", umid)
    assert xl(house, "shutdown", umid) == f"Shutting down domain {number}"
    wait_for(lambda: state(house, umid) == "", "it has shut down")
    assert house.listed(umid)["ending"]["cause"] == "shut down"


def test_domain_is_created_by_its_file(house: House, umid: str, tmp_path: Path) -> None:
    (tmp_path / "d.img").write_bytes(b"\0" * (1 << 20))
    file = tmp_path / "domain.cfg"
    file.write_text(f'name = "{umid}"\nmemory = 32\n')
    said = xl(house, "create", "-q", str(file), "memory=64")
    assert said == ""
    house.has_init(umid)
    assert house.status(umid)["memory_limit"] == 64 << 20
    xl(house, "block-attach", umid, f"{tmp_path}/d.img", "xvdc", "r")
    assert xl(house, "block-list", umid).splitlines()[1].split()[0] == "51744"
    xl(house, "reboot", umid)
    assert state(house, umid) == "r-----"
    xl(house, "destroy", umid)


def test_destroyed_domain_is_gone(house: House, umid: str) -> None:
    house.start(umid)
    xl(house, "destroy", umid)
    assert state(house, umid) == ""
