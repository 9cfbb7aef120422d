"""The part of a network that the host's kernel moves frames in: a bridge beside the switch.

Guests whose kernels are in the namespace of the user's bridges have taps there, and talk to each
other as fast as the host's kernel is. The switch is on the bridge, too: by a trunk, to which all
are connected that have a connection of the switch instead. A NIC whose link has a character is
taken off the bridge, and has a trunk of its own, since it is the switch that delays and loses.

All of it is made when the first such guest asks. It outlives a switch that is killed: the next one
finds it again.
"""

from __future__ import annotations

import os
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Protocol

from umlctl.errors import HostError, UmlctlError
from umlctl.networks import interfaces
from umlctl.networks.capturing import Captures, Tapped
from umlctl.networks.forwarding import averaged
from umlctl.networks.link import PLAIN

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from umlctl.networks.bridge import Bridge
    from umlctl.networks.forwarding import AddressTable, Port
    from umlctl.networks.links import Links
    from umlctl.networks.slirp import Uplink
    from umlctl.networks.tap_connection import TapConnection

MAX_TAPS: Final = 4096
"""How many NICs of one network can be on its bridge."""
_COUNTERS: Final = ("in_frames", "in_bytes", "out_frames", "out_bytes", "dropped")


class Trunked(Protocol):
    """What a bridge needs of the switch that it is beside."""

    name: str
    table: AddressTable[Port]
    captures: Captures
    uplink: Uplink | None

    def say(self, text: str) -> None: ...

    def add_port(self, connection: TapConnection, pid: int, *, uplink: bool) -> Port: ...

    def close_port(self, port: Port) -> None: ...

    def next_number(self) -> int: ...


class Tap:
    """The end of a NIC.

    Fields:
        name: of the interface
        mac, guest: of the NIC
        number: among the ports of its network
        apart: it is off the network's bridge, or half so; own: the port of its own trunk there
        in_rate, out_rate: what it moves now, bytes a second
    """

    def __init__(self, name: str, mac: str, guest: str, number: int) -> None:
        self.name = name
        self.mac = mac
        self.guest = guest
        self.number = number
        self.apart = False
        self.own: Port | None = None
        self.in_rate = self.out_rate = 0.0
        self.measured = (0, 0)


