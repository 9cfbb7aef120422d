"""Starting the process of a kernel: a tiny parent that waits for it, in the best scope that this
host allows.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import os
import select
import signal
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, NamedTuple

from umlctl.errors import SEE_DOCTOR, NeverStarted, UnfitHost
from umlctl.guest import cmdline
from umlctl.host import call_list, confine, limits, processes
from umlctl.protocol import command_lines, console_socket

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from contextlib import AbstractContextManager

SHIM: Final = os.path.join(os.path.dirname(os.path.dirname(__file__)), "shim.sh")
PASSED_DESCRIPTORS: Final = (9, 8, 7)
"""In the tiny parent: the guest's lock, the run directory's, and the pidfile's."""
CONFINED_DESCRIPTOR: Final = 6
"""In the kernel's process before it is the kernel: where it says that it is confined."""
BEGIN_TIMEOUT: Final = 30
"""The longest that a kernel may take to be begun, systemd asked for its scope, seconds."""
Opening = tuple[int, int, str, int, int] | tuple[int, int, int]
"""A file that a new process has open: POSIX_SPAWN_OPEN, descriptor, path, flags, mode; or
POSIX_SPAWN_DUP2, a descriptor of ours, its own."""
LENT: Final = range(10, 17)
"""Numbers that descriptors of who starts a guest may have in its kernel."""


class Lent(NamedTuple):
    """Lines that are no consoles. Who starts a guest for a command has their other ends, and sees
    to the guest's init program, too; those of another guest are FIFOs.

    Fields:
        words: in the kernel's words, such as `ssl60=fd:10,fd:11`
        descriptors: ours, by the numbers that the kernel has for them
        fifos: in the guest's directory, likewise
        gate: the number of one from which the kernel's process reads a line before it becomes the
            kernel, so that a debugger can come first; 0: none
    """

    words: tuple[str, ...] = ()
    descriptors: Mapping[int, int] = MappingProxyType({})
    fifos: Mapping[int, str] = MappingProxyType({})
    gate: int = 0


class Armed(NamedTuple):
    """A kernel's command with what confines it.

    Fields:
        words: the command
        descriptors: that it needs for that, under the same numbers
        told: it says when it is confined, before it becomes the kernel
    """

    words: list[str]
    descriptors: list[int]
    told: bool


class Begun(NamedTuple):
    """A kernel that has begun.

    Fields:
        shim: pid of its tiny parent
        pid: of the kernel
        unheld: why what was to confine it better could not, though this host allows the scope;
            empty if nothing failed
    """

    shim: int
    pid: int
    unheld: str = ""


def has_slots() -> bool:
    """Whether there are enough descriptors for lines of commands, see
    `umlctl.protocol.command_lines`."""
    return limits.descriptors() >= command_lines.AMPLE_DESCRIPTORS


def lines_of_commands(*, has_agent: bool) -> Lent:
    """The lines on which commands are run in a guest that is there anyway.

    has_agent: its init program is ours
    """
    words = command_lines.words(has_agent=has_agent)
    return Lent(tuple(words), fifos=command_lines.openings(has_agent=has_agent))


def first_free() -> int:
    """The lowest number of a descriptor that no kernel or parent of one is to have."""
    return 1 + (command_lines.LAST_DESCRIPTOR if has_slots() else command_lines.FIRST_DESCRIPTOR)


def start(
    chain: list[str],
    kernel: str,
    log: str,
    armed: Callable[[str], AbstractContextManager[Armed]],
    spawn: Callable[[list[str], list[int]], tuple[int, bytes]],
    *,
    mounts: bool,
) -> Begun:
    """Start the tiny parent in the best scope that this host allows.

    armed: the kernel's command for a scope
    mounts: the kernel is to have mounts of its own, wherever it can

    Raises: HostError, NeverStarted
    """
    told = unheld = ""
    begun = os.path.getsize(log)
    for scope in confine.scopes(kernel, mounts=mounts):
        with armed(scope) as arm:
            tells = str(CONFINED_DESCRIPTOR) if arm.told else ""
            words = [*chain, tells, scope, *arm.words]
            start = functools.partial(spawn, words, arm.descriptors)
            if scope == "group" and confine.has_capabilities(kernel):
                shim, said = start()
            else:
                # The thread that is made for it ends before the supervisor goes on.
                shim, said = confine.confined(start, abort=scope == "group")
        if said.endswith(b"\n") and said.strip().isdigit():
            return Begun(shim, int(said), unheld)
        os.waitpid(shim, 0)
        with open(log, "r+b") as file:
            file.seek(begun)
            told = call_list.explain(file.read(2000).decode("utf-8", "replace").strip())
            file.truncate(begun)  # the next scope begins with the log as it was
        if said:  # its pid: the scope was to be had
            unheld = unheld or told
    why = told or "it said nothing"
    raise NeverStarted(f"{chain[0]} could not start the kernel: {why}; {SEE_DOCTOR}")


