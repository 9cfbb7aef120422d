from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.umlctl.storage.test_image_setup import PLAIN, SYSTEMD, text, tree_of
from umlctl.storage import image_names
from umlctl.storage.image_setup import set_up

if TYPE_CHECKING:
    from pathlib import Path

OWN = PLAIN._replace(hostname=None)


def named(place: Path, words: str, *, kernel: str = "localhost", shell: str = "dash") -> str:
    """What a guest is called after its boot, whose kernel was told words."""
    for name, said in (("cmdline", words), ("name", kernel)):
        (place / name).write_text(f"{said}\n")
    script = image_names.NAMING.replace("/etc/", f"{place}/")
    script = script.replace("/proc/sys/kernel/hostname", f"{place}/name")
    script = script.replace("/proc/cmdline", f"{place}/cmdline")
    subprocess.run([*shell.split(), "-c", script], check=True)
    return (place / "name").read_text().strip()


@pytest.mark.parametrize("shell", ["dash", "bash", "busybox sh"])
def test_guest_has_the_name_that_its_kernel_was_told_and_finds_itself(
    tmp_path: Path, shell: str
) -> None:
    hosts = tmp_path / "hosts"
    hosts.write_text("127.0.0.1 localhost\n# web\n10.0.0.2 web-1 a.web #web\n10.0.0.3 \\n*")
    said = "127.0.0.1 localhost\n# web\n10.0.0.2 web-1 a.web #web\n10.0.0.3 \\n*\n"
    words = "mem=64M hostname=a hostname=web ro -- hostname=init"
    for _ in range(2):
        assert named(tmp_path, words, shell=shell) == "web"
        assert hosts.read_text() == f"{said}127.0.1.1 web # by umlctl\n"
    assert named(tmp_path, "hostname=other", shell=shell) == "other"  # of a copy of its disk
    assert hosts.read_text() == f"{said}127.0.1.1 other # by umlctl\n"
    assert named(tmp_path, "hostname=web-1", shell=shell) == "web-1"
    assert hosts.read_text() == said
    (tmp_path / "hostname").write_text("mine\n")
    assert named(tmp_path, words, kernel="mine", shell=shell) == "mine"
    assert hosts.read_text() == f"{said}127.0.1.1 mine # by umlctl\n"
    assert sorted(each.name for each in tmp_path.iterdir()) == [
        *("cmdline", "hostname", "hosts", "name")
    ]


def test_guest_whose_kernel_was_told_none_has_what_its_init_says(tmp_path: Path) -> None:
    (tmp_path / "hosts").write_text("::1 localhost\n")
    assert named(tmp_path, "ro", kernel="(none)") == "(none)"
    assert (tmp_path / "hosts").read_text() == "::1 localhost\n"
    assert named(tmp_path, "ro", kernel="init") == "init"
    assert "127.0.1.1 init # by umlctl\n" in (tmp_path / "hosts").read_text()


def test_name_of_the_machine_that_the_tree_is_from_is_no_guests(tmp_path: Path) -> None:
    hosts = "127.0.0.1 localhost\n127.0.1.1 builder.lan builder\n127.0.1.1 other # builder\n"
    files = {"/etc/hostname": "builder\n", "/etc/hosts": hosts, SYSTEMD: ""}
    tree = tree_of(tmp_path, files)
    set_up(tree, OWN)
    assert not tree.exists("/etc/hostname")
    assert text(tree, "/etc/hosts") == "127.0.0.1 localhost\n127.0.1.1 other # builder\n"
    assert f"/bin/sh {image_names.SCRIPT}" in text(tree, image_names.UNIT)
    tree.remove("/etc/hosts")
    set_up(tree, OWN)
    assert text(tree, "/etc/hosts") == "127.0.0.1\tlocalhost\n"


def test_name_that_was_chosen_is_every_guests(tmp_path: Path) -> None:
    tree = tree_of(tmp_path, {"/etc/hosts": "10.0.0.1 web-1 # web", SYSTEMD: ""})
    set_up(tree, PLAIN)
    assert text(tree, "/etc/hostname") == "web\n"
    assert text(tree, "/etc/hosts") == "10.0.0.1 web-1 # web\n127.0.1.1\tweb\n"
    assert not tree.exists(image_names.SCRIPT)
    assert not tree.exists(image_names.UNIT)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (
            "id:2:initdefault:\n#a::sysinit:/x\nsi::sysinit:/etc/init.d/rcS\n",
            "si::sysinit:/etc/init.d/rcS\nuh::sysinit:/bin/sh /sbin/hostname.umlctl\num:2345:",
        ),
        (
            "::sysinit:/sbin/openrc boot\n::wait:/sbin/openrc default\n",
            "boot\n::sysinit:/bin/sh /sbin/hostname.umlctl\n::wait:/sbin/openrc default\n::respawn",
        ),
        ("", "::sysinit:/bin/sh /sbin/hostname.umlctl\n::respawn:"),
    ],
)
def test_inittab_names_a_guest_as_the_last_step_of_its_boot(
    tmp_path: Path, before: str, after: str
) -> None:
    tree = tree_of(tmp_path, {"/sbin/init": "", "/etc/inittab": before})
    set_up(tree, OWN)
    found = text(tree, "/etc/inittab")
    assert after in found
    set_up(tree, OWN)
    assert text(tree, "/etc/inittab") == found


@pytest.mark.parametrize(
    ("shell", "given", "said"),
    [
        ("dash", "# ", "{name}:/# "),
        ("bash", "\\s-\\v\\$ ", "{name}:/# "),
        ("busybox sh", "\\w \\$ ", "{name}:/# "),
        ("dash", "\\h:\\w\\$ ", "\\h:\\w\\$ "),
    ],
)
def test_prompt_says_where_it_is(tmp_path: Path, shell: str, given: str, said: str) -> None:
    tree = tree_of(tmp_path, {})
    image_names.prompt_of_shell(tree)
    file = tree.directory + image_names.PROMPT
    script = f'id() {{ echo 0; }}; . {file}; cd /; eval "echo \\"$PS1\\""'
    if said == given:
        script = f'. {file}; printf "%s\\n" "$PS1"'
    done = subprocess.run(
        [*shell.split(), "-c", script],
        capture_output=True, text=True, check=True, env={"PS1": given, "PATH": "/usr/bin:/bin"},
    )  # fmt: skip
    with open("/proc/sys/kernel/hostname") as name:
        assert done.stdout == said.format(name=name.read().strip()) + "\n"
