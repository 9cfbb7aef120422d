"""apt-get and dpkg-deb are scripts here, and the source's archive has a few files."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests import kernel_sources
from umlctl.errors import HostError, UsageError
from umlctl.kernels import source

APT = """\
#!/bin/sh
top=$(dirname "$0")/..
echo "${0##*/} $*" >> "$top/apt.log"
for word; do :; done
case "$*" in
*" show "*|"show "*)
    [ -e "$top/unknown" ] && exit 100
    printf 'Package: %s\\n' "$word"
    [ "$word" = linux-source ] && echo 'Depends: linux-source-9.9 (= 9.9.1-1)'
    exit 0;;
*" update"*) [ ! -e "$top/down" ] || { echo 'E: Failed to fetch http://mirror'; exit 100; };;
*" download "*)
    [ ! -e "$top/down" ] || { echo 'E: Failed to fetch http://mirror'; exit 100; }
    : > "${word}_9.9.1-1_all.deb";;
esac
"""
DPKG_DEB = """\
#!/bin/sh
mkdir -p "$3/usr/src"; cp "$(dirname "$0")/../linux-source-9.9.tar.xz" "$3/usr/src"
"""


class Host:
    """A machine whose apt has a source."""

    def __init__(self, top: Path) -> None:
        self.top = top
        self.said: list[str] = []
        (top / "bin").mkdir()
        for name, text in (("apt-get", APT), ("apt-cache", APT), ("dpkg-deb", DPKG_DEB)):
            (top / "bin" / name).write_text(text)
            (top / "bin" / name).chmod(0o755)
        kernel_sources.make(top, "linux-source-9.9")
        archive = top / "linux-source-9.9.tar.xz"
        subprocess.run(["tar", "-cJf", archive, "-C", top, "linux-source-9.9"], check=True)

    def source(self, name: str = source.PACKAGE, release: str = "") -> source.Source:
        return source.of_package(name, release, self.said.append)

    @property
    def asked(self) -> str:
        log = self.top / "apt.log"
        return log.read_text() if log.exists() else ""


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    monkeypatch.setenv("XDG_CACHE_HOME", f"{tmp_path}/cache")
    monkeypatch.setattr(source, "_INSTALLED", tmp_path / "usr/src")
    return Host(tmp_path)


def test_package_of_the_systems_own_version_is_unpacked_once(host: Host) -> None:
    found = host.source()
    home = f"{source.place()}/sources/linux-source-9.9_9.9.1-1_all"
    assert found == (os.path.realpath(f"{home}/linux-source-9.9"), "linux-source-9.9")
    assert "download linux-source-9.9\n" in host.asked
    assert sorted(os.listdir(source.place())) == [".lock", "packages", "sources"]
    assert os.listdir(f"{source.place()}/packages") == []
    assert [text.split()[0] for text in host.said] == ["downloading", "unpacking"]
    (Path(source.place()) / ".new-killed/tree").mkdir(parents=True)
    assert host.source("linux-source-9.9") == found
    assert [text.split()[0] for text in host.said].count("unpacking") == 1
    assert not (Path(source.place()) / ".new-killed").exists()


def test_package_of_another_release_comes_by_lists_of_its_own(host: Host) -> None:
    found = host.source("linux-source-9.9", "sid")
    assert found.title == "linux-source-9.9"
    sources = host.top / "cache/umlctl/apt/sid/sources.list"
    assert sources.read_text().endswith(" http://deb.debian.org/debian sid main\n")
    assert f"sourcelist={sources}" in host.asked


def test_source_that_is_installed_is_not_downloaded(host: Host) -> None:
    (host.top / "usr/src").mkdir(parents=True)
    (host.top / "linux-source-9.9.tar.xz").rename(host.top / "usr/src/linux-source-9.9.tar.xz")
    (host.top / "usr/src/linux-source-9.10.tar.bz2").touch()
    assert host.source().title == "linux-source-9.9"
    assert not host.asked


def test_network_that_is_down_gives_apts_words(host: Host) -> None:
    (host.top / "down").touch()
    with pytest.raises(HostError, match="Failed to fetch http://mirror"):
        host.source()
    with pytest.raises(HostError, match="package lists of sid: Failed to fetch"):
        host.source(release="sid")


def test_package_that_a_release_does_not_have_is_named(host: Host) -> None:
    (host.top / "unknown").touch()
    with pytest.raises(HostError, match=r"sid has no package linux-source-9\.9 for this machine"):
        host.source("linux-source-9.9", "sid")


def test_package_without_a_source_is_an_error(host: Host) -> None:
    (host.top / "bin/dpkg-deb").write_text('#!/bin/sh\nmkdir -p "$3/usr/src"\n')
    with pytest.raises(HostError, match="has no source in it"):
        host.source()


def test_archive_that_is_cut_short_leaves_nothing(host: Host) -> None:
    archive = host.top / "linux-source-9.9.tar.xz"
    archive.write_bytes(archive.read_bytes()[:-40])
    with pytest.raises(HostError, match=r"cannot unpack linux-source-9\.9\.tar\.xz"):
        host.source()
    assert os.listdir(f"{source.place()}/sources") == []
    assert not list(Path(source.place()).glob(".new-*"))


def test_disk_that_is_full_is_told_before_anything_is_fetched(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source, "_ROOM_BYTES", 1 << 60)
    with pytest.raises(HostError, match=r"take \d+G at most, and .* has .*G left"):
        host.source()
    assert not host.asked


def test_cache_that_cannot_be_made_is_named(host: Host) -> None:
    (host.top / "cache").touch()
    with pytest.raises(HostError, match=r"cannot write to .*XDG_CACHE_HOME"):
        host.source()


@pytest.mark.parametrize(
    ("name", "is_one"),
    [("linux-source", True), ("linux-source-6.12", True), ("linux", False), ("./linux", False)],
)
def test_names_of_packages_are_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, is_one: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    assert source.is_package(name) is is_one
    (tmp_path / "linux-source").mkdir()
    assert not source.is_package("linux-source"), "a directory here is one"


def test_tree_is_looked_at(tmp_path: Path) -> None:
    tree = kernel_sources.make(tmp_path)
    (tmp_path / "link").symlink_to(tree)
    assert source.of_tree(f"{tmp_path}/link") == (str(tree), "linux")
    (tree / "Kconfig").unlink()
    with pytest.raises(HostError, match="is no tree of the kernel's source: it has no Kconfig"):
        source.of_tree(str(tree))
    with pytest.raises(UsageError, match="there is no such directory; a kernel is built of"):
        source.of_tree(f"{tmp_path}/nothing")
    with pytest.raises(HostError, match="takes no path with a blank"):
        source.of_tree(str(kernel_sources.make(tmp_path, "a b")))
