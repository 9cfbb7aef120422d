"""A program as on a host whose kernel has an older Landlock, or none: it and all that it starts.

    python -m tests.older_host VERSION PROGRAM [ARGUMENTS...]

VERSION: a number, ENOSYS for a kernel without Landlock, or EOPNOTSUPP for one that was booted
without it.

The kernel of this host asks us by a seccomp notification what becomes of a call to make a ruleset.
A question for the version has the older one as its answer; rights that the older one does not know
are refused, as it would; and all else is left to this host's kernel, which does with the rights
that are left what it always did. So rules, domains and processes are real.

x86-64. Source: seccomp_unotify(2), landlock_create_ruleset(2).
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import select
import socket
import struct
import sys
from typing import Final

REFUSALS: Final = {"ENOSYS": errno.ENOSYS, "EOPNOTSUPP": errno.EOPNOTSUPP}
_CREATE_RULESET: Final = 444
_LAST: Final = 446
_SECCOMP: Final = 317
_SET_MODE_FILTER: Final = 1
_NEW_LISTENER: Final = 8
_NOTIFY: Final = 0x7FC00000
_ERRNO: Final = 0x00050000
_ALLOW: Final = 0x7FFF0000
_PR_SET_NO_NEW_PRIVS: Final = 38
_RECEIVE: Final = 0xC0502100
_SEND: Final = 0xC0182101
_GOES_ON: Final = 1
_NOTIFICATION: Final = struct.Struct("=QIIIIQ6Q")
_ANSWER: Final = struct.Struct("=QqiI")
_ASKS_VERSION: Final = 1
_FILES: Final = {1: 13, 2: 14, 3: 15, 4: 15, 5: 16}
"""How many rights for files each version knows."""


def known(version: int) -> tuple[int, int, int]:
    """The rights that a version knows, as in struct landlock_ruleset_attr."""
    files = (1 << _FILES[min(version, 5)]) - 1
    return files, 3 if version >= 4 else 0, 3 if version >= 6 else 0


def _filter(action: int) -> bytes:
    """For the calls of Landlock."""
    rows = [
        (0x20, 0, 0, 0),
        (0x35, 0, 2, _CREATE_RULESET),
        (0x35, 1, 0, _LAST + 1 if action != _NOTIFY else _CREATE_RULESET + 1),
        (0x06, 0, 0, action),
        (0x06, 0, 0, _ALLOW),
    ]
    return b"".join(struct.pack("=HBBI", *row) for row in rows)


def _install(action: int, flags: int) -> int:
    """Have this process obey it; the descriptor where it asks, if it asks.

    Raises: OSError
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if os.geteuid():  # root may without, and then programs can gain privileges as everywhere
        libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    code = ctypes.create_string_buffer(_filter(action))
    fprog = struct.pack("@HP", (len(code) - 1) // 8, ctypes.addressof(code))
    made: int = libc.syscall(_SECCOMP, _SET_MODE_FILTER, flags, fprog)
    if made < 0:
        raise OSError(ctypes.get_errno(), "no such filter can be had here")
    return made


def _answer(listener: int, version: int) -> None:
    """Take one notification and answer it."""
    asked = bytearray(80)
    fcntl.ioctl(listener, _RECEIVE, asked)
    number, pid, _, _, _, _, attributes, size, flags, *_ = _NOTIFICATION.unpack(asked)
    value, error, goes_on = 0, 0, 0
    if flags == _ASKS_VERSION:
        value = version
    elif _fits(pid, attributes, size, version):
        goes_on = _GOES_ON
    else:
        error = -errno.EINVAL
    fcntl.ioctl(listener, _SEND, bytearray(_ANSWER.pack(number, value, error, goes_on)))


def _fits(pid: int, address: int, size: int, version: int) -> bool:
    """A version can make a ruleset of these attributes."""
    if not address or not 0 < size <= 24:
        return False
    with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
        memory.seek(address)
        found = struct.unpack("=3Q", memory.read(size).ljust(24, b"\0"))
    return not any(each & ~allowed for each, allowed in zip(found, known(version), strict=True))


def _serve(listener: int, version: int) -> None:
    """Answer until nobody asks any more."""
    waiting = select.poll()
    waiting.register(listener, select.POLLIN)
    while True:
        events = waiting.poll()[0][1]
        if events & select.POLLIN:
            try:
                _answer(listener, version)
            except FileNotFoundError:
                continue  # who asked has ended
        elif events & (select.POLLHUP | select.POLLERR):
            return


def main() -> None:
    said, *program = sys.argv[1:]
    if said in REFUSALS:
        _install(_ERRNO | REFUSALS[said], 0)
        os.execvp(program[0], program)
    ours, theirs = socket.socketpair()
    if not os.fork():
        # Nobody waits for it, and it keeps nobody's output open.
        if not os.fork():
            os.setsid()
            ours.close()
            null = os.open("/dev/null", os.O_RDWR)
            for number in range(3):
                os.dup2(null, number)
            listener = socket.recv_fds(theirs, 1, 1)[1][0]
            theirs.close()
            os.closerange(3, listener)
            _serve(listener, int(said))
        os._exit(0)
    os.wait()
    theirs.close()
    listener = _install(_NOTIFY, _NEW_LISTENER)
    socket.send_fds(ours, [b"\0"], [listener])
    ours.close()
    os.close(listener)
    os.execvp(program[0], program)


if __name__ == "__main__":
    main()
