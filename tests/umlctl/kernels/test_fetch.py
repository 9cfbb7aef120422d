"""apt-get and dpkg-deb are scripts here: nothing is downloaded."""

from __future__ import annotations

import fcntl
import os
import threading
from pathlib import Path

import pytest

from umlctl.errors import HostError, UnfitHost
from umlctl.kernels import fetch, find

PACKAGE = "user-mode-linux_6.1um4+b13_amd64"

# `lists` exists where `apt-get update` was run, `down` where the network is down, `ubuntu`
# where the system's sources do not have the kernel.
APT_GET = """\
#!/bin/sh
cd_=$PWD; cd "$(dirname "$0")/.."
echo "$*" >> apt.log
case "$*" in
*/apt/debian/*) lists=debian-lists;;
*/apt/host/*) lists=own-lists;;
*) lists=lists;;
esac
for verb; do case $verb in -*) ;; *) break;; esac; done
for name; do :; done
[ $verb$lists$name = downloadown-listsdebian-archive-keyring ] && {
    : > "$cd_/${name}_2023.4_all.deb"; exit; }
[ -e ubuntu ] && [ -e $lists ] && [ $lists != debian-lists ] && [ $verb != update ] && {
    echo "E: Package '$name' has no installation candidate"; exit 100; }
case $verb in
update)
    [ -e down ] && { echo 'E: Failed to fetch http://mirror/InRelease' >&2; exit 100; }
    : > $lists;;
download)
    [ -e $lists ] || { echo 'E: Unable to locate package user-mode-linux' >&2; exit 100; }
    : > "$cd_/PACKAGE.deb";;
install)
    [ -e $lists ] || { echo 'E: Unable to locate package user-mode-linux' >&2; exit 100; }
    printf '#!/bin/sh\\n' > bin/linux.uml; chmod +x bin/linux.uml;;
esac
""".replace("PACKAGE", PACKAGE)

DPKG_DEB = """\
#!/bin/sh
[ -e "$(dirname "$0")/../damaged" ] && { echo 'dpkg-deb: error: unexpected end'; exit 2; }
case $2 in *keyring*)
    mkdir -p "$3/usr/share/keyrings"; : > "$3/usr/share/keyrings/debian-archive-keyring.gpg"; exit
esac
mkdir -p "$3/usr/bin"
printf '#!/bin/sh\\n' > "$3/usr/bin/linux.uml"; chmod +x "$3/usr/bin/linux.uml"
"""


class Host:
    """A machine with a fake apt; `said` is what fetch tells its user."""

    def __init__(self, top: Path) -> None:
        self.top = top
        self.said: list[str] = []
        (top / "bin").mkdir()
        for name, text in (("apt-get", APT_GET), ("dpkg-deb", DPKG_DEB)):
            (top / "bin" / name).write_text(text)
            (top / "bin" / name).chmod(0o755)
        for name in ("dirname", "mkdir", "chmod"):
            (top / "bin" / name).symlink_to(f"/bin/{name}")

    def has(self, name: str) -> None:
        (self.top / name).touch()

    def fetch(self) -> str:
        return fetch.fetch(self.said.append)

    @property
    def verbs(self) -> list[str]:
        """What apt-get was called for, in order."""
        lines = (self.top / "apt.log").read_text().splitlines()
        return [next(w for w in line.split() if not w.startswith("-")) for line in lines]

    @property
    def kernel(self) -> str:
        return f"{find.cache()}/{PACKAGE}/usr/bin/linux.uml"


@pytest.fixture
def user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    monkeypatch.setenv("PATH", f"{tmp_path}/bin")
    monkeypatch.setenv("XDG_CACHE_HOME", f"{tmp_path}/cache")
    monkeypatch.delenv("UMLCTL_KERNEL", raising=False)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    return Host(tmp_path)


@pytest.fixture
def root(user: Host, monkeypatch: pytest.MonkeyPatch) -> Host:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    return user


def test_user_with_package_lists_downloads_and_unpacks(user: Host) -> None:
    user.has("lists")
    assert user.fetch() == user.kernel
    assert user.verbs == ["download"]
    assert find.find() == user.kernel
    assert "no root needed" in user.said[0]


def test_user_without_package_lists_gets_own_ones(user: Host) -> None:
    assert user.fetch() == user.kernel
    assert user.verbs == ["download", "download", "update", "download"]
    configuration = user.top / "cache/umlctl/apt/apt.conf"
    assert "#clear APT::Update::Post-Invoke;" in configuration.read_text()
    assert (user.top / "cache/umlctl/apt/host/state/lists/partial").is_dir()


def test_lists_of_an_earlier_fetch_are_not_read_again(user: Host) -> None:
    user.has("own-lists")
    assert user.fetch() == user.kernel
    assert user.verbs == ["download", "download"]


def test_nothing_is_left_beside_the_kernel(user: Host) -> None:
    user.fetch()
    assert sorted(os.listdir(find.cache())) == [".lock", PACKAGE]


def test_fetch_again_keeps_what_is_there(user: Host) -> None:
    before = os.stat(user.fetch()).st_ino
    assert os.stat(user.fetch()).st_ino == before


def test_leftovers_and_damage_are_mended(user: Host) -> None:
    cache = Path(find.cache())
    (cache / ".new-killed/tree/usr").mkdir(parents=True)
    (cache / PACKAGE / "usr").mkdir(parents=True)
    assert user.fetch() == user.kernel
    assert sorted(os.listdir(cache)) == [".lock", PACKAGE]


def test_damaged_package_leaves_nothing(user: Host) -> None:
    user.has("damaged")
    with pytest.raises(HostError, match=r"cannot unpack .*unexpected end.*--kernel"):
        user.fetch()
    assert os.listdir(find.cache()) == [".lock"]


