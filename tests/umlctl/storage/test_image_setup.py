from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

import pytest

from umlctl.errors import HostError, UsageError
from umlctl.storage import image_names, image_setup
from umlctl.storage.image_setup import Wanted, is_root, set_up
from umlctl.storage.image_tree import ImageTree, of_directory

if TYPE_CHECKING:
    from pathlib import Path

PLAIN = Wanted("web", "ext4")
SYSTEMD = "/lib/systemd/systemd"


def tree_of(place: Path, files: dict[str, str]) -> ImageTree:
    (place / "tree").mkdir()
    tree = ImageTree(f"{place}/tree", of_directory(f"{place}/tree", 5), 5)
    for path, text in files.items():
        tree.put(path, text.encode())
    return tree


def text(tree: ImageTree, path: str) -> str:
    return tree.read(path).decode()


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        (PLAIN._replace(hostname="a b"), "a host name has"),
        (PLAIN._replace(hostname=""), "a host name has"),
        (PLAIN._replace(hostname="a" * 65), "a host name has"),
        (PLAIN._replace(hostname="-a"), "a host name has"),
        (PLAIN._replace(users=("Me",)), "a user's name has"),
        (PLAIN._replace(users=("a:b",)), "a user's name has"),
        (PLAIN._replace(users=("a\n",)), "a user's name has"),
    ],
)
def test_what_no_system_has_is_refused(wanted: Wanted, said: str) -> None:
    image_setup.check(PLAIN)
    image_setup.check(PLAIN._replace(hostname=None))
    with pytest.raises(UsageError, match=said):
        image_setup.check(wanted)


def test_container_gets_an_init_and_a_busybox(tmp_path: Path) -> None:
    tree = tree_of(tmp_path, {"/etc/passwd": "root:x:0:0::/root:/bin/sh\n", "/bin/sh": "sh"})
    assert is_root(tree)
    set_up(tree, PLAIN)
    nodes = {each.path: each for each in tree.nodes}
    assert nodes["/sbin/init"].mode == nodes["/bin/busybox"].mode == stat.S_IFREG | 0o755
    assert tree.read("/bin/sh") == b"sh"
    assert text(tree, "/etc/hostname") == "web\n"
    assert text(tree, "/etc/hosts") == "127.0.0.1\tlocalhost\n127.0.1.1\tweb\n"
    assert text(tree, "/etc/fstab") == "/dev/ubda / ext4 discard,errors=remount-ro 0 1\n"
    assert image_names.PROMPT in nodes
    assert nodes["/tmp"].mode == stat.S_IFDIR | 0o1777


def test_init_of_its_own_stays_and_setting_up_twice_is_setting_up_once(tmp_path: Path) -> None:
    files = {"/sbin/init": "own", "/etc/hosts": "::1 web", "/sbin/ifup": "", "/etc/inittab": ""}
    tree = tree_of(tmp_path, files)
    set_up(tree, PLAIN)
    first = {each.path: tree.read(each.path) for each in tree.nodes}
    assert first["/sbin/init"] == b"own"
    assert first["/etc/hosts"] == b"::1 web"  # which has the name
    assert "/bin/busybox" not in first
    set_up(tree, PLAIN)
    assert {each.path: tree.read(each.path) for each in tree.nodes} == first


def test_mere_files_are_no_root(tmp_path: Path) -> None:
    assert not is_root(tree_of(tmp_path, {"/data/x": ""}))


def test_file_system_table_loses_disks_of_other_machines(tmp_path: Path) -> None:
    fstab = "# a comment\n/dev/sda1 / ext4 defaults 0 1\nproc /proc proc defaults 0 0\n"
    tree = tree_of(tmp_path, {"/etc/fstab": fstab, "/sbin/init": ""})
    set_up(tree, PLAIN)
    said = text(tree, "/etc/fstab").splitlines()
    assert said[:2] == ["# a comment", "proc /proc proc defaults 0 0"]
    assert said[2].startswith("/dev/ubda / ext4 ")


