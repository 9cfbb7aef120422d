"""Which address each NIC of a network of guests has, where umlctl gives it one.

An address follows from the NIC's MAC address, is the next free one where another guest has that,
and is written down then: it stays over restarts, and over `nic rm` and `nic add`. A network has one
range, which follows from its name; behind slirp4netns it is the one that program has.
"""

from __future__ import annotations

import hashlib
import os
import socket
import struct
from contextlib import suppress
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

from umlctl.errors import HostError
from umlctl.host import paths
from umlctl.host.files import write_atomically
from umlctl.state.checksum import Damaged, seal, unseal

if TYPE_CHECKING:
    from collections.abc import Container, Iterable

DOMAIN: Final = "uml.internal"
"""What stands behind a guest's name, where somebody wants a domain there."""
_ALL: Final = 10 << 24 | 128 << 16
"""10.128.0.0, where the ranges of networks without an uplink are."""
_RANGES: Final = 1 << 13
_PREFIX: Final = 22
_UPLINK: Final = 10 << 24 | 2 << 8
_ENDING: Final = ".addresses"


class Range(NamedTuple):
    """The addresses of one network.

    Fields:
        base, prefix: the network itself, as a number, and its length
        first, last: of the addresses that umlctl gives, counted from the base
        gateway: the way out; empty if there is none
        resolvers: who knows names, the first of which knows those of the guests
    """

    base: int
    prefix: int
    first: int
    last: int
    gateway: str
    resolvers: tuple[str, ...]

    def __str__(self) -> str:
        return f"{_dotted(self.base)}/{self.prefix}"

    def address(self, index: int) -> str:
        return _dotted(self.base + index)

    def has(self, address: str) -> bool:
        """Whether an address is one that a guest of the network can have, with or without a prefix
        length."""
        try:
            (number,) = struct.unpack("!I", socket.inet_aton(address.partition("/")[0]))
        except OSError:
            return False  # of IPv6
        return bool(0 < number - self.base < (1 << 32 - self.prefix) - 1)

    def own(self) -> tuple[str, ...]:
        """The addresses that no guest can have: its ends, and of who is there already."""
        ends = (_dotted(self.base), _dotted(self.base + (1 << 32 - self.prefix) - 1))
        return (*ends, *filter(None, [self.gateway]), *self.resolvers)

    def mask(self) -> str:
        return _dotted((1 << 32) - (1 << 32 - self.prefix))


