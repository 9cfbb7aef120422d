"""A guest that is there for one command, from its first moment to its last.

It has no supervisor: the one process that could ask it anything is this one. What is left of it
should this one be killed is removed by another, which waits for that.
"""

from __future__ import annotations

import fcntl
import math
import os
import select
import shutil
import sys
import time
from contextlib import ExitStack, closing, suppress
from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple

from msgspec.structs import replace

from umlctl import streams
from umlctl.cli import gdb_at
from umlctl.errors import GuestEnded, GuestInUse, HostError, NeverStarted
from umlctl.execution import feed, running
from umlctl.execution.if_killed import if_killed
from umlctl.execution.session import Outcome, Pipes, Session
from umlctl.guest import command as commands
from umlctl.guest import confinement
from umlctl.host import confine, paths, processes, programs, room, shared_socket, users
from umlctl.host.files import remove_tree
from umlctl.protocol import command_lines
from umlctl.state import endings, records, umid_lock
from umlctl.state.umid_lock import claim
from umlctl.supervisor.launch import spawn
from umlctl.supervisor.launch.launch import launch
from umlctl.supervisor.launch.place import remove_place

if TYPE_CHECKING:
    from umlctl.guest.command import Command, Root, Step
    from umlctl.guest.definition import Definition
    from umlctl.kernels.find import ProbedKernel
    from umlctl.protocol.status import Ending
    from umlctl.state.records import Record
    from umlctl.state.umid_lock import Claim
    from umlctl.supervisor.launch.launched import Launched

ENDING_TIMEOUT: Final = 10.0
"""How long what is left of a kernel may take to end, seconds: the host may be busy."""
UNASKED_TIMEOUT: Final = 2.0
"""How long a guest whose `umlctl exec` was killed may take to end by itself, seconds."""
_HOLD: Final = f"""
mkdir -p {running.MOUNTED} || mount -t tmpfs -o mode=755 tmpfs {os.path.dirname(running.MOUNTED)}
while :; do /bin/sh {command_lines.SHELL_DEVICE}; sleep 1; done
"""
"""Begins commands in a guest that is kept. Its /run may be closed to the user of its kernel."""
_CONTROL, _OUTPUT, _ERROR = "ssl60", "ssl61", "ssl62"
_FIRST: Final = spawn.LENT[0]


class Result(NamedTuple):
    """How it went.

    Fields:
        outcome: of the command
        ending: of the guest, where that has ended by itself; None if it was told to
        todo: what the guest was to do
        tail: the end of its log
        problem: what could not be passed on
        kept: the guest runs on
    """

    outcome: Outcome
    ending: Ending | None
    todo: list[Step]
    tail: bytes
    problem: str
    kept: bool = False


class Modes(NamedTuple):
    """How a guest is started for a command.

    Fields:
        is_terminal: the command has one
        keep: it has lines for further commands, and those of this one go on without this process
        gate: what its process reads a line from before it becomes the kernel; -1: nothing
    """

    is_terminal: bool
    keep: bool
    gate: int


def execute(
    definition: Definition,
    root: Root,
    command: Command,
    deadline: float | None,
    log: str,
    *,
    keep: bool = False,
    debugged: bool = False,
) -> Result:
    """Run a command in a guest of its own. Nothing of that is left, unless it is to be kept.

    definition: of the guest, with its init program
    deadline: when it is to end, by the monotonic clock; None: never
    log: the file that gets the guest's log; empty: none
    keep: the guest is to run on, and to take commands as any other
    debugged: gdb has the kernel from its first instruction, and this process's terminal

    Raises: UmlctlError, OSError
    """
    umid = definition.umid
    first = _holder(command) if keep else command
    todo = commands.steps(root, first)
    with ExitStack() as stack:
        pipes = stack.enter_context(closing(Pipes()))
        stack.enter_context(if_killed('exec "$@"', *streams.PYTHON, "umlctl.cli.exec_guest", umid))
        held = claim(umid, definition.home)
        left = stack.enter_context(ExitStack())
        left.callback(_forget, held, definition)
        directory = paths.session_dir(umid, definition.user)
        _make_directory(directory, definition)
        session = Session(pipes.ours, directory, first.kinds, first.token, until_begun=keep)
        status, problem = list[endings.ExitStatus](), ""
        with session.heeding(), ExitStack() as running_on:
            gate = running_on.enter_context(gdb_at.gate()) if debugged else gdb_at.NO_GATE
            modes = Modes(first.kinds[0] == commands.TERMINAL, keep, gate.reader)
            launched = _launch(definition, held, pipes, modes)
            running_on.callback(lambda: status.append(_end(launched)))
            running_on.enter_context(gdb_at.debugging(definition, launched.pid, gate))
            ready = partial(_write_steps, directory, todo, is_script(definition))
            boot = math.inf if debugged else time.monotonic() + definition.timeout
            notify = None if debugged else launched.notify  # a panic is looked at for long
            outcome = session.run(notify, ready, boot, deadline)
            if keep and outcome.began:
                with suppress(GuestEnded):  # which is judged
                    outcome, todo, problem = running.execute(umid, command, deadline)
            lives = keep and outcome.began and _goes_on(outcome)
            if lives:
                running_on.pop_all()
                left.pop_all()
        session.finish()
        session.close()
        tail = endings.tail_of(f"{held.records}/console.log")
        ending = None if _goes_on(outcome) else _judge(outcome, tail, status[0])
        if log:
            _copy(f"{held.records}/console.log", log)
        if lives:
            remove_tree(directory)  # with that it would be a guest for one command
            launched.close()
    return Result(outcome, ending, todo, tail, session.problem or problem, lives)


