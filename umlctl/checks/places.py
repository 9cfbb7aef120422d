"""Directories and names of this user: whether they can be written, are short enough, have room."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Final

import umlctl
from umlctl.checks.findings import FATAL, NOTE, WARNING, Finding, by_root
from umlctl.host import paths
from umlctl.output.views import size

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MIN_FREE_BYTES: Final = 64 << 20
"""With less room than this where records and logs are, it is told, bytes."""
MIN_FREE_FILES: Final = 1000
GUEST_BYTES: Final = 64 << 10
"""What a guest writes there at least when it starts, bytes."""
GUEST_FILES: Final = 100
"""How many files, directories, FIFOs and sockets it has there, nearly."""
MIN_UMID_CHARACTERS: Final = 16
"""A name of this length is to fit into the paths of sockets."""
MAX_CLOCK_LAG_SECONDS: Final = 86400.0
"""A clock that is further behind than the newest file of umlctl's own is wrong, seconds."""
_CLOCK_SOURCE: Final = "/sys/devices/system/clocksource/clocksource0/current_clocksource"
_SLOW_CLOCKS: Final = frozenset({"acpi_pm", "hpet", "jiffies", "pit", "refined-jiffies"})
_TO_YOURS: Final = "to a directory that you can write to"
_NOT_WRITTEN: Final = "umlctl cannot write down what guests are, and starts none"


def proc() -> Iterator[Finding]:
    """/proc is mounted, and of this namespace of pids."""
    try:
        pid = os.readlink("/proc/self")
    except OSError as problem:
        what, remedy = f"there is no /proc: {problem.strerror}", "mount -t proc proc /proc"
    else:
        if pid == str(os.getpid()):
            return
        what = "/proc is that of another namespace of processes"
        remedy = "unshare --mount-proc, or mount -t proc proc /proc in this namespace"
    yield Finding(FATAL, what, "umlctl looks there for every process of a guest", by_root(remedy))


def run_directory() -> Iterator[Finding]:
    """The sockets of guests can be made."""
    why = "the sockets of guests are there, and none starts"
    yield from _own(paths.run_dir, "run", why, f"set UMLCTL_DIR {_TO_YOURS}")


def state_directory() -> Iterator[Finding]:
    """What outlives guests can be written down."""
    remedy = f"make it yours again, or set UMLCTL_DIR {_TO_YOURS}"
    yield from _own(paths.state_dir, "state", _NOT_WRITTEN, remedy)


def _own(place: Callable[[], str], name: str, why: str, remedy: str) -> Iterator[Finding]:
    """One of umlctl's own directories can be written.

    place: of it
    """
    try:
        path = place()
    except paths.BadPlace as problem:
        yield _bad_place(problem)
        return
    flaw = unwritable(path)
    if flaw:
        what = f"the {name} directory {path} cannot be written: {flaw}"
        yield Finding(FATAL, what, why, remedy)


def space() -> Iterator[Finding]:
    """There is room on the disk for records and logs, and for what running guests need."""
    state, run = existing(paths.state_dir()), existing(paths.run_dir())
    mend = f"make room there: `du -xsh {state}`, `umlctl rm` of guests that have ended"
    yield from _space(state, "records, logs, COW files and snapshots of guests are there", mend)
    if _device(run) != _device(state):
        mend = f"make room there: `du -xsh {run}`, or set UMLCTL_DIR {_TO_YOURS}"
        yield from _space(run, "the sockets and FIFOs of guests that run are there", mend)


def _device(path: str) -> int:
    return os.stat(path).st_dev


def _space(path: str, why: str, mend: str) -> Iterator[Finding]:
    """There is room in one directory."""
    found = os.statvfs(path)
    free = found.f_bavail * found.f_frsize
    if free < MIN_FREE_BYTES and found.f_blocks:  # a file system without a size says 0
        severity = FATAL if free < GUEST_BYTES else WARNING
        yield Finding(severity, f"{size(free)} are free in {path}", why, mend)
    if found.f_files and found.f_favail < MIN_FREE_FILES:
        severity = FATAL if found.f_favail < GUEST_FILES else WARNING
        what = f"{path} has room for {found.f_favail} more files"
        yield Finding(severity, what, f"{why}, some {GUEST_FILES} files for each that runs", mend)


