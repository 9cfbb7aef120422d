from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Any

import pytest

from tests.damage import damaged
from umlctl.errors import HostError, UsageError
from umlctl.networks import address_plan, definitions, interfaces, segments, taps
from umlctl.networks.definitions import BRIDGE, Network
from umlctl.state.leases import Use
from umlctl.state.records import DeviceEntry

if TYPE_CHECKING:
    from collections.abc import Sequence


class Fake:
    """The host's switches and bridges, as far as they are used here.

    Fields:
        running: names of switches
        done: what was asked of the host, in order
    """

    def __init__(self) -> None:
        self.running: set[str] = set()
        self.done: list[tuple[Any, ...]] = []

    def start(self, name: str, **options: Any) -> str:
        self.done.append(("start", name, options))
        return f"the switch {name}"

    def is_running(self, name: str) -> bool:
        segments.Segment(name)  # refuses what is no name of a switch
        return name in self.running

    def make_bridge(self, name: str, address: str = "") -> None:
        interfaces.check_name(name)
        self.done.append(("make", name, address))

    def remove_bridge(self, name: str) -> None:
        self.done.append(("remove", name))

    def quit(self, name: str) -> None:
        self.done.append(("quit", name))


@pytest.fixture
def fake(house: str, monkeypatch: pytest.MonkeyPatch) -> Fake:
    made = Fake()
    monkeypatch.setattr(segments, "start", made.start)
    monkeypatch.setattr(segments, "running", made.is_running)
    monkeypatch.setattr(segments.Segment, "quit", lambda segment: made.quit(segment.name))
    monkeypatch.setattr(taps, "make_bridge", made.make_bridge)
    monkeypatch.setattr(taps, "remove_bridge", made.remove_bridge)
    return made


def files(house: str) -> Sequence[str]:
    path = f"{house}/u/state/networks"
    return sorted(os.listdir(path)) if os.path.isdir(path) else []


LAN = Network(name="lan", user=True, forwards=("8080:10.0.2.15:80",), up="true", down="false")
BR = Network(name="br0", kind=BRIDGE, address="10.1.0.1/24")


def test_network_is_kept_and_forgotten(fake: Fake, house: str) -> None:
    assert definitions.load("lan") is None
    assert definitions.load_all() == []
    definitions.create(LAN)
    definitions.create(BR)
    assert definitions.load("lan") == LAN
    assert definitions.load_all() == [BR, LAN]
    assert files(house) == ["br0.json", "lan.json"]
    definitions.remove("lan", ())
    definitions.remove("br0", ())
    assert definitions.load_all() == []
    assert files(house) == []
    assert fake.done == [("make", "br0", "10.1.0.1/24"), ("remove", "br0")]


def test_network_is_defined_once(fake: Fake) -> None:
    definitions.create(LAN)
    with pytest.raises(HostError, match=r"there is a network lan; `umlctl network rm`"):
        definitions.create(Network(name="lan"))
    assert definitions.load("lan") == LAN


@pytest.mark.parametrize("name", ["", "a/b", "../x", "-x", "a b", "n" * 40])
def test_name_that_no_switch_can_have_is_refused(fake: Fake, house: str, name: str) -> None:
    for create in (Network(name=name), Network(name=name, user=True)):
        with pytest.raises(UsageError, match="a network's name"):
            definitions.create(create)
    with pytest.raises(UsageError, match="a network's name"):
        definitions.start_switch(name)
    assert files(house) == []
    assert fake.done == []


def test_name_of_a_bridge_need_not_be_one_of_a_switch(fake: Fake) -> None:
    definitions.create(Network(name="br@0", kind=BRIDGE))
    definitions.remove("br@0", ())
    assert fake.done == [("make", "br@0", ""), ("remove", "br@0")]


