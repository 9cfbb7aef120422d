"""Keeping the directories of a user's guests from programs that clean up /tmp, and seeing that they
are in use though they were removed.

A process holds a lock; the lock's file is where others look for it. A process that finds no file
where a guest runs asks here which process still has it open.
"""

from __future__ import annotations

import fcntl
import os
import threading
from typing import TYPE_CHECKING

from umlctl.host import paths, processes

if TYPE_CHECKING:
    from collections.abc import Collection

_kept: dict[str, int] = {}
_keeping = threading.Lock()


def keep() -> int:
    """Have systemd-tmpfiles(8) leave the directories alone as long as this process runs: it passes
    over a locked directory, with all that is below.

    Returns: a descriptor that does so, for a process that outlives this one; -1 if none does
    """
    found = paths.kept_dirs()
    with _keeping:  # one thread may start a guest while another sees to the place of a second guest
        for path in found:
            try:
                if path in _kept and not os.path.samestat(os.fstat(_kept[path]), os.stat(path)):
                    os.close(_kept.pop(path))
                if path not in _kept:
                    _kept[path] = _lock(path)
            except OSError:
                continue  # it is not there, or another process looks at it just now
        return _kept.get(found[0], -1)


def _lock(path: str) -> int:
    """Raises: OSError"""
    directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        fcntl.flock(directory, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BaseException:
        os.close(directory)
        raise
    return directory


def holder(files: Collection[str], besides: int = 0, *, but: int = -1) -> int:
    """A process of this user that has one of these files open, removed or not; 0 if none has.

    besides: a process that does not count
    but: a descriptor whose very file does not count, if one is given
    """
    looked_for = {name for path in files for name in (path, f"{path} (deleted)")}
    for name in os.listdir("/proc"):
        if not name.isdigit() or int(name) == besides:
            continue
        try:
            if os.stat(f"/proc/{name}").st_uid != os.getuid():
                continue
        except OSError:
            continue  # it has just ended
        opened = processes.descriptors(int(name))
        if any(but < 0 or not _leads_to(opened[each], but) for each in looked_for & opened.keys()):
            return int(name)
    return 0


def _leads_to(path: str, descriptor: int) -> bool:
    """A path leads to an open file, or nowhere any more."""
    try:
        return os.path.samestat(os.stat(path), os.fstat(descriptor))
    except OSError:
        return True
