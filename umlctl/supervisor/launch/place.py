"""Where a kernel finds what it needs: the notify socket, FIFOs, our init program, and, if it runs
as another user, a place of its own.
"""

from __future__ import annotations

import contextlib
import os
import socket
from typing import TYPE_CHECKING, Final

from umlctl.errors import HostError
from umlctl.guest import command
from umlctl.guest.definition import Definition, root_is_host
from umlctl.host import binds, files, paths, shared_socket, users
from umlctl.protocol import command_lines, console_socket
from umlctl.state import umid_lock
from umlctl.state.umid_lock import own_directory, own_place

if TYPE_CHECKING:
    from collections.abc import Collection

    from umlctl.host.users import User
    from umlctl.state.records import Record

INIT: Final = f"{os.path.dirname(os.path.dirname(os.path.dirname(__file__)))}/guest/init.sh"
_INIT_FILES: Final = ("init", "agent")
"""What a guest whose first program is ours finds of that in its place."""
_HELPS: Final = b"umlctl init 1\0"
"""Is in a program that helps our init as that is now, see booting.h."""
_WRITTEN, _READ = "dev", "dev-ro"
"""Where files appear that are plugged while a kernel runs."""
_SHARED: Final = "shared"
"""The same for directories."""
NOTIFY_BUFFER_BYTES: Final = 1 << 20
"""What the notify socket holds of notifications that are not taken yet, bytes."""


def notify_path(definition: Definition, directory: str) -> str:
    """Where its kernel's notifications arrive."""
    return _place_of("notify", definition, directory)


def _place_of(name: str, definition: Definition, directory: str) -> str:
    """Where a file is that its kernel finds in its place: one that is confined sees no more than
    that of the guest's directory, and so it is in a directory by itself."""
    front = front_directory(definition.umid)
    here = front if os.path.isdir(front) else own_place(definition, directory)
    return f"{here}/{name}"


def notify_socket(path: str) -> socket.socket:
    """Where a kernel's notifications arrive.

    Raises: OSError
    """
    notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    try:
        notify.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, NOTIFY_BUFFER_BYTES)
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
        users.remove([own, *(f"{place}/{name}" for name in ("notify", *_INIT_FILES))])
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
        made = ("k", "notify", *_INIT_FILES, "x", _WRITTEN, _READ, _SHARED)
        users.remove(f"{place}/{name}" for name in made)
        with contextlib.suppress(OSError):
            os.rmdir(place)


def make_files(
    definition: Definition, directory: str, user: User | None, fifos: Collection[str]
) -> None:
    """Make what the kernel opens, beside the notify socket.

    fifos: names of those of commands

    Raises: OSError
    """
    for name in (*(f"{each}.in" for each in (*console_socket.CONSOLES, "agent")), *fifos):
        with contextlib.suppress(FileExistsError):  # of a guest that has rebooted
            os.mkfifo(f"{directory}/{name}", 0o600)
    if fifos:
        _make_handed(definition, directory)
    if _has_our_init(definition):
        _make_init(definition, directory, user)
    if user:
        users.give(user, [notify_path(definition, directory)])
    _link_front(definition.umid, directory)


def _make_handed(definition: Definition, directory: str) -> None:
    """Make what a guest finds of commands. Nobody but umlctl can put anything there.

    Raises: OSError
    """
    path = _place_of(command_lines.HANDED, definition, directory)
    os.makedirs(path, 0o700, exist_ok=True)
    if definition.user:
        os.chmod(path, shared_socket.MODE)


def _has_our_init(definition: Definition) -> bool:
    """Our init program is a guest's first, whatever comes after it."""
    return root_is_host(definition) or bool(definition.overlay)


def _make_init(definition: Definition, directory: str, user: User | None) -> None:
    """Raises: OSError"""
    found = {name: _place_of(name, definition, directory) for name in _INIT_FILES}
    with open(INIT, "rb") as file:
        write(found["init"], file.read(), 0o700)
    with contextlib.suppress(FileNotFoundError):
        os.unlink(found["agent"])
    program = _program()
    if not program:
        found.pop("agent")
    elif os.statvfs(os.path.dirname(found["agent"])).f_flag & os.ST_NOEXEC and not user:
        os.symlink(command.AGENT, found["agent"])
    else:
        write(found["agent"], program, 0o700)
    if user:
        users.give(user, found.values())


def _program() -> bytes:
    """The program that helps our init; empty: it was not built, or of an older source."""
    try:
        with open(command.AGENT, "rb") as file:
            program = file.read()
    except OSError:
        return b""
    return program if _HELPS in program else b""


def make_again(record: Record, directory: str) -> None:
    """Make what a reboot needs and somebody has removed, such as who cleans up /tmp: our init
    program, and the directory of the kernel's own.

    directory: of the guest
    """
    definition = record.definition
    own = own_directory(definition)
    with contextlib.suppress(OSError, HostError):  # the kernel will say what it lacks
        user = users.find(definition.user) if definition.user else None
        if not os.path.isdir(own):
            os.makedirs(own, 0o700)
            if user:
                users.give(user, [own])
        init = _place_of("init", definition, directory)
        if _has_our_init(definition) and not os.path.exists(init):
            os.makedirs(os.path.dirname(init), 0o700, exist_ok=True)
            _make_init(definition, directory, user)
        if os.path.exists(f"{directory}/{command_lines.fifo(0, 'tell')}"):
            _make_handed(definition, directory)
        _link_front(definition.umid, directory)
        if record.binds:
            _show_again(record)