class Bridged:
    """The bridge of a network, with the taps on it.

    Fields:
        trunk: the port by which the switch is on the bridge; None without a bridge
    """

    def __init__(self, switch: Trunked) -> None:
        self.trunk: Port | None = None
        self._switch = switch
        self._bridge: Bridge | None = None
        self._taps: dict[str, Tap] = {}

    def __bool__(self) -> bool:
        return self._bridge is not None

    def begin(self, known: list[Mapping[str, str]]) -> None:
        """Have the bridge again that an earlier switch had, with the taps that are still there."""
        try:
            self.namespace()
            assert self._bridge is not None
            for each in known:
                apart = self._bridge.is_on(each["name"], apart=True)
                # One that is on another network's by now has its name since.
                if apart or self._bridge.is_on(each["name"]):
                    self._note(each["name"], each["mac"], each["guest"]).apart = apart
        except (UmlctlError, OSError, KeyError) as problem:
            self._switch.say(f"cannot find its bridge again: {problem}")

    def namespace(self) -> int:
        """Which namespace the bridge is in; it is made if it is not there.

        Raises: HostError: why this user can have none here
        """
        if self._bridge is None:
            # Most switches need neither.
            from umlctl.networks.bridge import Bridge
            from umlctl.networks.namespaces import obtain

            bridge = None
            try:
                bridge = Bridge(self._switch.name, obtain(self._switch.name))
                self.trunk = self._port_of(bridge.trunk())
            except OSError as problem:
                if bridge is not None:
                    bridge.close()
                what = f"{problem.filename}: " if problem.filename else ""
                raise HostError(f"{what}{problem.strerror or problem}") from problem
            self._bridge = bridge
            self._switch.captures.trunk = self.trunk
            if self._switch.uplink is not None:
                self._switch.uplink.move(bridge)
        return self._bridge.inode

    def add(self, name: str, mac: str, guest: str, namespace: int, kept: bool) -> None:
        """Make a tap.

        namespace: that the kernel is in which will open it
        kept: one that is there stays, as a kernel may have it open

        Raises: HostError: it cannot be made, or the kernel is elsewhere
        """
        interfaces.check_name(name)
        if self.namespace() != namespace:
            raise HostError("its kernel is in another namespace")
        if len(self._taps) >= MAX_TAPS:
            raise HostError(f"{MAX_TAPS} NICs are on the bridge already")
        assert self._bridge is not None
        apart = kept and self._bridge.is_on(name, apart=True)
        is_there = apart or (kept and self._bridge.is_on(name))
        if is_there and name in self._taps:
            return
        try:
            if not is_there:
                self.remove(name)
                self._bridge.make_tap(name, os.geteuid())
        except OSError as problem:
            raise HostError(f"cannot make a tap: {problem.strerror or problem}") from problem
        tap = self._note(name, mac, guest)
        tap.apart = apart
        try:
            self._switch.captures.follow(guest, partial(self._tapped, tap))
        except OSError as problem:
            self._switch.say(f"{mac} of {guest} is not captured any more: {problem}")

    def _note(self, name: str, mac: str, guest: str) -> Tap:
        tap = self._taps[name] = Tap(name, mac, guest, self._switch.next_number())
        return tap

    def _tapped(self, tap: Tap) -> Tapped:
        """Raises: OSError"""
        assert self._bridge is not None
        return Tapped(self._bridge.frames(tap.name), partial(_always, tap.number))

    def remove(self, name: str) -> None:
        """Remove a tap; nothing is done if there is none.

        Raises: OSError
        """
        tap = self._taps.pop(name, None)
        if tap is not None and tap.own is not None:
            self._switch.close_port(tap.own)
        if self._bridge is not None:
            self._bridge.remove_tap(name)

    def lost_port(self, port: Port) -> None:
        """The switch has closed a trunk."""
        if port is self.trunk:
            self.trunk = self._switch.captures.trunk = None
        for tap in self._taps.values():
            if tap.own is port:
                tap.own = None

    def is_used(self) -> bool:
        """Whether a kernel has a tap open."""
        bridge = self._bridge
        return bridge is not None and any(bridge.is_open(name) for name in self._taps)

    def apply(self, links: Links) -> None:
        """Have the NICs off the bridge whose links have a character, and all others on it."""
        for tap in self._taps.values():
            wanted = links.of(tap.mac) != PLAIN
            if wanted == (tap.own is not None) == tap.apart:
                continue
            try:
                self._set_apart(tap) if wanted else self._join_again(tap)
            except OSError as problem:
                self._switch.say(f"the link of {tap.mac} cannot be changed: {problem}")
            if self.trunk is not None:
                self._switch.table.remove(self.trunk)  # who is behind it has changed

    def _set_apart(self, tap: Tap) -> None:
        tap.apart = True
        assert self._bridge is not None
        self._bridge.set_apart(tap.name)
        tap.own = self._port_of(self._bridge.trunk(tap.name))
        tap.own.mac = tap.mac

    def _port_of(self, trunk: TapConnection) -> Port:
        """Raises: OSError: there is no room for it, and it is closed"""
        try:
            return self._switch.add_port(trunk, os.getpid(), uplink=True)
        except BaseException:
            trunk.close()
            raise

    def _join_again(self, tap: Tap) -> None:
        assert self._bridge is not None
        if tap.own is not None:
            self._switch.close_port(tap.own)
        self._bridge.join_again(tap.name)
        tap.apart = False

    def measure(self, seconds: float) -> None:
        """Note what was moved in some time, seconds."""
        if self._bridge is None or not self._taps:
            return
        traffic = self._bridge.traffic()
        for tap in self._taps.values():
            moved = traffic.get(tap.name, (0, 0, 0, 0, 0))
            now = (moved[1], moved[3])
            tap.in_rate = averaged(tap.in_rate, now[0] - tap.measured[0], seconds)
            tap.out_rate = averaged(tap.out_rate, now[1] - tap.measured[1], seconds)
            tap.measured = now

    def status(self) -> list[dict[str, Any]]:
        """The taps, as a status of the switch lists ports."""
        if self._bridge is None:
            return []
        traffic = self._bridge.traffic()
        return [
            {
                "id": tap.number,
                "pid": 0,
                "guest": tap.guest,
                "tap": tap.name,
                "macs": [tap.mac],
                **dict(zip(_COUNTERS, traffic.get(tap.name, (0,) * 5), strict=True)),
                "in_rate": round(tap.in_rate),
                "out_rate": round(tap.out_rate),
            }
            for tap in self._taps.values()
        ]

    def tapped(self, guest: str) -> list[Tapped]:
        """What a guest's NICs pass, or with no guest named, the bridge.

        Raises: OSError
        """
        bridge = self._bridge
        if bridge is None:
            return []
        if not guest:
            return [Tapped(bridge.frames(), self._number_of)]
        return [self._tapped(tap) for tap in self._taps.values() if tap.guest == guest]

    def _number_of(self, frame: bytes) -> int:
        """The port that a frame came by."""
        source = frame[6:12].hex(":")
        found = (tap.number for tap in self._taps.values() if tap.mac == source)
        return next(found, self.trunk.number if self.trunk is not None else 0)

    def known(self) -> list[dict[str, str]]:
        """The taps, as they are written down."""
        return [
            {"name": tap.name, "mac": tap.mac, "guest": tap.guest} for tap in self._taps.values()
        ]

    def close(self, *, for_good: bool) -> None:
        """Let go of the bridge; for good: nothing of it is left."""
        if self._bridge is None:
            return
        if for_good:
            for remove, name in self._all():
                with suppress(OSError):
                    remove(name)
        self._bridge.close()
        self._bridge = None

    def _all(self) -> list[tuple[Callable[[str], None], str]]:
        assert self._bridge is not None
        taps = [(self._bridge.remove_tap, name) for name in self._taps]
        return [*taps, (self._bridge.remove_interface, self._bridge.name)]


def _always(number: int, _frame: bytes) -> int:
    return number
