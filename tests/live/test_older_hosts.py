"""Guests on hosts whose kernels have an older Landlock, or none."""

from __future__ import annotations

import contextlib
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.live.conftest import House, a_house, unless_strict
from tests.live.tries import (
    ASKED,
    FILES,
    LANDLOCK,
    OTHERS,
    READING,
    READS,
    ROOT,
    SOCKETS,
    STRICT,
    WRITES,
    WRITING,
    changed,
    changed_by_code,
    have_no_namespaces,
    of_host,
    succeeded,
    surroundings,
    told,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.skipif(not LANDLOCK, reason="this host cannot confine a guest")
OLDEST = 1
OF_DEBIAN_12 = 2


class OlderHouse(House):
    """A home whose commands run on a host with an older Landlock."""

    landlock = ""

    def command(self, *words: str) -> list[str]:
        older = [sys.executable, "-m", "tests.older_host", self.landlock]
        return [*older, *super().command(*words)]


@contextlib.contextmanager
def on_a_host_with(landlock: object) -> Iterator[House]:
    with a_house(OlderHouse) as home:
        assert isinstance(home, OlderHouse)
        home.landlock = str(landlock)
        yield home


@pytest.fixture(scope="module", params=["ENOSYS", "EOPNOTSUPP"])
def open_house(request: pytest.FixtureRequest) -> Iterator[House]:
    """A home on a host whose kernel has no Landlock, or was booted without it."""
    with on_a_host_with(request.param) as home:
        yield home


@unless_strict("no guest is confined on this host")
def test_guest_runs_and_all_say_that_it_is_not_confined(open_house: House) -> None:
    house = open_house
    done = house.umlctl("start", "open", "--mem", "64M")
    assert done.returncode == 0, done
    assert ("reaches every file of this host" in done.stderr) == ROOT
    house.has_shell("open")
    assert house.status("open")["confined"] == "off"
    assert house.listed("open")["confined"] == "off"
    assert "confined" in house.ok("status", "open")
    columns = house.ok("list", "--format", "csv", "--columns", "name,confine")
    assert columns == "open,off\n"
    disk = Path(house.path, "disk")
    disk.write_bytes(bytes(1 << 20))
    house.ok("disk", "add", "open", str(disk))
    house.ok("kill", "open")


def test_what_the_host_lacks_is_said(open_house: House) -> None:
    assert json.loads(open_house.ok("info", "--json"))["confinement"] is None
    (line,) = (each for each in open_house.ok("info").splitlines() if "confinement" in each)
    assert "no: its kernel has no Landlock" in line
    said = json.loads(open_house.umlctl("doctor", "--json").stdout)
    (found,) = (each for each in said["findings"] if each["check"] == "landlock")
    assert (found["severity"], "its kernel has no Landlock" in found["what"]) == ("warning", True)
    assert "landlock" in found["remedy"]
    assert said["facts"]["landlock"] is None


@pytest.mark.parametrize("version", [OLDEST, OF_DEBIAN_12])
def test_what_an_older_landlock_leaves_is_said(version: int) -> None:
    with on_a_host_with(version) as house:
        said = json.loads(house.umlctl("doctor", "--json").stdout)
        assert said["facts"]["landlock"] == version
        (found,) = (each for each in said["findings"] if each["check"] == "landlock")
        assert found["severity"] == "note"
        assert ("moved to another directory" in found["why"]) == (version == OLDEST)


@pytest.mark.parametrize("words", [["--confine", WRITES], ["--confine", STRICT], ["--rw", "/srv"]])
def test_confinement_by_hand_is_an_error(open_house: House, words: list[str]) -> None:
    done = open_house.umlctl("run", "shut", "--mem", "64M", *words)
    assert done.returncode == 7
    assert "this host cannot confine a guest: its kernel has no Landlock" in done.stderr
    assert "--confine off" in done.stderr
    assert open_house.leftovers("shut") == []


@pytest.mark.parametrize("version", [OLDEST, OF_DEBIAN_12])
def test_guest_is_confined_as_well_where_it_has_namespaces(version: int) -> None:
    with on_a_host_with(version) as house, surroundings(house, (WRITES, STRICT)) as worlds:
        assert json.loads(house.ok("info", "--json"))["confinement"] == version
        for mode, world in worlds.items():
            assert house.status(world.own)["confined"] == mode
            assert house.status(world.own)["own_mounts"]
            assert changed(world, WRITING) == set()
            assert told(world, READING) == set()
            assert changed_by_code(world, FILES) == {}
            assert succeeded(world, READS) == {}
            assert succeeded(world, SOCKETS) == {}
            assert succeeded(world, ASKED) == {}
            assert succeeded(world, OTHERS) == {}
            assert succeeded(world, of_host(world)) == {}


def test_without_namespaces_it_can_send_signals_and_change_nothing(tmp_path: Path) -> None:
    with on_a_host_with(OLDEST) as house:
        have_no_namespaces(house, tmp_path / "bin")
        with surroundings(house, (WRITES, STRICT)) as worlds:
            for world in worlds.values():
                assert changed(world, WRITING) == set()
                assert changed_by_code(world, FILES) == {}
                signals = {"signal", "signal the supervisor", "signal a thread"}
                assert succeeded(world, OTHERS).keys() == signals
                assert succeeded(world, ASKED) == {}
            assert told(worlds[STRICT], READING) == set()
