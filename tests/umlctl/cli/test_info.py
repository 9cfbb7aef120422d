from __future__ import annotations

import json
import os
import resource
import shutil
from typing import TYPE_CHECKING

from umlctl.cli import info, main
from umlctl.errors import NoKernel
from umlctl.guest.definition import DEFAULT_MEM_BYTES
from umlctl.host import paths, processes, room
from umlctl.kernels import find

if TYPE_CHECKING:
    import pytest


def test_host_is_shown(
    house: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(find, "find", lambda: "/usr/bin/linux.uml")
    config: dict[str, str] = {}
    kernel = find.ProbedKernel("/usr/bin/linux.uml", "6.19", frozenset(), config)
    monkeypatch.setattr(find, "probe", lambda _path: kernel)
    monkeypatch.setattr(shutil, "which", lambda _name: None)
    monkeypatch.setattr(processes, "has_capability", lambda _name: False)
    monkeypatch.setenv("TMPDIR", house)
    free = 10 * DEFAULT_MEM_BYTES + 1
    monkeypatch.setattr(room, "memory", lambda: {"MemTotal": 2 * free, "MemAvailable": free})
    monkeypatch.setattr(room, "look", lambda _directory: room.Space(4 * free, 2 * free))
    monkeypatch.setattr(resource, "getrlimit", lambda _which: (resource.RLIM_INFINITY,) * 2)
    assert main.run(["info", "--json"]) == 0
    found = json.loads(capfd.readouterr().out)
    assert found["kernel"] == "/usr/bin/linux.uml"
    assert found["processors"] == len(os.sched_getaffinity(0))
    assert 0 < found["memory_free"] <= found["memory"]
    assert (found["memory_dir"], found["guests"]) == (house, {})
    assert (found["slirp4netns"], found["taps"]) == (False, False)
    assert found["state_dir"] == paths.state_dir()
    assert (found["room_idle"], found["room_full"]) == (free // room.IDLE_GUEST_BYTES, 10)
    assert found["room_bound"] == "memory"
    assert (found["guest_processors"], found["guests_memory"]) == (1, 0)
    assert main.run(["info"]) == 0
    text = capfd.readouterr().out
    assert "no: slirp4netns is missing" in text
    assert "guests            none" in text
    assert "bounds of guests  none\n" in text
    assert "a guest costs" in text
    assert "/usr/bin/linux.uml, Linux 6.19\n" in text
    assert "for guests that you do not trust" not in text
    assert "own mounts" in text
    assert (
        f"for {free // room.IDLE_GUEST_BYTES} more guests when idle, 10 that use 256M each" in text
    )
    assert "bound by memory\n" in text
    assert "1: the kernel has no SMP" in text
    old = kernel._replace(version="6.1.176")
    monkeypatch.setattr(find, "probe", lambda _path: old)
    assert any("6.12 or newer" in hint for hint in info.gather()["hints"])
    monkeypatch.setattr(find, "probe", lambda _path: kernel)
    config.update(SMP="y", NR_CPUS="64")
    assert main.run(["info"]) == 0
    assert "up to 64, with --ncpus" in capfd.readouterr().out


def test_bounds_are_shown_with_where_they_are_written(
    house: str, capfd: pytest.CaptureFixture[str]
) -> None:
    os.mkdir(f"{house}/u/config", 0o700)
    path = f"{house}/u/config/umlctl.toml"
    with open(path, "w") as file:
        file.write('[host]\nmax_guests = 3\nmax_total_mem = "2G"\novercommit = false\n')
    assert main.run(["info", "--json"]) == 0
    found = json.loads(capfd.readouterr().out)
    assert (found["max_guests"], found["max_total_mem"]) == (3, 2 << 30)
    assert (found["overcommit"], found["bounds_files"]) == (False, [path])
    assert found["guests_mem"] == 0
    assert main.run(["info"]) == 0
    said = f"3 guests, 2.0G of memory in all, no more memory than there is ({path})\n"
    assert f"bounds of guests  {said}" in capfd.readouterr().out


def test_bounds_that_cannot_be_read_are_a_hint(
    house: str, capfd: pytest.CaptureFixture[str]
) -> None:
    os.mkdir(f"{house}/u/config", 0o700)
    with open(f"{house}/u/config/umlctl.toml", "w") as file:
        file.write("[host]\nmax_guests = many\n")
    assert main.run(["info", "--json"]) == 0
    found = json.loads(capfd.readouterr().out)
    assert found["max_guests"] is None
    assert any("umlctl.toml:2: max_guests: " in hint for hint in found["hints"])
    assert main.run(["info"]) == 0
    assert "bounds of guests  not known, and no guest starts" in capfd.readouterr().out


def test_room_is_bound_by_whatever_there_is_least_of(
    house: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    limits = {resource.RLIMIT_NOFILE: (64, 64)}
    endless = resource.RLIM_INFINITY, resource.RLIM_INFINITY
    monkeypatch.setattr(resource, "getrlimit", lambda which: limits.get(which, endless))
    assert main.run(["info"]) == 0
    said = "for 6 more guests when idle, 6 that use 256M each, bound by descriptors; more take"
    assert said in capfd.readouterr().out


def test_host_that_lacks_things_is_shown_all_the_same(
    house: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def none() -> str:
        raise NoKernel("no kernel")

    monkeypatch.setattr(find, "find", none)
    monkeypatch.setenv("TMPDIR", f"{house}/nonexistent")
    found = info.gather()
    assert found["memory_room"] is found["room_idle"] is found["guest_processors"] is None
    assert main.run(["info"]) == 0
    assert "`umlctl setup` fetches one" in capfd.readouterr().out
