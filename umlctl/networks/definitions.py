"""Networks by name, as users defined them: switches of umlctl, and bridges of the host.

A switch needs no definition. The first guest that joins a name starts the switch, and it ends after
the last guest. A definition adds an uplink, forwards or hooks, and is one file in the state
directory.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

import msgspec

from umlctl.errors import HostError, UsageError
from umlctl.host import naming, paths
from umlctl.host.files import write_atomically
from umlctl.networks import address_plan, segments, taps
from umlctl.networks.forwards import parse_forward
from umlctl.networks.segments import Segment
from umlctl.state import leases
from umlctl.state.checksum import Damaged, seal, unseal

if TYPE_CHECKING:
    from collections.abc import Iterable

    from umlctl.state.leases import Use

SWITCH: Final = "switch"
BRIDGE: Final = "bridge"


class Network(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One network, as a user defined it.

    Fields:
        name: of the switch; of the bridge's interface
        kind: SWITCH or BRIDGE
        user: the switch has an uplink to the internet
        isolated: with `user`: guests cannot reach what listens on the host's loopback
        forwards: with `user`: HOSTPORT:GUESTADDR:GUESTPORT of the host
        plain: the switch moves all frames, and the host's kernel none
        address: of the bridge on the host, with its prefix length
        up, down: shell commands, run when a NIC joins and when it leaves
    """

    name: str
    kind: str = SWITCH
    user: bool = False
    isolated: bool = False
    forwards: tuple[str, ...] = ()
    plain: bool = False
    address: str = ""
    up: str = ""
    down: str = ""


# Made here, by one thread: msgspec crashes where several threads decode into a new type at once.
_NETWORK: Final = msgspec.json.Decoder(Network)


def _directory() -> str:
    return f"{paths.state_dir()}/networks"


def check_name(name: str) -> str:
    """Return the name if a user can give it to a switch.

    Raises: UsageError
    """
    try:
        return naming.check_public_network(name)
    except ValueError as problem:
        raise UsageError(str(problem)) from problem


def load(name: str) -> Network | None:
    """The definition of a network; None if there is none.

    Raises: HostError: it cannot be read
    """
    path = f"{_directory()}/{name}.json"
    try:
        with open(path, "rb") as file:
            network = _NETWORK.decode(unseal(file.read()))
    except FileNotFoundError:
        return None
    except (OSError, Damaged, msgspec.DecodeError, UnicodeDecodeError, RecursionError) as problem:
        raise HostError(
            f"the network {name} cannot be read: {problem}; see {path}, or have it set aside by "
            f"`umlctl network rm {name}`"
        ) from problem
    if network.name != name:
        raise HostError(f"the network {name} cannot be read: {path} is of {network.name!r}")
    return network


def load_all() -> list[Network]:
    """All definitions that can be read, by name."""
    found = []
    for name in _names():
        try:
            network = load(name)
        except HostError:
            continue
        if network is not None:
            found.append(network)
    return found


def unreadable() -> list[HostError]:
    """What is wrong with the definitions that cannot be read."""
    found = []
    for name in _names():
        try:
            load(name)
        except HostError as problem:
            found.append(problem)
    return found


def _names() -> list[str]:
    files = paths.listed(_directory())
    return [file.removesuffix(".json") for file in files if file.endswith(".json")]


def create(network: Network) -> None:
    """Define a network, and make its bridge.

    Raises: HostError, UsageError
    """
    for forward in network.forwards:
        parse_forward(forward)
    try:
        data = msgspec.json.encode(network)
    except UnicodeEncodeError as problem:
        raise UsageError(f"a network is described in UTF-8, not {problem.object!r}") from None
    with leases.lock():
        _create(network, data)


def _create(network: Network, data: bytes) -> None:
    if load(network.name) is not None:
        raise HostError(f"there is a network {network.name}; `umlctl network rm` removes it")
    if network.kind == BRIDGE:
        taps.make_bridge(network.name, network.address)
    else:
        check_name(network.name)
    try:
        os.makedirs(_directory(), 0o700, exist_ok=True)
        write_atomically(f"{_directory()}/{network.name}.json", seal(data))
    except OSError as problem:
        if network.kind == BRIDGE:
            taps.remove_bridge(network.name)
        raise HostError(f"the network {network.name} cannot be kept: {problem}") from problem


def remove(name: str, users: Iterable[Use]) -> str:
    """Forget a network; its switch or its bridge ends. The caller holds `leases.lock`.

    users: the devices of all guests

    Returns: where its definition is now, if that cannot be read; else nothing

    Raises: HostError: there is none, or guests are on it
    """
    aside = ""
    path = f"{_directory()}/{name}.json"
    try:
        network = load(name)
    except HostError:
        network = Network(name=name)
        aside = f"{path}.unreadable"
    # Some names can be a bridge's, but no switch's.
    bridge = network is not None and network.kind == BRIDGE
    running = not bridge and segments.running(name)
    if network is None and not running and not address_plan.is_there(name):
        raise HostError(f"there is no network {name}; `umlctl network list` shows them")
    on = [
        f"{use.umid}'s {use.entry.name}"
        for use in users
        if name in (use.entry.network, use.entry.bridge)
    ]
    if on:
        raise HostError(f"on {name} are {', '.join(on)}; take these out first")
    if running:
        Segment(name).quit()
    address_plan.forget(name)
    if network is not None:
        if bridge:
            taps.remove_bridge(name)
        try:
            if aside:
                os.rename(path, aside)
            else:
                os.unlink(path)
        except OSError as problem:
            raise HostError(f"{path} cannot be removed: {problem.strerror}") from problem
    return aside


def is_plain(name: str) -> bool:
    """Whether a network was defined so.

    Raises: HostError
    """
    network = load(name)
    return network is not None and network.plain


def range_of(name: str) -> address_plan.Range:
    """The addresses of the guests on a switch.

    Raises: HostError
    """
    network = load(name)
    return address_plan.range_of(name, uplink=network is not None and network.user)


def start_switch(name: str) -> Segment:
    """Have the switch of this name running.

    Raises: HostError, UsageError
    """
    network = load(check_name(name))
    if network is None:
        return segments.start(name)
    if network.kind == BRIDGE:
        raise UsageError(f"{name} is a bridge: join it with tap=auto,bridge={name}")
    return segments.start(
        name, user=network.user, forwards=network.forwards, host_loopback=not network.isolated
    )
