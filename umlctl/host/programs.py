"""Programs of this host that a guest runs. Its process 1 is looked at before the kernel boots,
which would only say a number and panic. Others are those that umlctl's init program runs there.
"""

from __future__ import annotations

import os
from typing import Final

from umlctl.errors import HostError

HEAD_BYTES: Final = 256
"""How much of a file the kernel looks at to see what runs it, bytes."""

INIT_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""Where umlctl's init program looks for programs."""
NO_IP: Final = "this host, whose programs it has, lacks `ip`"
INSTALL_IP: Final = "apt install iproute2"
"""Why the NICs of a guest on this host's files are not set up, and what to do."""


def init_lacks(program: str) -> bool:
    """Whether umlctl's init program does not find a program, in a guest on this host's files."""
    import shutil

    return shutil.which(program, path=INIT_PATH) is None


def check_init(program: str, root: str) -> None:
    """See that a guest's kernel could run a program.

    program: as the guest names it; root: the directory that is the guest's root

    Raises: HostError
    """
    path = _inside(program, root)
    if not path:
        return
    try:
        with open(path, "rb") as file:
            begin = file.read(HEAD_BYTES)
    except FileNotFoundError:
        raise HostError(f"cannot have {program} as init: there is no such file") from None
    except IsADirectoryError:
        raise HostError(f"cannot have {program} as init: it is a directory") from None
    except OSError:
        begin = b"\x7fELF"  # it may be executed all the same
    if not os.access(path, os.X_OK):
        raise HostError(f"cannot have {program} as init: it is not executable: chmod +x {program}")
    if begin.startswith(b"#!"):
        _check_interpreter(program, begin, root)
    elif not begin.startswith(b"\x7fELF"):
        raise HostError(
            f"cannot have {program} as init: it is neither a binary nor a script that begins "
            "with #!, such as #!/bin/sh"
        )


def _check_interpreter(program: str, begin: bytes, root: str) -> None:
    """Raises: HostError"""
    first = begin[2:].split(b"\n")[0]
    if first.endswith(b"\r"):
        raise HostError(
            f"cannot have {program} as init: its lines end in CR LF, as those of DOS: "
            f"sed -i 's/\\r$//' {program}"
        )
    words = os.fsdecode(first).split()
    interpreter = words[0] if words else ""
    path = _inside(interpreter, root)
    if not interpreter or (path and not os.path.exists(path)):
        raise HostError(
            f"cannot have {program} as init: what is to run it, {interpreter!r}, is not there"
        )


def _inside(program: str, root: str) -> str:
    """The file on this host; empty if a link leads elsewhere in the guest than here."""
    path = os.path.realpath(f"{root}/{program}")
    within = os.path.realpath(root).rstrip("/") + "/"
    return path if path.startswith(within) else ""
