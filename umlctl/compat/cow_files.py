"""What `uml_moo` and `uml_mkcow` have in common: files that are replaced when the new one is whole,
and errors in the words of the originals, with what to do behind them.
"""

from __future__ import annotations

import contextlib
import os
import stat
import sys
from typing import TYPE_CHECKING, Final

from umlctl.errors import HostError, UmlctlError
from umlctl.recovery import discover
from umlctl.state import leases
from umlctl.state.file_identity import check_free, hold_of
from umlctl.storage.new_file import new_file

if TYPE_CHECKING:
    from collections.abc import Iterator

    from umlctl.state.leases import Use

NEW_MODE: Final = 0o644
"""Of a file that is made, less the umask; one that takes another's place has its mode."""


class Failed(Exception):
    """The program ends with 1, and this on standard error."""


def users() -> list[Use]:
    """The devices of all guests that run."""
    return leases.devices_of(discover.running())


def ended(program: str, problem: UmlctlError | OSError | Failed) -> int:
    """Say what went wrong; the exit code."""
    said = str(problem)
    if not (isinstance(problem, Failed) or said.startswith(f"{program}: ")):
        said = f"{program}: {said}"
    sys.stderr.write(f"{said}\n")
    return 1


@contextlib.contextmanager
def replacing(what: str, path: str, *others: str) -> Iterator[int]:
    """A file that takes the place of what is at the path once it is whole; until then, or if it is
    not, that stays.

    others: files that it must not be

    Raises: HostError: the file is in use, is one of the others, or is no plain file; OSError
    """
    real = os.path.realpath(path)
    found = None
    if os.path.lexists(real):
        found = os.stat(real)
        if not stat.S_ISREG(found.st_mode):
            raise HostError(f"{what}: {path} is there, and is no plain file: take another name")
        for other in others:
            if os.path.samestat(found, os.stat(other)):
                raise HostError(
                    f"{what}: {path} is {other} itself, which would be lost: take another name"
                )
        check_free(what, [hold_of(real, write=True)], users())
    beside = f"{real}~{os.getpid()}"
    with new_file(beside, NEW_MODE if found is None else 0o600) as descriptor:
        yield descriptor
        if found is not None:  # who could not read it does not come to read this
            with contextlib.suppress(PermissionError):  # its owner is somebody else
                os.fchown(descriptor, found.st_uid, found.st_gid)
            os.fchmod(descriptor, stat.S_IMODE(found.st_mode))
    try:
        os.replace(beside, real)
    except OSError:
        os.unlink(beside)
        raise
