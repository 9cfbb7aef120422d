from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from tests.umlctl.supervisor.launch.conftest import processes_of
from umlctl.backends.disk import DISK
from umlctl.backends.interface import Owner
from umlctl.errors import HostError
from umlctl.guest.specs import parse_disk
from umlctl.host import paths, processes
from umlctl.state.umid_lock import claim
from umlctl.supervisor.launch.launch import launch
from umlctl.supervisor.launch.preflight import check_files, check_reboot

if TYPE_CHECKING:
    from pathlib import Path

    from umlctl.guest.definition import Definition


def test_root_that_no_kernel_can_mount_is_said_before_the_boot(
    definition: Definition, tmp_path: Path
) -> None:
    image = tmp_path / "root.img"
    image.write_bytes(bytes(450) + b"\x83\0\0\0\0\x08\0\0\0\x08".ljust(60, b"\0") + b"\x55\xaa")
    asked = msgspec.structs.replace(definition, root=str(image))
    with claim("demo") as held, pytest.raises(HostError, match="root=/dev/ubda1"):
        launch(asked, held)
    assert processes_of(definition) == []
    for word in ("root=/dev/ubda1", "initrd=/boot/initrd"):
        check_files(msgspec.structs.replace(asked, arguments=(word,)), overcommit=False)


def test_place_that_the_guests_own_dev_covers_is_said_before_the_boot(
    definition: Definition, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paths, "run_dir", lambda: "/dev/shm/umlctl/run")
    with pytest.raises(HostError, match=r"cannot see /dev/shm/umlctl/run, .*set UMLCTL_DIR"):
        check_files(definition, overcommit=False)
    own = msgspec.structs.replace(definition, root="/srv")
    check_files(own, overcommit=False)


def test_disk_of_the_command_line_that_a_reboot_would_not_find_is_said_before(
    definition: Definition, house: str
) -> None:
    """What was plugged later is left out after the reboot, and the guest comes back without."""
    for name in ("a.img", "b.img"):
        with open(f"{house}/{name}", "wb") as file:
            file.truncate(4096)
    asked = msgspec.structs.replace(definition, disks=(f"{house}/a.img,slot=1",))
    with claim("demo") as held:
        launched = launch(asked, held)
        try:
            later = DISK.prepare(
                parse_disk(f"{house}/b.img"), 2, Owner("demo", held.records, ""), []
            )
            launched.record.devices.append(later)
            os.unlink(f"{house}/b.img")
            check_reboot(launched)
            os.unlink(f"{house}/a.img")
            with pytest.raises(HostError, match=r"ubd1: cannot read .*a\.img"):
                check_reboot(launched)
        finally:
            processes.kill_guest(launched.pid, launched.started, [])
            os.waitpid(launched.shim, 0)
            launched.notify.close()
            launched.pidfile.close()


def test_image_of_what_is_written_is_made_before(definition: Definition, house: str) -> None:
    asked = msgspec.structs.replace(definition, overlay=f"{house}/none")
    with pytest.raises(HostError, match=f"cannot make {house}/none/overlay.img"):
        check_files(asked, overcommit=False)
    check_files(msgspec.structs.replace(definition, overlay=house), overcommit=False)
    assert os.path.exists(f"{house}/overlay.img")


def test_memory_is_not_made_where_nothing_can_be_executed(
    definition: Definition, house: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = list(os.statvfs(house))
    there[8] = os.ST_NOEXEC
    monkeypatch.setattr(os, "statvfs", lambda _path: os.statvfs_result(there))
    with claim("demo") as held, pytest.raises(HostError, match="it is mounted noexec"):
        launch(msgspec.structs.replace(definition, mem_dir=house), held)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"mem_dir": "/none"}, "memory in /none: No such file"),
        ({"mem_dir": "{house}", "mem": 1 << 60}, "there can never be more than"),
        ({"cwd": "/none"}, "there is no directory /none"),
        ({"initrd": "/none"}, "cannot read the initial RAM disk /none: No such file"),
        ({"initrd": "/bin/ls"}, "/bin/ls is no initial RAM disk"),
        ({"root": "/none/"}, "there is no directory /none/"),
        ({"kernel": "/none"}, "/none is not a UML kernel: there is no such file"),
        ({"kernel": "/bin/ls"}, "/bin/ls is not a UML kernel: it is another program"),
        ({"init": "/none"}, "cannot have /none as init: there is no such file"),
        ({"init": "{house}/plain"}, "it is not executable: chmod \\+x {house}/plain"),
        ({"init": "{house}/windows"}, "{house}/windows as init: its lines end in CR LF"),
        ({"arguments": ("init=/none",)}, "cannot have /none as init: there is no such file"),
        ({"init": "/plain", "root": "{house}/"}, "it is not executable: chmod \\+x /plain"),
    ],
)
def test_host_is_looked_at_before_anything_is_started(
    definition: Definition, house: str, change: dict[str, Any], said: str
) -> None:
    for name, text, mode in (("plain", "#!/bin/sh\n", 0o644), ("windows", "#!/bin/sh\r\n", 0o755)):
        with open(os.open(f"{house}/{name}", os.O_CREAT | os.O_WRONLY, mode), "w") as file:
            file.write(text)
    change = {k: v.format(house=house) if isinstance(v, str) else v for k, v in change.items()}
    said = said.format(house=house)
    with claim("demo") as held, pytest.raises(HostError, match=said):
        launch(msgspec.structs.replace(definition, **change), held)
    assert processes_of(definition) == []
