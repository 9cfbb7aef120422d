from __future__ import annotations

import os
import select
import signal
import subprocess
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

import pytest

from umlctl.host import exit_status

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def ended(command: str) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """A process that has ended, and not been asked how; with its pidfd."""
    with subprocess.Popen(["sh", "-c", f"read x; {command}"], stdin=subprocess.PIPE) as process:
        pidfd = os.pidfd_open(process.pid)
        try:
            assert process.stdin is not None
            with closing(process.stdin):
                pass
            assert select.select([pidfd], [], [], 30.0)[0]
            yield process, pidfd
        finally:
            os.close(pidfd)


@pytest.mark.parametrize(
    ("command", "code"), [("exit 7", 7), ("exit 0", 0), ("kill -ABRT $$", 128 + signal.SIGABRT)]
)
def test_status_of_any_process_is_told_once_its_parent_has_it(command: str, code: int) -> None:
    with ended(command) as (process, pidfd):
        try:
            assert exit_status.of(pidfd) is None
        except OSError:
            return  # this host does not tell, which is an answer too
        process.wait(30.0)
        assert exit_status.of(pidfd) in (code, None)  # None: before Linux 6.15


def test_what_is_no_process_has_no_status() -> None:
    reader, writer = os.pipe()
    try:
        with pytest.raises(OSError, match="ioctl"):
            exit_status.of(reader)
    finally:
        os.close(reader)
        os.close(writer)
