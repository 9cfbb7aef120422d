"""Archives that builds of images may want again: the newest few are in the cache."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from typing import TYPE_CHECKING, Final

from umlctl.host import paths
from umlctl.storage.file_copy import copy_whole
from umlctl.storage.new_file import new_file

if TYPE_CHECKING:
    from collections.abc import Sequence

MAX_KEPT: Final = 2
"""So many are kept: each has the size of a system."""


def path_of(words: Sequence[str]) -> str:
    """Where the archive is that these words say how to make.

    words: all that it depends on
    """
    number = hashlib.sha256(json.dumps([*words]).encode()).hexdigest()
    return f"{paths.cache_dir()}/images/{number[:32]}.tar"


def find(words: Sequence[str]) -> str:
    """The path of the archive; empty: it is not there."""
    path = path_of(words)
    with contextlib.suppress(OSError):
        os.utime(path)  # the oldest is removed first
        return path
    return ""


def keep(words: Sequence[str], archive: str) -> None:
    """Keep a copy of an archive, whole or not at all. A cache with no room is no error."""
    path = path_of(words)
    directory = os.path.dirname(path)
    with contextlib.suppress(OSError):
        os.makedirs(directory, 0o700, exist_ok=True)
        descriptor = os.open(archive, os.O_RDONLY | os.O_CLOEXEC)
        try:
            with new_file(path, 0o600) as target:
                copy_whole(descriptor, target, lambda _count: None)
        finally:
            os.close(descriptor)
    with contextlib.suppress(OSError):
        there = [f"{directory}/{name}" for name in os.listdir(directory)]
        for each in sorted(there, key=os.path.getmtime)[:-MAX_KEPT]:
            os.unlink(each)
