"""Network segments as their clients see them: start one, and ask it.

A segment's switch is a process of its own (umlctl.networks.switchd), started by the process that
needs it first. It may be killed at any time, so the supervisor of a guest holds the guest's
connections, see `umlctl.networks.holder`.

All functions here block, within a deadline. They are for threads, and for programs that do nothing
else meanwhile.
"""

from __future__ import annotations

import os
import signal
import socket
import struct
import time
from typing import TYPE_CHECKING, Final

from umlctl import streams
from umlctl.errors import HostError, UsageError
from umlctl.host import naming, paths, processes
from umlctl.networks import slirp
from umlctl.networks.forwards import Forward, check_address, parse_forward
from umlctl.networks.link import described
from umlctl.networks.switch_client import (
    ANSWER_TIMEOUT,
    Message,
    NotThere,
    connect,
    decode,
    exchange,
    readable,
)
from umlctl.state.checksum import Damaged, unseal

if TYPE_CHECKING:
    from collections.abc import Sequence

    from umlctl.networks.link import Character

START_TIMEOUT: Final = 10.0
"""How long a switch may take to come up on a busy machine, seconds."""
IDLE_TIMEOUT: Final = 10.0
LOG_TAIL_CHARACTERS: Final = 1000
OPTIONS: Final = frozenset(
    (
        *("name", "idle", "user", "forward", "guest", "host_loopback"),
        *("link", "bridged", "tap", "names"),
    )
)
"""The options that a switch writes down."""
_LOOK_INTERVAL: Final = 0.01
_CREDENTIALS: Final = struct.Struct("3i")
"""struct ucred of unix(7): pid, uid, gid."""

_children: set[int] = set()
"""Switches that this process started: they outlive it, but as long as it runs, it has to reap
them."""


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
        """Which processes are connected, what went through, and the uplink.

        Raises: HostError
        """
        return self._ask({"status": True})

    def forward(self, forward: str) -> None:
        """Add a forward, as [tcp:|udp:][HOSTADDR:]HOSTPORT:[GUESTADDR:]GUESTPORT.

        Raises: UsageError; HostError
        """
        self._ask({"forward": str(parse_forward(forward))})

    def set_link(self, mac: str, pid: int, character: Character) -> None:
        """Have the link of a NIC delay, lose, slow down or cut what passes.

        pid: of the kernel; 0 where the NIC is taken out

        Raises: HostError
        """
        self._ask({"link": {"mac": mac, "pid": pid, **described(character)}})

    def namespace(self) -> int:
        """Which network namespace the segment's bridge is in; it is made if it is not there.

        Raises: HostError: why there is none, or no switch
        """
        return int(self._ask({"namespace": True})["namespace"])

    def make_tap(
        self, name: str, mac: str, guest: str, namespace: int, *, kept: bool = False
    ) -> None:
        """Have a tap on the segment's bridge for a NIC.

        guest: whose NIC it is; namespace: that its kernel is in
        kept: one that is there stays, as the kernel may have it open; else it is a new one

        Raises: HostError
        """
        asked = {"name": name, "mac": mac, "guest": guest, "namespace": namespace, "kept": kept}
        self._ask({"tap": asked})

    def remove_tap(self, name: str) -> None:
        """Remove it.

        Raises: HostError
        """
        self._ask({"untap": name})

    def serve_names(self) -> None:
        """Have somebody on it whom its guests ask for names and addresses.

        Raises: HostError
        """
        self._ask({"names": True})

    def stay(self) -> None:
        """Have it wait for a guest as long again: one is about to connect.

        Raises: HostError
        """
        self._ask({"stay": True})

    def forget(self, pid: int) -> None:
        """Close the connections of a kernel that has rebooted, which has forgotten them itself.

        Raises: HostError
        """
        self._ask({"forget": pid})

    def quit(self) -> None:
        """End the segment: close its connections and wait until its process has ended.

        Raises: HostError
        """
        deadline = time.monotonic() + ANSWER_TIMEOUT
        try:
            with connect(self.name, ANSWER_TIMEOUT) as connection:
                pid = exchange(connection, {"status": True}, deadline)["pid"]
                pidfd = os.pidfd_open(pid)
                try:
                    exchange(connection, {"quit": True}, deadline)
                    if not readable(pidfd, deadline):
                        raise HostError(f"network {self.name} does not end")
                finally:
                    os.close(pidfd)
        except (NotThere, ProcessLookupError):
            pass
        reap()

    def _ask(self, request: Message) -> Message:
        try:
            with connect(self.name, ANSWER_TIMEOUT) as connection:
                answer = exchange(connection, request, time.monotonic() + ANSWER_TIMEOUT)
        except NotThere as problem:
            raise HostError(f"network {self.name} does not run: {problem}") from problem
        if "error" in answer:
            raise HostError(str(answer["error"]))
        return answer


