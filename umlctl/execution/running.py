"""A command in a guest that is there anyway: on one of its slots, see
`umlctl.protocol.command_lines`.

Nothing is between this process and the guest's program but FIFOs, so no supervisor is asked.
"""

from __future__ import annotations

import _socket
import _thread
import fcntl
import os
import select
import time
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from errno import EAGAIN, ENOENT, ENXIO
from typing import TYPE_CHECKING, Final, NamedTuple

from socketproto.blocking import KICK, kicker
from umlctl.errors import GuestEnded, HostError, NeverStarted, NoGuest, Refused
from umlctl.execution import feed
from umlctl.execution.if_killed import if_killed
from umlctl.execution.session import PIPE_BYTES, Outcome, Session, Wires
from umlctl.guest import command as commands
from umlctl.host import paths
from umlctl.protocol import command_lines
from umlctl.protocol.control_line import Lines, line

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from umlctl.execution.session import Streams
    from umlctl.guest.command import Command, Step

BEGIN_TIMEOUT: Final = 30.0
"""How long the guest may take to begin the command, seconds."""
TURN_TIMEOUT: Final = 15.0
"""How long one waits while as many commands run as can, seconds."""
LOOK_INTERVAL: Final = 0.05
"""The time between two looks at whether one has ended, seconds."""
END_TIMEOUT: Final = 3.0
"""How long its program may take to end, seconds."""
MOUNTED: Final = "/run/umlctl"
"""Where the guest has the program for it."""
HOST_FILES: Final = f"{MOUNTED}/host"
"""Where it finds what it is handed."""
_OPEN: Final = "open"
"""The end of a file's name in the guest's directory: a command is on that slot, or was left
there."""
END: Final = 'echo bye 1<>"$1" >&1'


class Ran(NamedTuple):
    """How it went.

    Fields:
        outcome: of the command
        todo: what the guest was to do
        problem: what could not be passed on
    """

    outcome: Outcome
    todo: list[Step]
    problem: str


class Slot(NamedTuple):
    """A slot that is this process's.

    Fields:
        number: from 0 on
        directory: of the guest
    """

    number: int
    directory: str

    def path(self, name: str) -> str:
        """Of one of its FIFOs."""
        return f"{self.directory}/{command_lines.fifo(self.number, name)}"


class Canceller:
    """Has a command end that another thread runs."""

    def __init__(self) -> None:
        self._lock = _thread.allocate_lock()
        self._session: Session | None = None
        self.is_cancelled = False

    def cancel(self) -> None:
        """Have it end, or not begin."""
        with self._lock:
            self.is_cancelled = True
            if self._session is not None:
                self._session.cancel()

    @contextmanager
    def over(self, session: Session) -> Iterator[None]:
        """While this lasts, it is that session's command."""
        with self._lock:
            self._session = session
            if self.is_cancelled:
                session.cancel()
        try:
            yield
        finally:
            with self._lock:
                self._session = None


def execute(
    umid: str,
    command: Command,
    deadline: float | None,
    own: Streams | None = None,
    canceller: Canceller | None = None,
) -> Ran:
    """Run a command in a guest.

    deadline: when it is to end, by the monotonic clock; None: never
    own: its streams; None: it has those of this process, and its signals
    canceller: may have it end

    Raises: NoGuest; Refused: it takes no commands now; NeverStarted; GuestEnded; HostError; OSError
    """
    directory = paths.guest_dir(umid)
    check_takes_commands(umid, directory)
    todo = commands.steps_in_guest(command)
    with ExitStack() as stack:
        slot = stack.enter_context(slot_for(umid, directory, canceller))
        handed = stack.enter_context(handing(umid, directory))
        wires = stack.enter_context(wires_of(slot))
        stack.enter_context(if_killed(END, slot.path("tell")))
        end = stack.enter_context(ExitStack())
        end.callback(end_program, slot, wires)
        lost = stack.enter_context(losing(umid))
        session = Session(wires, handed.directory, command.kinds, command.token, lost, own)
        heeding = session.heeding() if own is None else nullcontext()
        with heeding, canceller.over(session) if canceller else nullcontext():
            begin(umid, directory, slot, handed)

            def ready() -> None:
                encoded = commands.encode_for_shell if handed.is_script else commands.encode
                feed.write(handed.directory, commands.STEPS, encoded(todo))

            boot = time.monotonic() + BEGIN_TIMEOUT
            outcome = session.run(None, ready, boot, deadline)
            session.tell_end()
            if outcome.caught:  # the guest does not hear: who comes next sees to the slot
                end.pop_all()
            else:
                session.finish()
        session.close()
    if outcome.said is None and not (outcome.began or outcome.caught or outcome.late):
        if time.monotonic() < boot:  # what it had said last may be lost with it
            raise GuestEnded(f"{umid} has ended, or was rebooted, before the command had begun")
        raise NeverStarted(_silent(umid, directory))
    return Ran(outcome, todo, session.problem)


