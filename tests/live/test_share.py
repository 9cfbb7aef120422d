"""Directories of this host in guests that run."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from tests.live.conftest import House


@pytest.fixture
def shared_directory(tmp_path: Path) -> Path:
    (tmp_path / "file").write_text("here\n")
    tmp_path.chmod(0o755)
    return tmp_path


def in_guest(house: House, umid: str, script: str) -> str:
    return house.ok("exec", umid, "--", "sh", "-c", script)


def test_share_is_there_from_add_to_rm_over_a_reboot(
    house: House, umid: str, shared_directory: Path
) -> None:
    house.start(umid, "--mem", "64M", "--share", f"{shared_directory}:/srv,ro")
    assert in_guest(house, umid, "cat /srv/file; ! echo >/srv/new") == "here\n"
    said = house.ok("share", "add", umid, f"{shared_directory}:/mnt")
    assert said == f"share1 is in {umid}, at /mnt\n"
    in_guest(house, umid, "echo there >/mnt/new")
    assert (shared_directory / "new").read_text() == "there\n"
    house.ok("reboot", umid)
    house.ok("share", "list", umid)  # answered once the guest is ready again, which has them then
    assert in_guest(house, umid, "cat /srv/file /mnt/new") == "here\nthere\n"
    for path in ("/mnt", "/srv"):
        house.ok("share", "rm", umid, path)
    assert json.loads(house.ok("share", "list", umid, "--json")) == []
    # The kernel is confined wherever the host can: what was taken away it cannot write again.
    confined = house.status(umid)["own_mounts"]
    mount = f"LIBMOUNT_FORCE_MOUNT2=always mount -t hostfs -o {shared_directory} none /mnt"
    in_guest(house, umid, f"{mount}; echo >/mnt/evil; :")
    assert (shared_directory / "evil").exists() != bool(confined)


def test_share_that_the_guest_cannot_mount_is_refused(house: House, shared: str) -> None:
    done = house.umlctl("share", "add", shared, "/usr:/mnt/none")
    assert done.returncode == 1
    assert "the guest could not mount /mnt/none" in done.stderr
    assert json.loads(house.ok("share", "list", shared, "--json")) == []


def test_share_is_not_left_where_a_link_leads(
    house: House, shared: str, shared_directory: Path
) -> None:
    in_guest(house, shared, "ln -s /run /tmp/link")
    done = house.umlctl("share", "add", shared, f"{shared_directory}:/tmp/link/it")
    assert done.returncode == 1
    assert "from where a link may lead elsewhere" in done.stderr
    assert in_guest(house, shared, "grep -c ' /run/it ' /proc/mounts; :") == "0\n"
    in_guest(house, shared, "rm /tmp/link")


def test_guest_is_given_no_other_directory_by_a_link_in_one_that_it_has(
    house: House, umid: str, tmp_path: Path
) -> None:
    outer, other = tmp_path / "outer", tmp_path / "other"
    for each in (outer / "inner", other):
        each.mkdir(parents=True)
    (other / "file").write_text("secret\n")
    house.start(umid, "--mem", "64M", "--share", f"{outer}:/mnt", "--share", f"{outer}/inner:/srv")
    if not house.status(umid)["own_mounts"]:
        pytest.skip("a kernel that is not confined has all files anyway")
    in_guest(house, umid, f"mv /mnt/inner /mnt/old && ln -s {other} /mnt/inner")
    house.ok("reboot", umid)
    assert "a link leads elsewhere by now" in house.ok("share", "list", umid)
    assert in_guest(house, umid, "cat /srv/file 2>/dev/null; :") == ""
