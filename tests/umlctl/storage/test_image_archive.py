from __future__ import annotations

import io
import os
import stat
import tarfile
from typing import TYPE_CHECKING

import pytest

from umlctl.errors import HostError
from umlctl.storage.image_archive import unpack
from umlctl.storage.image_tree import Node

if TYPE_CHECKING:
    from pathlib import Path


def archive(path: Path, *members: tarfile.TarInfo) -> str:
    with tarfile.open(path, "w") as made:
        for each in members:
            made.addfile(each, io.BytesIO(b"x" * each.size))
    return str(path)


def member(name: str, **facts: object) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    for key, value in facts.items():
        setattr(info, key, value)
    return info


def test_archive_says_who_owns_what(tmp_path: Path) -> None:
    path = archive(
        tmp_path / "a.tar",
        member("./etc", type=tarfile.DIRTYPE, mode=0o755),
        member("./etc/shadow", size=3, mode=0o640, uid=0, gid=42, mtime=7),
        member("./bin/su", size=3, mode=0o4755, uid=1000, gid=1000, mtime=9),
        member("./dev/null", type=tarfile.CHRTYPE, devmajor=1, devminor=3),
        member("./lib", type=tarfile.SYMTYPE, linkname="/usr/lib"),
        member("./bin/sudo", type=tarfile.LNKTYPE, linkname="./bin/su"),
        member("./run/pipe", type=tarfile.FIFOTYPE, mode=0o622),
        member("./var/lib", type=tarfile.SYMTYPE, linkname="../srv"),
        member("./srv", type=tarfile.DIRTYPE, mode=0o555),
        member("./var/lib/x", size=1, mode=0o400, uid=7),
        member("./lib/y", size=1, mode=0o444, uid=8),
    )
    (tmp_path / "out").mkdir()
    nodes, left = unpack(path, f"{tmp_path}/out", 100)
    found = {each.path: each for each in nodes}
    assert left == 1
    assert found["/etc/shadow"] == Node("/etc/shadow", stat.S_IFREG | 0o640, 0, 42, 7)
    su = Node("/bin/su", stat.S_IFREG | 0o4755, 1000, 1000, 9)
    assert found["/bin/su"] == su
    assert found["/bin/sudo"] == su._replace(path="/bin/sudo")
    assert found["/lib"].mode == stat.S_IFLNK | 0o777
    assert os.path.samefile(f"{tmp_path}/out/bin/su", f"{tmp_path}/out/bin/sudo")
    assert found["/run/pipe"].mode == stat.S_IFIFO | 0o622
    assert found["/srv"].mode == stat.S_IFDIR | 0o555
    assert (found["/srv/x"].mode, found["/srv/x"].uid) == (stat.S_IFREG | 0o400, 7)
    assert (found["/usr/lib/y"].mode, found["/usr/lib/y"].uid) == (stat.S_IFREG | 0o444, 8)
    assert (tmp_path / "out" / "srv" / "x").read_bytes() == b"x"


def test_directory_that_an_archive_only_has_files_of_is_the_same_each_time(tmp_path: Path) -> None:
    path = archive(
        tmp_path / "a.tar",
        member("etc/a/x", size=1, mtime=7),
        member("etc/y", size=1, mtime=9),
    )
    for mask in (0o077, 0o022):
        out = tmp_path / f"{mask}"
        out.mkdir()
        was = os.umask(mask)
        try:
            nodes, _ = unpack(path, str(out), None)
        finally:
            os.umask(was)
        found = [(*each[:2], each.mtime) for each in nodes if stat.S_ISDIR(each.mode)]
        assert found == [(each, stat.S_IFDIR | 0o755, 9) for each in ("/", "/etc", "/etc/a")]


@pytest.mark.parametrize(
    "members",
    [
        [member("../evil", size=1)],
        [member("a/../../evil", size=1)],
        [member("a" * 5000, size=1)],
        [member("h", type=tarfile.LNKTYPE, linkname="../a.tar")],
        [member("h", type=tarfile.LNKTYPE, linkname="/etc/passwd")],
        [member("d", type=tarfile.DIRTYPE), member("h", type=tarfile.LNKTYPE, linkname="d")],
        [member(".", size=1)],
        [member("a", type=tarfile.SYMTYPE, linkname="a"), member("a/x", size=1)],
    ],
)
def test_archive_that_leads_elsewhere_is_refused(
    tmp_path: Path, members: list[tarfile.TarInfo]
) -> None:
    path = archive(tmp_path / "a.tar", *members)
    (tmp_path / "out").mkdir()
    with pytest.raises(HostError, match="cannot be unpacked"):
        unpack(path, f"{tmp_path}/out", None)
    assert sorted(os.listdir(tmp_path)) == ["a.tar", "out"]


def test_links_that_lead_out_lead_nowhere(tmp_path: Path) -> None:
    """Whatever is written through them is in the tree, and what they name is not read."""
    (tmp_path / "secret").write_text("s")
    path = archive(
        tmp_path / "a.tar",
        member("l", type=tarfile.SYMTYPE, linkname=str(tmp_path)),
        member("l/secret", size=2),
        member("f", type=tarfile.SYMTYPE, linkname=f"{tmp_path}/secret"),
        member("f", size=3),
        member("d", type=tarfile.SYMTYPE, linkname=str(tmp_path)),
        member("d", type=tarfile.DIRTYPE, mode=0o777),
    )
    (tmp_path / "out").mkdir()
    os.chmod(tmp_path, 0o700)
    unpack(path, f"{tmp_path}/out", None)
    assert (tmp_path / "secret").read_text() == "s"
    assert stat.S_IMODE(os.stat(tmp_path).st_mode) == 0o700
    assert (tmp_path / "out" / "f").read_bytes() == b"xxx"
    assert not (tmp_path / "out" / "d").is_symlink()
    assert (tmp_path / "out" / str(tmp_path)[1:] / "secret").read_bytes() == b"xx"


def test_what_is_no_archive_or_cut_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "c.tar").write_bytes(b"no archive" * 100)
    path = archive(tmp_path / "a.tar", member("x", size=5000))
    os.truncate(path, 2000)
    for name in ("c.tar", "a.tar"):
        with pytest.raises(HostError, match="cannot be unpacked"):
            unpack(f"{tmp_path}/{name}", f"{tmp_path}/out", None)
    with pytest.raises(HostError, match="it is no tar archive, plain or compressed by"):
        unpack(f"{tmp_path}/c.tar", f"{tmp_path}/out", None)


def test_file_larger_than_the_host_has_room_for_is_refused(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    bomb = member("bomb", size=1 << 60)
    with open(tmp_path / "a.tar", "wb") as file:
        file.write(bomb.tobuf(tarfile.GNU_FORMAT) + bytes(1024))
    with pytest.raises(HostError, match="for which there is no room"):
        unpack(f"{tmp_path}/a.tar", f"{tmp_path}/out", None)
    assert os.listdir(tmp_path / "out") == []


def test_names_of_devices_are_left_out_with_them(tmp_path: Path) -> None:
    path = archive(
        tmp_path / "a.tar",
        member("dev/null", type=tarfile.CHRTYPE),
        member("dev/also", type=tarfile.LNKTYPE, linkname="dev/null"),
        member("b", type=tarfile.BLKTYPE),
        member("b", size=1),
        member("c", type=tarfile.LNKTYPE, linkname="b"),
    )
    (tmp_path / "out").mkdir()
    nodes, left = unpack(path, f"{tmp_path}/out", None)
    assert ([each.path for each in nodes], left) == (["/", "/b", "/c"], 3)