# The guest


def check_takes_commands(umid: str, directory: str) -> None:
    """See that a guest is there, and takes commands.

    Raises: NoGuest, Refused
    """
    if os.path.exists(f"{directory}/{command_lines.fifo(0, 'tell')}"):
        return
    nobody = NoGuest(f"no guest {umid!r} runs here; `umlctl list` shows those that do")
    if not os.path.isdir(directory):
        raise nobody
    from umlctl.state import records  # which no command takes that is run

    record = records.load(umid)
    if record is not None and (record.ending is not None or not records.lives(record)):
        raise nobody  # what is left of one that has just ended goes piece by piece
    if record is not None and record.own_line:
        raise Refused(
            f"{umid} takes no commands: it was started as `linux`, whose kernel has the lines that "
            "its words name, and no others"
        )
    raise Refused(
        f"{umid} takes no commands: it was started by an earlier umlctl, or where a process may "
        f"have fewer than {command_lines.AMPLE_DESCRIPTORS} descriptors; `umlctl restart {umid}` "
        "may help"
    )


@contextmanager
def losing(umid: str) -> Iterator[Callable[[], bool]]:
    """What tells whether the kernel has begun anew: what was on its lines is gone then, though they
    are there. It also kicks the kernel, which does not see what was on a line before that was
    opened, until something else happens.

    Raises: OSError
    """
    path = paths.kernel_socket(umid)
    if not os.path.exists(path):
        path = f"{paths.open_dir(umid)}/k/{umid}/mconsole"  # it runs as another user
    try:
        held = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except FileNotFoundError:
        raise NeverStarted(f"{umid} boots, or ends, just now") from None
    try:
        # As long as it is held, no other file gets its number.
        one = os.fstat(held)

        def lost() -> bool:
            with suppress(OSError):
                kicker().sendto(KICK, _socket.MSG_DONTWAIT, path)
            try:
                other = os.stat(path)
            except OSError:
                return False  # somebody has removed it; its supervisor sees to that
            return (one.st_dev, one.st_ino) != (other.st_dev, other.st_ino)

        yield lost
    finally:
        os.close(held)


def _silent(umid: str, directory: str) -> str:
    """Why a guest has not begun a command."""
    if not os.path.isdir(directory):
        return f"{umid} has ended before the command began"
    if os.path.exists(f"{directory}/{command_lines.SHELL_FIFO}"):
        shell = f"/bin/sh {command_lines.SHELL_DEVICE}"
        return (
            f"{umid} has not begun the command: its init program is not umlctl's, and has to run "
            f"`{shell}` as root: a service of systemd with ExecStart={shell} and Restart=always, "
            f"or in /etc/inittab `uml:2345:respawn:{shell}`"
        )
    return (
        f"{umid} has not begun the command within {BEGIN_TIMEOUT:g} seconds: is it paused, or very "
        f"busy? `umlctl status {umid}` says more"
    )


# A slot


