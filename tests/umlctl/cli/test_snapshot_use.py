from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

from tests.cows import read
from tests.snapshots import disk, ended, take, write
from umlctl import exitcodes
from umlctl.state import clones

if TYPE_CHECKING:
    import pytest

    from tests.umlctl.cli.conftest import Supervisor
    from umlctl.guest.definition import Definition


def test_guest_that_has_ended_goes_back(supervisor: Supervisor, house: str) -> None:
    made = disk(house)
    take("clean", {"demo": [made]})
    before = read(made.cow)
    write(made, 50, b"new")
    assert supervisor.main("snapshot", "diff", "demo", "clean", "--json") == 0
    (row,) = json.loads(supervisor.out)
    assert row == {"guest": "demo", "disk": "ubd1", "bytes": 512, "note": ""}
    assert supervisor.main("snapshot", "diff", "demo", "clean") == 0
    assert supervisor.out.splitlines()[1].split()[:3] == ["demo", "ubd1", "512"]
    ended("demo", lives=True)
    assert supervisor.main("snapshot", "revert", "demo", "clean") == exitcodes.REFUSED
    assert "demo runs, and has its disks; `umlctl shutdown demo` first" in supervisor.err
    ended("demo")
    assert supervisor.main("snapshot", "revert", "demo", "clean") == 0
    assert supervisor.out == f"{made.cow} is as it was in clean\n"
    assert read(made.cow) == before
    assert supervisor.main("snapshot", "revert", "demo", "clean", "--json") == 0
    assert json.loads(supervisor.out)["files"] == [made.cow]


def test_clone_is_started_with_disks_of_its_own(
    supervisor: Supervisor, house: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from umlctl.cli import start

    started: list[Definition] = []

    def start_again(definition: Definition, *, in_json: bool) -> int:
        assert not in_json
        started.append(definition)
        return 0

    monkeypatch.setattr(start, "start_again", start_again)
    made = disk(house)
    take("clean", {"demo": [made], "web": [disk(house, "web")]})
    assert supervisor.main("snapshot", "clone", "demo", "clean", "twin") == 0
    (definition,) = started
    assert (definition.umid, definition.disks) == ("twin", (f"{house}/twin/ubd1.img,slot=1",))
    assert read(f"{house}/twin/ubd1.img") == read(made.cow)
    assert supervisor.main("snapshot", "clone", "demo", "clean", "three", "--to", "twin") == 7
    assert f"{house}/twin: it is there already" in supervisor.err
    ended("three")
    assert supervisor.main("snapshot", "clone", "demo", "clean", "three") == exitcodes.REFUSED
    assert "there is a guest three already" in supervisor.err
    assert supervisor.main("snapshot", "clone", "demo", "clean", "a/b") == exitcodes.USAGE
    assert supervisor.main("snapshot", "clone", "demo", "clean", "c", "--to", "a,b") == 2
    assert len(started) == 1
    assert not os.path.exists(f"{house}/a,b")


def test_full_disk_is_said(
    supervisor: Supervisor, house: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    take("clean", {"demo": [disk(house)]})
    monkeypatch.setattr(clones, "copy_whole", full)
    assert supervisor.main("snapshot", "clone", "demo", "clean", "twin") == exitcodes.FAILED
    assert "No space left on device; make room there, and say it again" in supervisor.err
    assert not os.path.exists(f"{house}/twin")


def test_snapshot_goes_to_another_machine(supervisor: Supervisor, house: str) -> None:
    made = disk(house)
    take("clean", {"demo": [made]})
    assert supervisor.main("snapshot", "export", "demo", "clean", f"{house}/a.tar") == 0
    assert supervisor.out.startswith(f"{house}/a.tar has ")
    assert supervisor.main("snapshot", "export", "demo", "clean", f"{house}/a.tar") == 7
    assert "File exists" in supervisor.err
    assert supervisor.main("snapshot", "import", f"{house}/a.tar") == exitcodes.FAILED
    assert "has a snapshot clean already" in supervisor.err
    assert supervisor.main("snapshot", "import", f"{house}/a.tar", "far", "--json") == 0
    (layer,) = json.loads(supervisor.out)["layers"]
    assert (layer["path"], layer["backing"], layer["size"]) == (None, None, len(made.disk))
    assert read(layer["file"]) == made.disk
    assert supervisor.main("snapshot", "revert", "demo", "far") == exitcodes.FAILED
    assert "it was imported" in supervisor.err
    assert supervisor.main("snapshot", "import", f"{house}/none") == exitcodes.FAILED
    assert supervisor.main("snapshot", "import", made.cow) == exitcodes.FAILED
    assert "is no archive" in supervisor.err or "does not begin with" in supervisor.err