def home() -> Iterator[Finding]:
    """HOME can be written, and `uml_mconsole` finds guests below it."""
    found = paths.home()
    if not found:
        yield Finding(
            WARNING,
            "this user has no home",
            "uml_mconsole does not find its guests, and a kernel is asked anew each time",
            f"set HOME {_TO_YOURS}",
        )
        return
    flaw = unwritable(paths.public_dir())
    if flaw:
        yield Finding(
            WARNING,
            f"the home {found} cannot be written: {flaw}",
            "uml_mconsole and scripts that look in ~/.uml do not find guests",
            f"set HOME {_TO_YOURS}",
        )


def cache() -> Iterator[Finding]:
    """What can be fetched again can be kept."""
    path = paths.cache_dir()
    flaw = unwritable(path)
    if flaw and not path.startswith(f"{paths.home()}/"):
        yield Finding(
            NOTE,
            f"the cache {path} cannot be written: {flaw}",
            "each command asks the kernel anew what it can do, and `umlctl setup` can fetch none",
            f"set XDG_CACHE_HOME {_TO_YOURS}",
        )


def socket_paths() -> Iterator[Finding]:
    """Sockets of guests have short enough paths."""
    left = paths.MAX_UNIX_PATH_BYTES - len(os.fsencode(paths.kernel_socket("")))
    if left < MIN_UMID_CHARACTERS:
        yield Finding(
            WARNING if left > 0 else FATAL,
            f"names of guests have room for {max(0, left)} letters in the paths of their sockets "
            f"below {paths.run_dir()}",
            f"the path of a unix socket has at most {paths.MAX_UNIX_PATH_BYTES} bytes",
            "set UMLCTL_DIR to a shorter path, such as /tmp/guests",
        )
    left = paths.MAX_UNIX_PATH_BYTES - len(os.fsencode(paths.public_socket("")))
    if paths.home() and left < MIN_UMID_CHARACTERS:
        yield Finding(
            WARNING,
            f"HOME is so long that names of guests have room for {max(0, left)} letters in the "
            f"paths of their sockets below {paths.public_dir()}",
            "uml_mconsole can open no socket of a longer path; umlctl can",
            "set HOME to a shorter path where uml_mconsole is used",
        )


def clock() -> Iterator[Finding]:
    """The host's clock is right, as far as that can be seen, and quick to read."""
    newest = os.stat(os.path.dirname(umlctl.__file__)).st_mtime
    now = time.time()
    if now < newest - MAX_CLOCK_LAG_SECONDS:
        yield Finding(
            WARNING,
            f"this host's clock says {time.strftime('%Y-%m-%d', time.gmtime(now))}, and umlctl was "
            f"installed {time.strftime('%Y-%m-%d', time.gmtime(newest))}",
            "guests take their time from it; COW files fit their backing files by time",
            f"set it: {by_root('date -s')}, or by a time server",
        )
    try:
        with open(_CLOCK_SOURCE) as file:
            source = file.read().strip()
    except OSError:
        return
    if source in _SLOW_CLOCKS:
        yield Finding(
            NOTE,
            f"this host's clock source is {source}",
            "it takes some microseconds to read, and guests read it at each tick",
            "see `dmesg | grep -i tsc` for why it is not tsc, or kvm-clock in a virtual machine",
        )


def existing(path: str) -> str:
    """A directory, or the nearest above it that is there."""
    while path != "/" and not os.path.isdir(path):
        path = os.path.dirname(path)
    return path


def _file_above(path: str) -> str:
    """What stands where a directory is to be, or one above it, and is none; empty if nothing."""
    while path != "/" and not os.path.isdir(path):
        if os.path.lexists(path) and not os.path.islink(path):
            return path
        path = os.path.dirname(path)
    return ""


def unwritable(path: str) -> str:
    """Why a directory cannot be written, or made; empty if it can."""
    found = existing(path)
    in_the_way = _file_above(path)
    if in_the_way:
        return f"{in_the_way} is no directory"
    if os.access(found, os.W_OK | os.X_OK):
        return ""
    if os.statvfs(found).f_flag & os.ST_RDONLY:
        return f"{found} is mounted read-only"
    return f"{found} is not yours to write"


def _bad_place(problem: paths.BadPlace) -> Finding:
    what, _, remedy = problem.problem.rpartition(": ")
    return Finding(FATAL, what or remedy, _NOT_WRITTEN, remedy)