def _write_steps(directory: str, todo: list[Step], for_script: bool) -> None:
    encoded = commands.encode_for_shell if for_script else commands.encode
    feed.write(directory, commands.STEPS, encoded(todo))


def _goes_on(outcome: Outcome) -> bool:
    """Whether the guest has not ended by itself, before a command had."""
    return outcome.said is not None or bool(outcome.caught or outcome.late)


def _check_nics(definition: Definition) -> None:
    """Raises: NeverStarted: the guest has no program to set up its NICs by"""
    if definition.nics and programs.init_lacks("ip"):
        why = f"{programs.NO_IP}: {programs.INSTALL_IP}"
        raise NeverStarted(f"{definition.umid}: its NICs cannot be set up: {why}")


def _holder(command: Command) -> Command:
    """The command of a guest that is kept: a shell that begins others."""
    words = ("/bin/sh", "-c", _HOLD)
    return command._replace(words=words, kinds=3 * commands.NOTHING, directory="/")


def init_for(kernel: ProbedKernel, user: str, handed: str) -> list[str]:
    """Process 1 of such a guest, and what it is told first: the program, where it was built and can
    be executed, else the script.

    user: whom the kernel runs as; empty: this process's
    handed: the directory of what the guest is handed, where that user finds the script at least
    """
    is_built = kernel.config.get("64BIT") == "y" and os.access(commands.AGENT, os.X_OK)
    if is_built and _reaches(user, [("x", commands.AGENT), ("r", commands.AGENT)]):
        return [commands.AGENT]
    is_reached = _reaches(user, [("r", commands.SCRIPT)])
    return ["/bin/sh", commands.SCRIPT if is_reached else f"{handed}/exec.sh"]


def _reaches(user: str, wanted: list[tuple[str, str]]) -> bool:
    try:
        if user:
            users.check_reach(users.find(user), wanted)
    except HostError:
        return False
    return True


def reaching(definition: Definition, read: list[str], written: list[str]) -> Definition:
    """The guest with what its kernel is to reach of this host, where it is confined."""
    if definition.confine == confinement.OFF:
        return definition
    if not definition.confine and confine.unable(definition.kernel):
        return definition
    return replace(definition, ro=tuple(read), rw=tuple(written))


def is_script(definition: Definition) -> bool:
    """Process 1 is the script, and not the program."""
    return definition.init != commands.AGENT


def _launch(definition: Definition, held: Claim, pipes: Pipes, modes: Modes) -> Launched:
    """Start the kernel, which has its ends of the lines then, and nobody else."""
    _check_nics(definition)
    room.check_descriptors(definition.umid)
    keep = modes.keep
    if keep and not spawn.has_slots():
        raise HostError(
            f"a guest that is kept takes {command_lines.AMPLE_DESCRIPTORS} descriptors for a "
            "process: see `ulimit -n`"
        )
    with ExitStack() as copies:
        above = {}
        for name, descriptor in pipes.its.items():
            if keep:  # both ends are its own then, so that it sees no end of them
                both = os.open(f"/proc/self/fd/{descriptor}", os.O_RDWR | os.O_CLOEXEC)
                copies.callback(os.close, both)
            source = both if keep else descriptor
            above[name] = fcntl.fcntl(source, fcntl.F_DUPFD_CLOEXEC, spawn.first_free())
            copies.callback(os.close, above[name])
        number = {name: _FIRST + index for index, name in enumerate(pipes.its)}
        if modes.gate >= 0:
            number["gate"] = _FIRST + len(number)
            above["gate"] = fcntl.fcntl(modes.gate, fcntl.F_DUPFD_CLOEXEC, spawn.first_free())
            copies.callback(os.close, above["gate"])
        pipes.hand_over()
        terminal = f"fd:{number['terminal']}" if modes.is_terminal else "null"
        words = (
            f"{_CONTROL}=fd:{number['tell']},fd:{number['hear']}",
            f"{_OUTPUT}={terminal},fd:{number['output']}",
            f"{_ERROR}=null,fd:{number['error']}",
        )
        ours = {number[name]: copy for name, copy in above.items()}
        more = spawn.lines_of_commands(has_agent=False) if keep else spawn.Lent()
        lent = spawn.Lent((*words, *more.words), ours, more.fifos, number.get("gate", 0))
        return launch(definition, held, lent=lent)