def test_bridge_that_cannot_be_kept_is_not_left(
    fake: Fake, house: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(definitions, "write_atomically", full)
    for network in (BR, LAN):
        with pytest.raises(HostError, match=f"{network.name} cannot be kept: .*No space left"):
            definitions.create(network)
    assert fake.done == [("make", "br0", "10.1.0.1/24"), ("remove", "br0")]
    assert files(house) == []


def test_bridge_that_cannot_be_made_is_not_kept(
    fake: Fake, house: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise HostError("this process needs CAP_NET_ADMIN")

    monkeypatch.setattr(taps, "make_bridge", refuse)
    with pytest.raises(HostError, match="CAP_NET_ADMIN"):
        definitions.create(BR)
    assert files(house) == []


@pytest.mark.parametrize(
    "data", [b"", b"{", b"[]", b'{"name": 1}', b'{"name": "x", "unknown": 1}', b"\xff\xfe"]
)
def test_definition_that_cannot_be_read_is_named_and_hides_no_other(
    fake: Fake, house: str, data: bytes
) -> None:
    definitions.create(LAN)
    path = f"{house}/u/state/networks/bad.json"
    with open(path, "wb") as file:
        file.write(data)
    with pytest.raises(HostError, match=f"the network bad cannot be read: .*; see {path}"):
        definitions.load("bad")
    assert definitions.load_all() == [LAN]


# Ending


def test_network_that_is_not_there_cannot_be_removed(fake: Fake) -> None:
    with pytest.raises(HostError, match=r"there is no network lan; `umlctl network list`"):
        definitions.remove("lan", ())


def test_network_that_has_only_a_plan_of_addresses_is_removed(fake: Fake) -> None:
    of = definitions.range_of("lan")
    address_plan.give("lan", of, "02:00:00:00:00:01", "gone", ())
    assert definitions.remove("lan", ()) == ""
    assert not address_plan.is_there("lan")
    with pytest.raises(HostError, match="there is no network lan"):
        definitions.remove("lan", ())


def test_switch_that_nobody_defined_ends(fake: Fake) -> None:
    fake.running.add("lan")
    definitions.remove("lan", ())
    assert fake.done == [("quit", "lan")]


def test_switch_that_runs_ends_with_its_definition(fake: Fake) -> None:
    definitions.create(LAN)
    fake.running.add("lan")
    definitions.remove("lan", ())
    assert fake.done == [("quit", "lan")]
    assert definitions.load("lan") is None


@pytest.mark.parametrize("network", [LAN, BR], ids=lambda network: str(network.name))
def test_network_with_guests_on_it_stays(fake: Fake, network: Network) -> None:
    definitions.create(network)
    fake.running.add("lan")
    fake.done.clear()
    entry = DeviceEntry(name="vec0", asked="", kernel="")
    if network.kind == BRIDGE:
        entry.bridge = "br0"
    else:
        entry.network = "lan"
    other = DeviceEntry(name="vec1", asked="", kernel="", network="other", bridge="br1")
    uses = [Use("demo", entry), Use("demo", other)]
    with pytest.raises(HostError, match=f"on {network.name} are demo's vec0; take these out"):
        definitions.remove(network.name, uses)
    assert definitions.load(network.name) == network
    assert fake.done == []


# Starting


def test_switch_without_a_definition_is_started_plain(fake: Fake) -> None:
    assert str(definitions.start_switch("lan")) == "the switch lan"
    assert fake.done == [("start", "lan", {})]


def test_switch_is_started_as_it_was_defined(fake: Fake) -> None:
    definitions.create(LAN)
    definitions.start_switch("lan")
    ((_, name, options),) = fake.done
    assert name == "lan"
    assert (options["user"], options["forwards"]) == (True, LAN.forwards)


def test_bridge_is_no_switch(fake: Fake) -> None:
    definitions.create(BR)
    with pytest.raises(UsageError, match="br0 is a bridge: join it with tap=auto,bridge=br0"):
        definitions.start_switch("br0")


# Definitions that cannot be read


def test_damaged_definition_is_read_whole_or_refused(fake: Fake, house: str) -> None:
    definitions.create(LAN)
    path = f"{house}/u/state/networks/lan.json"
    with open(path, "rb") as file:
        whole = file.read()
    refused = 0
    for data in damaged(whole):
        with open(path, "wb") as file:
            file.write(data)
        try:
            assert definitions.load("lan") == LAN
        except HostError as problem:
            assert "the network lan cannot be read" in str(problem)  # noqa: PT017
            refused += 1
            with pytest.raises(HostError, match="cannot be read"):
                definitions.start_switch("lan")
    assert refused > 2 * len(whole) - 20
    assert fake.done == []


def test_definition_that_somebody_wrote_by_hand_is_taken(fake: Fake, house: str) -> None:
    os.makedirs(f"{house}/u/state/networks")
    with open(f"{house}/u/state/networks/lan.json", "w") as file:
        file.write('{"name": "lan",\n "user": true}\n')
    assert definitions.load("lan") == Network(name="lan", user=True)


def test_definition_of_another_name_is_not_believed(fake: Fake, house: str) -> None:
    definitions.create(LAN)
    os.rename(f"{house}/u/state/networks/lan.json", f"{house}/u/state/networks/wan.json")
    with pytest.raises(HostError, match="is of 'lan'"):
        definitions.load("wan")


def test_unreadable_definition_is_said_and_removing_it_keeps_it(fake: Fake, house: str) -> None:
    definitions.create(BR)
    definitions.create(LAN)
    with open(f"{house}/u/state/networks/lan.json", "w") as file:
        file.write("{")
    (problem,) = definitions.unreadable()
    assert "`umlctl network rm lan`" in str(problem)
    assert definitions.load_all() == [BR]
    with pytest.raises(HostError, match="cannot be read"):
        definitions.create(LAN)
    fake.running.add("lan")
    aside = definitions.remove("lan", ())
    assert ("quit", "lan") in fake.done
    assert files(house) == ["br0.json", "lan.json.unreadable"]
    assert aside == f"{house}/u/state/networks/lan.json.unreadable"
    definitions.create(LAN)
    assert definitions.remove("lan", ()) == ""
