"""Where guests have their memory, and whether there is enough of it."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from umlctl.checks.findings import FATAL, WARNING, Finding, by_root
from umlctl.definitions import host_file
from umlctl.errors import UmlctlError
from umlctl.guest.definition import DEFAULT_MEM_BYTES
from umlctl.host import cgroups, processes, room
from umlctl.output.views import size
from umlctl.recovery import discover

if TYPE_CHECKING:
    from collections.abc import Iterator

SHM: Final = room.SHARED_MEMORY_DIRECTORY
_WHY: Final = {
    room.MISSING: "a kernel begins with its memory's file, and none starts",
    room.NOEXEC: "kernels execute what is in their memory, and none starts",
    room.DENIED: "a kernel begins with its memory's file, and none starts",
    room.SMALL: "a guest takes 256M unless it is told otherwise",
    room.FULL: "a guest that starts dies of that",
}


def directory() -> str:
    """Where a guest has its memory that asks for nothing else."""
    return room.directory(os.environ, DEFAULT_MEM_BYTES)


def place() -> Iterator[Finding]:
    """A guest can have its memory where a kernel puts it."""
    where = directory()
    flaw = room.memory_flaw(where, DEFAULT_MEM_BYTES)
    if flaw is None or (flaw.kind == room.SMALL and _is_wanted()):
        return
    what = f"guests have their memory in {where}, and cannot: {flaw.text}"
    yield Finding(FATAL, what, _WHY[flaw.kind], f"{_mended(where, flaw.kind)}; or {flaw.advice}")


def shared_memory() -> Iterator[Finding]:
    """The directory of shared memory is memory, and holds a guest."""
    if _told():
        return  # nobody asks for it
    space = room.look(SHM)
    if room.kind(SHM) != "tmpfs":
        yield Finding(
            WARNING,
            f"{SHM} is no tmpfs",
            f"guests have their memory in {directory()} instead",
            by_root(f"mount -t tmpfs tmpfs {SHM}"),
        )
    elif space is not None and space.most < DEFAULT_MEM_BYTES:
        yield Finding(
            WARNING,
            f"{SHM} can hold {size(space.most)}, less than a guest of {size(DEFAULT_MEM_BYTES)}",
            f"guests with more have their memory in {room.TEMPORARY_DIRECTORY} instead",
            f"{by_root(f'mount -o remount,size=50% {SHM}')}; --shm-size of docker and podman",
        )


def on_a_disk() -> Iterator[Finding]:
    """The memory of guests is no file of a disk."""
    where = directory()
    kind = room.kind(where)
    if kind and kind not in room.IN_MEMORY:
        told = _told()
        yield Finding(
            WARNING,
            f"guests have their memory in {where}, on a disk ({kind})"
            + (f", as {told} says" if told else ""),
            "what they change in memory is written there, which makes them slow",
            f"unset {told}, or give --mem-dir {SHM}" if told else f"give --mem-dir {SHM}",
        )


def against_guests() -> Iterator[Finding]:
    """The guests that run have no more memory between them than there is, unless that is wanted."""
    if _is_wanted():
        return
    promised = taken = 0
    count = 0
    for record in discover.running():
        count += 1
        promised += record.definition.mem
        taken += min(record.definition.mem, processes.memory_used(record.pid) or 0)
    space = room.look(directory())
    free = room.memory().get("MemAvailable", sys.maxsize)
    free = free if space is None else min(free, space.free)
    if promised - taken > free:
        yield Finding(
            WARNING,
            f"{count} guests may take {size(promised - taken)} more memory than they have now, "
            f"and {size(free)} are free",
            "a guest that uses memory when there is none dies of that",
            "umlctl shutdown one that is not needed, or start it with less --mem; if you want it "
            f"so, {room.INSIST}",
        )


def of_cgroup() -> Iterator[Finding]:
    """The cgroup of this process allows a guest its memory."""
    with suppress(OSError):
        own = cgroups.own()
        left = _number(f"{own}/memory.max") - _number(f"{own}/memory.current", 0)
        if own and left < DEFAULT_MEM_BYTES:
            yield Finding(
                WARNING,
                f"the cgroup of this process may take {size(max(0, left))} more memory ({own})",
                "guests that are started here are in it, and the host ends what takes more",
                f"raise memory.max there, as by --memory of a container, or start guests with less "
                f"--mem than {size(DEFAULT_MEM_BYTES)}",
            )


def _is_wanted() -> bool:
    """Guests may be promised more memory than there is."""
    with suppress(UmlctlError):  # another check tells what cannot be read
        bounds = host_file.load()
        return bool(bounds and bounds.overcommit)
    return False


def _number(path: str, missing: int = sys.maxsize) -> int:
    """The number in a file of a cgroup; `missing` if it has none, as where there is no limit."""
    try:
        with open(path) as file:
            return int(file.read())
    except (OSError, ValueError):
        return missing


def _told() -> str:
    """The variable by which a kernel is told where to have its memory; empty if it is not."""
    return next((name for name in room.TEMPORARY_VARIABLES if os.environ.get(name)), "")


def _mended(where: str, kind: str) -> str:
    """What makes a directory fit."""
    told = _told()
    if told and where != SHM:
        return f"unset {told}"
    return {
        room.MISSING: f"{by_root(f'mkdir -p {where}')}; {by_root(f'mount -t tmpfs tmpfs {where}')}",
        room.NOEXEC: by_root(f"mount -o remount,exec {where}"),
        room.DENIED: by_root(f"chmod 1777 {where}"),
        room.SMALL: by_root(f"mount -o remount,size=50% {where}"),
        room.FULL: f"du -sh {where}/* shows what takes it",
    }[kind]
