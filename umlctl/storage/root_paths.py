"""Paths below a directory, as a process sees them that has it as its root.

Links of a tree that comes from elsewhere lead where they would lead in the guest: not even a
hostile one leads out of the tree.
"""

from __future__ import annotations

import os
from collections import deque
from typing import Final

MAX_LINKS: Final = 40
"""Symbolic links on the way to one file. Source: MAXSYMLINKS in include/linux/namei.h"""


def resolve(tree: str, path: str, *, last: bool = True) -> str:
    """Where a path leads, its links followed; what is not there leads where it stands.

    last: follow its last part, too, if that is a link

    Returns: a path in the tree, with a '/' before it; "/": the tree itself
    Raises: ValueError: links lead in a circle
    """
    rest = deque(path.split("/"))
    done: list[str] = []
    links = 0
    while rest:
        part = rest.popleft()
        if part in ("", "."):
            continue
        if part == "..":
            del done[-1:]
            continue
        done.append(part)
        if not (last or any(each not in ("", ".") for each in rest)):
            break
        try:
            target = os.readlink(f"{tree}/{'/'.join(done)}")
        except OSError:
            continue
        links += 1
        if links > MAX_LINKS:
            raise ValueError(f"the links of {path!r} lead in a circle")
        del done[-1 if not target.startswith("/") else 0 :]
        rest.extendleft(reversed(target.split("/")))
    return "/" + "/".join(done)
