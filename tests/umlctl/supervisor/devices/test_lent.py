from __future__ import annotations

import errno
import os
import socket
from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing

from tests.umlctl.supervisor.devices.conftest import (
    Guest,
    ok,
    refused,
)
from umlctl.errors import Refusal

if TYPE_CHECKING:
    from collections.abc import Iterator

    from socketproto.exchange import Outcome


@pytest.fixture
def served(guest: Guest) -> Iterator[str]:
    """A device that somebody serves, in the kernel's words."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"{guest.path}/s")
        yield f"virtio_uml.device={guest.path}/s:26"


def virtio(number: int) -> str:
    return f"proc 1/root/sys/bus/virtio/devices/virtio{number}/device"


async def test_device_that_is_served_is_passed_on_and_given_again_after_a_reboot(
    guest: Guest, served: str
) -> None:
    def before(text: str) -> None:
        if text == f"config {served}":
            guest.kernel.answers[virtio(1)] = ok("0x001a")

    guest.kernel.mounts = "sysfs /sys sysfs rw 0 0\n"
    guest.kernel.answers |= {virtio(0): ok("0x0001"), f"config {served}": ok()}
    guest.kernel.before = before
    assert (await guest.config(served)).ok
    entry = guest.devices.entries[0]
    assert (entry.name, entry.observed) == ("virtio1", {"device": "0x001a"})
    await guest.reboot()
    assert f"config {served}" in guest.kernel.asked
    assert not entry.problem
    os.unlink(f"{guest.path}/s")
    await guest.reboot()
    assert "nobody serves a device at" in entry.problem


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (refused("Bad configuration option"), "this kernel takes no such device"),
        (ok(), "the guest does not have it"),
        (refused("", -errno.EINVAL), "virtio0: Invalid argument"),
    ],
)
async def test_device_that_the_guest_does_not_get_is_not_in_the_table(
    guest: Guest, served: str, answer: Outcome, said: str
) -> None:
    guest.kernel.mounts = "sysfs /sys sysfs rw 0 0\n"
    guest.kernel.answers[f"config {served}"] = answer
    with pytest.raises(Refusal, match=said):
        await guest.config(served)
    assert guest.names == []


async def test_guest_that_shows_devices_without_end_holds_nobody_up(
    guest: Guest, served: str
) -> None:
    """Its root can put what it likes where its /sys should be."""

    def before(text: str) -> None:
        if text.startswith("proc 1/root/sys/bus/virtio/"):
            guest.kernel.answers[text] = ok("0x0001")

    guest.kernel.mounts = "sysfs /sys sysfs rw 0 0\n"
    guest.kernel.answers[f"config {served}"] = ok()
    guest.kernel.before = before
    with trio.fail_after(60), pytest.raises(Refusal, match="has virtio0 to virtio63 already"):
        await guest.config(served)
    assert guest.names == []
    await guest.plug("a.img")
    assert (await guest.config(served, force=True)).ok
    assert guest.names == ["ubd1", "virtio63"]


async def test_device_that_nobody_serves_is_refused(guest: Guest) -> None:
    with pytest.raises(Refusal, match="nobody serves a device at /none") as caught:
        await guest.config("virtio_uml.device=/none:26")
    assert caught.value.error == -errno.ENOENT
    assert not guest.kernel.asked
