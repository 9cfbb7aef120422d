"""What must be so before a kernel is started, or reboots: the error is ours then, and readable."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from umlctl.errors import HostError
from umlctl.guest import definition as definitions
from umlctl.guest import overlay
from umlctl.guest.cmdline import has_agent
from umlctl.guest.definition import (
    Definition,
    given_to_kernel,
    root_directory,
    root_is_host,
    root_is_image,
)
from umlctl.host import paths, processes, processors, room, users
from umlctl.kernels import find
from umlctl.state.umid_lock import kernel_socket
from umlctl.supervisor.launch.place import make_again

if TYPE_CHECKING:
    from umlctl.host.users import User
    from umlctl.kernels.find import ProbedKernel
    from umlctl.state.records import DeviceEntry
    from umlctl.supervisor.launch.launched import Launched


def check_files(definition: Definition, *, overcommit: bool) -> ProbedKernel:
    """See that the files of a definition are there, before a kernel is started on them.

    overcommit: it may be promised more memory than there is

    Returns: what the kernel says of itself

    Raises: HostError
    """
    kernel = find.probe(definition.kernel, definition.user)
    if kept := overlay.disk(definition.overlay):
        from umlctl.storage import overlay_image

        overlay_image.prepare(os.path.dirname(kept.file))
    if definition.cpus or definition.numa is not None:
        processors.share(definition.cpus, definition.ncpus, definition.numa)
    if not os.path.isdir(definition.cwd):
        raise HostError(f"{definition.umid}: there is no directory {definition.cwd}")
    _check_is_seen(definition)
    _check_reopened(definition, room.place_of(definition, os.environ), overcommit=overcommit)
    if root_is_image(definition) and not given_to_kernel(definition).keys() & {"root", "initrd"}:
        from umlctl.backends import disk  # a guest without devices starts the sooner

        disk.check_root(definitions.root_disk(definition).file)
    return kernel


def _check_is_seen(definition: Definition) -> None:
    """See that a guest finds its first program, if that is ours: its kernel has its own /dev.

    Raises: HostError
    """
    place = os.path.realpath(paths.run_dir())
    is_first = has_agent(definition) or definition.overlay
    if is_first and not definition.user and place.startswith("/dev/"):
        raise HostError(
            f"{definition.umid}: guests cannot see {place}, where umlctl keeps what they need, as "
            "they have a /dev of their own; set UMLCTL_DIR to a directory elsewhere"
        )


def check_reach(user: User, definition: Definition, entries: list[DeviceEntry]) -> None:
    """See that a user's kernel can make its socket, and open what it will.

    Raises: HostError
    """
    path = kernel_socket(definition)
    if len(os.fsencode(path)) > paths.MAX_UNIX_PATH_BYTES:
        raise HostError(
            f"{definition.umid}: the path of its socket would be too long: {path}; "
            "take a shorter umid"
        )
    files = [("x", definition.kernel), ("r", definition.kernel)]
    if root_is_host(definition) or definition.overlay:
        files.append(("x", "/"))
    if root := root_directory(definition):
        files.append(("x", root))
    if definition.initrd:
        files.append(("r", definition.initrd))
    memory = room.place_of(definition, os.environ)
    files += [("x", memory), ("w", memory)]
    mine = {path for entry in entries for path in entry.made.values()}
    for entry in entries:
        users.give(user, entry.made.values())
        for hold in entry.holds:
            files += [("r", hold.path), *([("w", hold.path)] if hold.write else [])]
            if hold.path in mine:
                files.append(("x", os.path.dirname(hold.path)))
    users.check_reach(user, files)


def check_reboot(launched: Launched) -> None:
    """See that a kernel will find again what it opens anew when it reboots.

    Raises: HostError
    """
    definition = launched.definition
    find.probe(definition.kernel, definition.user)
    directory = room.place_of(definition, processes.environment(launched.pid))
    have = processes.memory_used(launched.pid) or 0
    # What it was promised has been settled.
    _check_reopened(definition, directory, have, overcommit=True)
    for entry in launched.record.devices:
        if entry.boot:  # what was plugged later is given again
            from umlctl.backends import registry  # a guest without devices starts the sooner

            backend = registry.of(entry.name)
            if backend.needs_host:
                backend.renew(entry, launched.pid)
    make_again(launched.record, launched.claim.directory)


def _check_reopened(
    definition: Definition, directory: str, memory: int = 0, *, overcommit: bool
) -> None:
    """See that the directories are there that a kernel opens whenever it begins.

    directory: of its memory
    memory: bytes of it that the guest has already, and gives back before

    Raises: HostError
    """
    room.check_memory(directory, definition.mem, memory, overcommit=overcommit)
    root = root_directory(definition)
    if root and not os.path.isdir(root):
        raise HostError(f"{definition.umid}: there is no directory {root}")
    if definition.initrd:
        from umlctl.storage import initrd

        config = find.probe(definition.kernel, definition.user).config
        initrd.check(definition.initrd, definition.mem, config)
    program = definition.init or given_to_kernel(definition).get("init", "")
    if program and (root or root_is_host(definition)):
        from umlctl.host.programs import check_init

        check_init(program, root or "/")