def test_package_without_kernel_is_refused(user: Host) -> None:
    (user.top / "bin/dpkg-deb").write_text('#!/bin/sh\nmkdir -p "$3/usr"\n')
    with pytest.raises(HostError, match=r"has no usr/bin/linux\.uml"):
        user.fetch()


def test_network_down_gives_apts_words(user: Host) -> None:
    user.has("down")
    with pytest.raises(HostError, match=r"package lists: Failed to fetch http://mirror.*--kernel"):
        user.fetch()


def test_system_without_the_package_takes_debians(user: Host) -> None:
    user.has("ubuntu")
    assert user.fetch() == user.kernel
    # The system's, our own of the system's sources, Debian's keys, Debian's.
    assert user.verbs == [
        *("download", "download", "update", "download"),
        *("download", "update", "download"),
    ]
    sources = (user.top / "cache/umlctl/apt/debian/sources.list").read_text()
    assert "deb [signed-by=" in sources
    assert "debian-archive-keyring.gpg] http://deb.debian.org/debian " in sources


def test_root_of_a_system_without_the_package_takes_debians(root: Host) -> None:
    root.has("ubuntu")
    assert root.fetch() == root.kernel
    assert root.verbs[:3] == ["install", "update", "install"]


def test_no_such_package_anywhere_says_where_it_exists(user: Host) -> None:
    user.has("ubuntu")
    apt_get = user.top / "bin/apt-get"
    apt_get.write_text(apt_get.read_text().replace("[ $lists != debian-lists ] && ", ""))
    with pytest.raises(HostError, match=r"amd64 and i386.*no installation candidate"):
        user.fetch()


@pytest.mark.parametrize("missing", ["apt-get", "dpkg-deb"])
def test_host_without_apt_is_told_what_else(user: Host, missing: str) -> None:
    (user.top / "bin" / missing).unlink()
    with pytest.raises(HostError, match=rf"there is no {missing} here.*--kernel PATH"):
        user.fetch()


def test_cache_that_cannot_be_made_is_named(user: Host) -> None:
    (user.top / "cache").touch()
    with pytest.raises(HostError, match=r"cannot write to .*kernels.*XDG_CACHE_HOME"):
        user.fetch()


def test_second_fetch_waits_for_the_first(user: Host) -> None:
    user.has("lists")
    os.makedirs(find.cache())
    waiting = threading.Event()
    found: list[str] = []

    def say(text: str) -> None:
        if text.startswith("waiting for another"):
            waiting.set()

    second = threading.Thread(target=lambda: found.append(fetch.fetch(say)))
    with open(f"{find.cache()}/.lock", "w") as first:
        fcntl.flock(first, fcntl.LOCK_EX)
        second.start()
        assert waiting.wait(60)
        assert not found
        assert not (user.top / "apt.log").exists()
    second.join(60)
    assert found == [user.kernel]


def test_root_installs_the_package(root: Host) -> None:
    root.has("lists")
    assert root.fetch() == f"{root.top}/bin/linux.uml"
    assert root.verbs == ["install"]


def test_root_without_package_lists_updates_first(root: Host) -> None:
    assert root.fetch() == f"{root.top}/bin/linux.uml"
    assert root.verbs == ["install", "update", "install"]


def test_root_needs_no_cache(root: Host) -> None:
    root.has("lists")
    root.fetch()
    assert not (root.top / "cache").exists()


def of_release(host: Host, needs: str, monkeypatch: pytest.MonkeyPatch) -> str:
    (host.top / "bin/apt-cache").write_text(
        f"#!/bin/sh\necho Package: x; echo 'Depends: {needs}'\n"
    )
    (host.top / "bin/apt-cache").chmod(0o755)
    monkeypatch.setattr(os, "confstr", lambda _name: "glibc 2.36")
    return fetch.fetch_of_release("sid", host.said.append)


@pytest.mark.parametrize("needs", ["libc6 (>= 2.36), libgcc", "libc6 (>= 2.4)", "libgcc"])
def test_kernel_of_another_release_is_unpacked_beside_others(
    root: Host, monkeypatch: pytest.MonkeyPatch, needs: str
) -> None:
    root.has("debian-lists")
    (root.top / "bin/apt-get").write_text(APT_GET.replace("*/apt/debian/*", "*/apt/sid/*"))
    assert of_release(root, needs, monkeypatch) == root.kernel
    assert root.verbs[-2:] == ["update", "download"]
    assert "install" not in root.verbs


@pytest.mark.parametrize("needs", ["libc6 (>= 2.38)", "x, libc6 (>= 3.1~rc1)"])
def test_kernel_that_this_host_cannot_run_is_not_downloaded(
    user: Host, monkeypatch: pytest.MonkeyPatch, needs: str
) -> None:
    with pytest.raises(UnfitHost, match=r"takes the C library .*has 2\.36.*`umlctl kernel build`"):
        of_release(user, needs, monkeypatch)
    assert "download" not in user.verbs[user.verbs.index("update") :]
    assert os.listdir(find.cache()) == [".lock"]


def test_kernel_is_taken_where_the_c_library_is_another(
    user: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    user.has("debian-lists")
    (user.top / "bin/apt-get").write_text(APT_GET.replace("*/apt/debian/*", "*/apt/sid/*"))

    def refuse(_name: str) -> str:
        raise ValueError

    monkeypatch.setattr(os, "confstr", refuse)
    (user.top / "bin/apt-cache").write_text("#!/bin/sh\necho 'Depends: libc6 (>= 9.9)'\n")
    (user.top / "bin/apt-cache").chmod(0o755)
    assert fetch.fetch_of_release("sid", user.said.append) == user.kernel
