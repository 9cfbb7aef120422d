"""A process that has guests go on, should the supervisor that has stopped them be killed.

It waits on a pipe. What ends without a word there, was killed.
"""

from __future__ import annotations

import subprocess
import sys
from typing import Final, Self

END_TIMEOUT: Final = 10.0
"""How long the process may take to end when it was told to, seconds."""
_SCRIPT: Final = """\
read -r word && exit
place=$1 python=$2
shift 2
for socket; do "$python" -P -m socketproto "$socket" go; done
rm -rf -- "$place"
"""


class Resumer:
    """The process, from before the guests are stopped until they go on."""

    def __init__(self, place: str, sockets: list[str]) -> None:
        """place: a directory that is to be removed too

        sockets: of the kernels

        Raises: OSError
        """
        self._process = subprocess.Popen(
            ["/bin/sh", "-c", _SCRIPT, "umlctl-resumer", place, sys.executable, *sockets],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            start_new_session=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """The guests go on: it is not needed any more."""
        try:
            self._process.communicate(b"done\n", END_TIMEOUT)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
