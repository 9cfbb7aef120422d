"""What a guest's own files show of its boot."""

from __future__ import annotations


def root_is_mounted(mounts: bytes) -> bool:
    """By /proc/mounts; before that, a guest has its rootfs alone."""
    for line in mounts.splitlines():
        fields = line.split()
        if len(fields) > 2 and fields[1] == b"/":
            return fields[2] != b"rootfs"
    return False
