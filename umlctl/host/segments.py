"""Network segments as their users see them: start one, ask it, and hold its connections.

A segment's switch is a process of its own (umlctl.host.switch), started by whoever needs it
first. It may be killed at any time, so whoever supervises a guest has a `Holder`: that keeps the
guest's connections open without a switch, and gives them to the next one.

All here blocks, within a deadline; it is for threads, and for programs that do nothing else.
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import struct
import time
from typing import TYPE_CHECKING, Any, Final

from umlctl import streams
from umlctl.errors import HostError, UsageError
from umlctl.host import paths, processes, slirp
from umlctl.host.forwards import Forward, check_address, parse_forward
from umlctl.host.sealed import Damaged, unseal
from umlctl.host.switch_control import descriptors

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Self

    Message = dict[str, Any]

__all__ = ["Holder", "Segment", "names", "revive", "running", "start"]

STARTS: Final = 10.0
"""How long a switch may take to come up on a busy machine, seconds."""
ANSWERS: Final = 5.0
"""How long it may take to answer, seconds."""
IDLE: Final = 10.0
ANSWER: Final = 1 << 20
"""The longest answer, bytes."""
LOG_TAIL: Final = 1000
OPTIONS: Final = frozenset(("name", "idle", "user", "forward", "guest", "host_loopback"))
"""What a switch writes down of itself."""
_PAUSE: Final = 0.01
_CREDENTIALS: Final = struct.Struct("3i")
"""struct ucred of unix(7): pid, uid, gid."""

_children: set[int] = set()
"""Switches that this process started: they outlive it, but until then it has to reap them."""


class _NotThere(Exception):
    """Nobody listens on the segment's control socket."""


class Segment:
    """A segment whose switch runs, or ran.

    Fields:
        name: of the segment
        port_socket: where kernels connect: `vec0:transport=bess,dst=` this
    """

    def __init__(self, name: str) -> None:
        self.name = _checked(name)
        self.port_socket = paths.network_port(name)

    def status(self) -> Message:
        """Who is connected, what went through, and the way out.

        Raises: HostError
        """
        return self._ask({"status": True})

    def forward(self, forward: str) -> None:
        """Add a forward, as [tcp:|udp:][HOSTADDR:]HOSTPORT:[GUESTADDR:]GUESTPORT.

        Raises: UsageError; HostError
        """
        self._ask({"forward": str(parse_forward(forward))})

    def forget(self, pid: int) -> None:
        """Close the connections of a kernel that has rebooted, and has forgotten them itself.

        Raises: HostError
        """
        self._ask({"forget": pid})

    def quit(self) -> None:
        """End the segment: close its connections and wait until its process has ended.

        Raises: HostError
        """
        deadline = time.monotonic() + ANSWERS
        try:
            with _connect(self.name, ANSWERS) as connection:
                pid = _exchange(connection, {"status": True}, deadline)["pid"]
                pidfd = os.pidfd_open(pid)
                try:
                    _exchange(connection, {"quit": True}, deadline)
                    if not readable(pidfd, deadline):
                        raise HostError(f"network {self.name} does not end")
                finally:
                    os.close(pidfd)
        except (_NotThere, ProcessLookupError):
            pass
        _reap()

    def _ask(self, request: Message) -> Message:
        try:
            with _connect(self.name, ANSWERS) as connection:
                answer = _exchange(connection, request, time.monotonic() + ANSWERS)
        except _NotThere as problem:
            raise HostError(f"network {self.name} does not run: {problem}") from problem
        if "error" in answer:
            raise HostError(str(answer["error"]))
        return answer


