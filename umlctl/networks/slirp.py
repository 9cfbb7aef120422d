"""The uplink of a network segment: slirp4netns, a TCP/IP stack that is an ordinary program.

slirp4netns takes frames from one connection, or from a tap on the network's bridge where there is
one, which is faster, and makes connections of this host from them. So a guest reaches the internet
without a privilege. Ports of the host can be forwarded to a guest. A switch feeds slirp4netns, and
its loop must never be held up. So all here is done in short steps, by the loop's events and timers.

What slirp4netns 1.2 does, which this is written around: a child of it listens, takes one connection
for it, and refuses all others. Only then does its API socket appear. When the connection ends,
slirp4netns does not end, but spins; so it is killed then. Until it has the connection, it does not
watch its --exit-fd. So the pipe of that also sends SIGIO, which is fatal, to the whole group as
soon as the switch is gone.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import os
import select
import shutil
import signal
import socket
import sys
import time
from typing import TYPE_CHECKING, Final, NoReturn, Protocol

from umlctl.errors import HostError, UnfitHost
from umlctl.networks import silencing
from umlctl.networks.slirp_question import LOOK_INTERVAL, PROGRAM, Question

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from umlctl.networks.forwarding import Port
    from umlctl.networks.forwards import Forward
    from umlctl.networks.loop import Loop

    Done = Callable[[str | None], None]

GUEST_ADDRESS: Final = "10.0.2.15"
"""The address that the DHCP server of slirp4netns gives to the first client."""
ADDRESSES: Final = {
    "network": "10.0.2.0/24",
    "gateway": "10.0.2.2",
    "dns": "10.0.2.3",
    "dhcp": True,
}
START_TIMEOUT: Final = 10.0
"""How long slirp4netns may take to listen, seconds."""
FIRST_RESTART_INTERVAL: Final = 0.1
MAX_RESTART_INTERVAL: Final = 5.0
"""How long to wait before slirp4netns is started again, seconds: at first, then twice as long each
time, up to the most."""
STABLE_SECONDS: Final = 10.0
"""How long slirp4netns runs until its next end counts as the first, seconds."""


class Carrier(Protocol):
    """What an uplink needs of the switch that feeds it: its loop, and a port."""

    loop: Loop

    def say(self, text: str) -> None: ...

    def add_port(self, connection: socket.socket, pid: int, *, uplink: bool) -> Port: ...

    def close_port(self, port: Port) -> None: ...

    def tell_restarted(self, program: str) -> None: ...


class OnBridge(Protocol):
    """What an uplink needs of a bridge that it is to be on, see `umlctl.networks.bridge`."""

    uplink: str

    def join_uplink(self) -> None: ...

    def namespaces(self) -> tuple[int, int]: ...

    def counters(self, name: str, /) -> dict[str, int]: ...


def find_program() -> str:
    """The path of slirp4netns.

    Raises: HostError
    """
    found = shutil.which(PROGRAM)
    if found is None:
        raise UnfitHost(f"user networking needs {PROGRAM}: apt install {PROGRAM}")
    return found


class _Rule:
    """A forward that is wanted.

    Fields:
        pending: not yet asked for, or not yet answered, since slirp4netns came up
        error: why it is not there
        kept: it is asked for again if it fails
        waiting: called with how it went
    """

    def __init__(self, forward: Forward, *, kept: bool) -> None:
        self.forward = forward
        self.pending = True
        self.error: str | None = None
        self.kept = kept
        self.waiting: list[Done] = []


class Uplink:
    """slirp4netns as one more port of a switch, started again whenever it ends.

    Fields:
        pid: of the program; 0 while there is none
        port: the program's port; None while it is not connected, or is on a bridge
        up: the program takes frames
        restarts: how often the program had to be started again
    """

    def __init__(
        self,
        switch: Carrier,
        directory: str,
        *,
        guest: str = GUEST_ADDRESS,
        host_loopback: bool = False,
        forwards: Iterable[Forward] = (),
    ) -> None:
        self.pid = 0
        self.port: Port | None = None
        self.up = False
        self.restarts = 0
        self.guest = guest
        self._switch = switch
        self._path = f"{directory}/slirp"
        self._api = f"{directory}/slirp.api"
        self._bridge: OnBridge | None = None
        self._moving = False
        self._command = [find_program(), f"--api-socket={self._api}"]
        if not host_loopback:
            self._command.append("--disable-host-loopback")
        self._rules = [_Rule(forward, kept=True) for forward in dict.fromkeys(forwards)]
        self._asking: Question | None = None
        self._planned: tuple[str, ...] = ()
        self._pidfd = -1
        self._held = -1
        self._since = 0.0
        self._delay = FIRST_RESTART_INTERVAL
        self._tie = -1

    def move(self, bridge: OnBridge) -> None:
        """Have the program be on a bridge from now on."""
        self._bridge = bridge
        self._moving = self.pid > 0
        self._kill()

    def keep_off(self, macs: Iterable[str]) -> None:
        """Have the program give no address to some NICs, from now on: they have theirs."""
        self._planned = tuple(macs)
        with contextlib.suppress(FileNotFoundError):  # it has just begun, or ends
            self._silence()

    def _silence(self) -> None:
        tap = "" if self._bridge is None else self._bridge.uplink
        where = silencing.Place(self.pid, self._pidfd, tap, self.port)
        silencing.keep_off(where, self._planned, self._switch.say)

    def start(self) -> None:
        """Start the program, and have it connected soon."""
        self._remove()
        try:
            self.pid, self._pidfd = self._spawn()
        except OSError as problem:
            self._switch.say(f"cannot start {PROGRAM}: {problem}")
            self._start_later()
            return
        self._switch.loop.watch(self._pidfd, select.EPOLLIN, self._ended)
        self._since = time.monotonic()
        self._connect(self.pid)

    def _spawn(self) -> tuple[int, int]:
        """Start the program as the leader of a group that dies with this process.

        Returns: its pid and its pidfd
        """
        parent = os.getpid()
        reader, self._tie = os.pipe()
        try:
            pid = os.fork()
            if pid == 0:
                self._become(reader, parent)
            with contextlib.suppress(OSError):  # the child was faster
                os.setpgid(pid, pid)
            try:
                return pid, os.pidfd_open(pid)
            except OSError:
                os.killpg(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
                raise
        except OSError:
            os.close(self._tie)
            raise
        finally:
            os.close(reader)

    def _become(self, reader: int, parent: int) -> NoReturn:
        try:
            os.setpgid(0, 0)
            os.set_inheritable(reader, True)
            fcntl.fcntl(reader, fcntl.F_SETOWN, -os.getpid())
            fcntl.fcntl(reader, fcntl.F_SETFL, os.O_NONBLOCK | os.O_ASYNC)
            where = _where(self._bridge, self._path, parent)
            command = [*self._command, f"--exit-fd={reader}", *where]
            if os.getppid() == parent:
                os.execv(command[0], command)  # noqa: S606 - no shell is wanted
        except OSError as problem:
            sys.stderr.write(f"{PROGRAM}: {problem.strerror}\n")
            sys.stderr.flush()
        finally:
            os._exit(127)

    def _connect(self, pid: int) -> None:
        """Connect to the program as soon as it listens."""
        if pid != self.pid:
            return  # the program has ended since
        try:
            if self._bridge is not None:
                self._silence()
                self._bridge.join_uplink()
            else:
                self.port = self._connected(pid)
                self._silence()
        except OSError as problem:
            if time.monotonic() < self._since + START_TIMEOUT:
                self._switch.loop.after(LOOK_INTERVAL, lambda: self._connect(pid))
            else:
                self._switch.say(f"{PROGRAM} does not listen: {problem}")
                self._kill()
            return
        self.up = True
        self._since = time.monotonic()
        self._hold(pid)
        if self.restarts:
            self._switch.tell_restarted(PROGRAM)
        for rule in self._rules:
            rule.pending, rule.error = True, None
        self._ask_next()

    def _connected(self, pid: int) -> Port:
        """A port of the switch that the program is at.

        Raises: OSError
        """
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        connection.setblocking(False)
        try:
            connection.connect(self._path)
            return self._switch.add_port(connection, pid, uplink=True)
        except OSError:
            connection.close()
            raise

    def _hold(self, pid: int) -> None:
        """Hold the program's API socket as soon as that appears: its name may be removed, and the
        program makes no other."""
        if pid != self.pid or self._held >= 0:
            return
        try:
            self._held = os.open(self._api, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
        except FileNotFoundError:
            if time.monotonic() < self._since + START_TIMEOUT:
                self._switch.loop.after(LOOK_INTERVAL, lambda: self._hold(pid))
        except OSError as problem:
            self._switch.say(f"{PROGRAM} is asked by the name of its socket alone: {problem}")

    def _api_path(self) -> str:
        """The path that leads to the program's API socket."""
        return self._api if self._held < 0 else f"/proc/self/fd/{self._held}"

    def lost_port(self) -> None:
        """The switch has closed the port, since the program has ended or is about to: kill it."""
        self.port, self.up = None, False
        self._kill()

    def _kill(self) -> None:
        if self.pid:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)

    def _reap(self) -> None:
        """Reap the program, which has ended: nothing of its group is to be left either."""
        self._kill()
        os.waitpid(self.pid, 0)
        self.pid = 0
        self._switch.loop.unwatch(self._pidfd)
        os.close(self._pidfd)
        os.close(self._tie)
        if self._held >= 0:
            os.close(self._held)
            self._held = -1

    def _ended(self, _events: int) -> None:
        self._reap()
        if self._asking is not None:
            self._asking.close()
            self._asking = None
        if self.port is not None:
            self._switch.close_port(self.port)
        self.up = False
        if self._moving:
            self._moving = False
            self.start()
            return
        if time.monotonic() > self._since + STABLE_SECONDS:
            self._delay = FIRST_RESTART_INTERVAL
        self._start_later()

    def _start_later(self) -> None:
        self._switch.say(f"{PROGRAM} has ended; it is started again in {self._delay:.1f} s")
        self.restarts += 1
        self._switch.loop.after(self._delay, self.start)
        self._delay = min(self._delay * 2, MAX_RESTART_INTERVAL)

    def close(self) -> None:
        """End the program for good."""
        if self.pid:
            self._reap()
        self._remove()

    def _remove(self) -> None:
        for path in (self._path, self._api):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)

    # Forwards

    def forward(self, forward: Forward, done: Done) -> None:
        """Add a forward. `done` is told None, or what is wrong: then the forward is not kept."""
        rule = next((rule for rule in self._rules if rule.forward == forward), None)
        if rule is None:
            rule = _Rule(forward, kept=False)
            self._rules.append(rule)
        if rule.error is not None:
            rule.pending, rule.error = True, None
        rule.waiting.append(done)
        if rule.pending:
            self._ask_next()
        else:
            self._settle(rule, None)

    def _ask_next(self) -> None:
        """Ask for the next forward, if none is being asked for."""
        while self.up and self._asking is None:
            rule = next((rule for rule in self._rules if rule.pending), None)
            if rule is None:
                return
            try:
                rule.forward.check_free()
            except HostError as problem:
                self._settle(rule, str(problem))
            else:
                answered = functools.partial(self._answered, rule)
                self._asking = Question(
                    self._switch, self._api_path, rule.forward, self.guest, answered
                )

    def _answered(self, rule: _Rule, error: str | None) -> None:
        self._asking = None
        self._settle(rule, error)
        self._ask_next()

    def _settle(self, rule: _Rule, error: str | None) -> None:
        rule.pending, rule.error = False, error
        if error is None:
            rule.kept = True
        else:
            self._switch.say(error)
            if not rule.kept:
                self._rules.remove(rule)
        waiting, rule.waiting = rule.waiting, []
        for done in waiting:
            done(error)

    def forwards(self) -> list[Forward]:
        """The forwards that are there whenever the program is."""
        return [rule.forward for rule in self._rules if rule.kept]

    def status(self) -> dict[str, object]:
        return {
            "program": PROGRAM,
            "pid": self.pid,
            "up": self.up,
            "restarts": self.restarts,
            **ADDRESSES,
            **({} if self.port is None else self.port.counters()),
            **({} if self._bridge is None else self._bridge.counters(self._bridge.uplink)),
        }

    def forwards_status(self) -> list[dict[str, object]]:
        return [
            {
                "forward": str(rule.forward),
                "guest": rule.forward.guest or self.guest,
                "pending": rule.pending,
                "error": rule.error,
            }
            for rule in self._rules
        ]


def _where(bridge: OnBridge | None, path: str, parent: int) -> list[str]:
    """The end of the command.

    path: where the program listens, if it is on no bridge
    parent: the switch's process
    """
    if bridge is None:
        return ["--target-type=bess", path]
    held = f"/proc/{parent}/fd"
    net, user = bridge.namespaces()
    owner = [f"--userns-path={held}/{user}"] if user >= 0 else []
    return [*owner, "--netns-type=path", f"{held}/{net}", bridge.uplink]
