"""What somebody may have meant who typed a word that is no command; pure.

Words of other programs have their counterparts here. What is merely near to a mistyped word is
suggested only where taking it at its word costs nothing: `top` must not lead to `stop`, nor
`resume` to `remove`.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Final

SYNONYMS: Final = {
    "ls": ("list",),
    "inspect": ("status",),
    "attach": ("console",),
    "ssh": ("console",),
    "login": ("console",),
    "enter": ("console",),
    "create": ("create", "start"),
    "dumpxml": ("show",),
    "configure": ("edit",),
    "boot": ("start",),
    "launch": ("start",),
    "up": ("start",),
    "destroy": ("kill",),
    "terminate": ("kill",),
    "poweroff": ("shutdown",),
    "down": ("shutdown",),
    "reset": ("reboot",),
    "pause": ("stop",),
    "suspend": ("stop",),
    "freeze": ("stop",),
    "resume": ("go",),
    "unpause": ("go",),
    "continue": ("go",),
    "thaw": ("go",),
    "rm": ("rm", "remove"),
    "del": ("rm", "remove"),
    "delete": ("rm", "remove"),
    "unplug": ("remove",),
    "detach": ("remove", "rm"),
    "remove": ("rm",),
    "add": ("plug", "create"),
    "new": ("create",),
    "push": ("cp",),
    "pull": ("cp", "collect"),
    "copy": ("cp",),
    "history": ("events",),
    "monitor": ("events",),
    "images": ("image",),
    "snapshots": ("snapshot",),
    "kernels": ("kernel",),
    "networks": ("network",),
    "net": ("network",),
    "switch": ("network",),
    "disks": ("disk",),
    "nics": ("nic",),
    "memory": ("mem",),
    "cat": ("proc",),
}
"""A word, and what it is called here; of more, the first that there is."""

HARMFUL: Final = frozenset(
    {
        "cad",
        "config",
        "disable",
        "enable",
        "halt",
        "kill",
        "layer",
        "plug",
        "quit",
        "reboot",
        "remove",
        "restart",
        "rm",
        "shutdown",
        "stop",
        "sysrq",
        "undefine",
    }
)
"""What changes or ends something, and is never suggested for a word that only looks like it."""


def meant(word: str, known: Iterable[str]) -> str:
    """Which of the known commands was meant by a word that is none; empty if none may be."""
    among = list(known)
    for name in SYNONYMS.get(word, ()):
        if name in among:
            return name
    harmless = [name for name in among if name not in HARMFUL]
    begun = [name for name in harmless if word and name.startswith(word)]
    if begun:
        return begun[0]
    from difflib import get_close_matches

    return next(iter(get_close_matches(word, harmless, 1, 0.76)), "")
