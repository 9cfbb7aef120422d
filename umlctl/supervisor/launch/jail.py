"""What confines a guest's kernel before it starts: mounts of its own, Landlock, and a filter of
system calls. See `file_access` for what it may, and `masks` for what it does not see.

A tiny program does it, as the very last before the kernel, since nothing can be mounted any more
by who has been restricted; as another user's kernel it does so in two halves.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
from typing import TYPE_CHECKING, Final

from msgspec.structs import replace

from umlctl.backends import device_access
from umlctl.backends.device_access import TUN
from umlctl.guest import confinement
from umlctl.host import (
    binds,
    brand,
    call_list,
    confine,
    landlock,
    paths,
    privileges,
    room,
    seccomp,
    users,
)
from umlctl.host.call_list import CallList
from umlctl.state import umid_lock
from umlctl.supervisor.launch import file_access, hiding, later_mounts, masks, place
from umlctl.supervisor.launch.masks import Masks
from umlctl.supervisor.launch.spawn import CONFINED_DESCRIPTOR, Armed, first_free

if TYPE_CHECKING:
    from collections.abc import Iterator

    from umlctl.guest.definition import Definition
    from umlctl.state.records import DeviceEntry

ALL_PORTS: Final = landlock.Ports.BIND | landlock.Ports.CONNECT
_WRITE: Final = 1
_CLOSE: Final = 3


class Jail:
    """What confines one kernel.

    Fields:
        mode: of `umlctl.guest.confinement`
        mounts: it has mounts of its own, in the scope that it was armed for last
    """

    def __init__(
        self,
        definition: Definition,
        entries: list[DeviceEntry],
        command: list[str],
        memory: str,
        *,
        gate: int = 0,
    ) -> None:
        """Make the kernel's own directory.

        command: the kernel and its arguments; memory: the directory where it has that
        gate: see `spawn.Lent`

        Raises: HostError: it cannot be confined as it was asked for; OSError
        """
        self.mode = confinement.mode_of(definition, confine.unable(definition.kernel))
        self.mounts = False
        self._definition = replace(definition, confine=self.mode)
        self._entries = entries
        self._command = command
        self._executed = [*_behind(gate), *command]
        self._memory = memory
        self._means = device_access.of_command(command[1:])
        if self.mode != confinement.OFF:
            place.make_own(self._definition)
            later_mounts.make(definition.umid)

    @contextlib.contextmanager
    def armed(self, placing: list[str], become: list[str], scope: str) -> Iterator[Armed]:
        """The kernel's command for a scope, see `umlctl.host.confine.scopes`.

        placing: has a caller's descriptors under their own numbers; become: has the kernel run as
            another user

        Raises: OSError, HostError
        """
        command = self._executed
        if self.mode == confinement.OFF:
            yield Armed([*placing, *become, *command], [], told=False)
            return
        self.mounts = "--mount" in scope
        with contextlib.ExitStack() as held:
            place.link_sockets(self._definition, mounts=self.mounts)
            first = CallList()
            memory = self._mount(first, held) if self.mounts else self._memory
            last = CallList() if become else first
            rules = _above(held, self._ruleset(memory))
            self._restrict(last, rules, scope, is_root=not (become or os.geteuid()))
            programs = [_Program(held, last)]
            unsaid = "cannot say that it is confined"
            last.call(unsaid, _WRITE, CONFINED_DESCRIPTOR, b"\n", 1)
            last.call(unsaid, _CLOSE, CONFINED_DESCRIPTOR)
            words = [programs[0].path, *command]
            if become:
                words = [shutil.which(become[0]) or become[0], *become[1:], *words]
                if self.mounts:
                    programs.insert(0, _Program(held, first))
                    words.insert(0, programs[0].path)
            for program in programs:
                program.write()
            yield Armed([*placing, *words], [rules, *(each.number for each in programs)], told=True)

    def _restrict(self, calls: CallList, rules: int, scope: str, *, is_root: bool) -> None:
        """Have calls restrict who makes them.

        rules: descriptor of the ruleset
        """
        brand.put(calls)
        kept = {*privileges.OF_FILES, *self._means.capabilities} if is_root else set()
        privileges.keep(calls, kept, namespace="--user" in scope)
        landlock.restrict(calls, rules)
        families = {seccomp.AF_UNIX, *self._means.families}
        program = seccomp.jail(
            families,
            streams=self._means.streams,
            abort=scope == "group",
            attributes=self.mounts,
            truncation=self.mounts or landlock.version() >= landlock.TRUNCATION_SINCE,
        )
        seccomp.restrict(calls, program)

    def _mount(self, calls: CallList, held: contextlib.ExitStack) -> str:
        """Have calls mount what the kernel is to see; where it has its memory then."""
        definition = self._definition
        user = users.find(definition.user) if definition.user else None
        has_tun = any(
            device_access.is_below(TUN, path) for path in (*self._means.paths, *definition.rw)
        )
        later_mounts.put(definition.umid, calls, tun=not has_tun)
        made = later_mounts.masks_directory(definition.umid)
        shutil.rmtree(made, ignore_errors=True)  # of another scope
        covers = Masks(made, hiding.plan(definition, self._entries, self._command))
        later_mounts.put_masks(definition.umid, calls)
        covers.cover(calls)
        memory = self._memory
        if memory == room.SHARED_MEMORY_DIRECTORY:
            memory = tempfile.mkdtemp(prefix="umlctl-", dir=room.SHARED_MEMORY_DIRECTORY)
            held.callback(os.rmdir, memory)
            if user:
                users.give(user, [memory])
        written = file_access.written(definition, self._entries)
        if "/" not in written:
            sockets = paths.kernel_dir() if not user else umid_lock.own_directory(definition)
            there = [sockets, place.plugged_directory(definition, write=True), memory]
            binds.read_only(calls, masks.outermost(map(os.path.realpath, [*written, *there])))
        if memory != self._memory:
            # What is made without a name in a directory that was removed is all that can be: it
            # is, when the kernel has begun, and must not be what something is mounted on by then.
            masks.bind(calls, memory, self._memory)
        return memory

    def _ruleset(self, memory: str) -> int:
        """The rules for files, as a descriptor.

        Raises: OSError
        """
        definition, command = self._definition, self._command
        if not self.mounts:
            definition = file_access.with_shares(definition)
        places = self._places(memory)
        return landlock.ruleset(
            file_access.rules(definition, self._entries, command, places),
            handled=file_access.handled(definition),
            ports=landlock.Ports(0) if self._means.tcp else ALL_PORTS,
            scopes=landlock.Scopes.SIGNALS,
            version=landlock.version(),
        )

    def _places(self, memory: str) -> file_access.Places:
        """Where the kernel has what is its own, as this process finds it."""
        definition = self._definition
        return file_access.Places(
            sockets=place.sockets_directory(definition, mounts=self.mounts),
            devices=place.plugged_directory(definition, write=True),
            read=place.plugged_directory(definition, write=False),
            shared=place.shared_directory(definition),
            memory=memory,
            tun=later_mounts.tun_directory(definition.umid),
            guest=umid_lock.own_place(definition, paths.guest_dir(definition.umid)),
        )


def _behind(gate: int) -> list[str]:
    """What waits for a line before it becomes the kernel. A signal would not stop it, which is the
    first process of its namespace.

    gate: the descriptor; 0: there is nothing to wait for
    """
    wait = f'read -r _ </proc/self/fd/{gate} && exec "$@"'
    return ["/bin/sh", "-c", wait, "sh"] if gate else []


class _Program:
    """A list of calls as a program that a kernel's command has."""

    def __init__(self, held: contextlib.ExitStack, calls: CallList) -> None:
        """The calls may yet be added to."""
        self._calls = calls
        self.number = _above(held, os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC))
        self.path = f"/proc/self/fd/{self.number}"
        calls.call("cannot close its program", _CLOSE, self.number)

    def write(self) -> None:
        """Raises: OSError"""
        program = call_list.open_program(self._calls.program())
        os.dup2(program, self.number, inheritable=False)
        os.close(program)


def _above(held: contextlib.ExitStack, descriptor: int) -> int:
    """Have a descriptor under a number that is none of a kernel's or of its parent's."""
    try:
        number = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, first_free())
    finally:
        os.close(descriptor)
    held.callback(os.close, number)
    return number
