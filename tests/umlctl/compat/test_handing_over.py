from __future__ import annotations

import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from umlctl.compat import handing_over
from umlctl.errors import GuestInUse, UsageError
from umlctl.host import paths, processes
from umlctl.state import records, umid_lock

if TYPE_CHECKING:
    from pathlib import Path

BECOME = """
import os, sys
from umlctl.compat import handing_over
words = handing_over.supervise("/bin/sleep", sys.argv[1:], [])
print(*words, flush=True)
os.execv("/bin/sleep", ["sleep", "600"])
"""
"""Does what `linux` does, and becomes a program that is no kernel."""


def test_what_a_supervisor_has_to_know_is_there_before_the_kernel(
    house: str, tmp_path: Path
) -> None:
    image = tmp_path / "d.img"
    image.write_bytes(b"\0" * 512)
    given = ["mem=32M", "umid=demo", "ubd0=d.img", "uml_dir=p", "mconsole=notify:n", "--", "x"]
    with subprocess.Popen(
        [sys.executable, "-c", BECOME, *given], stdout=subprocess.PIPE, text=True, cwd=tmp_path
    ) as process:
        try:
            assert process.stdout is not None
            words = process.stdout.readline().split()
            assert words == [
                *given[:5],
                f"uml_dir={paths.kernel_dir()}",
                f"mconsole=notify:{paths.guest_dir('demo')}/notify",
                *given[5:],
            ]
            record = records.load("demo")
            assert record is not None
            assert record.own_line
            assert (record.pid, record.relay) == (process.pid, f"{tmp_path}/n")
            assert record.place == f"{tmp_path}/p/demo"
            (disk,) = record.devices
            assert disk.holds[0].path == str(image)
            assert (disk.kernel, disk.told) == (f"ubd0={image}", "ubd0=d.img")
            assert (tmp_path / "p" / "demo" / "pid").read_text() == f"{process.pid}\n"
            assert umid_lock.has_owner("demo")  # the process beside it
            assert processes.descendants(process.pid) == []
        finally:
            process.kill()
    end = time.monotonic() + 30
    while os.path.lexists(paths.guest_dir("demo")) or (tmp_path / "p" / "demo").exists():
        assert time.monotonic() < end, "nothing of it is left"
        time.sleep(0.01)
    assert not umid_lock.has_owner("demo")


def test_name_of_a_guest_that_runs_is_not_taken(house: str) -> None:
    with umid_lock.claim("demo"), pytest.raises(GuestInUse):
        handing_over.supervise("/bin/sleep", ["umid=demo"], [])


@pytest.mark.parametrize("line", [["umid=" + "x" * 64], ["umid=a/b"], ["umid=a", "--", "umid=b"]])
def test_nothing_is_left_of_what_cannot_be_supervised(house: str, line: list[str]) -> None:
    with pytest.raises(UsageError):
        handing_over.supervise("/bin/sleep", line, [])
    assert not os.path.exists(paths.guests_dir()) or os.listdir(paths.guests_dir()) == []
    assert not umid_lock.has_owner("a")