def test_systemd_has_a_login_on_the_one_console(tmp_path: Path) -> None:
    wants = "/etc/systemd/system/getty.target.wants"
    files = {SYSTEMD: "", f"{wants}/getty@tty1.service": "", f"{SYSTEMD}-networkd": ""}
    tree = tree_of(tmp_path, files)
    set_up(tree, PLAIN._replace(autologin=True))
    assert os.readlink(f"{tree.directory}{wants}/getty@tty0.service").endswith("/getty@.service")
    assert not tree.exists(f"{wants}/getty@tty1.service")
    assert "/dev/ttyS39" in text(tree, "/etc/systemd/system/umlctl.service")
    assert "--autologin root" in text(
        tree, "/etc/systemd/system/getty@tty0.service.d/autologin.conf"
    )
    assert "Name=vec* eth*" in text(tree, "/etc/systemd/network/80-umlctl.network")


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (
            "1:2345:respawn:/sbin/getty 38400 tty1\n2:23:respawn:/sbin/getty 38400 tty2\n",
            (
                "1:2345:respawn:/sbin/getty 38400 tty0\n#2:23:respawn:/sbin/getty 38400 tty2\n"
                "um:2345:respawn:/bin/sh /dev/ttyS39\n"
            ),
        ),
        (
            "# tty1 is\ntty1::respawn:/sbin/getty 38400 tty1",
            "# tty1 is\ntty0::respawn:/sbin/getty 38400 tty0\n::respawn:/bin/sh /dev/ttyS39\n",
        ),
    ],
)
def test_login_of_an_inittab_is_on_the_console(tmp_path: Path, before: str, after: str) -> None:
    tree = tree_of(tmp_path, {"/sbin/init": "", "/etc/inittab": before})
    set_up(tree, PLAIN)
    assert text(tree, "/etc/inittab") == after
    set_up(tree, PLAIN._replace(autologin=True))
    assert "respawn:/bin/login -f root </dev/tty0" in text(tree, "/etc/inittab")


def test_network_is_by_dhcp(tmp_path: Path) -> None:
    tree = tree_of(tmp_path, {"/sbin/init": "", "/usr/sbin/ifup": "", "/etc/network/x": ""})
    set_up(tree, PLAIN)
    assert "source /etc/network/interfaces.d/*" in text(tree, "/etc/network/interfaces")
    assert "iface lo inet loopback" in text(tree, "/etc/network/interfaces")
    assert "iface vec0 inet dhcp" in text(tree, "/etc/network/interfaces.d/umlctl")


def test_users_and_their_keys(tmp_path: Path) -> None:
    files = {
        "/sbin/init": "",
        "/bin/bash": "",
        "/etc/passwd": "root:x:0:0::/root:/bin/bash\nold:x:1000:1001::/home/old:/bin/sh",
        "/etc/group": "root:x:0:\nold:x:1001:\n",
        "/etc/shadow": "root:*:1::::::\n",
    }
    tree = tree_of(tmp_path, files)
    set_up(tree, PLAIN._replace(users=("me", "you"), keys="ssh-ed25519 AA me\n"))
    assert text(tree, "/etc/passwd").splitlines()[1:] == [
        "old:x:1000:1001::/home/old:/bin/sh",
        "me:x:1002:1002::/home/me:/bin/bash",
        "you:x:1003:1003::/home/you:/bin/bash",
    ]
    nodes = {each.path: each for each in tree.nodes}
    assert (nodes["/home/me"].uid, nodes["/home/me/.ssh"].uid) == (1002, 1002)
    assert nodes["/home/me/.ssh/authorized_keys"].mode == stat.S_IFREG | 0o600
    assert "me:*:1:" in text(tree, "/etc/shadow")
    with pytest.raises(HostError, match="there is a user me in it already"):
        set_up(tree, PLAIN._replace(users=("me",)))


def test_keys_without_a_user_are_roots(tmp_path: Path) -> None:
    tree = tree_of(tmp_path, {"/sbin/init": ""})
    set_up(tree, PLAIN._replace(keys="k\n"))
    assert text(tree, "/root/.ssh/authorized_keys") == "k\n"
    assert "root:*:" in text(tree, "/etc/shadow")


@pytest.mark.parametrize("uid", ["²", "-1", "9" * 20, ""])
def test_keys_of_a_user_without_a_number_are_refused(tmp_path: Path, uid: str) -> None:
    files = {"/sbin/init": "", "/etc/passwd": f"root:x:{uid}:0:root:/root:/bin/sh\n"}
    with pytest.raises(HostError, match="no user root"):
        set_up(tree_of(tmp_path, files), PLAIN._replace(keys="k\n"))
