"""The processes of a guest, as /proc shows them.

A guest is one main process (the kernel), two helpers that share its memory, one traced process
per guest address space and, for a console on a terminal, a helper in a session of its own. The
main process leads a process group that holds all but the last.
"""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from typing import Literal, NamedTuple

from socketproto.blocking import LACK_ERRORS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

_TICKS_A_SECOND: Final = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")
STATES: Final = {
    "R": "running",
    "S": "sleeping",
    "D": "waiting",
    "T": "suspended",
    "t": "traced",
    "Z": "dead",
    "X": "dead",
    "I": "idle",
}
"""What a process does, by its letter in proc(5)."""
USERSPACE_NAME: Final = "uml-userspace"
"""The name that later kernels give to the processes of their guests, which they need not trace.
Source: arch/um/kernel/skas/stub_exe.c"""
_PR_SET_CHILD_SUBREAPER: Final = 36
_RECVFROM_SYSCALL: Final = "45"
"""The system call that a stopped kernel is in (x86-64); a running one sleeps in sigsuspend or
wait4."""
_WAITING_WCHAN: Final = "__skb_wait_for_more_packets"
_RUNNING_SYSCALL: Final = "running"
_NO_SYSCALL: Final = "-1"
"""What proc(5) has in the place of a system call: the process runs, or sleeps in none."""


def _stat(pid: int) -> list[str] | None:
    """The fields of /proc/PID/stat from the third (state) on; None if there is no such process.

    Raises: OSError: as `_read_stat`
    """
    found = _read_stat(pid)
    return None if found is None else found[1]


def _read_stat(pid: int) -> tuple[str, list[str]] | None:
    """The name in /proc/PID/stat, and the fields behind it; None if there is no such process.

    Raises: OSError: it cannot be seen whether there is one, as for want of a descriptor. A caller
    that took that for an end would bury a living guest
    """
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            text = file.read().decode("utf-8", "replace")
    except OSError as problem:
        if problem.errno in LACK_ERRORS:
            raise
        return None
    end = text.rindex(")")  # the name is anything, blanks and brackets too
    return text[text.index("(") + 1 : end], text[end + 2 :].split()


def descriptors(pid: int) -> dict[str, str]:
    """What a process has open: what /proc calls it, and a path that leads to it."""
    found = {}
    directory = f"/proc/{pid}/fd"
    with suppress(OSError):
        for name in os.listdir(directory):
            with suppress(OSError):
                found[os.readlink(f"{directory}/{name}")] = f"{directory}/{name}"
    return found


def shared_memory(pid: int) -> set[tuple[str, str]]:
    """The files, by device and inode, that a process has for memory that it writes, and that others
    share; nothing if that cannot be seen."""
    try:
        with open(f"/proc/{pid}/maps") as file:
            rows = [line.split(None, 5) for line in file]
    except OSError:
        return set()
    return {(row[3], row[4]) for row in rows if row[1][1::2] == "ws" and row[4] != "0"}


def command(pid: int) -> list[str]:
    """The words that a process was started with.

    Raises: OSError: there is no such process
    """
    with open(f"/proc/{pid}/cmdline", "rb") as file:
        return os.fsdecode(file.read()).rstrip("\0").split("\0")


def start_time(pid: int) -> int | None:
    """When the process started, in clock ticks since the host's boot: pids are used again.

    None if there is no such process, or it is a zombie. A process whose first thread is dead is no
    zombie as long as another thread lives: until then, it has its files and locks.
    """
    fields = _stat(pid)
    if fields is None or (fields[0] in "ZX" and int(fields[17]) < 2):
        return None
    return int(fields[19])


def alive(pid: int, started: int) -> bool:
    """Whether this very process still lives; a zombie does not.

    Raises: OSError: that cannot be seen
    """
    return pid > 0 and start_time(pid) == started


def parent(pid: int) -> int:
    """The parent's pid; 0 if there is no such process, or it has none."""
    fields = _stat(pid)
    return 0 if fields is None else int(fields[1])


def descendants(pid: int) -> list[int]:
    """All processes below this one, parents first."""
    found: list[int] = []
    queue = [pid]
    while queue:
        parent = queue.pop()
        try:
            threads = os.listdir(f"/proc/{parent}/task")
        except OSError:
            continue
        for thread in threads:
            try:
                with open(f"/proc/{parent}/task/{thread}/children") as file:
                    children = [int(child) for child in file.read().split()]
            except OSError:
                continue
            found += children
            queue += children
    return found


