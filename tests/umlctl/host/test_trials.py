from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from umlctl.host import call_list, trials

if TYPE_CHECKING:
    from pathlib import Path

FILTERED = """
import sys
from tests.forbid import forbid
from umlctl.host import trials
forbid(int(sys.argv[1]))
print(getattr(trials, sys.argv[2])(*sys.argv[3:]) or "can", trials.is_filtered())
"""


def test_what_a_host_allows_is_seen_to_work() -> None:
    assert (trials.ptrace(), trials.fixed_addresses(), trials.calls()) == ("", "", "")


@pytest.mark.parametrize(
    ("number", "trial"),
    [(101, ["ptrace"]), (135, ["fixed_addresses"]), (272, ["scope", "--user --pid"])],
)
def test_what_a_filter_forbids_is_seen_to_fail(number: int, trial: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FILTERED, str(number), *trial],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert "Operation not permitted" in done.stdout
    assert done.stdout.endswith(" True\n")


def test_tracer_that_is_killed_for_it_is_seen() -> None:
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            FILTERED.replace("sys.argv[1])", "sys.argv[1]), 31"),
            "101",
            "ptrace",
        ],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert "ended by signal 31" in done.stdout


def test_program_that_is_missing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert trials.fixed_addresses() == "there is no program setarch"
    assert trials.scope("--pid") == "there is no program unshare"


def test_program_that_says_nothing_or_does_not_end_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "setarch"
    program.write_text("#!/bin/sh\nexit 3\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert trials.fixed_addresses() == "setarch ended with status 3"
    program.write_text("#!/bin/sh\nexec sleep 60\n")
    monkeypatch.setattr(trials, "TRIAL_TIMEOUT", 0.2)
    assert "did not end within" in trials.fixed_addresses()


def test_programs_in_memory_are_tried_where_there_are_any(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(call_list, "run", refuse)
    assert trials.calls() == "Permission denied"
    monkeypatch.setattr(call_list, "MACHINES", frozenset())
    assert trials.calls() == ""
