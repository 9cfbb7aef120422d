"""A bridge of the host's kernel in a network namespace, and the taps on it.

This process is not in the namespace, and needs no privilege of the host's: see `umlctl.host.netns`.
All here are a few calls that the kernel answers at once; to remove a tap takes it some 20 ms.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import shutil
import socket
from contextlib import suppress
from struct import pack, unpack_from
from typing import TYPE_CHECKING, Final

from umlctl.errors import UnfitHost
from umlctl.host import netns
from umlctl.networks import namespaces
from umlctl.networks.forwarding import MAX_ADDRESSES
from umlctl.networks.interfaces import IFF_TAP
from umlctl.networks.tap_connection import TapConnection
from umlctl.networks.taps import IFF_NO_PI, TUN_DEVICE, TUNSETIFF, TUNSETOWNER, TUNSETPERSIST

if TYPE_CHECKING:
    from collections.abc import Sequence

    from umlctl.host.netns import NetworkNamespace

_IFF_VNET_HDR: Final = 0x4000
_IFF_UP: Final = 0x1
_IFF_RUNNING: Final = 0x40
# linux/sockios.h
_SIOCGIFFLAGS: Final = 0x8913
_SIOCSIFFLAGS: Final = 0x8914
_SIOCGIFINDEX: Final = 0x8933
_SIOCBRADDBR: Final = 0x89A0
_SIOCBRADDIF: Final = 0x89A2
_SIOCBRDELIF: Final = 0x89A3
# linux/rtnetlink.h, linux/netlink.h
_RTM_NEWLINK: Final = 16
_RTM_DELLINK: Final = 17
_RTM_GETLINK: Final = 18
_REQUEST: Final = 0x1
_REQUEST_AND_ACK: Final = 0x5
_ANSWER_BYTES: Final = 1 << 16
# linux/if_link.h
_IFLA_MASTER: Final = 10
_IFLA_LINKINFO: Final = 18
_IFLA_INFO_KIND: Final = 1
_IFLA_INFO_DATA: Final = 2
_IFLA_BR_MCAST_SNOOPING: Final = 23
_IFLA_BR_FDB_MAX_LEARNED: Final = 49
_DIGEST_CHARACTERS: Final = 10
NO_BOUND: Final = "this kernel's bridges know no bound of addresses, as those since Linux 6.7 do"
ENTERING: Final = "nsenter"
"""The program by which a kernel gets into the namespace."""
MAX_TABLE_BYTES: Final = 4 << 20
"""The most that is read of the table of interfaces, bytes."""
COUNTERS: Final = ("in_frames", "in_bytes", "out_frames", "out_bytes", "dropped")
RECEIVE_BYTES: Final = 4 << 20
"""What is to be kept of frames that are to be read; the host's net.core.rmem_max bounds it."""
ETH_P_ALL: Final = 3
_SOL_PACKET: Final = 263
_PACKET_ADD_MEMBERSHIP: Final = 1
_PACKET_MR_PROMISC: Final = 1