def start(
    name: str,
    *,
    user: bool = False,
    forwards: Sequence[str] = (),
    guest: str = slirp.GUEST,
    host_loopback: bool = False,
    idle: float = IDLE,
) -> Segment:
    """Have a segment whose switch runs; one that runs already is taken as it is.

    user: it has a way out by slirp4netns, and the forwards are there
    host_loopback: guests reach at 10.0.2.2 what listens on this host's 127.0.0.1

    Raises: UsageError; HostError
    """
    segment = Segment(name)
    wanted = [parse_forward(text) for text in forwards]
    check_address(guest)
    if wanted and not user:
        raise UsageError(f"network {name}: forwards need user networking")
    if not _stays(name):
        if user:
            slirp.find_program()
        for forward in wanted:
            forward.check_free()
        options = ["--idle", str(idle), "--guest", guest]
        options += ["--user"] if user else []
        options += ["--host-loopback"] if host_loopback else []
        for forward in wanted:
            options += ["--forward", str(forward)]
        _launch(name, options)
    if user:
        _wait_for_uplink(segment, wanted)
    return segment


def revive(name: str) -> Segment:
    """Have a switch again where one was killed, with the options that it had.

    Raises: HostError
    """
    segment = Segment(name)
    if not _stays(name):
        _launch(name, read_options(name))
    return segment


def read_options(name: str) -> list[str]:
    """What a switch was started with, as words.

    Raises: HostError: it was not written down, or cannot be read
    """
    words = []
    path = paths.network_options(name)
    try:
        with open(path, "rb") as file:
            found = _decode(unseal(file.read()))
        if not found.keys() <= OPTIONS:
            raise Damaged(f"{path} says more than a switch does")
    except (OSError, Damaged, HostError) as problem:
        raise HostError(f"network {name} cannot be started as it was: {problem}") from problem
    for option, value in found.items():
        if option != "name" and value is not False:
            word = "--" + option.replace("_", "-")
            for each in value if isinstance(value, list) else [value]:
                words += [word] if each is True else [word, str(each)]
    for word in words:
        if "\0" in word or not word.isprintable():
            raise HostError(f"network {name} cannot be started as it was: {path} says {word!r}")
    return words


def running(name: str) -> bool:
    """Somebody listens on the segment's control socket."""
    _reap()
    try:
        _connect(_checked(name), 0).close()
    except _NotThere:
        return False
    except HostError:
        return True  # it is busy
    return True


def pid_of(name: str) -> int:
    """The process of a segment's switch, which need not answer for it; 0 if none is there."""
    try:
        with _connect(_checked(name), 0) as connection:
            said = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    except (_NotThere, HostError):
        return 0
    pid: int = _CREDENTIALS.unpack(said)[0]
    return pid


def names() -> list[str]:
    """The segments that run."""
    _reap()
    try:
        found = os.listdir(paths.networks_dir())
    except FileNotFoundError:
        return []
    return sorted(name for name in found if running(name))


def _checked(name: str) -> str:
    try:
        return paths.check_network(name)
    except ValueError as problem:
        raise UsageError(str(problem)) from problem


def _stays(name: str) -> bool:
    """There is a switch, and it has been told that somebody is about to connect."""
    try:
        with _connect(name, ANSWERS) as connection:
            _exchange(connection, {"stay": True}, time.monotonic() + ANSWERS)
    except _NotThere:
        return False
    return True


def _launch(name: str, options: list[str]) -> None:
    """Start a switch and wait until one answers, this or another that was faster."""
    deadline = time.monotonic() + STARTS
    pid = 0
    while True:
        if pid == 0 or pid not in _children:
            pid = _spawn(name, options)
        if _stays(name):
            return
        if _reap().get(pid, 0) != 0:
            raise HostError(f"network {name} did not start: {_log_tail(name)}")
        # Else it comes up, or one that is ending still has the name.
        if time.monotonic() > deadline:
            raise HostError(f"network {name} did not start in time: {_log_tail(name)}")
        time.sleep(_PAUSE)