class Seen(NamedTuple):
    """A process as it looks now.

    Fields:
        state: one of STATES
        cpu: processor time of its own, seconds
        memory: bytes of it that are resident, shared ones too
        tracer: the thread that traces it; 0 if none
    """

    pid: int
    name: str
    state: str
    parent: int
    group: int
    threads: int
    cpu: float
    memory: int
    tracer: int


def look(pid: int) -> Seen | None:
    """What a process looks like; None if there is none."""
    found = _read_stat(pid)
    if found is None:
        return None
    name, fields = found
    return Seen(
        pid=pid,
        name=name,
        state=STATES.get(fields[0], "unknown"),
        parent=int(fields[1]),
        group=int(fields[2]),
        threads=int(fields[17]),
        cpu=(int(fields[11]) + int(fields[12])) / _TICKS_A_SECOND,
        memory=int(fields[21]) * _PAGE_BYTES,
        tracer=_tracer(pid),
    )


def _tracer(pid: int) -> int:
    try:
        with open(f"/proc/{pid}/status", "rb") as file:
            # Only at the beginning of a line: the process's name is in the file too, and may be
            # anything.
            return int(file.read().partition(b"\nTracerPid:")[2].split()[0])
    except (OSError, IndexError):
        return 0


def is_thread(tid: int, pid: int) -> bool:
    """Whether a thread is one of a process."""
    return os.path.exists(f"/proc/{pid}/task/{tid}")


def cpu_seconds(main: int) -> float | None:
    """CPU time of the whole guest, seconds: the main process, its dead children, and its live ones.

    None where that cannot be seen.
    """
    try:
        fields = _stat(main)
        if fields is None:
            return None
        ticks = sum(int(field) for field in fields[11:15])
        for pid in descendants(main):
            child = _stat(pid)
            if child is not None:
                ticks += int(child[11]) + int(child[12])
    except OSError:
        return None
    return ticks / _TICKS_A_SECOND


def last_processor(pid: int) -> str:
    """The number of the processor that a process ran on last; empty where that cannot be seen."""
    with suppress(OSError):
        fields = _stat(pid)
        return "" if fields is None else fields[36]
    return ""


def memory_used(main: int) -> int | None:
    """Bytes of guest memory that the host has given: the blocks of the unlinked memory file.

    None where the descriptors cannot be seen. Source: arch/um/os-Linux/mem.c
    """
    directory = f"/proc/{main}/fd"
    try:
        descriptors = os.listdir(directory)
    except OSError:
        return None
    used = None
    for descriptor in descriptors:
        path = f"{directory}/{descriptor}"
        try:
            if os.readlink(path).endswith(" (deleted)"):
                found = os.stat(path)
                if found.st_mode & 0o170000 == 0o100000 and found.st_size > 1 << 20:
                    used = max(used or 0, found.st_blocks * 512)
        except OSError:
            continue
    return used


def looks_stopped(main: int) -> bool | None:
    """Whether the kernel sits in an mconsole `stop`; None where that cannot be seen.

    A running kernel is in the same system call for a moment with every request; only a stopped one
    sleeps in it.
    """
    try:
        with open(f"/proc/{main}/syscall") as file:
            if file.read().split()[0] != _RECVFROM_SYSCALL:
                return False
        with open(f"/proc/{main}/wchan") as file:
            return file.read().strip() == _WAITING_WCHAN
    except (OSError, IndexError):
        return None


def rests_elsewhere(main: int) -> bool:
    """The kernel sleeps, and not on a socket of its own: it waits in no `stop`.

    One that was asked something while it is stopped can run for as long as the host lets it stand
    still: only where it comes to rest is it seen which it is.
    """
    try:
        with open(f"/proc/{main}/syscall") as file:
            return file.read().split()[0] not in (_RUNNING_SYSCALL, _NO_SYSCALL, _RECVFROM_SYSCALL)
    except (OSError, IndexError):
        return False


def environment(pid: int) -> dict[str, str]:
    """The environment that a process was started with; empty where that cannot be seen."""
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            words = os.fsdecode(file.read()).split("\0")
    except OSError:
        return {}
    return dict(word.partition("=")[::2] for word in words if "=" in word)


class Held(NamedTuple):
    """The kernel's main process is kept from running.

    Fields:
        state: "traced" or "suspended"
        by: what keeps it from running, in words
    """

    state: Literal["traced", "suspended"]
    by: str


