from __future__ import annotations

import resource
import sys
from typing import TYPE_CHECKING, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as some

from umlctl.errors import HostError, UnfitHost
from umlctl.guest.definition import Definition
from umlctl.host import limits, room

if TYPE_CHECKING:
    from pathlib import Path

G = 1 << 30
M = 1 << 20


class Host(NamedTuple):
    """The space in some directories, and what else this host has; the rest has room for all."""

    spaces: dict[str, room.Space | None]
    kinds: dict[str, str]


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Host:
    made = Host({}, {"/dev/shm": "tmpfs"})
    monkeypatch.setattr(
        room, "look", lambda path: made.spaces.get(path, room.Space(99 * G, 99 * G))
    )
    monkeypatch.setattr(room, "kind", lambda path: made.kinds.get(path, ""))
    return made


def test_memory_is_where_the_kernel_likes(host: Host) -> None:
    assert room.directory({}, G) == "/dev/shm"
    assert room.directory({"TMPDIR": "", "TEMP": "/c", "TMP": "/b"}, G) == "/b"
    assert room.directory({"TMPDIR": "/a", "TMP": "/b"}, G) == "/a"
    host.kinds.clear()
    assert room.directory({}, G) == "/tmp"


def test_memory_is_elsewhere_where_shared_memory_can_never_hold_it(host: Host) -> None:
    host.spaces["/dev/shm"] = room.Space(64 * M, 64 * M)
    assert room.directory({}, 64 * M) == "/dev/shm"
    assert room.directory({}, 65 * M) == "/tmp"
    host.spaces["/dev/shm"] = room.Space(G, 0)
    assert room.directory({}, G) == "/dev/shm", "there may be room soon"
    host.spaces["/dev/shm"] = host.spaces["/tmp"] = room.Space(64 * M, 64 * M)
    assert room.directory({}, G) == "/dev/shm"


def test_place_that_was_asked_for_is_taken() -> None:
    asked = Definition(umid="a", kernel="/k", cwd="/home/me", mem_dir="/mem")
    assert room.place_of(asked, {"TMPDIR": "/a"}) == "/mem"
    assert room.place_of(Definition(umid="a", kernel="/k", cwd="/me"), {"TMP": "rel"}) == "/me/rel"


@pytest.mark.parametrize(
    ("most", "free", "mem", "said"),
    [
        (64 * M, 64 * M, 65 * M, "there can never be more than 64M, and the guest is to have 65M"),
        (G, 10 * M, 256 * M, "10M are free there, and a guest with 256M takes 24M when it boots"),
        (99 * G, G, 90 * G, "1024M are free there, and a guest with 92160M takes 1460M"),
        (G, 40 * M, G, ""),
        (G, 4 * M, 4 * M, ""),
    ],
)
def test_memory_is_held_against_what_there_is(
    host: Host, tmp_path: Path, most: int, free: int, mem: int, said: str
) -> None:
    host.spaces[str(tmp_path)] = room.Space(most, free)
    if not said:
        room.check_memory(str(tmp_path), mem)
        return
    with pytest.raises(HostError, match=said):
        room.check_memory(str(tmp_path), mem)
    if mem <= most:
        room.check_memory(str(tmp_path), mem, held=2 * G)


def test_memory_cannot_be_where_nothing_is(tmp_path: Path) -> None:
    with pytest.raises(HostError, match="No such file"):
        room.check_memory(f"{tmp_path}/none", M)


def test_more_memory_than_is_free_is_told_of(host: Host) -> None:
    host.spaces["/m"] = room.Space(10 * G, G)
    assert room.memory_doubt("/m", G) == ""
    said = "may have 2048M of memory, and 1024M are free in /m"
    assert said in room.memory_doubt("/m", 2 * G)
    for refused in (room.Space(G, G), room.Space(10 * G, M), None):
        host.spaces["/m"] = refused
        assert room.memory_doubt("/m", 2 * G) == ""


def test_what_others_may_still_take_is_counted(host: Host) -> None:
    host.spaces["/m"] = room.Space(4 * G, 3 * G)
    assert room.memory_doubt("/m", 2 * G, 1, G) == ""
    one = room.memory_doubt("/m", 2 * G, 1, G + M)
    assert "may have 2048M of memory, a guest that runs 1025M more than now, and 3072M are" in one
    assert "2 guests that run 1025M more" in room.memory_doubt("/m", 2 * G, 2, G + M)


def test_who_insists_may_have_more_memory_than_there_is(host: Host, tmp_path: Path) -> None:
    host.spaces[str(tmp_path)] = room.Space(2 * G, G)
    with pytest.raises(HostError, match=r"or write `overcommit = true` into umlctl\.toml"):
        room.check_memory(str(tmp_path), 3 * G)
    room.check_memory(str(tmp_path), 3 * G, overcommit=True)
    assert "may have 3072M" in room.memory_doubt(str(tmp_path), 3 * G, overcommit=True)
    with pytest.raises(HostError, match="takes 1620M when it boots"):
        room.check_memory(str(tmp_path), 100 * G, overcommit=True)


def test_space_of_a_tmpfs_is_no_more_than_this_host_has(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "kind", lambda _path: "tmpfs")
    monkeypatch.setattr(room, "memory", lambda: {"MemTotal": 5, "MemAvailable": 2, "SwapFree": 1})
    assert room.look("/") == (5, 3)
    monkeypatch.setattr(room, "kind", lambda _path: "ext4")
    found = room.look("/")
    assert found is not None
    assert found.most > 5


@pytest.mark.parametrize(
    ("descriptors", "processes", "said"),
    [
        (11, 99, ""),
        (
            10,
            99,
            "a guest takes 7 descriptors, and 6 are left for guests: this process may",
        ),
        (0, 99, "and 0 are left for guests"),
        (99, 7, "a guest takes 8 processes and more, and 7 are left: uid"),
    ],
)
def test_what_a_guest_takes_is_seen_before_it_is_started(
    monkeypatch: pytest.MonkeyPatch, descriptors: int, processes: int, said: str
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _which: (64, 64))
    monkeypatch.setattr(limits, "processes", lambda: 12)
    monkeypatch.setattr(limits, "descriptors_left", lambda: descriptors)
    monkeypatch.setattr(limits, "processes_left", lambda: processes)
    if not said:
        room.check_means("demo")
        return
    with pytest.raises(HostError, match=said):
        room.check_means("demo")


def test_process_with_too_few_numbers_for_descriptors_starts_no_guest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(limits, "descriptors", lambda: room.MIN_DESCRIPTORS)
    room.check_descriptors("demo")
    monkeypatch.setattr(limits, "descriptors", lambda: room.MIN_DESCRIPTORS - 1)
    with pytest.raises(UnfitHost, match=r"^demo: it takes a process that may open \d+ files"):
        room.check_means("demo")


def test_few_processes_are_given_for_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "processes_left", lambda: 12)
    assert "up to 45 while it boots, and 12 are left; " in room.processes_doubt()
    monkeypatch.setattr(limits, "processes_left", lambda: 45)
    assert room.processes_doubt() == ""


@given(
    some.integers(0, 1 << 50),
    some.integers(1, 1 << 40),
    some.integers(0, 2000),
    some.one_of(some.integers(1, 1 << 20), some.just(resource.RLIM_INFINITY)),
)
def test_room_is_what_there_is_least_of(free: int, each: int, running: int, hard: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(resource, "getrlimit", lambda _which: (hard, hard))
        found = room.for_guests(free, each, running)
        least, what = found.least()
    assert least == min(found) == getattr(found, what)
    assert all(0 <= count <= sys.maxsize for count in (*found[1:],))
