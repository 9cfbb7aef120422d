"""How slirp4netns is kept from giving addresses to NICs that have theirs in the plan.

Its DHCP server cannot be turned off, answers first, and knows nothing of the plan. So the host's
kernel drops what it would hear of such a NIC, on its tap, or what it says to one, on
the connection of a switch. Other NICs have theirs of it as before.

Source: linux/filter.h; tun_chr_ioctl of drivers/net/tun.c; pidfd_getfd(2)
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import socket
import struct
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from umlctl.networks.forwarding import Port
    from umlctl.networks.packet_filter import Instruction

SERVER_PORT: Final = 67
CLIENT_PORT: Final = 68
"""Of DHCP. Source: RFC 2131"""
MAX_MACS: Final = 224
"""For how many NICs a filter can be, which is as many as the plan has addresses beside slirp4netns.
A filter that takes another's place is there beside it for a moment, and a host may have room for
20 KiB of them in all. Source: sk_filter_charge and net.core.optmem_max of net/core
"""
TUN_DEVICE: Final = "/dev/net/tun"
_TUNATTACHFILTER: Final = 0x401054D5
_TUNGETIFF: Final = 0x800454D2
_PIDFD_GETFD: Final = 438
# linux/bpf_common.h: A = what is there in a frame; jump if A == K; the end
_LOAD_WORD: Final = 0x20
_LOAD_HALF: Final = 0x28
_LOAD_BYTE: Final = 0x30
_LOAD_LENGTH: Final = 0x80
_IF_EQUAL: Final = 0x15
_IF_AT_LEAST: Final = 0x35
_IF_ANY: Final = 0x45
_RETURN: Final = 0x06
_ALL: Final = 0xFFFFFFFF
# Where it is in a frame, bytes: of a packet whose header has no options
_AT_TYPE: Final = 12
_AT_FRAGMENT: Final = 20
_AT_PROTOCOL: Final = 23
_AT_TO_PORT: Final = 36
_AT_MAC_LAST: Final = 72
"""The last four bytes of the address: the first two are the same nearly always."""
_MIN_BYTES: Final = _AT_MAC_LAST + 4
_LATER_FRAGMENT: Final = 0x1FFF
_IP: Final = 0x0800
_UDP: Final = 17


def without(macs: Sequence[str], port: int) -> list[Instruction]:
    """A filter that passes all frames but those of DHCP about some NICs.

    port: that these go to: of servers, or of clients
    """
    passes = (_RETURN, 0, 0, _ALL)
    # Who loads what is behind a frame's end has dropped it.
    found: list[Instruction] = [(_LOAD_LENGTH, 0, 0, 0), (_IF_AT_LEAST, 1, 0, _MIN_BYTES), passes]
    for load, at, value in (
        (_LOAD_HALF, _AT_TYPE, _IP),
        (_LOAD_BYTE, _AT_PROTOCOL, _UDP),
    ):
        found += [(load, 0, 0, at), (_IF_EQUAL, 1, 0, value), passes]
    # A later fragment has no port.
    found += [(_LOAD_HALF, 0, 0, _AT_FRAGMENT), (_IF_ANY, 0, 1, _LATER_FRAGMENT), passes]
    found += [(_LOAD_HALF, 0, 0, _AT_TO_PORT), (_IF_EQUAL, 1, 0, port), passes]
    found.append((_LOAD_WORD, 0, 0, _AT_MAC_LAST))
    for mac in macs[-MAX_MACS:]:
        (last,) = struct.unpack("!I", bytes.fromhex(mac.replace(":", ""))[2:])
        found += [(_IF_EQUAL, 0, 1, last), (_RETURN, 0, 0, 0)]
    return [*found, passes]


class Place(NamedTuple):
    """Where a program that gives addresses is.

    Fields:
        pid, pidfd: of the program, a child of this process
        tap: the interface that it has open, where it has one
        port: of the switch, that it is behind; None while it is behind none
    """

    pid: int
    pidfd: int
    tap: str
    port: Port | None


def keep_off(place: Place, macs: Sequence[str], say: Callable[[str], None]) -> None:
    """Have a program not give addresses to some NICs, or say why it may.

    Raises: FileNotFoundError: the program does not have its tap yet
    """
    if not macs:
        return
    from umlctl.networks import packet_filter  # it runs programs, and most switches need none

    try:
        if place.tap:
            fprog, _held = packet_filter.for_kernel(without(macs, SERVER_PORT))
            _on_tap(place, fprog)
        elif place.port is not None and isinstance(place.port.connection, socket.socket):
            packet_filter.attach(place.port.connection, without(macs, CLIENT_PORT))
    except FileNotFoundError:
        raise
    except OSError as problem:
        say(f"slirp4netns may give addresses beside the plan: {problem}")


def _on_tap(place: Place, fprog: bytes) -> None:
    """Have a program hear only what a filter passes on its tap. One that has just begun has open
    what its parent has, taps among it.

    Raises: FileNotFoundError, OSError
    """
    found = f"/proc/{place.pid}/fd"
    for name in os.listdir(found):
        if _leads_to(f"{found}/{name}") == TUN_DEVICE:
            descriptor = _taken(place.pidfd, int(name))
            try:
                if _interface(descriptor) != place.tap:
                    continue
                fcntl.ioctl(descriptor, _TUNATTACHFILTER, fprog)
            finally:
                os.close(descriptor)
            return
    raise FileNotFoundError(2, f"it has no tap {place.tap}", found)


def _leads_to(path: str) -> str:
    try:
        return os.readlink(path)
    except OSError:
        return ""  # it was closed just now


def _interface(descriptor: int) -> str:
    """The name of the interface that a tap is; empty if it is none yet."""
    try:
        said = fcntl.ioctl(descriptor, _TUNGETIFF, bytes(40))
    except OSError:
        return ""
    return said[:16].rstrip(b"\0").decode("ascii", "replace")


def _taken(pidfd: int, number: int) -> int:
    """A descriptor of another process, as one of this.

    Raises: OSError
    """
    found = int(ctypes.CDLL(None, use_errno=True).syscall(_PIDFD_GETFD, pidfd, number, 0))
    if found < 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error), "pidfd_getfd")
    return found
