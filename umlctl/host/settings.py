"""What this host's kernel is set to: the numbers of sysctl(8)."""

from __future__ import annotations


def number(name: str, missing: int) -> int:
    """A setting, by its name in sysctl(8).

    missing: what it is where this host has no such setting, or it is no number
    """
    try:
        with open(f"/proc/sys/{name.replace('.', '/')}") as file:
            return int(file.read())
    except (OSError, ValueError):
        return missing
