"""Who looks at guests changes nothing: what their supervisors left is shown, for the next one."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import re
import signal
import stat
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.live.conftest import House, kill_supervisor, processes_of, wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator

RUNS, ALONE, DIED, LOST = "looks-runs", "looks-alone", "looks-died", "looks-lost"
SEALED = 'mount --bind "$0" "$0" && mount -o remount,bind,ro "$0" && exec "$@"'
STATES = {RUNS: "running", ALONE: "unsupervised", DIED: "dead", LOST: "unsupervised"}
LOOKS = (["list"], ["info"], ["top"])
MORE = (["list", "--enabled"], *(["logs", name, "-n", "1"] for name in STATES))


def has_said_all(house: House, name: str) -> bool:
    """What a guest prints of its own accord is on its console: the next is what it is told."""
    said = Path(f"{house.state}/guests/{name}/console.log").read_bytes()
    return f"{name}:/# ".encode() in said and bool(re.search(rb"exit` ends it\r?\n", said))


@pytest.fixture
def left() -> Iterator[House]:
    """A guest that is supervised, and three whose supervisor was killed: one runs on, one has died
    since, and of one the record is lost."""
    house = House(tempfile.mkdtemp(prefix="u", dir="/tmp"))
    with contextlib.ExitStack() as stack:
        stack.callback(house.remove)
        stack.callback(house.umlctl, "quit")
        image = Path(house.path, "image")
        image.write_bytes(b"\0" * (1 << 20))
        for name in (ALONE, DIED, LOST):
            house.start(name, *(["--disk", str(image)] if name == ALONE else []))
            stack.callback(house.umlctl, "kill", name)
        for name in (ALONE, DIED, LOST):
            wait_for(functools.partial(has_said_all, house, name), f"{name} prints no more")
        stack.enter_context(house.running(RUNS))
        pid = house.status(DIED)["pid"]
        kill_supervisor(house, DIED)
        os.killpg(pid, signal.SIGKILL)
        wait_for(lambda: not processes_of(f"umid={DIED}"), "nothing of it runs")
        Path(house.path, "died").touch()
        for path in (f"{house.state}/guests/{LOST}", f"{house.run}/g/{LOST}"):
            Path(path, "record.json").write_bytes(b"{")
        yield house


def files_of(house: House) -> dict[str, tuple[object, ...]]:
    """What is on disk of the guests that nobody supervises, and of the house as a whole."""
    found: dict[str, tuple[object, ...]] = {}
    for top in (house.state, house.run):
        for path in (Path(top), *Path(top).rglob("*")):
            if RUNS not in str(path):
                seen = path.lstat()
                data = path.read_bytes() if stat.S_ISREG(seen.st_mode) else b""
                found[str(path)] = (seen.st_mode, seen.st_ino, seen.st_mtime_ns, data)
    return found


def completed(house: House, line: str) -> list[str]:
    """What the shell offers for the last word of a line."""
    words = {"_UMLCTL_COMPLETE": "bash_complete", "COMP_WORDS": line}
    words["COMP_CWORD"] = str(line.count(" "))
    house.env |= words
    try:
        return [each.partition(",")[2] for each in house.ok().splitlines()]
    finally:
        for word in words:
            del house.env[word]


class Sealed(House):
    """The same house, whose state directory nobody can write to."""

    def __init__(self, house: House) -> None:
        vars(self).update(vars(house))

    def command(self, *words: str) -> list[str]:
        command = super().command(*words)
        if os.geteuid():
            return command
        return ["unshare", "--mount", "sh", "-c", SEALED, self.state, *command]


@contextlib.contextmanager
def sealed(house: House) -> Iterator[House]:
    """Root can write wherever modes forbid it, but to no file system that is mounted read-only."""
    state = Path(house.state)
    modes = {path: path.stat().st_mode for path in (state, *state.rglob("*"))}
    try:
        if os.geteuid():
            for path, mode in modes.items():
                path.chmod(mode & 0o555)
        yield Sealed(house)
    finally:
        if os.geteuid():
            for path, mode in modes.items():
                path.chmod(mode)


def look(house: House, *looks: list[str]) -> None:
    """Each look shows what is so."""
    for words in looks:
        done = house.umlctl(*words)
        assert done.returncode == 0, (words, done)
        assert "Traceback" not in done.stderr
    found = house.rows()
    assert {name: row["state"] for name, row in found.items()} == STATES
    for name in (ALONE, LOST):
        assert f"`umlctl adopt {name}` has it supervised again" in found[name]["trouble"]
    assert found[DIED]["ending"]["text"] == "signal 9 from somebody else"
    assert found[DIED]["since"] <= Path(house.path, "died").stat().st_mtime, "once, and for all"
    assert set(completed(house, "umlctl status ")) >= {RUNS, ALONE, LOST}
    assert completed(house, f"umlctl disk rm {ALONE} ") == ["ubd1"]


def test_look_writes_nothing_and_leaves_guests_to_the_next_supervisor(left: House) -> None:
    before = files_of(left)
    look(left, *LOOKS)
    assert files_of(left) == before
    with sealed(left) as house:
        look(house, *LOOKS, *MORE)
        for name, state in STATES.items():
            done = house.umlctl("status", name, "--json")
            assert (done.returncode, json.loads(done.stdout)["state"]) == (0, state), done
            assert ("the supervisor cannot be started" in done.stderr) == (name != RUNS), done
        assert house.umlctl("wait", DIED).returncode == 128 + signal.SIGKILL
    assert files_of(left) == before
    kernels = {name: row["pid"] for name, row in left.rows().items()}
    said = left.ok("adopt")
    assert f"{DIED} died without a supervisor, killed: signal 9" in said
    found = left.rows()
    assert {name: row["state"] for name, row in found.items()} == STATES | {
        ALONE: "running",
        LOST: "running",
    }
    assert {name: row["pid"] for name, row in found.items()} == kernels
    assert left.leftovers(DIED) == []
    events = [json.loads(line) for line in left.ok("events", DIED, "--json").splitlines()]
    assert [event["event"] for event in events].count("ended") == 1
    assert "record lost" in left.ok("events", LOST)
