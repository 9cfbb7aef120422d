from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import pytest

from tests.snapshots import disk, take
from umlctl.errors import HostError, UsageError
from umlctl.guest.definition import Definition
from umlctl.host import paths
from umlctl.state import clones, reverting, snapshot_archive, snapshots
from umlctl.storage import sparse_tar

if TYPE_CHECKING:
    from umlctl.state.snapshots import Snapshot


def nothing(_count: int) -> None:
    pass


def exported(house: str) -> tuple[Snapshot, str, list[bytes]]:
    """A snapshot of two guests in a file, with what is on their disks."""
    made = disk(house)
    plain = f"{house}/plain.img"
    Path(plain).write_bytes(b"x" * 4096)
    one = take("clean", {"demo": [made], "web": [plain]})
    path = f"{house}/demo.tar"
    assert snapshot_archive.write(one, path, nothing) == os.stat(path).st_size
    return one, path, [made.disk, b"x" * 4096]


def read(path: str, name: str = "") -> Snapshot:
    with open(path, "rb") as file, snapshots.lock():
        return snapshot_archive.read(file, name, nothing)


def check_nothing_is_kept(*names: str) -> None:
    assert [each.name for each in snapshots.load_all()] == list(names)
    for _, directories, _ in os.walk(paths.snapshots_dir()):
        assert not [name for name in directories if name.startswith(".")]


def test_whole_disks_come_out_and_need_nothing_of_where_they_come_from(house: str) -> None:
    _, path, contents = exported(house)
    assert sorted(os.listdir(house)) == sorted(["h", "u", "c", "demo1", "plain.img", "demo.tar"])
    two = read(path, "again")
    assert two == snapshots.load("demo", "again")
    assert [Path(two.path_of(each)).read_bytes() for each in two.layers] == contents
    assert [each.backing for each in two.layers] == ["", ""]
    assert two.guests == ["demo", "web"]
    with snapshots.lock(), pytest.raises(HostError, match="it was imported, and no guest here had"):
        reverting.revert(two, list)
    new, _ = clones.definition_of(two.members[0], "twin", "/srv/twin", "/linux")
    assert (new.kernel, new.disks) == ("/linux", ("/srv/twin/ubd1.img,slot=1",))
    with pytest.raises(HostError, match="has a snapshot clean already"):
        read(path)


def repacked(path: str, target: str, **changes: object) -> None:
    """The same archive with another record."""
    with tarfile.open(path) as source, tarfile.open(target, "w") as archive:
        for member in source:
            reader = source.extractfile(member)
            assert reader is not None
            data = reader.read()
            if member.name == snapshots.RECORD:
                record = msgspec.json.decode(data) | changes
                data = msgspec.json.encode(record)
            info = tarfile.TarInfo(member.name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))


def test_of_a_guest_from_elsewhere_little_is_believed(house: str) -> None:
    one, path, _ = exported(house)
    evil = Definition(
        umid="demo",
        kernel="/bin/rm",
        root="/etc/shadow",
        init="/bin/sh",
        nics=("tap=auto",),
        pidfile="/etc/passwd",
        rw=("/",),
        mem=1 << 50,
    )
    members = [msgspec.structs.replace(one.members[0], definition=evil), one.members[1]]
    repacked(path, f"{house}/evil.tar", members=msgspec.to_builtins(members), name="evil")
    definition = read(f"{house}/evil.tar").members[0].definition
    assert definition == Definition(umid="demo", kernel="linux", mem=1 << 40)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"guest": "other"}, "which guests it is of"),
        ({"guest": "../x"}, "which guests it is of"),
        ({"name": "../x"}, "a snapshot's name"),
        ({"members": []}, "which guests it is of"),
        ({"layers": "x"}, "cannot be understood"),
        ({"layers": []}, "which its snapshot.json does not name"),
    ],
)
def test_record_that_cannot_be_is_refused_and_nothing_is_kept(
    house: str, changes: dict[str, object], why: str
) -> None:
    _, path, _ = exported(house)
    repacked(path, f"{house}/bad.tar", **{"name": "bad", **changes})
    with pytest.raises((HostError, UsageError), match=why):
        read(f"{house}/bad.tar")
    check_nothing_is_kept("clean")


@pytest.mark.parametrize("disk_name", ["ubd16", "ubdx", "../x", "vec0", "ubd01"])
def test_disk_that_cannot_be_is_refused(house: str, disk_name: str) -> None:
    one, path, _ = exported(house)
    layers = [msgspec.structs.replace(one.layers[0], disk=disk_name), one.layers[1]]
    repacked(path, f"{house}/bad.tar", name="bad", layers=msgspec.to_builtins(layers))
    with pytest.raises((HostError, UsageError)):
        read(f"{house}/bad.tar")
    check_nothing_is_kept("clean")


def test_archive_that_is_cut_is_refused(house: str) -> None:
    _, path, _ = exported(house)
    whole = Path(path).read_bytes()
    for length in (0, 100, 1500, 3000, len(whole) // 2):
        Path(f"{house}/cut.tar").write_bytes(whole[:length])
        with pytest.raises(HostError):
            read(f"{house}/cut.tar", "cut")
    check_nothing_is_kept("clean")


def test_file_that_is_there_is_not_replaced_and_what_fails_leaves_none(
    house: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, path, _ = exported(house)
    with pytest.raises(FileExistsError):
        snapshot_archive.write(one, path, nothing)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    before = sorted(os.listdir(house))
    monkeypatch.setattr(sparse_tar, "add", full)
    with pytest.raises(OSError, match="No space"):
        snapshot_archive.write(one, f"{house}/new.tar", nothing)
    assert sorted(os.listdir(house)) == before
