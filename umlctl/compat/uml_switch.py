"""`uml_switch`: a switch for guests with `ethN=daemon`.

    uml_switch [-unix CONTROL [DATA]] [-hub] [-tap TAP] [-daemon] [-compat-v0] [-network NAME]

`-network` is not of the original: it joins a network of umlctl, so that guests of both kinds reach
each other. DATA is taken with `-compat-v0` alone, whose protocol of kernels before 2.6 is not
spoken. The original spins when standard input is at its end, drops what a guest does not take at
once, and sends frames to any socket that somebody names. Source: uml_switch of uml-utilities
20070815.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import socket
import stat
import sys
from struct import pack
from typing import TYPE_CHECKING, Final, NamedTuple

from umlctl.compat.daemon_switch import Switch, data_socket, say
from umlctl.errors import UmlctlError
from umlctl.networks.interfaces import IFF_TAP
from umlctl.networks.taps import IFF_NO_PI, TUN_DEVICE, TUNSETIFF

if TYPE_CHECKING:
    from collections.abc import Iterator

NAME: Final = "uml_switch"
USAGE: Final = (
    "Usage : {0} [ -unix control-socket ] [ -hub ] [ -tap tap-device ]\n"
    "or : {0} -compat-v0 [ -unix control-socket data-socket ] [ -hub ] [ -tap tap-device ]\n"
)
CONTROL: Final = "/tmp/uml.ctl"  # noqa: S108 - the original's, and the kernel's default
DATA: Final = "/tmp/uml.data"  # noqa: S108 - the original's
LISTEN_BACKLOG: Final = 15


class Wrong(Exception):
    """The command line is."""


class Failed(Exception):
    """The message is what the original says."""


class Asked(NamedTuple):
    """What a command line asks for.

    Fields:
        data: a path for the socket of frames; empty: an address without one
        network: of umlctl, to be joined; empty if none
    """

    control: str = CONTROL
    data: str = ""
    tap: str = ""
    network: str = ""
    hub: bool = False
    daemon: bool = False


def read(words: list[str]) -> Asked:
    """Read a command line.

    Raises: Wrong
    """
    asked = Asked()
    old = words[:1] == ["-compat-v0"]  # it is looked for at the beginning alone
    if old:
        asked = asked._replace(data=DATA)
    rest = iter(words[old:])
    for word in rest:
        match word:
            case "-unix":
                asked = asked._replace(control=_next(rest))
                if old:
                    asked = asked._replace(data=_next(rest))
            case "-tap":
                asked = asked._replace(tap=_next(rest))
            case "-network":
                asked = asked._replace(network=_next(rest))
            case "-hub":
                asked = asked._replace(hub=True)
            case "-daemon":
                asked = asked._replace(daemon=True)
            case _:
                raise Wrong
    return asked


def _next(words: Iterator[str]) -> str:
    """Raises: Wrong"""
    word = next(words, "")
    if not word:
        raise Wrong
    return word


def main(argv: list[str]) -> int:
    """Run `uml_switch` with these arguments; the exit code."""
    try:
        asked = read(argv[1:])
    except Wrong:
        sys.stderr.write(USAGE.format(NAME))
        return 1
    if asked.data:
        say("Control protocol 0 compatibility")
    if asked.hub:
        say(f"{NAME} will be a hub instead of a switch")
    made: list[str] = []
    try:
        switch = _make(asked, made)
    except (Failed, UmlctlError) as problem:
        _remove(made)
        sys.stderr.write(f"{problem}\n")
        return 1
    if asked.data:
        where = f"sockets '{asked.control}' and '{asked.data}'"
    else:
        where = f"socket '{asked.control}'"
    said = f"{NAME} attached to unix {where}"
    say(said + (f" tap device '{asked.tap}'" if asked.tap else ""))
    if asked.daemon and not _go_to_the_background():
        os._exit(0)  # the sockets are the child's
    return _run(switch, made)


def _make(asked: Asked, made: list[str]) -> Switch:
    """made: gets the paths that are to be removed at the end

    Raises: Failed, UmlctlError
    """
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
        _bind(listener, asked.control, "control")
        made.append(os.path.abspath(asked.control))
        listener.listen(LISTEN_BACKLOG)
        data = stack.enter_context(_data_socket(asked.data))
        if asked.data:
            made.append(os.path.abspath(asked.data))
        switch = Switch(listener, data, hub=asked.hub)
        stack.callback(switch.close)
        if asked.tap:
            switch.add_tap(_open_tap(asked.tap))
        if asked.network:
            switch.join(asked.network)
        stack.pop_all()
    return switch


def _data_socket(path: str) -> socket.socket:
    """Raises: Failed"""
    try:
        if path and _is_dead(path, socket.SOCK_DGRAM):
            os.unlink(path)
        return data_socket(path and os.path.abspath(path))  # guests are told, wherever they are
    except OSError as problem:
        raise Failed(f"The data socket '{path}': {problem.strerror or problem}") from problem


def _bind(listener: socket.socket, path: str, kind: str) -> None:
    """Raises: Failed"""
    try:
        if _is_dead(path, socket.SOCK_STREAM):
            os.unlink(path)
        listener.bind(path)
    except FileExistsError:
        why = ""
    except OSError as problem:
        why = f"bind: {problem}" if problem.errno != 98 else ""  # EADDRINUSE
    else:
        return
    raise Failed(
        why
        or f"The {kind} socket '{path}' has another server attached to it\nYou can either\n"
        f"\tremove '{path}'\n\tor rerun with a different, unused filename for a socket"
    )


def _is_dead(path: str, kind: int) -> bool:
    """Whether a socket is there that nobody listens on. The original takes any file for one."""
    try:
        if not stat.S_ISSOCK(os.stat(path).st_mode):
            return False
    except OSError:
        return False
    with socket.socket(socket.AF_UNIX, kind) as tried:
        tried.setblocking(False)
        try:
            tried.connect(path)
        except ConnectionRefusedError:
            return True
        except OSError:
            return False
    return False


def _open_tap(name: str) -> int:
    """Raises: Failed"""
    try:
        descriptor = os.open(TUN_DEVICE, os.O_RDWR | os.O_CLOEXEC)
    except OSError as problem:
        raise Failed(f"Failed to open {TUN_DEVICE}: {problem.strerror}") from problem
    try:
        request = pack("16sH22x", os.fsencode(name)[:15], IFF_TAP | IFF_NO_PI)
        fcntl.ioctl(descriptor, TUNSETIFF, request)
    except OSError as problem:
        os.close(descriptor)
        raise Failed(f"TUNSETIFF failed: {problem.strerror}") from problem
    return descriptor


def _go_to_the_background() -> bool:
    """Leave the terminal and the caller; True in the process that goes on."""
    sys.stdout.flush()
    if os.fork():
        return False
    os.setsid()
    os.chdir("/")
    nowhere = os.open(os.devnull, os.O_RDWR)
    for descriptor in range(3):
        os.dup2(nowhere, descriptor)
    return True


def _run(switch: Switch, made: list[str]) -> int:
    """Serve until a signal comes, or the terminal goes; the exit code."""
    if os.isatty(0):

        def hear(_events: int) -> None:
            if not os.read(0, 128):
                say("EOF on stdin, cleaning up and exiting")
                switch.loop.end()

        switch.loop.watch(0, 1, hear)  # EPOLLIN
    try:
        switch.loop.run()
    finally:
        switch.close()
        _remove(made)
    caught = switch.loop.caught
    if caught:
        say(f"Caught signal {caught}, cleaning up and exiting")
        signal.signal(caught, signal.SIG_DFL)
        os.kill(os.getpid(), caught)
    return 0


def _remove(paths: list[str]) -> None:
    for path in paths:
        try:
            os.unlink(path)
        except OSError as problem:
            sys.stderr.write(f"Couldn't remove '{path}' : {problem.strerror}\n")
