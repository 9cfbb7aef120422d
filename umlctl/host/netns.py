"""A network namespace of this user's: making one, finding it again, and opening things in it.

An ordinary user has one in a user namespace of theirs. No process has to live in it: a descriptor
keeps it, with all that was made there. Who owns it may change whatever is opened in it, without
being in it; the opening alone must be done inside. So a child does that, and passes it out.

A child is forked, which a process with threads should not do: see `in_child`.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import socket
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Final, NoReturn

from umlctl.errors import UnfitHost

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Self

CLONE_NEWUSER: Final = 0x10000000
CLONE_NEWNET: Final = 0x40000000
MAX_PASSED: Final = 16
"""How many descriptors one opening passes out at most."""
_NS_GET_USERNS: Final = 0xB701
_NS_GET_OWNER_UID: Final = 0xB704
_QUIET: Final = (
    ("/proc/sys/net/ipv6/conf/default/disable_ipv6", "1"),
    ("/proc/sys/net/ipv6/conf/all/disable_ipv6", "1"),
    ("/proc/sys/net/bridge/bridge-nf-call-iptables", "0"),
    ("/proc/sys/net/bridge/bridge-nf-call-ip6tables", "0"),
    ("/proc/sys/net/bridge/bridge-nf-call-arptables", "0"),
)
"""What keeps this host from talking in networks of guests, and from filtering there."""


class NetworkNamespace:
    """Descriptors of a network namespace. Use it, then `close` it.

    Fields:
        net: of the network namespace
        user: of the user namespace that owns it; -1: that is this process's own
    """

    def __init__(self, net: int, user: int) -> None:
        self.net = net
        self.user = user

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def inode(self) -> int:
        """Which one it is, among all that there are now."""
        return os.fstat(self.net).st_ino

    def close(self) -> None:
        for descriptor in (self.net, self.user):
            if descriptor >= 0:
                os.close(descriptor)
        self.net = self.user = -1

    def opened(self, opening: Callable[[], list[int]]) -> list[int]:
        """What `opening` opens in the namespace, as descriptors here.

        Raises: OSError
        """
        libc = ctypes.CDLL(None, use_errno=True)

        def work() -> list[int]:
            if self.user >= 0:
                _call(libc.setns(self.user, CLONE_NEWUSER), "cannot enter the user namespace")
            _call(libc.setns(self.net, CLONE_NEWNET), "cannot enter the network namespace")
            return opening()

        return in_child(work)


def make() -> NetworkNamespace:
    """Make one; root's is not in a user namespace of its own.

    Raises: UnfitHost: why this host has none for this user
    """
    uid, gid = os.geteuid(), os.getegid()
    libc = ctypes.CDLL(None, use_errno=True)

    def work() -> list[int]:
        flags = CLONE_NEWNET | (CLONE_NEWUSER if uid else 0)
        _call(libc.unshare(flags), f"no {'user' if uid else 'network'} namespace can be made")
        if uid:
            _write("/proc/self/setgroups", "deny")
            _write("/proc/self/uid_map", f"{uid} {uid} 1")
            _write("/proc/self/gid_map", f"{gid} {gid} 1")
        for path, value in _QUIET:
            with suppress(OSError):  # the host's kernel may have no such thing
                _write(path, value)
        names = ("net", "user") if uid else ("net",)
        return [os.open(f"/proc/self/ns/{name}", os.O_RDONLY | os.O_CLOEXEC) for name in names]

    try:
        net, *user = in_child(work)
    except OSError as problem:
        raise UnfitHost(f"{problem.filename or 'no namespace'}: {problem.strerror}") from problem
    return NetworkNamespace(net, user[0] if user else -1)


def of_process(pid: int) -> NetworkNamespace | None:
    """The one that a process of this user's is in; None if it is this process's own, or another
    user's."""
    return _of_path(f"/proc/{pid}/ns/net")


def held_by(pid: int) -> NetworkNamespace | None:
    """The first one that a process of this user's has a descriptor of; None if it has none."""
    try:
        found = os.listdir(f"/proc/{pid}/fd")
    except OSError:
        return None
    for name in found:
        path = f"/proc/{pid}/fd/{name}"
        with suppress(OSError):
            if os.readlink(path).startswith("net:["):
                return _of_path(path)
    return None


def inode_of(pid: int) -> int:
    """Which one a process is in; 0: this process's own, or that cannot be seen."""
    try:
        inode = os.stat(f"/proc/{pid}/ns/net").st_ino
    except OSError:
        return 0
    return 0 if inode == os.stat("/proc/self/ns/net").st_ino else inode


def _of_path(path: str) -> NetworkNamespace | None:
    with ExitStack() as undo:
        try:
            net = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            undo.callback(os.close, net)
            if os.fstat(net).st_ino == os.stat("/proc/self/ns/net").st_ino:
                return None
            user = fcntl.ioctl(net, _NS_GET_USERNS)
            undo.callback(os.close, user)
            if os.fstat(user).st_ino == os.stat("/proc/self/ns/user").st_ino:
                undo.pop_all()
                os.close(user)
                return NetworkNamespace(net, -1)
            uid = int.from_bytes(fcntl.ioctl(user, _NS_GET_OWNER_UID, bytes(4)), "little")
        except OSError:
            return None
        if uid != os.geteuid():
            return None
        os.set_inheritable(user, False)
        undo.pop_all()
        return NetworkNamespace(net, user)


def in_child(work: Callable[[], list[int]]) -> list[int]:
    """What `work`, called in a child of this process, has opened there, as descriptors here.

    The child does nothing else, so it needs no lock of another thread's.

    Raises: OSError: what `work` raises; `filename` says what could not be done
    """
    ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours:
        with its:
            pid = os.fork()
            if not pid:
                _report(its, work)
        try:
            data, found, _, _ = socket.recv_fds(ours, 1024, MAX_PASSED)
        finally:
            os.waitpid(pid, 0)
    for descriptor in found:
        os.set_inheritable(descriptor, False)
    if data != b"\0":
        number, _, what = data.decode("utf-8", "replace").partition(" ")
        code = int(number or errno.EIO)
        raise OSError(code, os.strerror(code), what or "a child was ended")
    return found


def _report(its: socket.socket, work: Callable[[], list[int]]) -> NoReturn:
    try:
        try:
            found = work()
            socket.send_fds(its, [b"\0"], found)
        except OSError as problem:
            said = f"{problem.errno or errno.EIO} {problem.filename or ''}"
            its.send(said.encode("utf-8", "replace")[:1024])
    finally:
        os._exit(0)


def _call(result: int, what: str) -> None:
    """Raises: OSError"""
    if result:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), what)


def _write(path: str, text: str) -> None:
    with open(path, "w") as file:
        file.write(text)
