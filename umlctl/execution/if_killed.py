"""What is to be done should this process be killed: another one waits for that."""

from __future__ import annotations

import os
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final

from umlctl.errors import HostError

if TYPE_CHECKING:
    from collections.abc import Iterator

_WAIT: Final = "read -r over || {}"


@contextmanager
def if_killed(script: str, *words: str) -> Iterator[None]:
    """Have a shell do something, should this process be killed before the end.

    script: of one command; words: its arguments

    Raises: HostError: there can be no such shell
    """
    reader, writer = os.pipe()
    try:
        watcher = os.posix_spawnp(
            "sh",
            ["sh", "-c", _WAIT.format(script), "sh", *words],
            os.environ,
            file_actions=[
                (os.POSIX_SPAWN_DUP2, reader, 0),
                (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0),
                (os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0),
            ],
            setsid=True,  # else a signal that kills this process's group would kill it too
        )
    except OSError as problem:
        os.close(writer)
        raise HostError(f"the command cannot be watched: {problem}") from problem
    finally:
        os.close(reader)
    try:
        yield
    finally:
        with suppress(OSError):
            os.write(writer, b"\n")
        os.close(writer)
        with suppress(ChildProcessError):
            os.waitpid(watcher, 0)
