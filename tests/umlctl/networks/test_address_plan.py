from __future__ import annotations

import os
from ipaddress import IPv4Address, IPv4Network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from umlctl.errors import HostError
from umlctl.host import paths
from umlctl.networks import address_plan
from umlctl.networks.address_plan import Known, Lease, Range, assigned, range_of
from umlctl.networks.macs import mac_of

SMALL = Range(base=10 << 24, prefix=29, first=2, last=6, gateway="", resolvers=("10.0.0.1",))
"""Five addresses to be given."""


def recorded(*guests: str) -> None:
    for guest in guests:
        os.makedirs(paths.record_dir(guest), exist_ok=True)
        with open(f"{paths.record_dir(guest)}/record.json", "w"):
            pass


@given(st.text(max_size=30), st.booleans())
def test_range_has_room_beside_what_the_network_has_itself(name: str, uplink: bool) -> None:
    of = range_of(name, uplink=uplink)
    network = IPv4Network(str(of))
    given = [IPv4Address(of.address(index)) for index in (of.first, of.last)]
    own = [IPv4Address(each) for each in (*of.resolvers, *filter(None, [of.gateway]))]
    assert all(each in network for each in (*given, *own))
    assert max(own) < given[0] < given[1] < network.broadcast_address
    assert of.mask() == str(network.netmask)
    assert all(of.has(f"{each}/{of.prefix}") for each in (*given, *own))
    assert not of.has(str(network.broadcast_address))
    assert not of.has(str(network[0]))
    inner = IPv4Network("10.0.2.0/24" if uplink else "10.128.0.0/9")
    assert network.subnet_of(inner)


def test_what_slirp4netns_gives_itself_is_left_to_it() -> None:
    of = range_of("out", uplink=True)
    assert (of.address(of.first), of.address(of.last)) == ("10.0.2.31", "10.0.2.254")
    assert (of.gateway, of.resolvers) == ("10.0.2.2", ("10.0.2.1", "10.0.2.3"))


def test_range_follows_from_the_name() -> None:
    assert range_of("lan", uplink=False) == range_of("lan", uplink=False)
    assert range_of("lan", uplink=False) != range_of("lab", uplink=False)
    assert not range_of("lan", uplink=False).has("fd00::2/64")


STEPS = st.lists(st.tuples(st.sampled_from(["plug", "unplug", "rm"]), st.integers(0, 6)))


@given(STEPS)
def test_no_two_nics_have_one_address_and_each_keeps_its_own(steps: list[tuple[str, int]]) -> None:
    """Though guests come and go in any order; who is forgotten may get another."""
    leases: dict[str, Lease] = {}
    had: dict[str, str] = {}
    for what, number in steps:
        mac = mac_of(f"g{number}", 0)
        if what == "rm":
            leases.pop(mac, None)
            had.pop(mac, None)
        elif what == "plug" and (mac in leases or len(leases) < 5):
            leases = assigned(leases, SMALL, mac, f"g{number}", ())
            assert leases[mac].address == had.setdefault(mac, leases[mac].address)
        given = [lease.address for lease in leases.values()]
        assert len(set(given)) == len(given)
        assert set(given) <= {SMALL.address(index) for index in range(2, 7)}


@given(st.sets(st.integers(2, 6)))
def test_what_others_have_taken_is_given_to_nobody(taken: set[int]) -> None:
    has = {SMALL.address(index) for index in taken}
    if len(has) == 5:
        with pytest.raises(HostError, match=r"all 5 addresses of 10\.0\.0\.0/29 are taken"):
            assigned({}, SMALL, "02:00:00:00:00:01", "a", has)
    else:
        (lease,) = assigned({}, SMALL, "02:00:00:00:00:01", "a", has).values()
        assert lease.address not in has


def give(guest: str, *used: tuple[str, str], of: Range = SMALL) -> str:
    return address_plan.give("lan", of, mac_of(guest, 0), guest, used)


def test_address_is_written_down(house: str) -> None:
    recorded("a", "b")
    first = give("a")
    assert give("b") != first == give("a")
    known = address_plan.load("lan")
    assert f"{known[mac_of('a', 0)].address}/29" == first
    assert address_plan.expected("lan", SMALL, mac_of("a", 0), "a") == first
    address_plan.forget("lan")
    address_plan.forget("lan")
    assert address_plan.load("lan") == {}


