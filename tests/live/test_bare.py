"""A kernel that somebody started by hand: what keeps it from answering is said, and it can be
ended."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.live.conftest import hold, wait_for
from umlctl.host import processes

if TYPE_CHECKING:
    from tests.live.conftest import House


def _main(path: str) -> tuple[int, int]:
    """The kernel's main process, and when it began."""
    pid = int(Path(os.path.dirname(path), "pid").read_text())
    return pid, processes.start_time(pid) or 0


def test_who_holds_it_is_said_at_once(house: House, umid: str) -> None:
    with house.by_hand(umid) as path:
        pid, started = _main(path)
        hold(pid)
        done = house.umlctl("version", path, "--timeout", "3")
        assert done.returncode == 4
        assert (
            f"is waited for: its process is stopped by a signal; `kill -CONT {pid}`" in done.stderr
        )
        done = house.umlctl("kill", path)
        assert (done.returncode, " killed" in done.stdout) == (0, True), done
        assert not processes.alive(pid, started)


def test_it_is_shut_down_as_far_as_it_can_be(house: House, umid: str) -> None:
    with house.by_hand(umid) as path:
        pid, started = _main(path)
        done = house.umlctl("shutdown", path, "1", "--json")
        ending = json.loads(done.stdout)
        assert (done.returncode, ending["cause"]) == (7, "killed"), done
        assert ending["text"] == "not seen to sync"
        assert not processes.alive(pid, started)


@pytest.mark.parametrize("verb", ["halt", "kill"])
def test_it_is_ended_though_its_worker_is_stuck(house: House, umid: str, verb: str) -> None:
    with house.by_hand(umid) as path:
        pid, started = _main(path)
        assert house.umlctl("proc", path, "kcore", "--force", "--timeout", "1").returncode != 0
        assert house.umlctl("version", path, "--timeout", "1").returncode == 4
        house.ok(verb, path, "--timeout", "1")
        wait_for(lambda: not processes.alive(pid, started), "it has ended")


def test_it_is_listed_with_the_keys_of_every_other_guest(
    house: House, umid: str, shared: str
) -> None:
    with house.by_hand(umid) as path:
        os.makedirs(f"{house.home}/.uml", exist_ok=True)
        os.symlink(os.path.dirname(path), f"{house.home}/.uml/{umid}")
        try:
            rows = house.rows()
        finally:
            os.unlink(f"{house.home}/.uml/{umid}")
        assert (rows[umid]["state"], rows[umid]["pid"]) == ("unmanaged", _main(path)[0])
        assert {tuple(row) for row in rows.values()} == {tuple(house.status(shared))}


def test_kernel_of_a_guest_is_its_supervisors_to_end(house: House, shared: str) -> None:
    done = house.umlctl("kill", house.kernel_socket(shared))
    assert done.returncode == 1
    assert "nobody supervises" in done.stderr
    house.ok("version", shared)
