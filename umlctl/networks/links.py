"""Which NICs of a switch have links with a character, see `umlctl.networks.link`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from umlctl.errors import UsageError
from umlctl.networks.link import PLAIN, Character, Lane, described

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from umlctl.networks.forwarding import AddressTable, Port

MAX_LINKS: Final = 1024
"""How many NICs of one switch may have a character."""


class Links:
    """The NICs of a switch whose links have a character.

    A NIC is known by its MAC address; before it has sent, by its process if that has one port.
    """

    def __init__(self, after: Callable[[float, Callable[[], None]], None]) -> None:
        """after: has something called later, in seconds"""
        self._after = after
        self._known: dict[str, tuple[int, Character]] = {}

    def __bool__(self) -> bool:
        return bool(self._known)

    def set(self, mac: str, pid: int, character: Character) -> None:
        """Give the link of a NIC a character; a plain one is none.

        Raises: UsageError: too many have one
        """
        if character == PLAIN:
            self._known.pop(mac, None)
        elif mac not in self._known and len(self._known) >= MAX_LINKS:
            raise UsageError(f"{MAX_LINKS} links have a character already")
        else:
            self._known[mac] = (pid, character)

    def of(self, mac: str) -> Character:
        """The character of a NIC's link."""
        return self._known.get(mac, (0, PLAIN))[1]

    def all(self) -> list[dict[str, Any]]:
        """Each, as it is written down: mac, pid, and what is not plain."""
        return [
            {"mac": mac, "pid": pid, **described(character)}
            for mac, (pid, character) in self._known.items()
        ]

    def forget_ended(self, is_there: Callable[[int], bool]) -> None:
        """Forget the NICs of processes that have ended."""
        for mac, (pid, _) in list(self._known.items()):
            if not is_there(pid):
                del self._known[mac]

    def apply(
        self,
        ports: Iterable[Port],
        table: AddressTable[Port],
        deliver: Callable[[Port, memoryview], None],
    ) -> None:
        """Have each port's lanes be as they are to be.

        deliver: takes the frames that have come in through a port
        """
        all_of_them = list(ports)
        by_pid: dict[int, list[str]] = {}
        for mac, (pid, _) in self._known.items():
            by_pid.setdefault(pid, []).append(mac)
        for port in all_of_them:
            if port.uplink and not port.mac:
                continue  # many are behind it
            macs = [port.mac] if port.mac else [address.hex(":") for address in table.behind(port)]
            if not macs and sum(other.pid == port.pid for other in all_of_them) == 1:
                macs = by_pid.get(port.pid, [])
            known = [self.of(mac) for mac in macs if mac in self._known]
            self._put_on(port, known[0] if known else PLAIN, deliver)

    def _put_on(
        self, port: Port, character: Character, deliver: Callable[[Port, memoryview], None]
    ) -> None:
        if port.lanes is not None:
            for lane in port.lanes:
                lane.change(character)
            if character == PLAIN:
                port.lanes = None
        elif character != PLAIN:
            into = Lane(character, self._after, lambda frame: deliver(port, frame))
            port.lanes = (into, Lane(character, self._after, port.send))
