from __future__ import annotations

import errno
import socket
from typing import TYPE_CHECKING

import pytest

from tests.umlctl.backends.conftest import SYSFS, entry
from umlctl.backends.lent import VFIO, VIRTIO
from umlctl.errors import Refusal

if TYPE_CHECKING:
    from tests.umlctl.backends.conftest import Answers

PCI = "vfio_uml.device=0000:00:1f.3"
SHOWN = "proc 1/root/sys/bus/virtio/devices/virtio1/device"


def test_device_that_is_served_passes_and_is_looked_at_again(short: str) -> None:
    device = f"virtio_uml.device={short}/s:26"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"{short}/s")
        VIRTIO.check(device, 1)
        VIRTIO.check_again(entry("virtio0", device))


@pytest.mark.parametrize("path", ["/none", "/dev/null"])
def test_device_that_nobody_serves_is_refused(path: str) -> None:
    with pytest.raises(Refusal, match=f"virtio: nobody serves a device at {path}") as caught:
        VIRTIO.check_again(entry("virtio0", f"virtio_uml.device={path}:26"))
    assert caught.value.error == -errno.ENOENT


def test_hardware_is_the_hosts_to_lend_and_is_never_taken_out() -> None:
    VFIO.check(PCI, 1)
    assert not VFIO.removable
    assert not VIRTIO.removable


async def test_virtio_device_is_shown_by_a_guest_with_sysfs(kernel: Answers) -> None:
    kernel["proc 1/mounts"] = SYSFS
    assert await VIRTIO.observe(entry("virtio1"), kernel) is None
    kernel[SHOWN] = "0x001a\n" + "x" * 100
    found = await VIRTIO.observe(entry("virtio1"), kernel)
    assert found is not None
    assert found["device"].startswith("0x001a")
    assert len(found["device"]) == 64


async def test_guest_without_sysfs_and_hardware_tell_nothing(kernel: Answers) -> None:
    kernel["proc 1/mounts"] = ""
    assert await VIRTIO.observe(entry("virtio1"), kernel) == {}
    assert await VFIO.observe(entry("vfio0"), kernel) == {}
    assert SHOWN not in kernel.asked


def test_kernel_that_knows_no_such_device_is_named() -> None:
    assert "Linux 7.2" in VFIO.explain("Bad configuration option", 1)
    assert VIRTIO.explain("", -errno.EINVAL) == "Invalid argument"
