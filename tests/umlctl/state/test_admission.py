from __future__ import annotations

import os

import pytest

from umlctl.errors import HostError, UnfitHost
from umlctl.guest.bounds import Bounds
from umlctl.guest.definition import Definition
from umlctl.host import processes, room
from umlctl.state import admission
from umlctl.state.records import Record

M = 1 << 20
PLACES = (("max_total_mem", "f:1"), ("max_guests", "f:2"), ("overcommit", "f:3"))


def guest(umid: str, mem: int = 256 * M, directory: str = "/tmp") -> Record:
    return Record(
        definition=Definition(umid=umid, kernel="/k", mem=mem, mem_dir=directory),
        supervisor_pid=1,
        pid=os.getpid(),
        started=1,
        boot_id="b",
        since=1.0,
        devices=[],
    )


@pytest.fixture(autouse=True)
def have(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each guest has touched 56M; a gigabyte is free."""
    monkeypatch.setattr(processes, "memory_used", lambda _pid: 56 * M)
    monkeypatch.setattr(room, "look", lambda _path: room.Space(4096 * M, 1024 * M))


def check(bounds: Bounds, others: list[Record], mem: int = 256 * M) -> None:
    mine = Definition(umid="mine", kernel="/k", mem=mem)
    admission.check(mine, "/tmp", bounds, others)


def test_guests_are_counted() -> None:
    bounds = Bounds(max_guests=2, places=PLACES)
    check(bounds, [guest("a")])
    with pytest.raises(HostError, match="mine: 2 guests run, and f:2 allows 2: end one with"):
        check(bounds, [guest("a"), guest("b")])


def test_memory_is_what_guests_were_promised() -> None:
    bounds = Bounds(max_total_mem=768 * M, places=PLACES)
    check(bounds, [guest("a"), guest("b")])
    said = "mine: it is to have 257M of memory, 2 guests run with 512M, and f:1 allows 768M in all"
    with pytest.raises(HostError, match=said):
        check(bounds, [guest("a"), guest("b")], 257 * M)
    with pytest.raises(HostError, match="is to have 1024M of memory, no guest runs with 0M"):
        check(bounds, [], 1024 * M)


def test_promise_that_cannot_be_kept_is_refused_where_it_is_written_down_so() -> None:
    others = [guest(name) for name in "abc"]  # they may take 600M more
    check(Bounds(overcommit=False, places=PLACES), others, 424 * M)
    said = (
        "mine: it may have 425M of memory, 3 guests that run 600M more than now, and 1024M are "
        "free in /tmp.*f:3 allows no such promise"
    )
    with pytest.raises(UnfitHost, match=said):
        check(Bounds(overcommit=False, places=PLACES), others, 425 * M)
    check(Bounds(overcommit=True, places=PLACES), others, 2048 * M)
    check(Bounds(max_guests=9, places=PLACES), others, 2048 * M)


def test_guests_elsewhere_take_nothing_of_a_directory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admission, "_is_same", lambda one, other: one == other)
    there = [guest("a"), guest("b", directory="/mem"), guest("c", directory="/none")]
    assert admission.promised("/tmp", there) == (1, 200 * M)
    assert admission.promised("/mem", there) == (1, 200 * M)
    assert admission.promised("/x", there) == (0, 0)


def test_directories_of_one_file_system_have_the_same_space(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    one, other = (str(tmp_path_factory.mktemp(name)) for name in "ab")
    assert admission.promised(one, [guest("a", directory=other)]).guests == 1
    assert admission.promised(one, [guest("a", directory=f"{other}/none")]).guests == 0
    assert admission.promised(one, [guest("a", directory="/proc")]).guests == 0
