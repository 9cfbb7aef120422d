"""Guests that get addresses of their networks, and find each other by name."""

from __future__ import annotations

import json
import os
import shutil
import signal
from functools import partial
from typing import TYPE_CHECKING

import pytest

from tests.live.conftest import wait_for
from tests.live.test_networks import GUEST_PATH, reach

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.live.conftest import House

QUICK, PLAIN = "named", "plain"
"""A network by the host's kernel, where it can be had, and one by its switch alone."""
LEASED = """#!/bin/sh
[ "$1" != bound ] || echo "$ip $serverid" >/tmp/leased
"""


@pytest.fixture(scope="module")
def pair(house: House) -> Iterator[tuple[str, str]]:
    """Two guests that were started on both networks, and have shells."""
    house.ok("network", "create", PLAIN, "--plain")
    one, other = (f"n{os.getpid()}{end}" for end in "ab")
    for name in (one, other):
        words = [f"switch={each},addr=auto" for each in (QUICK, PLAIN)]
        house.start(name, *(word for each in words for word in ("--nic", each)))
        house.has_shell(name)
        if not shutil.which("ip", path=GUEST_PATH):  # else our init has done it
            for nic, address in addresses(house, name).items():
                house.shell(name, f"ip addr add {address} dev {nic} && ip link set {nic} up")
    yield one, other
    for name in (one, other):
        house.umlctl("kill", name)
        wait_for(partial(has_ended, house, name), f"nothing is left of {name}", 10)
    for name in (QUICK, PLAIN):
        house.umlctl("network", "rm", name)


def has_ended(house: House, name: str) -> bool:
    return not house.leftovers(name)


def addresses(house: House, guest: str) -> dict[str, str]:
    """By the NIC, with the prefix length."""
    listed = json.loads(house.ok("nic", "list", guest, "--json"))
    return {nic["name"]: nic["addr"] for nic in listed}


def resolved(house: House, guest: str, name: str, server: str) -> list[str]:
    """What a server on a network says that a name's addresses are."""
    done, said = house.try_shell(guest, f"busybox nslookup -type=a {name} {server} 2>/dev/null")
    found = [line.split()[-1] for line in said.splitlines() if line.startswith("Address")]
    return [each for each in found if ":" not in each] if not done else []


def is_leased(house: House, guest: str, nic: str, address: str, server: str) -> None:
    """A NIC that asks is given an address, by a server."""
    house.shell(guest, f"printf '%s' '{LEASED}' >/tmp/lease; chmod +x /tmp/lease")

    def asked() -> bool:
        ask = f"busybox udhcpc -i {nic} -n -q -f -t 2 -s /tmp/lease >/dev/null 2>&1"
        return house.try_shell(guest, ask)[0] == 0

    wait_for(asked, f"{nic} of {guest} is given an address")
    assert house.shell(guest, "cat /tmp/leased").split() == [address, server]


@pytest.mark.parametrize(("nic", "network"), [("vec0", QUICK), ("vec1", PLAIN)])
def test_guests_find_each_other_by_name(
    house: House, pair: tuple[str, str], nic: str, network: str
) -> None:
    one, other = pair
    (mine, _), (theirs, _) = (addresses(house, name)[nic].split("/") for name in pair)
    assert mine != theirs
    names = house.network(network)["names"]
    wait_for(lambda: resolved(house, one, other, names) == [theirs], "the name is known")
    wait_for(lambda: resolved(house, other, f"{one}.uml.internal", names) == [mine], "in full")
    assert not resolved(house, one, "nobody", names)
    reach(house, one, theirs)
    is_leased(house, one, nic, mine, names)
    os.kill(house.network(network)["pid"], signal.SIGKILL)
    wait_for(lambda: resolved(house, one, other, names) == [theirs], "by another switch, too")


@pytest.mark.skipif(not shutil.which("ip", path=GUEST_PATH), reason="our init needs ip")
def test_our_init_has_set_up_who_is_asked(house: House, pair: tuple[str, str]) -> None:
    one, other = pair
    known = house.shell(one, "cat /etc/resolv.conf").splitlines()
    assert known == [f"nameserver {house.network(each)['names']}" for each in (QUICK, PLAIN)]
    reach(house, one, other)
    reach(house, other, one)


def test_plugged_nic_has_the_address_that_it_had(house: House, pair: tuple[str, str]) -> None:
    words = ("--switch", "more", "--guest-addr", "auto", "--nic", "5", "--json")
    given = [json.loads(house.ok("nic", "add", name, *words))["addr"] for name in pair]
    assert given[0] != given[1]
    for name in reversed(pair):
        house.ok("nic", "rm", name, "vec5")
    again = [json.loads(house.ok("nic", "add", name, *words))["addr"] for name in reversed(pair)]
    assert again == given[::-1]
    for name in pair:
        house.ok("nic", "rm", name, "vec5")
