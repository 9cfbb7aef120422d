"""What a kernel process is confined to before it starts, so that it ends as it should.

In a pid namespace the kernel is process 1, which the host protects from its own signals: a
panicking kernel that sends itself SIGABRT until it dies (arch/um/os-Linux/util.c: uml_abort)
would send it for ever. It exits when that call fails, so a filter lets it fail.
"""

from __future__ import annotations

import os
from struct import pack
from typing import TYPE_CHECKING, Final, TypeVar

from umlctl.host import landlock, own_thread, seccomp

if TYPE_CHECKING:
    import ctypes
    from collections.abc import Callable

_T = TypeVar("_T")

MACHINES: Final = frozenset(seccomp.KILL_NUMBERS)
"""Where a kernel can be kept from aborting for ever, as it must be where it is process 1."""
_PIDS: Final = "--pid"
_MOUNTS: Final = "--mount --propagation slave"
_USER: Final = "--user --map-current-user"
_KEEP: Final = "--keep-caps"
"""What it may do in its user namespace is left to the program, which lets go of it."""
_PR_SET_NO_NEW_PRIVS: Final = 38
_PR_SET_SECCOMP: Final = 22
_SECCOMP_MODE_FILTER: Final = 2


def scopes(kernel: str, *, mounts: bool = False) -> list[str]:
    """What may confine this kernel, as options of unshare(1), the best first; the last, `group`,
    always can. See shim.sh.

    mounts: it is to have its own, which it changes before it starts, even where it will not see
        what is mounted on this host later
    """
    if os.uname().machine not in MACHINES:
        return ["group"]
    own = mounts or mounts_propagate()
    found = [f"{_MOUNTS} {_PIDS}", _PIDS] if own else [_PIDS]
    found = found if os.geteuid() == 0 else []
    if not has_capabilities(kernel):  # they would count for nothing in a user namespace
        user = f"{_USER} {_KEEP}" if mounts else _USER
        found += [f"{user} {_MOUNTS} {_PIDS}"] if own else []
        found.append(f"{_USER} {_PIDS}")
    return [*found, "group"]


def unable(kernel: str) -> str:
    """Why this host cannot confine a kernel as it is asked for; empty if it can.

    kernel: its path
    """
    if os.geteuid() and has_capabilities(kernel):
        return f"{kernel} would lose the capabilities that setcap(8) has given it"
    return landlock.unable()


def mounts_propagate() -> bool:
    """What is mounted and unmounted on this host shows in other mount namespaces too.

    Where it does not, as in many containers, a kernel has none of its own: it would not find a
    disk on a file system that was mounted later, and would keep in use what was unmounted.
    """
    shown = False
    try:
        with open("/proc/self/mountinfo", "rb") as file:
            for line in file:
                fields = line.split()
                if fields[4] == b"/":
                    shown = fields[6].startswith((b"shared:", b"master:"))
    except (OSError, IndexError):
        return False
    return shown


def has_capabilities(kernel: str) -> bool:
    """It was given some with setcap(8), and gets them when it is executed."""
    try:
        os.getxattr(kernel, "security.capability")
    except OSError:
        return False
    return True


def confined(start: Callable[[], _T], *, abort: bool = False) -> _T:
    """Call `start` so that what it spawns can gain no privileges and cannot send SIGABRT.

    abort: it can send SIGABRT all the same

    Raises: what `start` raises; OSError
    """

    def work() -> _T:
        _confine(abort=abort)
        return start()

    return own_thread.run(work)


def _confine(*, abort: bool) -> None:
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    _prctl(libc, _PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    if abort:
        return
    program = seccomp.no_abort(os.uname().machine)
    buffer = ctypes.create_string_buffer(program, len(program))
    sock_fprog = pack("@HP", len(program) // 8, ctypes.addressof(buffer))
    _prctl(libc, _PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, sock_fprog, 0, 0)


def _prctl(libc: ctypes.CDLL, *arguments: object) -> None:
    import ctypes

    if libc.prctl(*arguments):
        raise OSError(ctypes.get_errno(), "the kernel cannot be confined")
