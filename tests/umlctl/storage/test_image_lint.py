from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from umlctl.storage import ext4
from umlctl.storage.image_lint import SHELL_UNIT, WANTS, problems
from umlctl.storage.image_tree import of_directory

if TYPE_CHECKING:
    from pathlib import Path


def image(place: Path, files: dict[str, str]) -> str:
    tree = place / "tree"
    for name, text in files.items():
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_text(text)
    with (place / "a.img").open("x+b") as file:
        file.truncate(8 << 20)
        ext4.make(file.fileno(), str(tree), of_directory(str(tree), 1), "a", 1)
    return f"{place}/a.img"


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"etc/x": ""}, "it has no init"),
        ({"sbin/init": "", "etc/fstab": "/dev/sda1 / ext4\n"}, "/etc/fstab mounts /dev/sda1"),
        (
            {"sbin/init": "", "etc/inittab": "1:2345:wait:/x ttyS39\n2:2:wait:/dev/ttyS39"},
            "no getty on tty0",
        ),
        (
            {"sbin/init": "", "lib/systemd/systemd": "", SHELL_UNIT[1:]: ""},
            "no getty on tty0, and nobody can log in on the console: `ln -s",
        ),
        (
            {"sbin/init": "", "lib/systemd/systemd": "", f"{WANTS[1:]}/getty@tty0.service": ""},
            "nothing begins what `umlctl exec` runs in its guests: it has no /etc",
        ),
        (
            {
                "sbin/init": "",
                "etc/network/interfaces": "auto lo\niface lo x\niface enp0s3 inet dhcp\n",
            },
            "/etc/network sets up enp0s3, and NICs are vec0",
        ),
        (
            {"sbin/init": "", "etc/network/interfaces": "auto vec0 vec1\niface vec1 inet dhcp\n"},
            "/etc/network brings vec0 up, and has no `iface vec0`",
        ),
        (
            {"sbin/init": "", "lib/modules/5.10/x": ""},
            "/lib/modules has 5.10, and not 6.1; `umlctl image modules`",
        ),
    ],
)
def test_what_keeps_an_image_from_being_one_is_said(
    tmp_path: Path, files: dict[str, str], said: str
) -> None:
    (found,) = problems(image(tmp_path, files), "6.1")
    assert said in found


def test_nic_that_is_there_and_modules_of_any_kernel_are_well(tmp_path: Path) -> None:
    interfaces = "auto /vec*\niface eth0 inet dhcp\n"
    files = {"etc/network/interfaces": interfaces, "etc/network/interfaces.d/a": "iface vec0 x\n"}
    path = image(tmp_path, {"sbin/init": "", "lib/modules/5.10/x": "", **files})
    assert problems(path) == []


def test_comment_mounts_nothing_and_an_archive_is_no_root(tmp_path: Path) -> None:
    files = {"sbin/init": "", "etc/fstab": "# /dev/sda1 / ext4\n/dev/ubda / ext4\n"}
    assert problems(image(tmp_path, files)) == []
    (tmp_path / "x").write_bytes(b"\x1f\x8b\x08" + bytes(5000))
    assert "no file system that a kernel mounts" in problems(f"{tmp_path}/x")[0]
