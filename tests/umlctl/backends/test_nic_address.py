from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.umlctl.backends.test_nic import Host, host, use
from tests.umlctl.networks.test_address_plan import recorded
from umlctl.backends import nic_address, registry
from umlctl.backends.interface import Owner
from umlctl.errors import HostError
from umlctl.guest.specs import parse_nic
from umlctl.networks import address_plan, definitions, segments
from umlctl.networks.address_plan import Lease
from umlctl.networks.definitions import Network
from umlctl.networks.macs import mac_of

if TYPE_CHECKING:
    from umlctl.state.leases import Use
    from umlctl.state.records import DeviceEntry

__all__ = ["host"]


@pytest.fixture
def asked(host: Host, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The networks that somebody was asked to know names on."""
    found: list[str] = []
    monkeypatch.setattr(segments.Segment, "serve_names", lambda segment: found.append(segment.name))
    return found


def prepared(host: Host, umid: str, text: str, *users: Use) -> DeviceEntry:
    recorded(umid)
    return host.prepare(text, 0, *users, umid=umid)


def test_address_is_given_told_and_kept(host: Host, asked: list[str]) -> None:
    one = prepared(host, "one", "switch=lan,addr=auto")
    of = definitions.range_of("lan")
    assert of.has(one.addr)
    assert one.addr.endswith("/22")
    assert asked == ["lan"]
    assert registry.for_init([one]) == f"vec0,{one.addr},,{of.resolvers[0]}"
    assert one.asked == "switch=lan,addr=auto"
    other = prepared(host, "other", "switch=lan,addr=auto", use("one", **fields(one)))
    assert other.addr != one.addr
    assert prepared(host, "one", "switch=lan,addr=auto").addr == one.addr


def fields(entry: DeviceEntry) -> dict[str, str]:
    return {"network": entry.network, "mac": entry.mac, "addr": entry.addr}


def test_guest_that_asks_itself_is_told_nothing(host: Host, asked: list[str]) -> None:
    entry = prepared(host, "one", "switch=lan,addr=dhcp")
    assert definitions.range_of("lan").has(entry.addr)
    assert registry.for_init([entry]) == ""
    assert registry.for_init([prepared(host, "one", "user,addr=dhcp")]) == ""
    assert prepared(host, "one", "user,addr=auto").addr == "10.0.2.15/24"


def test_all_who_know_names_are_told_those_of_guests_first(host: Host, asked: list[str]) -> None:
    definitions.create(Network(name="out", user=True))
    names = definitions.range_of("lan").resolvers[0]
    out = prepared(host, "one", "switch=out,addr=auto")
    lan = host.prepare("switch=lan,addr=auto", 1, umid="one")
    assert registry.for_init([out, lan]) == (
        f"vec0,{out.addr},10.0.2.2;vec1,{lan.addr},,10.0.2.1,{names},10.0.2.3"
    )


def test_who_knows_the_internet_is_among_those_that_are_asked(host: Host, asked: list[str]) -> None:
    definitions.create(Network(name="out", user=True))
    on = [host.prepare(f"switch={name},addr=auto", number) for number, name in enumerate("abcd")]
    names = [definitions.range_of(name).resolvers[0] for name in "abc"]
    assert registry.for_init(on).split(",,")[-1] == ",".join(names)
    out = host.prepare("switch=out,addr=auto", 4)
    assert registry.for_init([*on, out]).endswith(
        f"{out.addr},10.0.2.2,{names[0]},{names[1]},10.0.2.3"
    )


def test_address_that_is_named_is_kept_where_names_are_asked(host: Host, asked: list[str]) -> None:
    definitions.create(Network(name="out", user=True))
    first = prepared(host, "one", "switch=out,addr=10.0.2.40/24")
    for elsewhere in ("10.9.0.1/24", "10.0.0.1/8", "fd00::2/64"):
        entry = prepared(host, "one", f"switch=lan,addr={elsewhere}")
        assert registry.for_init([entry]) == f"vec0,{elsewhere}"
        wide = prepared(host, "two", f"switch=out,addr={elsewhere}")
    assert registry.for_init([wide]) == "vec0,fd00::2/64"
    wide = prepared(host, "two", "switch=out,addr=10.0.0.1/8")
    assert registry.for_init([wide]) == "vec0,10.0.0.1/8,10.0.2.2,10.0.2.3"
    assert asked == ["out"]
    assert not address_plan.is_there("lan")
    assert {lease.address for lease in address_plan.load("out").values()} == {"10.0.2.40"}
    with pytest.raises(HostError, match=r"10\.0\.2\.40 is the address of .* on out"):
        prepared(host, "b", "switch=out,addr=10.0.2.40/24", use("one", **fields(first)))
    for own in ("10.0.2.0/24", "10.0.2.1/24", "10.0.2.2/16", "10.0.2.3/24", "10.0.2.255/8"):
        with pytest.raises(HostError, match="is an address of the network out itself"):
            prepared(host, "b", f"switch=out,addr={own}")


def test_nic_that_is_not_asked_for_any_more_has_no_address(host: Host, asked: list[str]) -> None:
    recorded("one")
    for number in range(3):
        nic = parse_nic(f"switch=lan,nic={number},addr=auto")
        (entry,) = registry.prepare_all([nic], Owner("one", "", ""), [])
        assert list(address_plan.load("lan")) == [entry.mac]
    registry.prepare_all([], Owner("one", "", ""), [])
    assert not address_plan.load("lan")


def test_plan_names_the_address_that_is_to_be_given(house: str) -> None:
    nic = parse_nic("switch=lan,nic=0,addr=auto")
    (entry,) = registry.plan_all([nic], Owner("one", "", ""))
    assert definitions.range_of("lan").has(entry.addr)
    assert not address_plan.load("lan"), "nothing is kept"
    assert nic_address.expected(entry, "one") == entry.addr


def test_full_plan_of_guests_that_are_removed_is_no_reason_to_refuse_one(
    host: Host, asked: list[str]
) -> None:
    of = definitions.range_of("lan")
    full = {
        mac_of(f"gone{index}", 0): Lease(guest=f"gone{index}", address=of.address(index))
        for index in range(of.first, of.last + 1)
    }
    address_plan._save("lan", {}, full)
    nic = parse_nic("switch=lan,nic=0,addr=auto")
    (entry,) = registry.plan_all([nic], Owner("one", "", ""))
    assert prepared(host, "one", "switch=lan,addr=auto").addr == entry.addr
    assert len(address_plan.load("lan")) == 1
