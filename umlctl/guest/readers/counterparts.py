"""How umlctl is asked for what several other systems have. Pure.

The one home of that: where umlctl comes to have an option of its own for something, it is named
here, and every reader takes it.
"""

from __future__ import annotations

from typing import Final

from umlctl.guest import policy

ACTIONS: Final = {
    "destroy": policy.KILL,
    "restart": policy.RESTART,
    "preserve": policy.NOTHING,
    "rename-restart": policy.RESTART,
    "coredump-destroy": policy.KILL,
    "coredump-restart": policy.RESTART,
}
"""What xl and libvirt do when a guest has ended, and what umlctl does then."""
MAX_CPUS: Final = 4096
"""More processors than any host has."""


def initrd(path: str) -> tuple[str, str]:
    """Key and value by which a guest gets an initial RAM disk."""
    return "initrd", path


def cpu_map(first: int, count: int) -> str:
    """The host's processors from `first` on, one for each of the guest's, as `cpus` takes them.

    A guest's kernel moves among them: its processors have none of their own.
    """
    return f"{first}-{first + count - 1}" if count > 1 else str(first)


def cpu_list(text: str) -> str | None:
    """A list of processors such as `0-3,^1`, as `cpus` takes it; None: it is none of plain numbers.

    Empty: all of them.
    """
    wanted: set[int] = set()
    refused: set[int] = set()
    everything = False
    for part in text.replace(" ", "").split(","):
        into = refused if part.startswith("^") else wanted
        if part == "all":
            everything = True
            continue
        first, dash, last = part.removeprefix("^").partition("-")
        last = last if dash else first
        if not all(each.isascii() and each.isdigit() and len(each) < 5 for each in (first, last)):
            return None
        if not int(first) <= int(last) < MAX_CPUS:
            return None
        into.update(range(int(first), int(last) + 1))
    if everything:
        return None if refused else ""  # which the host has is not known here
    return ranges(wanted - refused) or None


def ranges(numbers: set[int]) -> str:
    """Numbers as a list of ranges: 0,2-3."""
    found: list[list[int]] = []
    for number in sorted(numbers):
        if found and number == found[-1][1] + 1:
            found[-1][1] = number
        else:
            found.append([number, number])
    return ",".join(f"{a}-{b}" if a != b else str(a) for a, b in found)
