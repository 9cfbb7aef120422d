"""Names of guests, networks and snapshots: what each can be called."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from umlctl.errors import SEE_DOCTOR
from umlctl.host import paths

if TYPE_CHECKING:
    from typing import Final

MAX_UMID_CHARACTERS: Final = 63
"""The longest umid, characters. For a longer one the kernel silently takes a random name. Source:
arch/um/os-Linux/umid.c"""
MAX_NETWORK_CHARACTERS: Final = 32
"""The longest name of a network, characters. It leaves room for the paths of its sockets, and for
the kernel's `dst=` of one."""
PRIVATE_MARK: Final = ".."
"""Stands in the name of a switch that umlctl makes for one NIC; no user can give such a name."""


class BadUmid(ValueError):
    """A name that cannot be a umid, and why."""


class BadSnapshot(ValueError):
    """A name that cannot be a snapshot's, and why."""


class BadNetwork(ValueError):
    """A name that cannot be a network segment's, and why."""


def check_umid(umid: str) -> str:
    """Return the name if the kernel and all paths of umlctl can take it.

    Raises: BadUmid
    """
    _check_letters(umid, "a umid", BadUmid)
    if umid.endswith(".lock"):
        raise BadUmid(f"a umid cannot end with .lock, as the locks of guests do: {umid!r}")
    if len(umid) > MAX_UMID_CHARACTERS:
        raise BadUmid(
            f"a umid has at most {MAX_UMID_CHARACTERS} characters, this one {len(umid)}: {umid}"
        )
    _check_length(paths.kernel_socket(umid), umid, "umid", BadUmid)
    return umid


def check_network(name: str) -> str:
    """Return the name if a network segment can have it.

    Raises: BadNetwork
    """
    _check_letters(name, "a network's name", BadNetwork)
    if len(name) > MAX_NETWORK_CHARACTERS:
        raise BadNetwork(
            f"a network's name has at most {MAX_NETWORK_CHARACTERS} characters, "
            f"this one {len(name)}: {name}"
        )
    # The socket has this name while it is being made.
    _check_length(paths.network_control(name) + "~", name, "name", BadNetwork)
    return name


def check_snapshot(name: str) -> str:
    """Return the name if a snapshot can have it.

    Raises: BadSnapshot
    """
    _check_letters(name, "a snapshot's name", BadSnapshot)
    if len(name) > MAX_UMID_CHARACTERS:
        raise BadSnapshot(
            f"a snapshot's name has at most {MAX_UMID_CHARACTERS} characters, this one "
            f"{len(name)}: {name}"
        )
    return name


def check_public_network(name: str) -> str:
    """Return the name if a user can give it to a network.

    Raises: BadNetwork
    """
    check_network(name)
    if PRIVATE_MARK in name:
        raise BadNetwork(f"names with {PRIVATE_MARK} are for switches of one NIC: {name!r}")
    return name


def of_process(pid: int) -> str:
    """The name of the guest of a process that runs one command in it."""
    return f"exec-{pid}"


def of_kept(pid: int) -> str:
    """The name of one that is there longer than the process, whose number another may have then."""
    return f"kept-{pid}"


def of_program(pid: int, number: int) -> str:
    """The name of a guest that a program has started without one. number: which of the program's"""
    return f"py-{pid}-{number}"


def _check_length(path: str, name: str, what: str, problem: type[ValueError]) -> None:
    """See that a socket can have a path; only UMLCTL_DIR can make one too long."""
    over = len(os.fsencode(path)) - paths.MAX_UNIX_PATH_BYTES
    if over > 0:
        shorter = f"a shorter {what}, or " if over < len(name) else ""
        raise problem(
            f"the socket's path would be {over} bytes too long for a unix socket: {path}; "
            f"take {shorter}a shorter UMLCTL_DIR; {SEE_DOCTOR}"
        )


def _check_letters(name: str, what: str, problem: type[ValueError]) -> None:
    """See that a name is one harmless component of a path, and no option."""
    if not name:
        raise problem(f"{what} cannot be empty")
    if name.startswith((".", "-")):
        raise problem(f"{what} cannot begin with '{name[0]}': {name!r}")
    bad = [c for c in name if not (c.isalnum() and c.isascii()) and c not in "._+-"]
    if bad:
        raise problem(f"{what} is made of letters, digits and . _ + -, not {bad[0]!r}: {name!r}")
