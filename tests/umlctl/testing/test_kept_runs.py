from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from umlctl.host import paths
from umlctl.testing import kept_runs
from umlctl.testing.kept_output import KeptOutput
from umlctl.testing.kept_runs import Run, a_run

if TYPE_CHECKING:
    import pytest


def keep(run: Run, name: str, said: bytes = b"said\n") -> str:
    with KeptOutput(f"{run.scratch}/output") as output:
        output.add(said)
        return run.keep(name, output, f"{run.scratch}/kernel.log")


def test_logs_stay_and_all_else_goes(house: str) -> None:
    with a_run() as run:
        Path(f"{run.scratch}/kernel.log").write_bytes(b"Linux\n")
        path = keep(run, "./t --of 'it' / é")
        assert os.path.basename(path) == "001-t---of-it.log"
    assert Path(path).read_bytes() == b"said\n\n[what its kernel has said]\nLinux\n"
    assert os.listdir(run.path) == ["001-t---of-it.log"]


def test_run_without_logs_leaves_nothing(house: str) -> None:
    with a_run() as run:
        assert os.path.isdir(run.scratch)
    assert os.listdir(paths.tests_dir()) == []


def test_names_of_logs_are_harmless(house: str) -> None:
    with a_run() as run:
        names = [os.path.basename(keep(run, name)) for name in ("..", "/etc/x", "", "a" * 999)]
    assert names[:3] == ["001-case.log", "002-etc-x.log", "003-case.log"]
    assert len(names[3]) < 100


def test_logs_of_one_run_are_counted(house: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept_runs, "MAX_LOGS", 2)
    with a_run() as run:
        assert [bool(keep(run, "x")) for _ in range(3)] == [True, True, False]


def test_earlier_runs_are_not_kept_for_ever(house: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept_runs, "MAX_RUNS", 3)
    above = paths.tests_dir()
    for number in range(5):
        os.makedirs(f"{above}/{number}")
        Path(f"{above}/{number}/001-x.log").touch()
    with a_run() as run:
        keep(run, "x")
        assert set(os.listdir(above)) == {"3", "4", os.path.basename(run.path)}


def test_what_a_killed_run_has_left_goes_and_one_that_lasts_stays(house: str) -> None:
    os.makedirs(f"{paths.tests_dir()}/1/{kept_runs.SCRATCH}/7")
    with a_run() as lasting:
        with a_run():
            assert os.path.isdir(lasting.scratch)
        assert os.listdir(paths.tests_dir()) == [os.path.basename(lasting.path)]


def test_runs_of_one_second_are_apart(house: str) -> None:
    kept = []
    for _ in range(3):
        with a_run() as run:
            kept.append(keep(run, "x"))
    assert len(set(kept)) == 3
    assert all(os.path.exists(path) for path in kept)