def _make_directory(directory: str, definition: Definition) -> None:
    """Raises: OSError, HostError"""
    if definition.user:
        shared_socket.make_place(definition.umid)
    os.makedirs(directory, 0o700)
    made = [directory]
    if f"{directory}/exec.sh" in definition.arguments:
        made.append(shutil.copyfile(commands.SCRIPT, f"{directory}/exec.sh"))
    if definition.user:
        users.give(users.find(definition.user), made)


def _copy(source: str, target: str) -> None:
    """Raises: HostError"""
    try:
        with open(source, "rb") as reader, open(target, "wb") as writer:
            shutil.copyfileobj(reader, writer)
    except OSError as problem:
        raise HostError(f"cannot write the log to {target}: {problem.strerror}") from problem


# The end


def _end(launched: Launched) -> endings.ExitStatus:
    """Wait for the end of a kernel that powers off, or end it; how it ended."""
    if not _ended(launched.shim, UNASKED_TIMEOUT):
        processes.kill_guest(launched.pid, launched.started, [])
        if not _ended(launched.shim, ENDING_TIMEOUT):
            spawn.kill_parent(launched.shim)
            return endings.ExitStatus(None, False)
    os.waitpid(launched.shim, 0)
    return endings.read_exit_status(launched.claim.directory)


def _ended(pid: int, seconds: float) -> bool:
    """Whether a process has ended, within some time."""
    descriptor = os.pidfd_open(pid)
    try:
        return bool(select.select([descriptor], [], [], seconds)[0])
    finally:
        os.close(descriptor)


def _judge(outcome: Outcome, tail: bytes, status: endings.ExitStatus) -> Ending:
    """How a guest ended that was not told to."""
    return endings.judge(
        endings.Evidence(
            status=status.code,
            tail=tail,
            was_ready=outcome.began,
            panic=outcome.panic or endings.early_panic(tail),
            asked="",
            forced=False,
            late="",
            left=status.code not in (0, None),
            starved=status.starved,
            had_socket=True,
            began=outcome.began,
        )
    )


def _forget(held: Claim, definition: Definition) -> None:
    """Remove all that is left of a guest that has ended."""
    record = records.load(held.umid) if definition.disks or definition.nics else None
    if record is not None and record.devices:
        from umlctl.backends import registry
        from umlctl.backends.interface import Owner

        owner = Owner(held.umid, held.records, f"{held.records}/console.log")
        registry.release_all(record.devices, owner)
    remove_place(definition)
    remove_tree(held.records)
    held.release()


# Should this process be killed


def clean_up(umid: str) -> None:
    """Remove what is left of a guest whose `umlctl exec` was killed, with the guest if it does not
    end by itself."""
    from umlctl.recovery import cleanup

    record = _find(umid)
    if record is None:
        return
    end = time.monotonic() + UNASKED_TIMEOUT
    while records.lives(record) and time.monotonic() < end:
        time.sleep(0.02)
    if records.lives(record):
        processes.kill_guest(record.pid, record.started, [])
        with suppress(ProcessLookupError):
            _ended(record.shim, ENDING_TIMEOUT)
    cleanup.clean_up(record)
    umid_lock.forget(umid)


def _find(umid: str) -> Record | None:
    """The guest; None: there is none, and what was made for it is removed. Its kernel may be about
    to begin, and nothing be written down of it yet.

    Raises: GuestInUse: somebody has it, and nobody can be found
    """
    from umlctl.recovery import discover

    end = time.monotonic() + ENDING_TIMEOUT
    while (record := discover.find(umid)) is None:
        try:
            held = claim(umid)
        except GuestInUse:
            if time.monotonic() >= end:
                raise
            time.sleep(0.02)
        else:
            remove_tree(held.records)
            held.release()
            return None
    return record


if __name__ == "__main__":
    clean_up(sys.argv[1])