@contextmanager
def slot_for(
    umid: str,
    directory: str,
    canceller: Canceller | None = None,
    timeout: float | None = None,
) -> Iterator[Slot]:
    """Have a slot for oneself: the first that is free, or becomes free soon.

    timeout: how long that may take, seconds; None: as long as for a command

    Raises: Refused: all are taken; OSError
    """
    timeout = TURN_TIMEOUT if timeout is None else timeout
    end = time.monotonic() + timeout
    with ExitStack() as stack:
        while (slot := _free_slot(directory, stack)) is None:
            if time.monotonic() >= end or (canceller and canceller.is_cancelled):
                raise Refused(
                    f"{umid} runs {command_lines.SLOTS} commands already, and none of them has "
                    f"ended within {timeout:g} seconds"
                )
            time.sleep(LOOK_INTERVAL)
        os.close(os.open(slot.path(_OPEN), os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))
        yield slot


def _free_slot(directory: str, stack: ExitStack) -> Slot | None:
    """Take a slot that is free, until the end of a stack; None if there is none.

    Raises: OSError
    """
    for number in range(command_lines.SLOTS):
        slot = Slot(number, directory)
        with ExitStack() as taken:
            tell = os.open(slot.path("tell"), os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
            taken.callback(os.close, tell)
            with suppress(BlockingIOError):
                fcntl.flock(tell, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if _is_free(slot):
                    stack.push(taken.pop_all())
                    return slot
    return None


def _is_free(slot: Slot) -> bool:
    """Whether no command is there; one whose `umlctl exec` was killed is ended."""
    if os.path.exists(slot.path(_OPEN)):
        with wires_of(slot, drained=False) as wires:
            if not end_program(slot, wires):
                return False
    return True


def end_program(slot: Slot, wires: Wires) -> bool:
    """Have the program of a slot end, and wait for that; whether nobody is there any more."""
    tell_end(wires)
    # What nobody has read, nobody was there to read.
    is_over = hears_over(wires.hear, END_TIMEOUT) or bool(_drain(wires.tell))
    if is_over:
        leave(slot)
    return is_over


def leave(slot: Slot) -> None:
    """Leave a slot on which no program is."""
    with suppress(OSError):
        os.unlink(slot.path(_OPEN))


def tell_end(wires: Wires) -> None:
    """Tell the program of a slot to end."""
    with suppress(OSError):
        os.write(wires.tell, line("bye"))


def hears_over(hear: int, timeout: float) -> bool:
    """Whether the program of a slot says that it is over, or its kernel has ended.

    timeout: how long it may take, seconds
    """
    lines = Lines()
    end = time.monotonic() + timeout
    poll = select.poll()
    poll.register(hear, select.POLLIN)
    while poll.poll(max(0.0, end - time.monotonic()) * 1000):
        data = os.read(hear, 1 << 14)
        if not data or any(said.word == "over" for said in lines.feed(data)):
            return True
    return False


@contextmanager
def wires_of(slot: Slot, *, drained: bool = True) -> Iterator[Wires]:
    """Open our ends.

    drained: what an earlier command has left in them is thrown away

    Raises: OSError
    """
    with ExitStack() as stack:

        def opened(name: str, flags: int) -> int:
            flags |= os.O_NONBLOCK | os.O_CLOEXEC
            descriptor = os.open(slot.path(name), flags)
            stack.callback(os.close, descriptor)
            if drained:
                _drain(descriptor)
            return descriptor

        tell, typed = opened("tell", os.O_RDWR), opened("typed", os.O_RDWR)
        hear, *outputs = (opened(name, os.O_RDONLY) for name in ("hear", "output", "error"))
        for output in outputs:
            os.set_blocking(output, True)
            with suppress(OSError):  # as many as a user may have; it goes without
                fcntl.fcntl(output, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        yield Wires(tell, hear, typed, (outputs[0], outputs[1]))


def _drain(descriptor: int) -> bytes:
    """What is in a FIFO."""
    found = b""
    with suppress(BlockingIOError):
        while data := os.read(descriptor, 1 << 16):
            found = data
    return found


# What the guest is handed


class Handed(NamedTuple):
    """A directory of files for one command.

    Fields:
        directory: here
        seen: where the kernel finds the directory above
        program: what begins the command, by its name in the directory above
        is_script: that is a script
    """

    directory: str
    seen: str
    program: str
    is_script: bool


@contextmanager
def handing(umid: str, directory: str) -> Iterator[Handed]:
    """Make the directory that a command has for itself.

    Raises: OSError, HostError
    """
    above = f"{directory}/{command_lines.HANDED}"
    is_others = not os.path.isdir(above)
    if is_others:  # it runs as another user
        above = f"{paths.open_dir(umid)}/{command_lines.HANDED}"
    if not os.path.isdir(above):
        raise HostError(f"{umid}: its run directory was removed; `umlctl restart {umid}` mends it")
    is_script = not os.access(commands.AGENT, os.X_OK)
    program = _program(above, commands.SCRIPT if is_script else commands.AGENT)
    own = f"{above}/{os.urandom(6).hex()}"
    os.mkdir(own, 0o700)
    try:
        if is_others:
            owner = os.stat(f"{paths.open_dir(umid)}/k")
            os.chown(own, owner.st_uid, owner.st_gid)
        yield Handed(own, above, program, is_script)
    finally:
        with suppress(OSError):
            for name in os.listdir(own):
                os.unlink(f"{own}/{name}")
            os.rmdir(own)


def _program(above: str, source: str) -> str:
    """Have a program where a guest finds it; its name."""
    look = os.stat(source)
    name = f"{os.path.basename(source)}-{look.st_mtime_ns:x}"
    path = f"{above}/{name}"
    if not os.path.exists(path):
        new = f"{path}.{os.urandom(6).hex()}"  # other threads may make it just now, too
        with open(source, "rb") as reader, open(new, "wb") as writer:
            writer.write(reader.read())
        os.chmod(new, 0o755)  # noqa: S103 - it is no secret, and the kernel may be another user's
        os.rename(new, path)
    return name


def shell_of(directory: str) -> str:
    """The FIFO by which a guest's shell, or our init program, is told what to begin."""
    fifo = f"{directory}/{command_lines.SHELL_FIFO}"
    return fifo if os.path.exists(fifo) else f"{directory}/agent.in"


def begin(umid: str, directory: str, slot: Slot, handed: Handed) -> None:
    """Have the guest begin the slot's program.

    Raises: Refused: its shell is not there; OSError
    """
    program = f"{MOUNTED}/{handed.program}"
    place = f"{HOST_FILES}/{os.path.basename(handed.directory)}"
    words = f"-{command_lines.line(slot.number)} {place}"
    # What the host lets nobody execute, as in its /run, the guest cannot execute there either.
    shell = (
        f"[ -d {HOST_FILES} ] || {{ mkdir -p {MOUNTED} && "
        f"mount -t tmpfs -o mode=755 umlctl {MOUNTED} && mkdir {HOST_FILES} && "
        f"LIBMOUNT_FORCE_MOUNT2=always mount -t hostfs -o {handed.seen} none {HOST_FILES}; }}; "
        f"[ -e {program} ] || cp {HOST_FILES}/{handed.program} {program}; "
        # A guest that was paused begins it late, when the slot may be another command's.
        f"[ ! -d {place} ] || {'sh ' if handed.is_script else ''}{program} {words}\n"
    )
    fifo = shell_of(directory)
    if not fifo.endswith(command_lines.SHELL_FIFO):
        shell = f"run {shell}"
    try:
        descriptor = os.open(fifo, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            os.write(descriptor, shell.encode())
        finally:
            os.close(descriptor)
    except OSError as problem:
        if problem.errno in (ENXIO, ENOENT):
            raise NeverStarted(f"{umid} has ended") from None
        if problem.errno == EAGAIN:
            raise Refused(f"{umid} has not begun earlier commands yet: is it paused?") from None
        raise