def test_addresses_of_guests_that_are_gone_are_free(house: str) -> None:
    recorded("a")
    for guest in "abcdefghijklmnop":
        give(guest)
    assert {lease.guest for lease in address_plan.load("lan").values()} == {"a", "p"}


def test_guest_that_runs_gets_what_one_that_does_not_run_had(house: str) -> None:
    recorded(*"abcdef")
    running = [(mac_of(guest, 0), give(guest)) for guest in "abcde"][:1]
    given = give("f", *running)
    assert given != running[0][1]
    assert {lease.guest for lease in address_plan.load("lan").values()} == {"a", "f"}


def test_address_outside_the_range_is_replaced(house: str) -> None:
    """The network has a way out by now."""
    recorded("a")
    give("a")
    assert give("a", of=range_of("lan", uplink=True)).startswith("10.0.2.")


def test_address_that_a_guest_names_is_its_own(house: str) -> None:
    recorded("a", "b")
    first, mac = give("a"), mac_of("b", 0)
    with pytest.raises(HostError, match=f"is the address of {mac_of('a', 0)} on lan"):
        address_plan.take("lan", mac, "b", first, [(mac_of("a", 0), first)])
    address_plan.take("lan", mac, "b", first, [])  # as a does not run
    assert give("a", (mac, first)) != first
    assert f"{address_plan.load('lan')[mac].address}/29" == first


def test_guest_keeps_only_what_its_nics_have(house: str) -> None:
    recorded("a", "b")
    macs = [mac_of("a", number) for number in range(3)]
    had = [address_plan.give("lan", SMALL, mac, "a", []).partition("/")[0] for mac in macs]
    address_plan.give("other", SMALL, macs[0], "a", [])
    give("b")
    address_plan.keep_only("a", {("lan", macs[1], had[1]), ("lan", macs[2], "10.0.0.9")})
    assert address_plan.load("lan").keys() == {macs[1], mac_of("b", 0)}
    assert not os.path.exists(address_plan.path_of("other")), "nothing is left in it"


def test_plan_that_cannot_be_read_keeps_no_guest_from_starting(house: str) -> None:
    os.makedirs(address_plan.path_of("bad"))
    give("a")
    address_plan.keep_only("a", ())
    assert address_plan.load("lan") == {}


def test_address_that_was_given_last_is_the_last(house: str) -> None:
    recorded("a", "b")
    for guest in "aba":
        give(guest)
    assert [lease.guest for lease in address_plan.load("lan").values()] == ["b", "a"]


def test_of_a_damaged_file_nothing_is_known(house: str) -> None:
    recorded("a")
    before = give("a")
    with open(address_plan.path_of("lan"), "r+b") as file:
        file.write(b"nonsense")
    assert address_plan.load("lan") == {}
    assert give("a") == before, "it follows from the MAC address"


def test_addresses_that_cannot_be_kept_are_not_given(
    house: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(address_plan, "write_atomically", full)
    with pytest.raises(HostError, match="the addresses of lan cannot be kept"):
        give("a")


def test_plan_that_cannot_be_read_now_is_kept(house: str, monkeypatch: pytest.MonkeyPatch) -> None:
    recorded("a", "b")
    first, known = give("a"), Known("lan")
    before = known.look()
    give("b")
    with monkeypatch.context() as none_left:
        none_left.setattr("builtins.open", no_descriptor)
        assert known.look() is before
        with pytest.raises(HostError, match="the addresses of lan cannot be read"):
            give("a")
        with pytest.raises(HostError, match="the addresses of lan cannot be read"):
            address_plan.take("lan", mac_of("a", 0), "a", first, [])
        none_left.setattr(os, "stat", no_descriptor)
        assert known.look() is before
    assert len(known.look()) == len(address_plan.load("lan")) == 2


def no_descriptor(*_: object, **__: object) -> None:
    raise OSError(24, "Too many open files")


def test_leases_are_seen_as_they_are(house: str) -> None:
    known = Known("lan")
    assert known.look() == {}
    recorded("a", "b")
    for count, guest in enumerate("ab", 1):
        give(guest)
        assert len(known.look()) == count
        assert known.look() is known.look()
    address_plan.forget("lan")
    assert known.look() == {}