class Bridge:
    """The bridges of one network.

    Fields:
        name: of the interface that all NICs are on which have nothing between
        uplink: of a way out, where a program makes one
        inode: of the namespace
    """

    def __init__(self, network: str, namespace: NetworkNamespace) -> None:
        """Make the bridge, unless it is there; it has the namespace, and closes it.

        Raises: OSError; UnfitHost: a guest could have the host's kernel keep too much
        """
        self.name = _name("br", network)
        self.uplink = _name("up", network)
        self.inode = namespace.inode
        self._namespace = namespace
        self._control = self._netlink = self._table = -1
        try:
            self._control, self._netlink, self._table = namespace.opened(_open)
            self._make(self.name)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Let go of it; the bridge stays while the namespace does."""
        for descriptor in (self._control, self._netlink, self._table):
            if descriptor >= 0:
                os.close(descriptor)
        self._namespace.close()

    def remove(self) -> None:
        """Remove the bridge; taps that are on it stay, and lead nowhere."""
        self.remove_interface(self.name)

    def trunk(self, tap: str = "") -> TapConnection:
        """A tap by which this process is on the bridge; it goes when it is closed.

        tap: that has a bridge for itself, which is meant

        Raises: OSError
        """
        bridge = _name("li", tap) if tap else self.name
        name = _name("tr", bridge)
        descriptor = self._attached(name, IFF_TAP | IFF_NO_PI)
        try:
            self._join(name, bridge)
        except BaseException:
            os.close(descriptor)
            raise
        return TapConnection(descriptor)

    def make_tap(self, name: str, owner: int) -> None:
        """Have a tap on the bridge that stays, and that a kernel of the owner's can open.

        Raises: OSError
        """
        self.remove_tap(name)  # one that an earlier guest has left
        descriptor = self._attached(name, IFF_TAP | IFF_NO_PI | _IFF_VNET_HDR)
        try:
            fcntl.ioctl(descriptor, TUNSETOWNER, owner)
            self._join(name, self.name)
            fcntl.ioctl(descriptor, TUNSETPERSIST, 1)
        finally:
            os.close(descriptor)

    def remove_tap(self, name: str) -> None:
        """Remove a tap, though a kernel has it open. Nothing is done if there is none.

        Raises: OSError
        """
        self.remove_interface(name)
        self.remove_interface(_name("li", name))

    def set_apart(self, tap: str) -> None:
        """Have a tap be on a bridge for itself, see `trunk`.

        Raises: OSError
        """
        bridge = _name("li", tap)
        self._make(bridge)
        self._leave(tap)
        self._join(tap, bridge)

    def join_again(self, tap: str) -> None:
        """Have a tap be on the network's bridge, after `set_apart`.

        Raises: OSError
        """
        self._leave(tap)
        self._join(tap, self.name)
        trunk = _name("tr", self.name)
        if self.is_there(trunk):  # the bridge forgets that the tap was behind it
            self._leave(trunk)
            self._join(trunk, self.name)
        self.remove_interface(_name("li", tap))

    def join_uplink(self) -> None:
        """Have the way out be on the bridge, which a program has made.

        Raises: OSError: it is not there yet
        """
        if not self.is_there(self.uplink):
            raise OSError(errno.ENODEV, os.strerror(errno.ENODEV), self.uplink)
        self._join(self.uplink, self.name)

    def namespaces(self) -> tuple[int, int]:
        """Descriptors of the network namespace, and of the user namespace or -1."""
        return self._namespace.net, self._namespace.user

    def is_there(self, name: str) -> bool:
        return self._index(name) > 0

    def is_on(self, tap: str, *, apart: bool = False) -> bool:
        """Whether a tap is on the network's bridge; apart: on one for itself, see `set_apart`."""
        index, bridge = self._index(tap), self._index(_name("li", tap) if apart else self.name)
        of_bridge = _attribute(_IFLA_MASTER, pack("=I", bridge))
        return bool(index and bridge) and of_bridge in self._ask(_RTM_GETLINK, _REQUEST, index)

    def is_open(self, tap: str) -> bool:
        """Whether a kernel has a tap open, or had a moment ago."""
        try:
            return bool(self._flags(tap) & _IFF_RUNNING)
        except OSError:
            return False

    def traffic(self) -> dict[str, tuple[int, ...]]:
        """What every tap has moved as its guest sees it: frames and bytes that it has sent, and
        received, and frames that were dropped."""
        found: dict[str, tuple[int, ...]] = {}
        text = b""
        # The kernel gives a page at a time.
        while (more := os.pread(self._table, MAX_TABLE_BYTES, len(text))) and (
            len(text) < MAX_TABLE_BYTES
        ):
            text += more
        for line in text.decode("ascii", "replace").splitlines()[2:]:
            name, _, counted = line.partition(":")
            fields = [int(each) for each in counted.split()]
            if len(fields) >= 12:
                dropped = fields[3] + fields[11]
                found[name.strip()] = (fields[1], fields[0], fields[9], fields[8], dropped)
        return found

    def frames(self, tap: str = "") -> socket.socket:
        """What a tap passes, or all that the bridge does: a packet socket.

        Raises: OSError
        """
        name = tap or self.name
        index = self._index(name)

        def opening() -> list[int]:
            made = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
            made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BYTES)
            made.bind((name, ETH_P_ALL))
            if not tap:
                all_of_it = pack("=iHH8x", index, _PACKET_MR_PROMISC, 0)
                made.setsockopt(_SOL_PACKET, _PACKET_ADD_MEMBERSHIP, all_of_it)
            return [made.detach()]

        (descriptor,) = self._namespace.opened(opening)
        found = socket.socket(fileno=descriptor)
        found.setblocking(False)
        return found

    def counters(self, name: str) -> dict[str, int]:
        """The same of one interface, by the names that a port's have."""
        return dict(zip(COUNTERS, self.traffic().get(name, (0,) * 5), strict=True))

    def remove_interface(self, name: str) -> None:
        """Remove an interface of the namespace; nothing is done if there is none.

        Raises: OSError
        """
        index = self._index(name)
        if not index:
            return
        said = self._ask(_RTM_DELLINK, _REQUEST_AND_ACK, index)
        number = -int(unpack_from("=i", said, 16)[0])
        if number not in (0, errno.ENODEV):
            raise OSError(number, os.strerror(number), name)

    # The calls

    def _make(self, bridge: str) -> None:
        with suppress(FileExistsError):
            self._call(_SIOCBRADDBR, _bytes(bridge))
        self._bound(bridge)
        self._set_up(bridge)

    def _bound(self, bridge: str) -> None:
        """Have a bridge know no more addresses than a switch does: a guest may send from any
        number, and the host's kernel would keep each for 300 seconds. And have it say nothing
        itself, as one that looks for multicast routers does.

        Raises: OSError; UnfitHost: this host's kernel knows no bound, before Linux 6.7
        """
        index = self._index(bridge)
        bound = _attribute(_IFLA_BR_FDB_MAX_LEARNED, pack("=I", MAX_ADDRESSES))
        kind = _attribute(_IFLA_INFO_KIND, b"bridge\0")
        quiet = _attribute(_IFLA_BR_MCAST_SNOOPING, b"\0")
        info = _attribute(_IFLA_LINKINFO, kind + _attribute(_IFLA_INFO_DATA, quiet + bound))
        said = self._ask(_RTM_NEWLINK, _REQUEST_AND_ACK, index, info)
        number = -int(unpack_from("=i", said, 16)[0])
        if number:
            raise OSError(number, os.strerror(number), bridge)
        # A kernel ignores what it does not know.
        if bound not in self._ask(_RTM_GETLINK, _REQUEST, index):
            raise UnfitHost(NO_BOUND)

    def _ask(self, kind: int, flags: int, index: int, more: bytes = b"") -> bytes:
        """The kernel's answer to a request about an interface."""
        body = pack("=BxHiII", 0, 0, index, 0, 0xFFFFFFFF if kind == _RTM_DELLINK else 0) + more
        header = pack("=IHHII", 16 + len(body), kind, flags, 1, 0)
        os.write(self._netlink, header + body)
        return os.read(self._netlink, _ANSWER_BYTES)

    def _attached(self, name: str, flags: int) -> int:
        (descriptor,) = self._namespace.opened(_open_tun)
        try:
            fcntl.ioctl(descriptor, TUNSETIFF, pack("16sH22x", name.encode(), flags))
        except OSError:
            os.close(descriptor)
            raise
        return descriptor

    def _join(self, name: str, bridge: str) -> None:
        self._call(_SIOCBRADDIF, pack("16si20x", bridge.encode(), self._index(name)))
        self._set_up(name)

    def _leave(self, name: str) -> None:
        index = self._index(name)
        for bridge in (self.name, _name("li", name)):
            with suppress(OSError):
                self._call(_SIOCBRDELIF, pack("16si20x", bridge.encode(), index))

    def _set_up(self, name: str) -> None:
        flags = self._flags(name) | _IFF_UP
        self._call(_SIOCSIFFLAGS, pack("16sH22x", name.encode(), flags))

    def _flags(self, name: str) -> int:
        said = self._call(_SIOCGIFFLAGS, pack("16sH22x", name.encode(), 0))
        return int(unpack_from("=H", said, 16)[0])

    def _index(self, name: str) -> int:
        try:
            said = self._call(_SIOCGIFINDEX, pack("16si20x", name.encode(), 0))
        except OSError:
            return 0
        return int(unpack_from("=i", said, 16)[0])

    def _call(self, number: int, argument: bytes) -> bytes:
        return fcntl.ioctl(self._control, number, argument)