class Lease(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who has an address.

    Fields:
        guest: its umid
        address: without a prefix length
    """

    guest: str
    address: str


# Made here, by one thread: msgspec crashes where several threads decode into a new type at once.
_LEASES: Final = msgspec.json.Decoder(dict[str, Lease])


def range_of(network: str, *, uplink: bool) -> Range:
    """The addresses of a network.

    uplink: it has a way out by slirp4netns, which itself gives 16 addresses from .15 on
    """
    if uplink:
        resolvers = tuple(map(_dotted, (_UPLINK + 1, _UPLINK + 3)))
        return Range(_UPLINK, 24, 31, 254, _dotted(_UPLINK + 2), resolvers)
    digest = hashlib.sha256(f"umlctl range\0{network}".encode()).digest()
    base = _ALL + (int.from_bytes(digest[:4], "big") % _RANGES << 32 - _PREFIX)
    return Range(base, _PREFIX, 2, (1 << 32 - _PREFIX) - 2, "", (_dotted(base + 1),))


def assigned(
    leases: dict[str, Lease], of: Range, mac: str, guest: str, taken: Container[str]
) -> dict[str, Lease]:
    """The same leases with one for a NIC: the one that it has, if that is in the range and nobody
    else's; or the first free one from a place on that follows from its MAC address.

    taken: addresses that other NICs have now, though no lease says so

    Raises: HostError: none is free
    """
    there = leases.get(mac)
    others = {key: lease for key, lease in leases.items() if key != mac}
    had = {lease.address for lease in others.values()}
    if there is None or there.address in taken or there.address in had or not of.has(there.address):
        count = of.last - of.first + 1
        start = int.from_bytes(hashlib.sha256(mac.encode()).digest()[:4], "big") % count
        tried = (of.address(of.first + (start + step) % count) for step in range(count))
        free = (each for each in tried if each not in had and each not in taken)
        address = next(free, None)
        if address is None:
            raise HostError(f"all {count} addresses of {of} are taken")
    else:
        address = there.address
    return {**others, mac: Lease(guest=guest, address=address)}


def load(network: str) -> dict[str, Lease]:
    """Which address each NIC has, by MAC address, the one that was given last being the last; of a
    file that is damaged nothing is known.

    Raises: HostError: it cannot be read now
    """
    try:
        return _read(path_of(network))
    except OSError as problem:
        raise HostError(f"the addresses of {network} cannot be read: {problem}") from problem


def _read(path: str) -> dict[str, Lease]:
    """Raises: OSError"""
    try:
        with open(path, "rb") as file:
            return _LEASES.decode(unseal(file.read()))
    except FileNotFoundError:
        return {}
    except (Damaged, msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return {}


def give(network: str, of: Range, mac: str, guest: str, used: Iterable[tuple[str, str]]) -> str:
    """The address of a NIC, which is its own from now on. The caller holds `leases.lock`.

    used: the addresses of NICs of running guests that are on the network now, each with the MAC
        address

    Returns: with the prefix length

    Raises: HostError: none is free, or the plan cannot be read or written down
    """
    known = load(network)
    leases = _with_one(known, of, mac, guest, dict(used))
    _save(network, known, leases)
    return f"{leases[mac].address}/{of.prefix}"


def _with_one(
    known: dict[str, Lease], of: Range, mac: str, guest: str, now: dict[str, str]
) -> dict[str, Lease]:
    """The leases of guests that are still there, with one for a NIC.

    now: the addresses of NICs of running guests, by MAC address

    Raises: HostError: none is free
    """
    taken = {address.partition("/")[0] for other, address in now.items() if other != mac}
    leases = {
        key: lease
        for key, lease in known.items()
        if key in now or lease.guest == guest or paths.has_record(lease.guest)
    }
    try:
        return assigned(leases, of, mac, guest, taken)
    except HostError:  # guests that do not run have them
        leases = {key: lease for key, lease in leases.items() if key in now}
        return assigned(leases, of, mac, guest, taken)


def take(network: str, mac: str, guest: str, address: str, used: Iterable[tuple[str, str]]) -> None:
    """Have a NIC have an address that it names. The caller holds `leases.lock`.

    Raises: HostError: a guest that runs has it, or the plan cannot be read or written down
    """
    address = address.partition("/")[0]
    for other, has in used:
        if other != mac and has.partition("/")[0] == address:
            raise HostError(f"{address} is the address of {other} on {network}")
    known = load(network)
    leases = {key: lease for key, lease in known.items() if key != mac and lease.address != address}
    _save(network, known, leases | {mac: Lease(guest=guest, address=address)})


def keep_only(guest: str, asked: Container[tuple[str, str, str]]) -> None:
    """Have a guest that starts keep the addresses that its NICs have now, and no other. The caller
    holds `leases.lock`.

    asked: the network, the MAC address and the address of each NIC
    """
    try:
        files = paths.listed(_directory())
    except paths.BadPlace:
        return  # nor can it be asked who has what
    for file in files:
        network = file.removesuffix(_ENDING)
        if network == file:
            continue
        with suppress(HostError):  # it is asked for by nobody who starts now
            known = load(network)
            leases = {
                mac: lease
                for mac, lease in known.items()
                if lease.guest != guest or (network, mac, lease.address) in asked
            }
            _save(network, known, leases)


def expected(network: str, of: Range, mac: str, guest: str) -> str:
    """The address that a NIC would get if no guest ran, with the prefix length.

    Raises: HostError: the plan cannot be read
    """
    leases = _with_one(load(network), of, mac, guest, {})
    return f"{leases[mac].address}/{of.prefix}"


def forget(network: str) -> None:
    """Forget who had which address."""
    try:
        os.unlink(path_of(network))
    except FileNotFoundError:
        pass
    except OSError as problem:
        raise HostError(f"{path_of(network)} cannot be removed: {problem.strerror}") from problem


def is_there(network: str) -> bool:
    """Whether it is written down who has which address."""
    return os.path.lexists(path_of(network))


def path_of(network: str) -> str:
    return f"{_directory()}/{network}{_ENDING}"


def _directory() -> str:
    return f"{paths.state_dir()}/networks"


def _save(network: str, known: dict[str, Lease], leases: dict[str, Lease]) -> None:
    if list(leases.items()) == list(known.items()):
        return
    if not leases:
        forget(network)
        return
    path = path_of(network)
    try:
        os.makedirs(os.path.dirname(path), 0o700, exist_ok=True)
        write_atomically(path, seal(msgspec.json.encode(leases)))
    except OSError as problem:
        raise HostError(f"the addresses of {network} cannot be kept: {problem}") from problem


class Known:
    """The leases of a network, as they are when they are looked at; what was seen last while they
    cannot be read."""

    def __init__(self, network: str) -> None:
        self._path = path_of(network)
        self._seen: tuple[int, ...] = ()
        self._leases: dict[str, Lease] = {}

    def look(self) -> dict[str, Lease]:
        try:
            state = os.stat(self._path)
            seen: tuple[int, ...] = (state.st_ino, state.st_mtime_ns, state.st_size)
        except FileNotFoundError:
            seen = ()
        except OSError:
            return self._leases
        if seen != self._seen:
            try:
                self._leases = _read(self._path)
            except OSError:
                return self._leases
            self._seen = seen
        return self._leases


def _dotted(number: int) -> str:
    return socket.inet_ntoa(struct.pack("!I", number))