def spawn(
    words: list[str],
    held: tuple[int, ...],
    log: str,
    environment: dict[str, str],
    lines: list[Opening],
    passed: Iterable[int],
) -> tuple[int, bytes]:
    """Start the tiny parent; its pid, and what it says: the kernel's pid.

    passed: copies of descriptors that are the kernel's

    Raises: UnfitHost, NeverStarted, OSError
    """
    reader, writer = os.pipe()
    copies: dict[int, int] = {}
    try:
        for descriptor, number in zip(held, PASSED_DESCRIPTORS, strict=True):
            if descriptor >= 0:
                copies[fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, first_free())] = number
        actions = [
            (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
            (os.POSIX_SPAWN_DUP2, writer, 1),
            (os.POSIX_SPAWN_OPEN, 2, log, os.O_WRONLY | os.O_APPEND, 0),
            *((os.POSIX_SPAWN_DUP2, copy, number) for copy, number in copies.items()),
            *((os.POSIX_SPAWN_DUP2, copy, copy) for copy in passed),
            *lines,  # last: their numbers may be those of our own descriptors
        ]
        try:
            processes.keep_descriptors()
            # The signals that its starter holds back are not held back from a kernel.
            shim = os.posix_spawnp(
                words[0], words, environment, file_actions=actions, setsid=True, setsigmask=()
            )
        except OSError as problem:
            raise UnfitHost(f"cannot run {words[0]}: {problem.strerror}") from problem
        os.close(writer)
        writer = -1
        said = b""
        waiting = select.poll()
        waiting.register(reader, select.POLLIN)
        while not said.endswith(b"\n"):
            if not waiting.poll(BEGIN_TIMEOUT * 1000):
                kill_parent(shim)
                raise NeverStarted(
                    f"{words[0]} did not begin a kernel within {BEGIN_TIMEOUT:g} seconds; "
                    f"{SEE_DOCTOR}"
                )
            piece = os.read(reader, 64)
            if not piece:
                break
            said += piece
    finally:
        for descriptor in (reader, *copies, *([writer] if writer >= 0 else [])):
            os.close(descriptor)
    return shim, said


def lines(directory: str, records: str, lent: Lent) -> list[Opening]:
    """The descriptors that the kernel has from the start, for lines that are plugged later too.

    lent: descriptors of ours with numbers that no kernel has
    """
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
    agent = f"{directory}/agent.in"
    console = f"{records}/{console_socket.log_name('con0')}"
    # FIFOs are opened to be written, too, so that nobody sees an end of them.
    lines: list[Opening] = [
        (os.POSIX_SPAWN_OPEN, cmdline.CONSOLE_IN_DESCRIPTOR, f"{directory}/con0.in", os.O_RDWR, 0),
        (os.POSIX_SPAWN_OPEN, cmdline.CONSOLE_OUT_DESCRIPTOR, console, flags, 0o600),
        (os.POSIX_SPAWN_OPEN, cmdline.AGENT_DESCRIPTOR, agent, os.O_RDWR, 0),
    ]
    for number, name in enumerate(console_socket.CONSOLES[1:]):
        first = console_socket.FIRST_DESCRIPTOR + 2 * number
        log = f"{records}/{console_socket.log_name(name)}"
        lines += [
            (os.POSIX_SPAWN_OPEN, first, f"{directory}/{name}.in", os.O_RDWR, 0),
            (os.POSIX_SPAWN_OPEN, first + 1, log, flags, 0o600),
        ]
    for number, name in lent.fifos.items():
        lines.append((os.POSIX_SPAWN_OPEN, number, f"{directory}/{name}", os.O_RDWR, 0))
    return lines + [(os.POSIX_SPAWN_DUP2, ours, its) for its, ours in lent.descriptors.items()]


def end(shim: int, pid: int) -> None:
    """End a kernel that was just started, with its tiny parent."""
    started = 0
    with contextlib.suppress(OSError):
        started = processes.start_time(pid) or 0
    with contextlib.suppress(OSError):  # whether it leads a group yet cannot be seen
        processes.kill_guest(pid, started, [])
    kill_parent(shim)


def kill_parent(shim: int) -> None:
    """End the tiny parent, and what it is about to make a kernel: that is in its group still."""
    os.killpg(shim, signal.SIGKILL)
    os.waitpid(shim, 0)