def _spawn(name: str, options: list[str]) -> int:
    """Start a switch in a session of its own, with its words going to its log; its pid, or 0."""
    try:
        paths.make_run_dir()
        os.makedirs(paths.network_dir(name), 0o700, exist_ok=True)
        command = [*streams.PYTHON, "umlctl.host.switch", *options, "--", name]
        log_flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
        actions = [
            (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, paths.network_log(name), log_flags, 0o600),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ]
        processes.keep_descriptors()
        pid = os.posix_spawn(
            command[0],
            command,
            os.environ,
            file_actions=actions,
            setsid=True,
            setsigmask=(),
            setsigdef=(signal.SIGTERM, signal.SIGINT),
        )
    except FileNotFoundError:
        return 0  # one that has ended removed the directory just now
    except OSError as problem:
        raise HostError(f"network {name} cannot be started: {problem}") from problem
    _children.add(pid)
    return pid


def _reap() -> dict[int, int]:
    """Reap the switches of ours that have ended: pid to status."""
    found = {}
    for pid in list(_children):
        try:
            ended, status = os.waitpid(pid, os.WNOHANG)
        except ChildProcessError:
            ended, status = pid, 0  # somebody else reaped it
        if ended:
            _children.discard(pid)
            found[pid] = status
    return found


def _wait_for_uplink(segment: Segment, wanted: Sequence[Forward]) -> None:
    """Until the way out is there and the forwards too; those that are missing are added."""
    deadline = time.monotonic() + STARTS
    while True:
        status = segment.status()
        if status["uplink"] is None:
            raise HostError(
                f"network {segment.name} runs without user networking; end it to start it so"
            )
        there = {entry["forward"]: entry for entry in status["forwards"]}
        for forward in wanted:
            if str(forward) not in there:
                segment.forward(str(forward))
            elif error := there[str(forward)]["error"]:
                raise HostError(error)
        pending = [entry for entry in there.values() if entry["pending"]]
        if status["uplink"]["up"] and not pending:
            return
        if time.monotonic() > deadline:
            raise HostError(f"network {segment.name} has no way out yet: {_log_tail(segment.name)}")
        time.sleep(_PAUSE)


def _log_tail(name: str) -> str:
    path = paths.network_log(name)
    try:
        with open(path, "rb") as file:
            file.seek(max(os.fstat(file.fileno()).st_size - LOG_TAIL, 0))
            text = file.read().decode("utf-8", "replace").strip()
    except OSError:
        text = ""
    return f"{text or 'it said nothing'} ({path})"


# Packets


def _connect(name: str, timeout: float) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    connection.settimeout(timeout)
    try:
        connection.connect(paths.network_control(name))
    except (FileNotFoundError, ConnectionRefusedError) as problem:
        connection.close()
        raise _NotThere(str(problem)) from problem
    except OSError as problem:
        connection.close()
        raise HostError(f"network {name} cannot be reached: {problem}") from problem
    return connection


def _exchange(
    connection: socket.socket, request: Message, deadline: float, fd: int = -1
) -> Message:
    """Send a request and return its answer.

    Raises: _NotThere: the switch ended; HostError: it does not answer
    """
    try:
        connection.settimeout(max(deadline - time.monotonic(), 0.001))
        data = json.dumps(request).encode()
        if fd < 0:
            connection.send(data)
        else:
            socket.send_fds(connection, [data], [fd])
        answer = connection.recv(ANSWER)
    except TimeoutError as problem:
        raise HostError("the switch does not answer") from problem
    except OSError as problem:
        raise _NotThere(str(problem)) from problem
    if not answer:
        raise _NotThere("it ended")
    return _decode(answer)


def _decode(data: bytes) -> Message:
    """The JSON object that a switch has sent or written.

    Raises: HostError
    """
    try:
        found = json.loads(data)
    except (ValueError, RecursionError) as problem:
        raise HostError(f"no JSON object but {data[:40]!r}: {problem}") from None
    if not isinstance(found, dict):
        raise HostError(f"no JSON object but {data[:40]!r}")
    return found


def readable(fd: int, deadline: float) -> bool:
    """There is something to read, or its end, before the deadline, by the monotonic clock."""
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    return bool(poll.poll(max(deadline - time.monotonic(), 0) * 1000))


