"""What a kernel process is confined to before it starts, so that it ends as it should.

In a pid namespace the kernel is process 1, which the host protects from its own signals: a
panicking kernel that sends itself SIGABRT until it dies (arch/um/os-Linux/util.c: uml_abort)
would send it for ever. It exits when that call fails, so a filter lets it fail.
"""

from __future__ import annotations

import os
import threading
from errno import EPERM
from signal import SIGABRT
from struct import pack
from typing import TYPE_CHECKING, Final, TypeVar

if TYPE_CHECKING:
    import ctypes
    from collections.abc import Callable

_T = TypeVar("_T")

_SYS_KILL: Final = {"x86_64": 62, "aarch64": 129}
_PR_SET_NO_NEW_PRIVS: Final = 38
_PR_SET_SECCOMP: Final = 22
_SECCOMP_MODE_FILTER: Final = 2
_LOAD: Final = 0x20
_JUMP_EQUAL: Final = 0x15
_RETURN: Final = 0x06
_ALLOW: Final = 0x7FFF0000
_FAIL: Final = 0x00050000
_NUMBER: Final = 0
_SECOND_ARGUMENT: Final = 24


def scopes(kernel: str) -> list[str]:
    """What may confine this kernel, the best first; the last always can. See shim.sh."""
    if os.uname().machine not in _SYS_KILL:
        return ["group"]
    if has_capabilities(kernel):
        # They would count for nothing in a user namespace.
        return ["namespace", "group"] if os.geteuid() == 0 else ["group"]
    return ["namespace", "user", "group"] if os.geteuid() == 0 else ["user", "group"]


def has_capabilities(kernel: str) -> bool:
    """It was given some with setcap(8), and gets them when it is executed."""
    try:
        os.getxattr(kernel, "security.capability")
    except OSError:
        return False
    return True


def confined(start: Callable[[], _T], *, abort: bool = False) -> _T:
    """Call `start` so that what it spawns can gain no privileges and cannot send SIGABRT.

    Both are a thread's own and inherited by what it spawns, so a thread is made for it.

    abort: it can send SIGABRT all the same

    Raises: what `start` raises; OSError
    """
    result: list[_T] = []
    failure: list[BaseException] = []

    def work() -> None:
        try:
            _confine(abort=abort)
            result.append(start())
        except BaseException as problem:  # noqa: BLE001 - raised again in the caller's thread
            failure.append(problem)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    if failure:
        raise failure[0]
    return result[0]


def _confine(*, abort: bool) -> None:
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    _prctl(libc, _PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    if abort:
        return
    program = b"".join(
        pack("=HBBI", *instruction)
        for instruction in (
            (_LOAD, 0, 0, _NUMBER),
            (_JUMP_EQUAL, 0, 3, _SYS_KILL[os.uname().machine]),
            (_LOAD, 0, 0, _SECOND_ARGUMENT),
            (_JUMP_EQUAL, 0, 1, SIGABRT),
            (_RETURN, 0, 0, _FAIL | EPERM),
            (_RETURN, 0, 0, _ALLOW),
        )
    )
    buffer = ctypes.create_string_buffer(program, len(program))
    sock_fprog = pack("@HP", len(program) // 8, ctypes.addressof(buffer))
    _prctl(libc, _PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, sock_fprog, 0, 0)


def _prctl(libc: ctypes.CDLL, *arguments: object) -> None:
    import ctypes

    if libc.prctl(*arguments):
        raise OSError(ctypes.get_errno(), "the kernel cannot be confined")
