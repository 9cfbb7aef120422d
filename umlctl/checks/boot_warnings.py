"""Warnings to a user who starts a guest, of what not everybody expects."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from umlctl.definitions import host_file
from umlctl.guest import cmdline, confinement, specs
from umlctl.guest import definition as definitions
from umlctl.host import landlock, paths, programs, room
from umlctl.kernels import find

if TYPE_CHECKING:
    from umlctl.guest.definition import Definition

NO_ASLR_SINCE: Final = (7, 2)
"""Since this version of Linux, a kernel turns off the randomisation of its addresses itself."""
_TOLD_OF_ROOT: Final = "told-of-root"


def of_start(definition: Definition, *, once: bool = True) -> list[str]:
    """What not everybody expects of a guest: its root on hostfs may do all that the root user who
    starts it may, and hostfs= is no jail.

    once: what was said to this user before is left out, and what is said now is noted
    """
    said = []
    is_open = definition.confine == confinement.OFF or landlock.unable()
    is_roots = is_open and not (os.geteuid() or definition.user)
    reaches_all = is_roots and definitions.root_is_host(definition)
    if reaches_all and (not once or _is_first(_TOLD_OF_ROOT)):
        said.append(
            "root in this guest reaches every file of this host, as you do; "
            f"--user NAME gives it the reach of NAME{' (said once)' if once else ''}"
        )
    said += _shared_root(definition)
    for word in (*definition.append, *definition.arguments):
        if word.startswith(cmdline.HOSTFS_ARGUMENT):
            said.append(f"{word} keeps root in this guest from nothing: `..` leads out of it")
            if word.removeprefix(cmdline.HOSTFS_ARGUMENT).partition(",")[0].strip("/"):
                said[-1] += "; umlctl mounts nothing there: `exec`, `cp` and --share do not work"
    kernel = find.probe(definition.kernel, definition.user)
    if definition.aslr and kernel.release >= NO_ASLR_SINCE:
        said.append(f"--aslr does nothing: Linux {kernel.version} turns randomisation off itself")
    if (definition.ncpus > 1 or definition.seccomp) and "seccomp" in kernel.capabilities:
        why = "--seccomp" if definition.seccomp else "several processors"
        said.append(
            f"with {why} any program in the guest can read and change all of the "
            "guest's memory: its kernel watches its processes by seccomp then"
        )
    if definition.virtual_time:
        said.append(
            "while it is idle its clock runs far ahead, by hours a second, and it uses a processor "
            "of this host as far as it can: so it is with --virtual-time"
        )
    if definition.nics and cmdline.has_agent(definition) and programs.init_lacks("ip"):
        said.append(f"its NICs are not set up: {programs.NO_IP}: {programs.INSTALL_IP}")
    return said + of_memory(definition)


def of_memory(definition: Definition, *, at_once: int = 1) -> list[str]:
    """Whether it may come to have more memory than there is, with what others may.

    at_once: how many such guests are to run at a time
    """
    bounds = host_file.load()
    wanted = bounds.overcommit if bounds else None
    place = room.place_of(definition, os.environ)
    if wanted is False or (wanted and not room.never_fits(place, definition.mem)):
        return []  # who may not have it is refused, and who wants it so is not told each time
    guests, untouched = _others(definition, place)
    guests, untouched = guests + at_once - 1, untouched + (at_once - 1) * definition.mem
    doubt = room.memory_doubt(place, definition.mem, guests, untouched, overcommit=bool(wanted))
    return [doubt] if doubt else []


def _others(definition: Definition, place: str) -> tuple[int, int]:
    """How many guests run that have their memory in a place, and the bytes that they may still
    take."""
    with suppress(OSError):  # who starts it tells what is wrong with this user's guests
        if os.listdir(paths.guest_records()):  # a guest for a command does without
            from umlctl.recovery import discover
            from umlctl.state import admission

            return admission.promised(place, discover.running(but=definition.umid))
    return 0, 0


def of_loss(definition: Definition) -> list[str]:
    """What a guest writes and nobody will find again, if anything."""
    disks = [specs.parse_disk(text, definition.cwd) for text in definition.disks]
    if definitions.root_is_image(definition):
        disks.insert(0, definitions.root_disk(definition))
    lost = [disk.file for disk in disks if disk.discard]
    said = (
        f"what it writes to {', '.join(lost)} is lost when it ends; "
        f"`umlctl snapshot create {definition.umid} NAME` keeps it, and "
        f"`umlctl collect {definition.umid} PATH` copies files out before"
    )
    return [said] if lost else []


def _is_first(what: str) -> bool:
    """Whether something has not been said to this user before; yes, if that cannot be kept."""
    try:
        os.makedirs(paths.state_dir(), 0o700, exist_ok=True)
        os.close(
            os.open(f"{paths.state_dir()}/{what}", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        )
    except FileExistsError:
        return False
    except OSError:
        return True
    return True


def _shared_root(definition: Definition) -> list[str]:
    """Which other guests write to the directory that is the root."""
    if not definition.root.endswith("/") or definition.overlay:
        return []
    from umlctl.recovery import discover
    from umlctl.state import leases

    mine = os.path.realpath(definition.root)
    others = [
        umid
        for umid, root in leases.directories_of(discover.running(but=definition.umid))
        if os.path.commonpath([mine, os.path.realpath(root)]) in (mine, os.path.realpath(root))
    ]
    return [
        f"{umid} writes to {definition.root} too, and neither sees what the other keeps in memory; "
        f"--root {definition.root},ro only reads"
        for umid in others
    ]
