"""Where a kernel finds what it needs: the notify socket, FIFOs, our init program, and, if it runs
as another user, a place of its own.
"""

from __future__ import annotations

import contextlib
import os
import socket
from typing import TYPE_CHECKING, Final

from umlctl.errors import HostError
from umlctl.guest.definition import Definition, root_is_host
from umlctl.host import paths, shared_socket, users
from umlctl.protocol import console_socket
from umlctl.state.umid_lock import kernel_socket

if TYPE_CHECKING:
    from umlctl.host.users import User

INIT: Final = f"{os.path.dirname(os.path.dirname(os.path.dirname(__file__)))}/guest/init.sh"
NOTIFY_BUFFER: Final = 1 << 20
"""What the notify socket holds of notifications that are not taken yet, bytes."""


def own_place(definition: Definition, directory: str) -> str:
    """Where a guest's kernel finds what it needs: the guest's directory, unless it could not."""
    return paths.open_dir(definition.umid) if definition.user else directory


def notify_path(definition: Definition, directory: str) -> str:
    """Where its kernel's notifications arrive."""
    return f"{own_place(definition, directory)}/notify"


def notify_socket(path: str) -> socket.socket:
    """Where a kernel's notifications arrive.

    Raises: OSError
    """
    notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    try:
        notify.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, NOTIFY_BUFFER)
        notify.bind(path)
    except BaseException:
        notify.close()
        raise
    return notify


def make_place(user: User, definition: Definition) -> None:
    """Make the place of a kernel that runs as another user.

    Raises: HostError
    """
    place = os.path.dirname(shared_socket.make(definition.umid, "notify"))
    own = own_directory(definition)
    try:
        users.remove([own, f"{place}/notify", f"{place}/init"])
        os.mkdir(own, 0o700)
        users.give(user, [own])
    except OSError as problem:
        raise HostError(
            f"{definition.umid}: cannot make its kernel a place: {problem}"
        ) from problem


def remove_place(definition: Definition) -> None:
    """Remove the place of a kernel that ran as another user; its shared socket may stay there.

    Raises: HostError
    """
    if definition.user:
        place = paths.open_dir(definition.umid)
        users.remove(f"{place}/{name}" for name in ("k", "notify", "init"))
        with contextlib.suppress(OSError):
            os.rmdir(place)


def make_files(definition: Definition, directory: str, place: str, user: User | None) -> None:
    """Make what the kernel opens, beside the notify socket.

    Raises: OSError
    """
    for name in (*console_socket.CONSOLES, "agent"):
        os.mkfifo(f"{directory}/{name}.in", 0o600)
    if root_is_host(definition):
        _make_init(place, user)
    if user:
        users.give(user, [f"{place}/notify"])


def _make_init(place: str, user: User | None) -> None:
    """Raises: OSError"""
    with open(INIT, "rb") as file:
        write(f"{place}/init", file.read(), 0o700)
    if user:
        users.give(user, [f"{place}/init"])


def make_again(definition: Definition, directory: str) -> None:
    """Make what a reboot needs and somebody has removed, such as who cleans up /tmp: our init
    program, and the directory of the kernel's own.

    directory: of the guest
    """
    place = own_place(definition, directory)
    own = own_directory(definition)
    with contextlib.suppress(OSError, HostError):  # the kernel will say what it lacks
        user = users.find(definition.user) if definition.user else None
        if not os.path.isdir(own):
            os.makedirs(own, 0o700)
            if user:
                users.give(user, [own])
        if root_is_host(definition) and not os.path.exists(f"{place}/init"):
            os.makedirs(place, 0o700, exist_ok=True)
            _make_init(place, user)


def own_directory(definition: Definition) -> str:
    """The directory in which a kernel makes its own, with its socket."""
    return os.path.dirname(os.path.dirname(kernel_socket(definition)))


def write(path: str, data: bytes, mode: int = 0o600) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
    try:
        os.write(descriptor, data)
    finally:
        os.close(descriptor)
