"""Where registered kernels are, by name: looked at only, and cheap. `registry` changes them.

kernels/NAME/N/linux            a kernel as it was when it was added, N counting up
kernels/NAME/N/lib/modules/     its modules, if it has some
kernels/NAME/current            a link to the N that counts
kernels/.default                a link to the NAME that is taken where none is named
"""

from __future__ import annotations

import os
import re

from umlctl.host import paths

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

FILE: Final = "linux"
CURRENT: Final = "current"
DEFAULT: Final = ".default"
_NAME: Final = re.compile(r"[A-Za-z0-9_+][A-Za-z0-9._+-]{0,63}")


def directory(name: str = "") -> str:
    """Of all registered kernels, or of one.

    Raises: BadPlace
    """
    above = f"{paths.state_dir()}/kernels"
    return f"{above}/{name}" if name else above


def is_name(text: str) -> bool:
    """Whether a kernel can be registered by this name."""
    return _NAME.fullmatch(text) is not None


def path_of(name: str) -> str:
    """The kernel that is registered by a name, without a link in its path; empty if none is."""
    if not is_name(name):
        return ""
    try:
        above = directory(name)
        path = f"{above}/{os.readlink(f'{above}/{CURRENT}')}/{FILE}"
    except (OSError, paths.BadPlace):
        return ""
    return path if os.path.exists(path) else ""


def default() -> str:
    """The name of the kernel that is taken where none is named; empty if none is set, or it is
    gone."""
    try:
        name = os.readlink(directory(DEFAULT))
    except (OSError, paths.BadPlace):
        return ""
    return name if path_of(name) else ""


def names() -> list[str]:
    """Of all registered kernels, sorted.

    Raises: BadPlace
    """
    return [name for name in paths.listed(directory()) if path_of(name)]
