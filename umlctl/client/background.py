"""Reaching the user's background supervisor, and starting it when there is none."""

from __future__ import annotations

import errno
import os
import time
from typing import TYPE_CHECKING, Final

from socketproto.blocking import Connection, Unreachable
from socketproto.exchange import GONE
from umlctl import streams
from umlctl.errors import HostError, UnfitHost
from umlctl.host import daemonlog, paths, processes

if TYPE_CHECKING:
    from collections.abc import Callable

    from socketproto.exchange import Outcome

ANSWER_TIMEOUT: Final = 15.0
"""How long the supervisor may give no sign of life before it counts as hung, seconds."""
START_TIMEOUT: Final = 20.0
"""How long a supervisor may take to come up on a busy machine, seconds."""
END_TIMEOUT: Final = 2.0
"""How long a supervisor without its socket may take to end, or to make that again, seconds."""
RETURN_TIMEOUT: Final = 10.0
"""How long a service that has crashed may take to be there again, seconds."""


def ask_supervisor(command: str, each: Callable[[bytes], None] | None = None) -> Outcome:
    """Send a command to the background supervisor, started first if need be.

    each: called with every piece of the answer as it comes, instead of keeping it

    Raises: HostError
    """
    begun = time.monotonic()
    deadline = begun + START_TIMEOUT
    started = 0
    while True:
        outcome = ask_running_supervisor(command, each)
        if outcome is None:
            returns = time.monotonic() < begun + RETURN_TIMEOUT and os.path.exists(
                paths.supervisor_returns()
            )
            if _has_ended(started) if started else not returns:
                started = _start()
        elif outcome.kind != GONE and outcome.error != -errno.EAGAIN:
            break
        # Else the supervisor is ending, and has no guest any more: a new one comes after it.
        if time.monotonic() > deadline:
            raise UnfitHost(
                out_of_reach() or f"the supervisor did not start; see {daemonlog.path()}"
            )
        time.sleep(0.01)
    if not outcome.ok:
        raise HostError(
            f"the supervisor did not take `{command}`: {outcome}; see {daemonlog.path()}"
        )
    return outcome


def ask_running_supervisor(
    command: str, each: Callable[[bytes], None] | None = None
) -> Outcome | None:
    """Send a command to the background supervisor; None if there is none."""
    with Connection(paths.supervisor_socket()) as connection:
        try:
            return connection.request(command, ANSWER_TIMEOUT, renew=ANSWER_TIMEOUT, each=each)
        except Unreachable:
            return None


def pid() -> int:
    """Pid of the background supervisor; 0 if none runs, as far as this process can see.

    The supervisor writes its pid into its lock. Others have that file open too: a service that
    waits for its turn, or a supervisor that came second and is about to end.
    """
    from umlctl.host import place

    path = paths.supervisor_lock()
    try:
        with open(path, "rb") as file:
            written = file.read(32).strip()
    except OSError:
        written = b""
    if written.isdigit() and path in processes.descriptors(int(written)):
        return int(written)
    return place.holder([path])


def _start() -> int:
    """Start a supervisor in a session of its own, with its output going to its log; return its pid.

    Raises: HostError
    """
    paths.make_run_dir()
    command = [*streams.PYTHON, "umlctl.supervisor.daemon"]
    actions = [
        (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, daemonlog.path(), daemonlog.OPEN_FLAGS, 0o600),
        (os.POSIX_SPAWN_DUP2, 1, 2),
    ]
    processes.keep_descriptors()
    try:
        return os.posix_spawn(command[0], command, os.environ, file_actions=actions, setsid=True)
    except OSError as problem:
        raise UnfitHost(
            f"the supervisor cannot be started: {problem.strerror} (its log is {daemonlog.path()})"
        ) from problem


def out_of_reach() -> str:
    """Why a supervisor that runs cannot be asked. Empty if none runs, as far as this process can
    see, or if it can be asked by now: this waits for a supervisor that ends, or that makes its
    removed directory again."""
    end = time.monotonic() + END_TIMEOUT
    while True:
        found = pid()
        if not found or os.path.exists(paths.supervisor_socket()):
            return ""
        if time.monotonic() > end:
            break
        time.sleep(0.02)
    return (
        f"the supervisor, pid {found}, cannot be asked from here: {paths.supervisor_socket()} is "
        "missing; if this process has another /tmp, UMLCTL_DIR sets a place that all see"
    )


def _has_ended(pid: int) -> bool:
    try:
        return os.waitpid(pid, os.WNOHANG)[0] == pid
    except ChildProcessError:
        return True