class Holder:
    """Duplicates of the connections of one guest to one segment, kept open without a switch.

    Wait for `fileno()` to be readable, then `read()`. When that returns False the switch is
    gone: unless `ended`, `reconnect()` has another one take the connections; `fileno()` is
    another then.

    Fields:
        name, pid: the segment, and the process that connected to it
        ended: the segment was ended on purpose, its connections are closed
        restarted: programs of the switch that had to be started again; whoever notes them clears it
    """

    def __init__(self, name: str, pid: int, *, timeout: float = ANSWERS) -> None:
        """Begin to hold what the process has connected; the segment may have `ended` meanwhile.

        Raises: UsageError; HostError
        """
        self.name = _checked(name)
        self.pid = pid
        self.ended = False
        self.restarted: list[str] = []
        self._held: dict[int, int] = {}
        self._orphans: list[int] = []
        self._answers: list[Message] = []
        self._connection: socket.socket | None = None
        try:
            self._take_up(time.monotonic() + timeout)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def ports(self) -> list[int]:
        """The switch's numbers of the connections held."""
        return list(self._held)

    def fileno(self) -> int:
        return -1 if self._connection is None else self._connection.fileno()

    def read(self) -> bool:
        """Take what the switch has sent, without waiting; False: the switch is gone."""
        while self._connection is not None:
            try:
                data, ancillary, _, _ = self._connection.recvmsg(
                    ANSWER,
                    socket.CMSG_SPACE(4),
                    socket.MSG_CMSG_CLOEXEC,
                )
            except BlockingIOError:
                return True
            except OSError:
                data, ancillary = b"", []
            if not data:
                self._disconnect()
                _reap()
            else:
                self._take(data, descriptors(ancillary).tolist())
        return False

    def _take(self, data: bytes, given: list[int]) -> None:
        try:
            message = _decode(data)
        except HostError:
            message = {}  # it is not waited for what it was to say: that has an end
        match message, given:
            case {"port": int(number), "pid": self.pid}, [fd]:
                self._held[number] = fd
            case {"gone": int(number)}, []:
                if number in self._held:
                    os.close(self._held.pop(number))
            case {"restarted": str(program)}, []:
                self.restarted.append(program)
            case {"quit": True}, []:
                self.ended = True
                self._drop()
            case _:
                for fd in given:
                    os.close(fd)
                self._answers.append(message)

    def reconnect(self, timeout: float = STARTS) -> None:
        """Start a switch if none runs, give it the connections and hold them again.

        Raises: HostError: they are still held, so it can be tried again
        """
        deadline = time.monotonic() + timeout
        self._disconnect()
        self._orphans += self._held.values()
        self._held = {}
        self.ended = False
        revive(self.name)
        self._take_up(deadline)

    def _take_up(self, deadline: float) -> None:
        """Give what is held from before, and hold."""
        try:
            self._connection = connection = _connect(self.name, deadline - time.monotonic())
            for fd in self._orphans:
                _exchange(connection, {"give": True, "pid": self.pid}, deadline, fd)
            self._answers.clear()
            connection.setblocking(False)
            connection.send(json.dumps({"hold": self.pid}).encode())
            while not self._answers:
                if not readable(connection.fileno(), deadline):
                    raise HostError(f"network {self.name} does not answer")
                if not self.read() and not self._answers:
                    raise _NotThere("it ended")
            if self._answers != [{"holding": self.pid}]:
                raise HostError(f"network {self.name} cannot be held: {self._answers}")
        except BaseException as problem:
            self._disconnect()
            if isinstance(problem, (_NotThere, OSError)):
                raise HostError(f"network {self.name} cannot be held: {problem}") from problem
            raise
        for fd in self._orphans:
            os.close(fd)
        self._orphans = []

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _drop(self) -> None:
        for fd in [*self._held.values(), *self._orphans]:
            os.close(fd)
        self._held = {}
        self._orphans = []

    def close(self) -> None:
        """Hold nothing any more; while a switch runs no connection breaks by that."""
        self._disconnect()
        self._drop()