def held(main: int) -> Held | None:
    """What keeps the kernel's main process from running; None if nothing does."""
    fields = _stat(main)
    if fields is None or fields[0] not in "tT":
        return None
    if fields[0] == "T":
        by = f"its process is stopped by a signal; `kill -CONT {main}` lets it go on"
        return Held("suspended", by)
    tracer = _tracer(main)
    found = _read_stat(tracer)
    name = found[0] if found else "a process"
    by = f"a debugger holds it: {name}, pid {tracer or 'unknown'}"
    return Held("traced", by)


def kill_guest(main: int, started: int, others: list[int]) -> None:
    """End a guest at once, so that none of its code is left to run as a process of this host.

    The whole group gets SIGKILL in one call. If the main process died alone, the processes that it
    traces would be let go and run on here. A kernel so young that it does not lead a group yet
    traces nothing. `others` are helpers in sessions of their own.
    """
    try:
        os.killpg(main, signal.SIGKILL)
    except ProcessLookupError:
        if alive(main, started):
            others = [main, *others]
    for pid in others:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def kill_members(main: int, program: str) -> None:
    """End what is left of a guest whose group others may be in, as those of a shell's pipeline: the
    processes of the group that run its kernel, and no others.

    program: the kernel's path
    """
    path = os.path.realpath(program)
    killed: set[int] = set()
    while True:
        group = _group(main)
        members = [pid for pid in group if _runs(pid, path)]
        if killed.issuperset(members):
            return  # none is left, or they are about to end
        if len(members) == len(group):
            with suppress(ProcessLookupError):
                os.killpg(main, signal.SIGKILL)  # at once, so that nothing runs on for a moment
        for pid in members:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        killed.update(members)


def _group(leader: int) -> list[int]:
    """The processes of a group that have not ended."""
    found = []
    for pid in [int(name) for name in os.listdir("/proc") if name.isdigit()]:
        fields = _stat(pid)
        if fields is not None and int(fields[2]) == leader and fields[0] not in "ZX":
            found.append(pid)
    return found


def _runs(pid: int, program: str) -> bool:
    """Whether a process is one of a kernel's.

    program: the kernel's path, without links
    """
    found = _read_stat(pid)
    if found is None:
        return False
    try:
        executed = os.readlink(f"/proc/{pid}/exe").removesuffix(" (deleted)")
    except OSError:
        return False
    return executed == program or found[0] == USERSPACE_NAME


def keep_descriptors() -> None:
    """Have spawned processes inherit only what they are given. What the caller of this process left
    open would else stay open, and locked, as long as a guest runs."""
    for name in os.listdir("/proc/self/fd"):
        if int(name) > 2:
            try:
                if os.get_inheritable(int(name)):
                    _given.add(int(name))
                    os.set_inheritable(int(name), False)
            except OSError:
                continue  # the descriptor of the listing itself


_given: set[int] = set()
"""Descriptors that the caller of this process left open for it. umlctl's own are never
inheritable."""


def was_given(descriptor: int) -> bool:
    """Whether the caller of this process left a descriptor open, and it is still open."""
    try:
        return os.get_inheritable(descriptor) or descriptor in _given
    except (OSError, OverflowError):
        return False


def adopt_orphans() -> None:
    """Have this process inherit its orphaned descendants, instead of the host's init.

    What a killed guest leaves is then reaped here: init may be a program that reaps nothing,
    as in many containers.
    """
    import ctypes

    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def reap_group(main: int) -> bool:
    """Reap the dead of a guest's process group that have become children of this process; True if
    none is left to wait for."""
    try:
        while os.waitpid(-main, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        return True
    return False


def outside_group(main: int) -> dict[int, int]:
    """Helpers of the guest that a signal to its group does not reach: pid to start time."""
    found = {}
    for pid in descendants(main):
        fields = _stat(pid)
        if fields is not None and int(fields[2]) != main:
            found[pid] = int(fields[19])
    return found


def open_file(pid: int, number: str) -> str | None:
    """What a process has open under a number, as /proc names it; None if nothing.

    "socket:" where the host does not let this process look.
    """
    try:
        return os.readlink(f"/proc/{pid}/fd/{number}")
    except FileNotFoundError:
        return None
    except OSError:
        return "socket:"


def has_capability(name: str) -> bool:
    """Whether this process has a capability, and so also a kernel that it starts."""
    bit = {"CAP_NET_ADMIN": 12, "CAP_NET_RAW": 13}[name]
    with open("/proc/self/status") as file:
        effective = next(int(line.split()[1], 16) for line in file if line.startswith("CapEff:"))
    return bool(effective >> bit & 1)
