"""How a guest ended, judged from what it has left."""

from __future__ import annotations

import errno
import os
import re
import signal
import time
from typing import TYPE_CHECKING, Final, NamedTuple

from socketproto.blocking import LACK_ERRORS
from umlctl import exitcodes
from umlctl.errors import SEE_DOCTOR
from umlctl.kernels import kernel_file
from umlctl.protocol.status import STATUS_LOST, Ending

if TYPE_CHECKING:
    from umlctl.guest.definition import Definition
    from umlctl.protocol.status import Cause

ORDERLY_ENDS: Final = (b"reboot: System halted", b"reboot: Power down")
REBOOTS: Final = (b"reboot: Restarting system", b"sysrq: Resetting")
_BOOTS: Final = (b"Core dump limits :\n", b"] Linux version ")
"""What a kernel says as it is about to reboot, and as it begins again."""
LOG_TAIL_BYTES: Final = 16 << 10
"""How much of a console's end is looked at, bytes. What a panic prints after its text has some 4
KiB, at times twice as many."""
STARVED: Final = "it needed more memory than its --memory-limit"
NOT_SYNCED: Final = "not synced"
"""What is said of a guest that was ended with what it had yet to write."""
HALTED: Final = f"halted by a user, {NOT_SYNCED}"
LOG_HEAD_BYTES: Final = 1 << 20
"""How much of a console's beginning is looked at, bytes: more than a kernel prints before its init
program begins."""
_CANNOT_EXECUTE: Final = re.compile(rb"\Acannot execute the program: errno +(\d+)\n")
"""What the last program before a confined kernel says, see umlctl.host.call_list."""
_CANNOT_OPEN: Final = re.compile(rb'(ubd[a-p]): Can\'t open "([^"\n]*)": errno = (\d{1,4})\b')
_NOT_EXECUTED: Final = b"Failed to exec kernel: "
"""The last words of a kernel that cannot reboot. Source: arch/um/os-Linux/main.c"""
_AFTER_IT: Final = b"unshare: "
"""What unshare(1) says when its child has ended, as that of util-linux 2.38 does each time."""
_PANIC: Final = b"Kernel panic - not syncing: "
_BEGINS: Final = b" as init process"
_INIT_ENDED: Final = "Attempted to kill init! exitcode=0x"
_AT_INIT: Final = ("Attempted to kill init", "Requested init ", "sysrq triggered crash")
"""How panics begin that the init program causes, or that come after it."""
_BEFORE_INIT: Final = ("VFS: ", "No working init found", "No init found")
"""How panics begin of a kernel that has found no init program."""
_KERNELS_OWN: Final = b" Comm: swapper"
"""In the trace of a panic: the name of process 1 until it becomes the init program."""


UNSEEN: Final = "nobody saw its exit status"


class Evidence(NamedTuple):
    """What is known of a guest that has ended.

    Fields:
        status: what its tiny parent wrote down; None if that was killed before it could
        tail: the end of its console log
        was_ready: the guest was seen to be ready, in this boot or one before
        panic: the text of its panic; empty if there was none
        asked: why it was told to end; empty if it was not
        forced: it was killed, and not only asked
        late: it was asked, and synced and halted because it took too long; empty if not
        left: the kernel has left its directory, which a kernel that exits removes
        starved: the host ended it, since it needed more memory than its cgroup may have
        unsynced: why what it had yet to write is lost: it was asked, and neither shut itself down
            nor was seen to sync; empty if it did
        had_socket: it had its mconsole socket in this life
        began: its init program began, as that has notified or as stands in its log
        halted: a user had its kernel end itself
        executes: the file that a reboot executes, if the kernel's words go to `tail`; else empty
    """

    status: int | None
    tail: bytes
    was_ready: bool
    panic: str
    asked: str
    forced: bool
    late: str
    left: bool
    starved: bool = False
    unsynced: str = ""
    had_socket: bool = False
    began: bool = False
    halted: bool = False
    executes: str = ""


