"""The lines on which commands are run in a guest that is there anyway, see `control_line`.

A guest has a few slots, each for one command at a time. Its kernel has FIFOs of the guest's
directory as the other ends of their lines, from its start on. Whoever runs a command opens them
there: no supervisor has to pass anything on, or to live.
"""

from __future__ import annotations

from typing import Final

from umlctl.protocol import console_socket

SLOTS: Final = 4
"""How many commands can run at the same time."""
FIFOS: Final = ("tell", "hear", "typed", "output", "error")
"""What a slot consists of: both directions of the control line, and the command's streams. What is
typed is for a command on a terminal; another one's input comes in files."""
FIRST_DESCRIPTOR: Final = console_socket.FIRST_DESCRIPTOR + 2 * (len(console_socket.CONSOLES) - 1)
"""In the kernel, of the first FIFO."""
LAST_DESCRIPTOR: Final = FIRST_DESCRIPTOR + SLOTS * len(FIFOS)
"""What the kernel reads on SHELL_LINE."""
AMPLE_DESCRIPTORS: Final = 256
"""With fewer descriptors for a process, there are no slots."""
SHELL_LINE: Final = "ssl39"
SHELL_DEVICE: Final = "/dev/ttyS39"
SHELL_FIFO: Final = "shell.in"
"""Where a shell reads in a guest whose init program is not ours: it is told to begin commands."""
HANDED: Final = "x"
"""The directory in that of the guest whose files the guest finds: what commands are and read."""
_FIRST_LINE: Final = 40


def line(slot: int) -> int:
    """The number of a slot's control line; the lines of the streams follow."""
    return _FIRST_LINE + 3 * slot


def fifo(slot: int, name: str) -> str:
    """The name of a FIFO in the directory of a guest."""
    return f"exec{slot}.{name}"


def openings(*, has_agent: bool) -> dict[int, str]:
    """The name of each FIFO, by its number as a descriptor of the kernel.

    has_agent: the init program is ours
    """
    names = [fifo(slot, name) for slot in range(SLOTS) for name in FIFOS]
    found = dict(enumerate(names, FIRST_DESCRIPTOR))
    return found if has_agent else {**found, LAST_DESCRIPTOR: SHELL_FIFO}


def words(*, has_agent: bool) -> list[str]:
    """What a kernel is told for them."""
    found = []
    for slot in range(SLOTS):
        first, number = line(slot), FIRST_DESCRIPTOR + slot * len(FIFOS)
        found += [
            f"ssl{first}=fd:{number},fd:{number + 1}",
            f"ssl{first + 1}=fd:{number + 2},fd:{number + 3}",
            f"ssl{first + 2}=null,fd:{number + 4}",
        ]
    return found if has_agent else [*found, f"{SHELL_LINE}=fd:{LAST_DESCRIPTOR},null"]
