"""A server of trials whose processes are shells that run a script: $1 is the directory of a trial.

python trial_shells.py SCRIPT MODULE SOCKET LIFELINE
"""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from umlctl import streams
from umlctl.testing import trial_server

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pytest


@contextmanager
def shells(house: str, monkeypatch: pytest.MonkeyPatch, script: str) -> Iterator[None]:
    """Have each trial be a shell that runs a script."""
    path = f"{house}/trial.sh"
    Path(path).write_text(script)
    with monkeypatch.context() as patch:
        patch.setattr(streams, "PYTHON", (sys.executable, *streams.UTF8, __file__, path))
        yield


if __name__ == "__main__":

    def run(directory: str) -> None:
        os.execv("/bin/sh", ["sh", sys.argv[1], directory])

    trial_server.serve(int(sys.argv[3]), int(sys.argv[4]), run)