class ExitStatus(NamedTuple):
    """What the tiny parent of a guest wrote down, see shim.sh.

    Fields:
        code: the kernel's exit status, as a shell says it; None if the parent was killed before it
            could write that
        starved: as of Evidence
    """

    code: int | None
    starved: bool


def read_exit_status(directory: str) -> ExitStatus:
    """How the kernel of a guest ended, as its tiny parent saw it.

    directory: of the guest

    Raises: OSError: the file cannot be read for want of something, as a descriptor
    """
    try:
        with open(f"{directory}/status") as file:
            code, _, why = file.read(100).partition(" ")
            return ExitStatus(int(code), why.strip() == "starved")
    except ValueError:
        return ExitStatus(None, False)
    except OSError as problem:
        if problem.errno in LACK_ERRORS:
            raise
        return ExitStatus(None, False)


def seen_at(directory: str) -> float:
    """When the tiny parent of a guest saw its kernel end, seconds since 1970; 0 if it did not.

    directory: of the guest
    """
    try:
        return min(time.time(), os.stat(f"{directory}/status").st_mtime)
    except OSError:
        return 0.0


def tail_of(log: str, since: int = 0) -> bytes:
    """The end of a console's log; nothing if the log is not there.

    since: what stands before is none of it, bytes

    Raises: OSError: the log cannot be read for want of something, as a descriptor
    """
    try:
        with open(log, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            file.seek(max(since if since <= size else 0, size - LOG_TAIL_BYTES))
            return file.read()
    except OSError as problem:
        if problem.errno in LACK_ERRORS:
            raise
        return b""


def init_began(log: str) -> bool:
    """Whether the kernel has said on its console that it begins its init program."""
    try:
        with open(log, "rb") as file:
            return _BEGINS in file.read(LOG_HEAD_BYTES)
    except OSError:
        return False


def judge_unseen(status: ExitStatus, tail: bytes, *, left: bool, executes: str = "") -> Ending:
    """How a guest ended that had no supervisor then: it was not told to, nor heard to panic.

    tail, left, executes: as of Evidence
    """
    if status.code is None:
        return Ending(cause="ended", code=exitcodes.GONE, text="nobody saw how", time=time.time())
    seen = Evidence(status.code, tail, True, "", "", False, "", left, status.starved)
    seen = seen._replace(executes=executes)
    # What the guest prints is no evidence of a panic, unless its kernel has aborted too.
    panic = "" if is_orderly(tail) or not _aborted(seen) else early_panic(tail)
    return judge(seen._replace(panic=panic))


def judge(seen: Evidence) -> Ending:
    """How a guest ended."""
    cause: Cause
    if _never_started(seen):
        text = _why_never_started(seen)
        cause, code = "never started", exitcodes.NEVER_STARTED
    elif seen.starved:
        cause, code, text = "killed", exitcodes.SIGNALLED + signal.SIGKILL, STARVED
    elif panic := _panic(seen):
        cause, code, text = "panicked", exitcodes.PANIC, panic
    elif seen.forced or (seen.asked and seen.unsynced and not _ended_itself(seen)):
        by = signal.SIGKILL if seen.forced else signal.SIGTERM
        cause, code = "killed", exitcodes.SIGNALLED + by
        text = "; ".join(filter(None, [seen.asked, seen.unsynced]))
    elif seen.asked and (is_orderly(seen.tail) or _aborted(seen) or not _signal(seen)):
        cause, code, text = "shut down", exitcodes.OK, seen.late
    elif problem := _failed_reboot(seen):
        cause, code, text = "reboot failed", exitcodes.NOT_EXECUTED, problem
    elif seen.halted and is_orderly(seen.tail) and _aborted(seen):
        cause, code, text = "exited", exitcodes.OK, HALTED
    elif number := _signal(seen):
        cause, code = "killed", exitcodes.SIGNALLED + number
        text = f"signal {number} from somebody else"
    elif seen.status is None:
        cause, code, text = "ended", exitcodes.GONE, UNSEEN
    else:
        cause, code, text = "exited", seen.status, HALTED if seen.halted else ""
    return Ending(cause=cause, code=code, text=text, time=time.time())


def is_orderly(tail: bytes) -> bool:
    """Whether the kernel has said that it halts."""
    return any(end in tail for end in ORDERLY_ENDS)


def is_abort(status: int | None) -> bool:
    """Whether a kernel aborted, by the status that its tiny parent wrote down: by SIGABRT, or where
    that is kept from it, see `umlctl.host.confine`."""
    return status in (134, 127)


def is_rebooting(tail: bytes) -> bool:
    """Whether the last that the kernel has said of this is that it reboots, and not that it begins
    or powers down."""
    return max(map(tail.rfind, REBOOTS)) > max(map(tail.rfind, (*_BOOTS, *ORDERLY_ENDS)))


def early_panic(tail: bytes) -> str:
    """The text of a panic in a log; empty if there is none. A kernel that panics before it can
    notify leaves that in its log alone."""
    where = tail.rfind(_PANIC)
    if where < 0:
        return ""
    return tail[where + len(_PANIC) :].split(b"\n")[0].decode("utf-8", "replace").strip()


def describe(ending: Ending) -> str:
    """An ending in words."""
    words = ending.cause
    if ending.cause == "exited":
        words += f" with status {ending.code}"
    return f"{words}: {ending.text}{_of_init(ending.text)}" if ending.text else words


def _of_init(panic: str) -> str:
    """What a panic says of an init program that has ended by itself, in words."""
    code = panic.removeprefix(_INIT_ENDED)
    if code == panic or len(code) != 8 or not set(code) <= set("0123456789abcdef"):
        return ""
    status, number = int(code, 16) >> 8 & 0xFF, int(code, 16) & 0x7F
    if number:
        return f" (init was ended by signal {number})"
    return f" (init ended with status {status}: write it to /proc/exitcode and power off)"


def _panic(seen: Evidence) -> str:
    """The text of the guest's panic; a panic at the last moment may show in its status alone."""
    if not (is_orderly(seen.tail) or _aborted_unheard(seen)):
        return seen.panic
    if seen.asked or seen.forced or seen.halted:
        return ""  # it was to end, and how it did so is known
    text = seen.panic or ("the kernel aborted" if _aborted(seen) else "")
    return text and f"{text}; {STATUS_LOST}"


def _aborted_unheard(seen: Evidence) -> bool:
    """Whether the kernel aborted in its first moments, when it had already closed what it notifies
    panics by. It powered down then, though its console is elsewhere and does not say so."""
    return not (seen.was_ready or seen.panic) and seen.had_socket and _aborted(seen)


def _never_started(seen: Evidence) -> bool:
    """Whether the guest ended before its init program began, or was ended before it was seen ready.

    The kernel's console may be elsewhere. Then its log says neither that the init program begins
    nor that the kernel halts.
    """
    if seen.was_ready:
        return False
    if seen.asked:
        return True
    if seen.panic:
        return not _panicked_late(seen)
    exited = seen.had_socket and not _signal(seen)  # or nobody knows, as of one like `linux`
    return not (is_orderly(seen.tail) or exited or _aborted_unheard(seen))


def _why_never_started(seen: Evidence) -> str:
    """Why a guest ended before it began, in words."""
    if seen.starved:
        return STARVED
    known = _not_executed(seen.tail) or _disk_not_opened(seen.tail) or seen.panic or seen.asked
    status = UNSEEN if seen.status is None else f"exit status {seen.status}"
    said = known or _last_lines(seen.tail) or status
    # A kernel that says why it cannot begin has found its host unfit.
    return said if known or seen.had_socket else f"{said}; {SEE_DOCTOR}"


def _panicked_late(seen: Evidence) -> bool:
    """Whether the init program had begun when the guest panicked."""
    if seen.began or seen.panic.startswith(_AT_INIT):
        return True
    if seen.panic.startswith(_BEFORE_INIT) or not seen.had_socket:
        return False
    _, found, trace = seen.tail.rpartition(_PANIC)
    return not (found and _KERNELS_OWN in trace)


def _disk_not_opened(tail: bytes) -> str:
    """Why a disk of the command line could not be opened; empty if the kernel does not say so.

    From 6.12 on the kernel opens and locks a disk when it adds it. A disk that it cannot open at
    boot makes it panic, with a text that has nothing to do with that.
    """
    found = _CANNOT_OPEN.search(tail)
    if found is None:
        return ""
    name, file, number = found[1].decode(), os.fsdecode(found[2]), int(found[3])
    why = "another process has it locked" if number == errno.EAGAIN else os.strerror(number)
    return f"the disk {name} could not be opened: {file}: {why}"


def _not_executed(tail: bytes) -> str:
    """Why a confined kernel could not be executed; empty if it was."""
    found = _CANNOT_EXECUTE.search(tail)
    if found is None:
        return ""
    number = int(found[1])
    more = ""
    if number == errno.EACCES:
        more = (
            "; a strictly confined one executes only what it was given: `--ro DIR` gives it the "
            "libraries that it needs, too"
        )
    return f"the kernel cannot be executed: {os.strerror(number)}{more}"


def _failed_reboot(seen: Evidence) -> str:
    """Why the kernel could not execute its file anew, as a reboot does; empty if the guest did not
    end that way.

    The kernel's last words tell, unless the file can be executed after a fashion: the library takes
    an empty file for a script, and a file that is cut short begins, and dies.
    """
    if seen.left or seen.status is None:
        return ""
    lines = seen.tail.rstrip().split(b"\n")
    last = next((line for line in reversed(lines) if not line.startswith(_AFTER_IT)), b"")
    told = last.startswith(_NOT_EXECUTED)
    if not told and (not seen.executes or seen.halted or is_orderly(seen.tail)):
        return ""
    flaw = kernel_file.flaw(seen.executes) if seen.executes else ""
    if flaw:
        return f"the kernel {seen.executes} could not be executed again: {flaw}"
    reason = last.removeprefix(_NOT_EXECUTED).decode("utf-8", "replace")
    return f"the kernel could not be executed again: {reason}" if told else ""


def executed_again(definition: Definition) -> str:
    """`executes` of Evidence for a guest of this definition."""
    for word in (*definition.append, *definition.arguments):
        key, _, value = word.partition("=")
        elsewhere = key == "con0" or (key == "console" and not value.startswith("tty0"))
        if elsewhere or key in ("con", "noreboot"):
            return ""
    return definition.kernel


def _ended_itself(seen: Evidence) -> bool:
    """Whether the guest has shut itself down, whatever else was asked of it meanwhile."""
    return is_orderly(seen.tail) and (_aborted(seen) or not _signal(seen))


def _aborted(seen: Evidence) -> bool:
    """Whether the kernel aborted, with its directory there yet."""
    return is_abort(seen.status) and seen.left


def _signal(seen: Evidence) -> int:
    """The signal that ended the kernel; 0 if it exited.

    A shell says 128+N for signal N and for an exit with that status, and unshare(1) says 1
    for SIGKILL; but a kernel that exits removes its directory.
    """
    if not seen.left:
        return 0
    if seen.status is None:
        return signal.SIGKILL
    if seen.status == 1:
        return signal.SIGKILL
    return max(0, seen.status - exitcodes.SIGNALLED)


def _last_lines(tail: bytes) -> str:
    lines = [line.strip() for line in tail.decode("utf-8", "replace").splitlines() if line.strip()]
    return "; ".join(lines[-2:])
