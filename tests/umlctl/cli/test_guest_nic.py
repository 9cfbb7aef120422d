"""Which NIC somebody means."""

from __future__ import annotations

import pytest

from umlctl.cli import guest_nic
from umlctl.errors import UsageError
from umlctl.guest.definition import Definition
from umlctl.state.records import DeviceEntry, Record


def guest(*devices: DeviceEntry) -> Record:
    definition = Definition(umid="demo", kernel="/linux")
    return Record(
        definition=definition,
        supervisor_pid=1,
        pid=2,
        started=1,
        boot_id="",
        since=1.0,
        devices=list(devices),
    )


def nic(name: str, network: str = "lan") -> DeviceEntry:
    return DeviceEntry(name=name, asked="", kernel="", network=network)


def test_nic_is_found_by_name_or_number_or_as_the_only_one() -> None:
    one, two, other = nic("vec0"), nic("vec1"), nic("vec2", network="")
    assert guest_nic.find(guest(one, other), "", "captured") is one
    assert guest_nic.find(guest(one, two), "1", "captured") is two
    assert guest_nic.find(guest(one, two), "vec0", "captured") is one


def test_nic_that_is_none_is_said() -> None:
    with pytest.raises(UsageError, match="demo has several NICs: name one of vec0, vec1"):
        guest_nic.find(guest(nic("vec0"), nic("vec1")), "", "captured")
    with pytest.raises(UsageError, match=r"has not a NIC on a switch.*of these it has: none"):
        guest_nic.find(guest(nic("vec2", network="")), "", "delayed")


@pytest.mark.parametrize("word", ["vec0", "eth12", "3"])
def test_word_names_a_nic(word: str) -> None:
    assert guest_nic.NAME.fullmatch(word)


@pytest.mark.parametrize("word", ["arp", "vec", "ether", "vec0x", "12345", ""])
def test_word_names_no_nic(word: str) -> None:
    assert not guest_nic.NAME.fullmatch(word)
