from __future__ import annotations

import errno
from typing import TYPE_CHECKING

import pytest

from tests.umlctl.supervisor.devices.conftest import (
    MB,
    Guest,
    ok,
    refused,
)
from umlctl.errors import Refusal
from umlctl.supervisor.devices import memory

if TYPE_CHECKING:
    from socketproto.exchange import Outcome


async def test_memory_is_taken_and_given_back(guest: Guest) -> None:
    await guest.config("mem=-64M")
    await guest.config("mem=-16M")
    (entry,) = guest.devices.entries
    assert entry.kernel == entry.asked == "mem=-80M"
    assert entry.observed is not None
    assert entry.observed["available"] == 120 * MB
    await guest.config("mem=+79M")
    assert entry.kernel == "mem=-1M"
    await guest.config("mem=+1M")
    assert guest.names == []
    assert guest.kernel.free == 200 * MB
    taken = [(event["change"], event["taken"]) for event in guest.events("memory changed")]
    assert taken == [(-64 * MB, 64 * MB), (-16 * MB, 80 * MB), (79 * MB, MB), (MB, 0)]


@pytest.mark.parametrize(
    ("taken", "change", "said", "error"),
    [
        ("", "+4K", "nothing was taken from it; start it with a larger --mem", errno.EINVAL),
        ("mem=-8M", "+8196K", "8192K was taken from it", errno.EINVAL),
        ("", "-193M", "204800K free and keeps 8192K of it; 197632K", errno.ENOMEM),
        ("", "-1G", "is too much", errno.ENOMEM),
    ],
)
async def test_memory_that_the_guest_does_not_have_is_refused(
    guest: Guest, taken: str, change: str, said: str, error: int
) -> None:
    if taken:
        await guest.config(taken)
    before = list(guest.kernel.told)
    with pytest.raises(Refusal, match=said) as refusal:
        await guest.config(f"mem={change}")
    assert refusal.value.error == -error
    assert guest.kernel.told == before


async def test_last_spare_page_can_be_taken(guest: Guest) -> None:
    guest.kernel.free = memory.SPARE_BYTES + 4096
    assert (await guest.config("mem=-4K")).ok
    with pytest.raises(Refusal, match="is too much"):
        await guest.config("mem=-4K")


async def test_memory_is_taken_beyond_reason_if_forced(guest: Guest) -> None:
    guest.kernel.free = 4 * MB
    assert (await guest.config("mem=-2M", force=True)).ok
    assert (await guest.config("mem=+16M", force=True)).ok
    assert guest.names == []


async def test_what_is_written_down_is_what_the_guest_has_lost(guest: Guest) -> None:
    """The kernel says OK, and takes what there is."""
    guest.kernel.free = 40 * MB
    await guest.config("mem=-30M")
    await guest.config("mem=-200M", force=True)
    assert guest.devices.entries[0].kernel == "mem=-40M"
    await guest.config("mem=-8M", force=True)
    assert guest.devices.entries[0].kernel == "mem=-40M"
    with pytest.raises(Refusal, match="40960K was taken from it"):
        await guest.config("mem=+41M")
    await guest.config("mem=+40M")
    assert guest.names == []


@pytest.mark.parametrize("answer", [ok("MemTotal: much kB\n"), ok(""), refused("no")])
async def test_memory_of_a_guest_that_does_not_tell_is_left_alone(
    guest: Guest, answer: Outcome
) -> None:
    guest.kernel.answers["proc meminfo"] = answer
    with pytest.raises(Refusal, match="does not say how much it has"):
        await guest.config("mem=-8M")
    assert guest.kernel.told == []


async def test_memory_that_the_kernel_refuses_to_take_is_not_taken(guest: Guest) -> None:
    guest.kernel.answers["config mem=-8M"] = refused("no such device")
    with pytest.raises(Refusal, match="mem: no such device"):
        await guest.config("mem=-8M")
    assert guest.names == []
