"""Where `uml_mconsole` finds a guest by the name that it is given."""

from __future__ import annotations

import os
import sys

from umlctl.host import paths

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Final

PATH_VARIABLE: Final = "UML_MCONSOLE_PATH"
"""Names directories, with `:` between them, that hold directories of guests, as ~/.uml does."""
NETKIT_DIR: Final = "/.netkit/mconsole"
"""Where Netkit has those of its guests, below the home."""
TMP_DIR: Final = "/tmp/uml"  # noqa: S108 - the original's


def find(name: str, *, strictly: bool) -> str:
    """The socket of a guest, or what else has that name; empty if nothing has. The look-ups of the
    original come in its order, and each that finds nothing is told on standard error.

    strictly: no others than those
    """
    for path, is_original in _places(name, strictly=strictly):
        try:
            os.stat(path)
        except (OSError, ValueError) as problem:
            if is_original:
                why = getattr(problem, "strerror", None) or str(problem)
                sys.stderr.write(f"Warning: couldn't stat file: {path} - {why}\n")
            continue
        if strictly or not os.path.isdir(path):
            return path
        if os.path.exists(f"{path}/mconsole"):
            return f"{path}/mconsole"
    return ""


def _places(name: str, *, strictly: bool) -> Iterator[tuple[str, bool]]:
    """Each path that may be meant, and whether the original looks there."""
    home = os.environ.get("HOME")
    public = f"{home}/.uml"
    if home is not None and not name.startswith(public):
        yield f"{public}/{name}/mconsole", True
    if not strictly and name and "/" not in name:
        yield paths.guest_socket(name), False
        given = os.environ.get(PATH_VARIABLE, "").split(":")
        netkit = [home + NETKIT_DIR] if home else []
        yield from ((f"{each}/{name}/mconsole", False) for each in (*given, *netkit) if each)
    if not name.startswith(f"{TMP_DIR}/"):
        yield f"{TMP_DIR}/{name}/mconsole", True
    yield name, True
    if home is not None and name.startswith(public):
        yield f"{public}/{name}/mconsole", True


def is_own(name: str, path: str) -> bool:
    """Whether a socket that was found by a name is that of this user's guest of that name, which
    is adopted if its supervisor is gone."""
    if "/" in name:
        return False
    return path == paths.guest_socket(name) or (
        path == paths.public_socket(name) and paths.has_record(name)
    )
