from __future__ import annotations

import pytest

from tests.umlctl.supervisor.devices.conftest import (
    Guest,
    refused,
)
from umlctl.errors import Refusal
from umlctl.host import processes


@pytest.mark.parametrize(
    ("target", "said"),
    [
        (None, "the kernel has no descriptor 5 open"),
        ("/dev/shm/#17 (deleted)", "which cannot be"),
        ("anon_inode:[eventpoll]", "which cannot be"),
    ],
)
async def test_descriptor_of_the_kernels_own_is_no_device(
    guest: Guest, monkeypatch: pytest.MonkeyPatch, target: str | None, said: str
) -> None:
    """The memory of the guest, for one."""
    monkeypatch.setattr(processes, "open_file", lambda _pid, _number: target)
    for text in ("vec0:transport=fd,fd=5", "con1=fd:5", "ssl0=null,fd:5"):
        with pytest.raises(Refusal, match=said):
            await guest.config(text)
    with pytest.raises(Refusal, match=said):
        await guest.plug("transport=fd,fd=5")
    assert guest.kernel.told == []
    await guest.config("con1=fd:5", force=True)
    assert guest.names == ["con1"]


async def test_nic_is_a_socket_and_a_line_is_a_terminal(
    guest: Guest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "open_file", lambda _pid, _number: "/dev/pts/1")
    with pytest.raises(Refusal, match="descriptor 5 is /dev/pts/1, which cannot be a NIC's"):
        await guest.plug("transport=fd,fd=5")
    await guest.config("con1=fd:5")
    for path in ("/nonexistent", "/dev/null", guest.path):
        with pytest.raises(Refusal, match=r"con2: .* is no terminal of this host"):
            await guest.config(f"con2=tty:{path}")
    assert guest.names == ["con1"]


async def test_line_is_changed_and_seen(guest: Guest) -> None:
    assert (await guest.config("con1=null")).ok
    (entry,) = guest.devices.entries
    assert (entry.name, entry.kernel, entry.observed) == ("con1", "con1=null", {"config": "null"})
    await guest.config("con1=fd:5")
    assert (entry.kernel, entry.observed) == ("con1=fd:5", {"config": "fd:5"})
    assert guest.names == ["con1"]
    assert [event["text"] for event in guest.events("device added")] == ["con1=null", "con1=fd:5"]


async def test_line_that_the_kernel_cannot_read_leaves_the_old_one(guest: Guest) -> None:
    await guest.config("con1=fd:5")

    def lose(text: str) -> None:
        if text == "config con1=null":
            guest.kernel.lines["con1"] = "none"

    guest.kernel.before = lose
    guest.kernel.answers["config con1=null"] = refused("Failed to parse channel pair")
    with pytest.raises(Refusal, match="con1: Failed to parse"):
        await guest.config("con1=null")
    assert guest.kernel.lines["con1"] == "fd:5"
    assert guest.devices.entries[0].kernel == "con1=fd:5"


async def test_line_that_was_none_is_not_restored(guest: Guest) -> None:
    guest.kernel.answers["config con1=null"] = refused("no")
    with pytest.raises(Refusal, match="con1: no"):
        await guest.config("con1=null")
    assert guest.kernel.told == ["config con1=null"]
    assert guest.names == []


async def test_line_that_was_lost_is_well_again(guest: Guest) -> None:
    await guest.config("con1=null")
    guest.kernel.answers["config con1=null"] = refused("no")
    await guest.reboot()
    assert guest.devices.entries[0].problem == "con1: no"
    await guest.config("con1=fd:5")
    assert guest.devices.entries[0].problem == ""