def start(
    name: str,
    *,
    user: bool = False,
    forwards: Sequence[str] = (),
    guest: str = slirp.GUEST_ADDRESS,
    host_loopback: bool = False,
    idle: float = IDLE_TIMEOUT,
) -> Segment:
    """Have a segment whose switch runs; a switch that runs already is taken as it is.

    user: it has an uplink by slirp4netns, and the forwards are there
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
    """Start a switch again that was killed, with the options that it had.

    Raises: HostError
    """
    segment = Segment(name)
    if not _stays(name):
        _launch(name, read_options(name))
    return segment


def read_options(name: str) -> list[str]:
    """The options that a switch was started with, as words.

    Raises: HostError: they were not written down, or cannot be read
    """
    words = []
    path = paths.network_options(name)
    try:
        with open(path, "rb") as file:
            found = decode(unseal(file.read()))
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
    """Whether a switch listens on the segment's control socket."""
    reap()
    try:
        connect(_checked(name), 0).close()
    except NotThere:
        return False
    except HostError:
        return True  # the switch is busy
    return True


def pid_of(name: str) -> int:
    """The pid of a segment's switch, whether or not it answers; 0 if there is none."""
    try:
        with connect(_checked(name), 0) as connection:
            said = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    except (NotThere, HostError):
        return 0
    pid: int = _CREDENTIALS.unpack(said)[0]
    return pid


def names() -> list[str]:
    """The segments that run."""
    reap()
    try:
        found = os.listdir(paths.switches_dir())
    except FileNotFoundError:
        return []
    return sorted(name for name in found if running(name))


def _checked(name: str) -> str:
    try:
        return naming.check_network(name)
    except ValueError as problem:
        raise UsageError(str(problem)) from problem


def _stays(name: str) -> bool:
    """Whether there is a switch; it is told that a client is about to connect."""
    try:
        with connect(name, ANSWER_TIMEOUT) as connection:
            exchange(connection, {"stay": True}, time.monotonic() + ANSWER_TIMEOUT)
    except NotThere:
        return False
    return True


def _launch(name: str, options: list[str]) -> None:
    """Start a switch and wait until one answers, this one or another that was faster."""
    deadline = time.monotonic() + START_TIMEOUT
    pid = 0  # of a switch that nobody but this thread reaps, or why it did not start would be lost
    try:
        while True:
            if not pid:
                pid = _spawn(name, options)
            if _stays(name):
                return
            status = _status(pid) if pid else None
            if status is not None:
                pid = 0
            if status:
                raise HostError(f"network {name} did not start: {_log_tail(name)}")
            # Else the switch comes up, or another one that is ending still has the name.
            if time.monotonic() > deadline:
                raise HostError(f"network {name} did not start in time: {_log_tail(name)}")
            time.sleep(_LOOK_INTERVAL)
    finally:
        if pid:
            _children.add(pid)


def _spawn(name: str, options: list[str]) -> int:
    """Start a switch in a session of its own, with its output going to its log.

    Returns: its pid; 0 if it has to be tried again
    """
    try:
        paths.make_run_dir()
        os.makedirs(paths.network_dir(name), 0o700, exist_ok=True)
        command = [*streams.PYTHON, "umlctl.networks.switchd", *options, "--", name]
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
        return 0  # a switch that has ended removed the directory just now
    except OSError as problem:
        raise HostError(f"network {name} cannot be started: {problem}") from problem
    return pid


def reap() -> None:
    """Reap the switches that this process has started, and that have ended since they came up."""
    for pid in list(_children):
        if _status(pid) is not None:
            _children.discard(pid)


def _status(pid: int) -> int | None:
    """How a child of this process has ended; None if it runs."""
    try:
        ended, status = os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return 0  # another part of this process has reaped it
    return status if ended else None


def _wait_for_uplink(segment: Segment, wanted: Sequence[Forward]) -> None:
    """Wait until the uplink is there, and the forwards; forwards that are missing are added."""
    deadline = time.monotonic() + START_TIMEOUT
    while True:
        segment.stay()  # the way out may be longer in coming than it waits for a guest
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
        time.sleep(_LOOK_INTERVAL)


def _log_tail(name: str) -> str:
    path = paths.network_log(name)
    try:
        with open(path, "rb") as file:
            file.seek(max(os.fstat(file.fileno()).st_size - LOG_TAIL_CHARACTERS, 0))
            text = file.read().decode("utf-8", "replace").strip()
    except OSError:
        text = ""
    return f"{text or 'it said nothing'} ({path})"
