from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

from tests.live.conftest import wait_for
from umlctl.supervisor.resumer import Resumer

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.conftest import Bare

KILLED = """
import os, signal, sys
from umlctl.supervisor.resumer import Resumer
with Resumer(sys.argv[1], sys.argv[2:]):
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_guests_go_on_when_who_has_stopped_them_is_killed(
    bare: Callable[..., Bare], short: str
) -> None:
    kernels = [bare(name="one"), bare(name="two")]
    place = f"{short}/half"
    os.mkdir(place)
    with open(f"{place}/file", "xb"):
        pass
    words = [sys.executable, "-c", KILLED, place, *(each.path for each in kernels)]
    assert subprocess.run(words, check=False).returncode == -9
    for each in kernels:
        each.wait_commands(1)
        assert each.commands[0] == b"go"
    wait_for(lambda: not os.path.exists(place), "the directory is removed, too")


def test_guests_that_go_on_are_left_alone(bare: Callable[..., Bare], short: str) -> None:
    kernel = bare()
    os.mkdir(f"{short}/whole")
    with Resumer(f"{short}/whole", [kernel.path]) as resumer:
        pass
    assert resumer._process.returncode == 0
    assert kernel.commands == []
    assert os.path.isdir(f"{short}/whole")