# What a confined kernel has for itself


def make_own(definition: Definition) -> None:
    """Make a confined kernel's own directory.

    definition: which says how it is confined

    Raises: OSError
    """
    umid = definition.umid
    umid_lock.remove_own(umid)
    os.mkdir(paths.own_dir(umid), 0o700)
    write(f"{paths.own_dir(umid)}/{umid_lock.CONFINED_FILE}", definition.confine.encode())
    for plugged in (*plugged_directories(definition), shared_directory(definition)):
        files.remove_tree(plugged)
        os.mkdir(plugged, 0o700)
        if definition.user:
            os.chmod(plugged, shared_socket.MODE)
    if not definition.user:
        os.mkdir(front_directory(umid), 0o700)
        os.mkdir(_own_sockets(umid), 0o700)


def front_directory(umid: str) -> str:
    """What a confined kernel sees as its guest's directory, unless it runs as another user: that
    could do nothing with the sockets there."""
    return f"{paths.own_dir(umid)}/front"


def plugged_directory(definition: Definition, *, write: bool) -> str:
    """Where files appear for a confined kernel that are plugged while it runs.

    write: those that it may write
    """
    return f"{_place_of_plugged(definition)}/{_WRITTEN if write else _READ}"


def shared_directory(definition: Definition) -> str:
    """Where directories appear for a confined kernel that its guest shares with this host."""
    return f"{_place_of_plugged(definition)}/{_SHARED}"


def _place_of_plugged(definition: Definition) -> str:
    umid = definition.umid
    return paths.open_dir(umid) if definition.user else paths.own_dir(umid)


def plugged_directories(definition: Definition) -> tuple[str, str]:
    """Both of them."""
    written, read = (plugged_directory(definition, write=write) for write in (True, False))
    return written, read


def _own_sockets(umid: str) -> str:
    """What a confined kernel sees as the directory in which kernels make their sockets."""
    return f"{paths.own_dir(umid)}/k"


def link_sockets(definition: Definition, *, mounts: bool) -> None:
    """Have us find the socket of a confined kernel where those of others are.

    mounts: it sees its own directory there

    Raises: OSError
    """
    umid = definition.umid
    if definition.user:
        return
    link = os.path.dirname(paths.kernel_socket(umid))
    files.remove_tree(link)
    if mounts:
        os.symlink(f"{_own_sockets(umid)}/{umid}", link)


def sockets_directory(definition: Definition, *, mounts: bool) -> str:
    """The directory in which a confined kernel makes its own, as we find it."""
    alone = mounts and not definition.user
    return _own_sockets(definition.umid) if alone else own_directory(definition)


def _link_front(umid: str, directory: str) -> None:
    """Have a kernel without mounts of its own, and us, find in the guest's directory what is in
    another.

    Raises: OSError
    """
    front = front_directory(umid)
    for name in ("notify", *_INIT_FILES, command_lines.HANDED) if os.path.isdir(front) else ():
        if os.path.lexists(f"{front}/{name}") and not os.path.lexists(f"{directory}/{name}"):
            os.symlink(f"{front}/{name}", f"{directory}/{name}")


def seen(definition: Definition) -> dict[str, str]:
    """What a confined kernel sees of what is umlctl's, and what that is."""
    umid = definition.umid
    same = [paths.networks_dir(), *plugged_directories(definition), shared_directory(definition)]
    if definition.user:
        return {path: path for path in (*same, paths.open_dir(umid))}
    same += [front_directory(umid), _own_sockets(umid)]
    return {path: path for path in same} | _shown(umid)


def _shown(umid: str) -> dict[str, str]:
    """What a confined kernel sees in the place of something else."""
    return {paths.guest_dir(umid): front_directory(umid), paths.kernel_dir(): _own_sockets(umid)}


def hidden() -> list[str]:
    """What is umlctl's, and no kernel sees but for its own: other guests, and supervisors."""
    return [paths.run_dir(), paths.kept_dir(), paths.guest_records(), paths.shared_dir()]


def _show_again(record: Record) -> None:
    """Have a confined kernel see what is its own, though the run directory has been made anew, and
    us find its socket.

    Raises: OSError
    """
    definition = record.definition
    umid = definition.umid
    if definition.user:
        return
    if not os.path.lexists(os.path.dirname(paths.kernel_socket(umid))):
        link_sockets(definition, mounts=True)
    for there, source in _shown(umid).items():
        if not os.path.samefile(f"/proc/{record.pid}/root{there}", source):
            binds.bind(record.pid, record.started, source, there)


def write(path: str, data: bytes, mode: int = 0o600) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
    try:
        os.write(descriptor, data)
    finally:
        os.close(descriptor)
