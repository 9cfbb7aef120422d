"""`umlctl test`: real guests, and what is left of them when it is ended."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import trio

from tests.live.conftest import DEADLINE, House, a_house, heed_signals, processes_of, wait_for
from tests.program import UMLCTL
from umlctl.testing.expected import Expected
from umlctl.testing.kept_runs import a_run
from umlctl.testing.runner import Limits, Runner
from umlctl.testing.trial import Trial

if TYPE_CHECKING:
    from collections.abc import Iterator

    from umlctl.testing.result import Result

KTAP = 'echo "KTAP version 1"; echo "1..2"; echo "ok 1 first"; '
OPTIONS: dict[str, Any] = {
    **dict.fromkeys(("disks", "nics", "rw", "shares", "variables", "load", "append"), ()),
    "seccomp": False,
    "virtual_time": None,
    "kernel": None,
    "mem": "64M",
    "kept": "memory",
    "readonly": True,
    "user": "",
    "cwd": None,
    "clean_env": False,
    "confine": None,
}


class Place:
    """A place where tests are run."""

    def __init__(self, house: House) -> None:
        self.house = house
        self.results = f"{house.path}/results.json"

    def command(self, *words: str) -> list[str]:
        own = ("test", "--results", self.results)
        return [*UMLCTL, *own, *words]

    def run(self, *words: str) -> tuple[int, dict[str, Any]]:
        """Run tests; the exit code, and what became of each case."""
        done = subprocess.run(
            self.command(*words),
            env=self.house.env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=2 * DEADLINE,
            check=False,
        )
        assert os.path.exists(self.results), done
        found: dict[str, Any] = json.loads(Path(self.results).read_text())
        assert self.left() == []
        return done.returncode, found

    def left(self) -> list[str]:
        """What is left of guests."""
        places = ("u/run/g", "u/run/k", "u/run/x", "u/state/guests")
        found = [
            name
            for place in places
            if os.path.isdir(f"{self.house.path}/{place}")
            for name in os.listdir(f"{self.house.path}/{place}")
        ]
        return found + [f"process {pid}" for pid in processes_of(f"uml_dir={self.house.run}/k")]


@pytest.fixture(scope="module")
def tests() -> Iterator[Place]:
    with a_house() as house:
        yield Place(house)


def statuses(found: dict[str, Any]) -> list[tuple[str, str]]:
    return [(".".join(each["path"]), each["status"]) for each in found["results"]]


def test_all_guests_are_accounted_for(tests: Place) -> None:
    code, found = tests.run("--repeat", "4", "--jobs", "2", "--mem", "64M", "--", "true")
    assert code == 0
    assert statuses(found) == 4 * [("true", "passed")]
    assert [each["repetition"] for each in found["results"]] == [1, 2, 3, 4]


def test_cases_before_a_panic_count_and_its_log_is_kept(tests: Place) -> None:
    script = KTAP + "sleep 1; echo c >/proc/sysrq-trigger; sleep 60"
    code, found = tests.run("--", "sh", "-c", script)
    assert code == 255
    (first, second) = found["results"]
    assert (first["path"], first["status"]) == (["first"], "passed")
    assert (second["status"], second["reason"]) == ("panicked", "sysrq triggered crash")
    log = Path(second["log_file"]).read_text()
    assert "ok 1 first" in log
    assert "Call Trace:" in log


def test_silent_guest_is_ended_with_the_stacks_of_its_tasks(tests: Place) -> None:
    code, found = tests.run("--silence", "8", "--", "sh", "-c", "echo begun; sleep 600")
    assert code == 1
    (result,) = found["results"]
    assert result["status"] == "hung"
    log = Path(result["log_file"]).read_text()
    assert log.startswith("begun\n")
    assert "Show Blocked State" in log
    assert log.count("Call Trace:") > 5


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_run_that_is_ended_leaves_nothing(tests: Place, number: signal.Signals) -> None:
    process = subprocess.Popen(
        tests.command("--repeat", "9", "--jobs", "2", "--mem", "64M", "--", "sleep", "600"),
        env=tests.house.env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        preexec_fn=heed_signals,  # noqa: PLW1509
    )
    try:
        running = f"uml_dir={tests.house.run}/k"
        wait_for(lambda: len(processes_of(running)) >= 2, "guests run")
        process.send_signal(number)
        code = process.wait(DEADLINE)
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        process.wait(DEADLINE)
    assert code == (-number if number == signal.SIGKILL else 128 + number)
    wait_for(lambda: tests.left() == [], "nothing is left")


class Untold:
    """Nobody is told how it goes."""

    def ended(self, _leaf: object) -> None:
        """Not heeded."""

    def done(self, _trial: object, _results: object, *, again: bool) -> None:
        """Not heeded."""


@pytest.mark.parametrize(
    ("letter", "status", "reason"),
    [("o", "crashed", "the plan was 3 cases"), ("c", "panicked", "sysrq triggered crash")],
)
def test_what_a_kernel_says_itself_is_read(
    tests: Place, monkeypatch: pytest.MonkeyPatch, letter: str, status: str, reason: str
) -> None:
    """As it does with KUnit, which Debian's kernel has not: before there is a command, and ending
    then. Here process 1 has it say the same."""
    for name, value in tests.house.env.items():
        monkeypatch.setenv(name, value)
    lines = ["KTAP version 1", "1..2", "    KTAP version 1", "    # Subtest: suite", "    1..3"]
    lines += ["    ok 1 one", "    # two: why", "    not ok 2 two"]
    said = "".join(f"echo '{line}' >/dev/kmsg\n" for line in lines)
    init = Path(tests.house.path) / "init.sh"
    init.write_text(
        f"#!/bin/sh\n{said}setpriv --no-new-privs mount -t proc proc /proc &&\n"
        f"echo {letter} >/proc/sysrq-trigger && sleep 60\n"
    )
    init.chmod(0o755)
    options = {**OPTIONS, "append": (f"init={init}",)}
    trial = Trial(name="*", kernel="", words=("true",), options=options, from_log=True)

    async def run() -> list[Result]:
        with a_run() as place:
            return await Runner(place, Limits(1), Expected(), Untold()).run([trial])

    one, two, suite, *rest = trio.run(run)
    assert (one.name, one.status) == ("suite.one", "passed")
    assert (two.name, two.status) == ("suite.two", "failed")
    assert "# two: why" in two.log
    assert (suite.name, suite.status) == ("suite", status)
    assert reason in suite.reason
    assert re.search(r"\] +not ok 2 two", Path(two.log_file).read_text())
    assert [each.name for each in rest] == (["*"] if letter == "o" else [])
