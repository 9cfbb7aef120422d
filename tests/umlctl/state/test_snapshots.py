from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import msgspec
import pytest

from tests.cows import read
from tests.snapshots import disk, take
from umlctl.errors import HostError, NoGuest, UsageError
from umlctl.host import paths
from umlctl.state import files_in_use, snapshots


def test_snapshot_that_was_made_is_found_with_its_files(house: str) -> None:
    made = disk(house)
    one = take("clean", {"demo": [made]})
    assert snapshots.load("demo", "clean") == one
    assert read(one.path_of(one.layers[0])) == read(made.cow)
    assert (snapshots.names("demo"), snapshots.guests()) == (["clean"], ["demo"])
    assert os.stat(one.directory).st_mode & 0o777 == 0o700


def test_snapshot_of_several_is_found_by_each(house: str) -> None:
    one = take("lab", {"a": [disk(house, "a")], "b": [disk(house, "b")]})
    assert one.guests == ["a", "b"]
    assert snapshots.find("b", "lab") == snapshots.find("a", "lab") == one
    assert snapshots.load_all("b") == [one]
    assert snapshots.load_all("c") == []


def test_name_that_is_taken_is_not_replaced(house: str) -> None:
    take("clean", {"demo": [disk(house)]})
    with pytest.raises(HostError, match="demo has a snapshot clean already, and it is not repl"):
        take("clean", {"demo": [disk(house, number=2)]})
    assert len(snapshots.load_all("demo")) == 1


def test_what_fails_and_what_was_killed_leaves_nothing(house: str) -> None:
    def fails() -> None:
        with snapshots.lock(), snapshots.making("demo", "x") as place:
            Path(f"{place}/demo.ubd1").write_bytes(b"half")
            raise HostError("no")

    with pytest.raises(HostError, match="no"):
        fails()
    assert os.listdir(paths.snapshots_dir()) == ["lock"]
    os.makedirs(f"{paths.snapshots_dir()}/demo/.x~")
    assert snapshots.load_all() == []
    with snapshots.lock():
        assert os.listdir(f"{paths.snapshots_dir()}/demo") == []


def test_there_is_one_at_a_time(house: str, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def other() -> None:
        with snapshots.lock():
            seen.append("other")

    with snapshots.lock():
        thread = threading.Thread(target=other)
        thread.start()
        time.sleep(0.05)
        assert seen == []
        monkeypatch.setattr(snapshots, "LOCK_TIMEOUT", 0.0)
        with pytest.raises(HostError, match="another snapshot takes long"), snapshots.lock():
            pass
    thread.join()
    assert seen == ["other"]


def test_one_is_removed_whole(house: str) -> None:
    one = take("clean", {"demo": [disk(house)]})
    with snapshots.lock():
        snapshots.remove(one)
    assert os.listdir(paths.snapshots_dir()) == ["lock"]
    with pytest.raises(NoGuest, match=r"demo has no snapshot 'clean'; `umlctl snapshot create"):
        snapshots.load("demo", "clean")


def test_oldest_are_beyond_what_is_kept(house: str) -> None:
    made = disk(house)
    for age in (3.0, 1.0, 2.0):
        take(f"s{age:g}", {"demo": [made]}, time=age)
    take("others", {"b": [made], "demo": [made]}, time=0.5)
    assert [each.name for each in snapshots.beyond("demo", 1)] == ["s1", "s2"]
    assert snapshots.beyond("demo", 3) == []
    with pytest.raises(NoGuest, match="it has s1, s2, s3"):
        snapshots.find("demo", "none")


@pytest.mark.parametrize("data", [b"", b"{}", b"[" * 10**5, b'{"version": 99}', b"\xff"])
def test_record_that_is_none_is_an_error_and_hides_no_other(house: str, data: bytes) -> None:
    take("good", {"demo": [disk(house)]})
    one = take("bad", {"demo": [disk(house, number=2)]})
    Path(f"{one.directory}/snapshot.json").write_bytes(data)
    with pytest.raises(HostError, match=r"snapshot\.json"):
        snapshots.load("demo", "bad")
    assert [each.name for each in snapshots.load_all()] == ["good"]


@pytest.mark.parametrize("file", ["/etc/passwd", "../x", ".hidden", ""])
def test_record_that_names_files_elsewhere_is_refused(house: str, file: str) -> None:
    one = take("bad", {"demo": [disk(house)]})
    layers = [msgspec.structs.replace(one.layers[0], file=file)]
    wrong = msgspec.structs.replace(one, layers=tuple(layers))
    Path(f"{one.directory}/snapshot.json").write_bytes(msgspec.json.encode(wrong))
    with pytest.raises(HostError, match="is not of this snapshot"):
        snapshots.load("demo", "bad")


@pytest.mark.parametrize("name", ["", ".x", "a/b", "x" * 64, "a b", "-x"])
def test_name_that_cannot_be_is_a_usage_error(name: str) -> None:
    with pytest.raises(UsageError, match="name"):
        snapshots.check_name(name)


def test_backing_file_of_a_snapshot_is_in_use(house: str) -> None:
    made = disk(house)
    files_in_use.check_lone("cow merge", made.cow, made.backing)
    one = take("clean", {"demo": [made]})
    copy = one.path_of(one.layers[0])
    assert snapshots.copies() == [copy]
    said = "is also under snapshot clean of demo, which no kernel would take"
    with pytest.raises(HostError, match=said):
        files_in_use.check_lone("cow merge", made.cow, made.backing)
    for number in range(5):
        take(f"s{number}", {"demo": [made]})
    with pytest.raises(HostError, match="s1 of demo, snapshot s2 of demo, 2 more, which"):
        files_in_use.check_lone("cow merge", made.cow, made.backing)
