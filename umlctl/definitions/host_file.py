"""What guests may have between them, in the files of this host that say so.

~/.config/umlctl/umlctl.toml    a user's
/etc/umlctl/umlctl.toml         for each user, who cannot have more than it says
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from umlctl.host import paths

if TYPE_CHECKING:
    from umlctl.guest.bounds import Bounds


WHAT: Final = "list of bounds"
"""What such a file is, for messages."""


def load() -> Bounds | None:
    """What counts for the guests of this user; None: there is no file that says anything.

    Raises: UsageError, HostError
    """
    there = [path for path in paths.host_files() if os.path.lexists(path)]
    if not there:
        return None
    from umlctl.definitions import files  # most hosts have no such file
    from umlctl.guest import bounds

    return bounds.strictest(bounds.read(files.read(path, WHAT), path) for path in there)
