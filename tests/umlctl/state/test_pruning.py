from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

import msgspec
import pytest

from tests.umlctl.state.test_records import ended, keep, put, record
from umlctl.host import paths
from umlctl.state import pruning, records
from umlctl.state.pruning import MIN_ENDED_GUESTS, prune
from umlctl.state.umid_lock import claim

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def run_dir(house: str) -> Iterator[str]:
    yield paths.make_run_dir()
    assert not os.listdir(f"{paths.run_dir()}/g"), "forgetting leaves no locks"


def test_record_of_another_name_is_not_believed(house: str, run_dir: str) -> None:
    """Whoever forgets a guest removes the directory of its name."""
    os.makedirs(paths.record_dir("demo"))
    for umid in ("../..", "other", "/"):
        stray = record(umid, named=False, ending=ended(0, 1.0))
        with open(records.path_of("demo"), "wb") as file:
            file.write(msgspec.json.encode(stray))
        assert records.load("demo") is None
        prune()
    assert os.path.isdir(paths.record_dir("demo"))


def test_guest_that_ended_well_under_a_made_up_name_is_forgotten(run_dir: str) -> None:
    keep("uml-1", named=False, ending=ended(0, 5.0))
    keep("uml-2", named=False, ending=ended(255, 5.0))
    keep("named", ending=ended(0, 5.0))
    keep("uml-3", named=False)
    prune()
    assert [each.definition.umid for each in records.load_all()] == ["named", "uml-2", "uml-3"]


def test_guest_whose_name_runs_again_is_not_pruned(run_dir: str) -> None:
    keep("uml-1", named=False, ending=ended(0, 5.0))
    with claim("uml-1"):
        prune()
        assert records.load("uml-1")
    prune()
    assert not records.load("uml-1")


def test_guest_of_which_only_set_aside_records_are_left_is_forgotten_in_its_turn(
    run_dir: str,
) -> None:
    keep("lost")
    put(b"{", "lost")
    records.set_aside("lost")
    prune()
    assert records.names() == ["lost"]
    os.utime(f"{paths.record_dir('lost')}/{os.listdir(paths.record_dir('lost'))[0]}", (5.0, 5.0))
    for number in range(MIN_ENDED_GUESTS):
        keep(f"g{number:02}", ending=ended(1, 1000.0 + number))
    prune()
    assert "lost" not in records.names()
    assert len(records.names()) == MIN_ENDED_GUESTS


def test_newest_ended_guests_are_kept(run_dir: str) -> None:
    for number in range(MIN_ENDED_GUESTS + 5):
        keep(f"g{number:02}", ending=ended(1, 1000.0 + number))
    prune()
    left = [each.definition.umid for each in records.load_all()]
    assert left == [f"g{number:02}" for number in range(5, MIN_ENDED_GUESTS + 5)]


def test_loop_of_many_runs_keeps_all_of_them(run_dir: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda _descriptor: None)  # the host stays up
    now = time.time()
    for number in range(500):
        keep(f"g{number:03}", ending=ended(1, now - number))
    prune()
    assert len(records.names()) == 500


def test_end_of_a_guest_looks_for_the_oldest_now_and_then(
    run_dir: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[None] = []
    monkeypatch.setattr(pruning, "prune", lambda: looked.append(None))
    keep("uml-1", named=False, ending=ended(0, 5.0))
    keep("uml-2", named=False, ending=ended(1, 5.0))
    for umid in ("uml-1", "uml-2", "none"):
        pruning.tidy(umid)
    assert records.names() == ["uml-2"]
    assert len(looked) == 1
    os.utime(f"{paths.state_dir()}/pruned", (5.0, 5.0))
    pruning.tidy("uml-2")
    assert len(looked) == 2


def test_what_is_kept_of_ended_guests_is_bounded(
    run_dir: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.time()
    for number in range(MIN_ENDED_GUESTS + 20):
        keep(f"g{number:02}", ending=ended(1, now - number))
    each = pruning._size("g00")
    monkeypatch.setattr(pruning, "MAX_ENDED_BYTES", (MIN_ENDED_GUESTS + 10) * each)
    prune()
    assert records.names() == [f"g{number:02}" for number in range(MIN_ENDED_GUESTS + 10)]
    monkeypatch.setattr(pruning, "MAX_ENDED_GUESTS", MIN_ENDED_GUESTS + 5)
    prune()
    assert records.names() == [f"g{number:02}" for number in range(MIN_ENDED_GUESTS + 5)]
    monkeypatch.setattr(pruning, "MAX_ENDED_SECONDS", 3.5)
    prune()
    assert records.names() == [f"g{number:02}" for number in range(MIN_ENDED_GUESTS)]