def unable() -> str:
    """Why networks of this user have no bridges here; empty if they have. It is tried."""
    if why := namespaces.forbidden():
        return why
    if shutil.which(ENTERING) is None:
        return f"there is no program {ENTERING}: apt install util-linux"
    try:
        bridge = Bridge("trial", netns.make())
        try:
            bridge.trunk().close()
        finally:
            bridge.close()
    except UnfitHost as problem:
        return str(problem)
    except OSError as problem:
        return f"{problem.filename or 'bridge'}: {problem.strerror or problem}"
    return ""


def _open() -> list[int]:
    """What the bridges of a namespace are made and seen by."""
    kinds: Sequence[tuple[int, int]] = (
        (socket.AF_INET, socket.SOCK_DGRAM),
        (socket.AF_NETLINK, socket.SOCK_RAW),
    )
    opened = [socket.socket(*kind).detach() for kind in kinds]
    return [*opened, os.open("/proc/self/net/dev", os.O_RDONLY | os.O_CLOEXEC)]


def _open_tun() -> list[int]:
    return [os.open(TUN_DEVICE, os.O_RDWR | os.O_CLOEXEC)]


def _attribute(kind: int, value: bytes) -> bytes:
    """One attribute of netlink's, padded."""
    return pack("=HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)


def _bytes(name: str) -> bytes:
    return pack("16s", name.encode())


def _name(kind: str, of: str) -> str:
    """The name of an interface; what it is of may be too long for one."""
    return kind + hashlib.sha256(of.encode()).hexdigest()[:_DIGEST_CHARACTERS]
