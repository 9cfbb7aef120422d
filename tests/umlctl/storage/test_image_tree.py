from __future__ import annotations

import io
import os
import shutil
import stat
import tarfile
from typing import TYPE_CHECKING

import pytest

from umlctl.errors import HostError
from umlctl.storage.image_tree import Node, busybox, from_archive, of_directory

if TYPE_CHECKING:
    from pathlib import Path


def by_path(nodes: list[Node]) -> dict[str, Node]:
    return {each.path: each for each in nodes}


def test_tree_is_listed_in_order_with_bounded_times(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    (tree / "etc").mkdir(parents=True)
    (tree / "etc" / "b").write_text("x")
    (tree / "a").symlink_to("etc/b")
    os.utime(tree / "etc" / "b", (5, 5))
    nodes = of_directory(str(tree), 1000)
    assert [each.path for each in nodes] == ["/", "/a", "/etc", "/etc/b"]
    found = by_path(nodes)
    assert (found["/etc/b"].mtime, found["/etc"].mtime) == (5, 1000)
    assert stat.S_ISLNK(found["/a"].mode)
    assert (found["/etc/b"].uid, found["/etc/b"].gid) == (0, 0)


@pytest.mark.parametrize("name", ['a"b', "a\nb", "\x1b[2J"])
def test_name_that_debugfs_would_misread_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("x")
    with pytest.raises(HostError, match="that debugfs does not take"):
        of_directory(str(tmp_path), None)


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
        member("./var/lib/x", size=1, mode=0o400),
    )
    (tmp_path / "out").mkdir()
    nodes, left = from_archive(path, f"{tmp_path}/out", 100)
    found = by_path(nodes)
    assert left == 1
    assert found["/etc/shadow"] == Node("/etc/shadow", stat.S_IFREG | 0o640, 0, 42, 7)
    assert found["/bin/su"] == Node("/bin/su", stat.S_IFREG | 0o4755, 1000, 1000, 9)
    assert found["/lib"].mode == stat.S_IFLNK | 0o777
    assert os.path.samefile(f"{tmp_path}/out/bin/su", f"{tmp_path}/out/bin/sudo")
    assert found["/run/pipe"].mode == stat.S_IFIFO | 0o622
    assert found["/srv"].mode == stat.S_IFDIR | 0o555
    assert (tmp_path / "out" / "srv" / "x").read_bytes() == b"x"


@pytest.mark.parametrize("name", ["../evil", "a/../../evil"])
def test_archive_that_leads_elsewhere_is_refused(tmp_path: Path, name: str) -> None:
    path = archive(tmp_path / "a.tar", member(name, size=1))
    (tmp_path / "out").mkdir()
    with pytest.raises(HostError, match="cannot be unpacked"):
        from_archive(path, f"{tmp_path}/out", None)
    link = member("l", type=tarfile.SYMTYPE, linkname=str(tmp_path))
    path = archive(tmp_path / "b.tar", link, member("l/evil", size=1))
    with pytest.raises(HostError, match="cannot be unpacked"):
        from_archive(path, f"{tmp_path}/out", None)
    hard = member("h", type=tarfile.LNKTYPE, linkname="l/a.tar")
    path = archive(tmp_path / "b.tar", link, hard)
    with pytest.raises(HostError, match="leads out of it, by a link"):
        from_archive(path, f"{tmp_path}/out", None)
    assert not (tmp_path / "evil").exists()
    (tmp_path / "c.tar").write_bytes(b"no archive" * 100)
    with pytest.raises(HostError, match="cannot be unpacked"):
        from_archive(f"{tmp_path}/c.tar", f"{tmp_path}/out", None)


def test_busybox_has_an_init(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "tree").mkdir()
    found = by_path(busybox(f"{tmp_path}/tree", "small", 10))
    assert found["/sbin/init"].mode == stat.S_IFREG | 0o755
    assert {(each.uid, each.gid, each.mtime) for each in found.values()} == {(0, 0, 10)}
    assert (tmp_path / "tree" / "etc" / "hostname").read_text() == "small\n"
    monkeypatch.setattr(shutil, "which", lambda _name: None)
    with pytest.raises(HostError, match="apt install busybox-static"):
        busybox(f"{tmp_path}/other", "small", 10)
