from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from umlctl.errors import NeverStarted
from umlctl.host import confine
from umlctl.supervisor.launch import spawn
from umlctl.supervisor.launch.spawn import Armed

if TYPE_CHECKING:
    from contextlib import AbstractContextManager


def test_what_does_not_begin_a_kernel_in_time_is_ended_with_all_that_it_has_started(
    house: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spawn, "BEGIN_TIMEOUT", 0.2)
    reader, writer = os.pipe()
    log = f"{house}/log"
    os.close(os.open(log, os.O_CREAT, 0o600))
    words = ["sh", "-c", "sleep 600 & sleep 600"]
    with pytest.raises(NeverStarted, match=r"did not begin a kernel within 0\.2 seconds"):
        spawn.spawn(words, (writer, -1, -1), log, dict(os.environ), [], [])
    os.close(writer)
    assert os.read(reader, 1) == b""  # the end comes when the last that has it open is gone
    os.close(reader)


@pytest.mark.parametrize(
    ("says", "unheld"),
    [
        (b"", ""),  # unshare(1) itself: this host does not allow the scope
        (b"4711", "umlctl: cannot mount X: No such device"),  # what confines the kernel, in it
    ],
)
def test_what_cannot_confine_a_kernel_in_a_scope_that_is_allowed_is_told(
    house: str, monkeypatch: pytest.MonkeyPatch, says: bytes, unheld: str
) -> None:
    log = f"{house}/log"
    Path(log).write_text("said before\n")
    monkeypatch.setattr(confine, "scopes", lambda _kernel, *, mounts: ["best"] * mounts + ["group"])

    def begin(words: list[str], _descriptors: list[int]) -> tuple[int, bytes]:
        if "best" not in words:
            return 1, b"4712\n"
        with open(log, "a") as file:
            file.write("umlctl: cannot mount X: No such device\n")
        return os.posix_spawnp("true", ["true"], os.environ), says

    def armed(_scope: str) -> AbstractContextManager[Armed]:
        return contextlib.nullcontext(Armed(["linux"], [], told=True))

    begun = spawn.start(["sh"], "linux", log, armed, begin, mounts=True)
    assert begun == (1, 4712, unheld)
    assert Path(log).read_text() == "said before\n"
