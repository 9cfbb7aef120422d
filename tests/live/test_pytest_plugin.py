"""A user's tests, in a run of pytest of their own, with real guests."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.live.conftest import DEADLINE, House

ROOT = Path(__file__).parents[2]
TESTS = """
import pytest

def test_kernel_says_who_it_is(guest):
    assert guest.exec(["uname", "-s"], text=True).stdout == "Linux\\n"

@pytest.mark.parametrize("number", range(2))
def test_two_guests_have_files_of_their_own(uml, number):
    one, other = uml(mem="64M"), uml(mem="64M")
    one.exec(["touch", "/tmp/mine"], check=True)
    assert other.exec(["test", "-e", "/tmp/mine"]).returncode == 1

def test_crash(uml):
    uml(mem="64M").exec(["sh", "-c", "echo c >/proc/sysrq-trigger; sleep 60"])
"""


def run(house: House, directory: Path, *words: str) -> subprocess.CompletedProcess[str]:
    (directory / "test_mine.py").write_text(TESTS)
    command = [sys.executable, "-m", "pytest", "-p", "umlctl.pytest_plugin", *words]
    return subprocess.run(
        [*command, "-p", "no:cacheprovider", "--rootdir", str(directory), "test_mine.py"],
        cwd=directory,
        env={**house.env, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=4 * DEADLINE,
        check=False,
    )


def test_tests_pass_and_one_that_fails_shows_the_panic(empty_house: House, tmp_path: Path) -> None:
    done = run(empty_house, tmp_path, "-n", "2")
    assert "1 failed, 3 passed" in done.stdout, done.stdout
    for said in ("panicked: sysrq triggered crash", "Kernel panic - not syncing", "Call Trace"):
        assert said in done.stdout, done.stdout
    assert "in_guest.py" not in done.stdout, "it is the test that is shown"
    assert os.listdir(f"{empty_house.state}/guests") == []


def test_guests_are_kept_for_who_wants_to_look_at_them(empty_house: House, tmp_path: Path) -> None:
    done = run(empty_house, tmp_path, "--uml-keep-failed", "-k", "crash or who")
    assert "1 failed, 1 passed" in done.stdout, done.stdout
    (name,) = os.listdir(f"{empty_house.state}/guests")
    assert f"it is kept for `umlctl logs {name}`" in done.stdout
    assert "Call Trace" in empty_house.ok("logs", name)
    empty_house.ok("rm", name)
