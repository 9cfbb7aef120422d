"""What a guest writes over files of the host, which do not see it: it is in memory, or on a disk.
Pure.

It is a disk, since hostfs has not what an overlay needs of where it writes: attributes, and files
without a mode.
"""

from __future__ import annotations

from typing import Final

from umlctl.guest.specs import Disk

IN_MEMORY: Final = "memory"
"""In place of a directory for what is written."""
NAME: Final = "overlay.img"
"""The image that has it, in the directory where it is kept."""
SLOT: Final = 15
DEVICE: Final = "/dev/ubdp"


def disk(overlay: str) -> Disk | None:
    """The disk that keeps what is written; None: memory does, or nothing.

    overlay: IN_MEMORY, a directory, or empty
    """
    if overlay in ("", IN_MEMORY):
        return None
    return Disk(file=f"{overlay}/{NAME}", slot=SLOT)
