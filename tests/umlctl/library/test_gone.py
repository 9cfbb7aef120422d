from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from umlctl.client import unsupervised
from umlctl.errors import GuestEnded
from umlctl.host import paths
from umlctl.library import gone
from umlctl.protocol.status import Ending
from umlctl.state import umid_lock

if TYPE_CHECKING:
    import pytest


def test_last_lines_are_those_of_the_console(house: str) -> None:
    assert gone.last_lines("demo") == ""
    paths.make_run_dir()
    os.makedirs(paths.record_dir("demo"))
    log = Path(paths.record_dir("demo")) / "console.log"
    log.write_bytes(b"".join(b"line %d\r\n" % number for number in range(100)) + b"\xff\0\n\n")
    assert gone.last_lines("demo", 2) == "line 99\n\ufffd"
    assert len(gone.last_lines("demo").split("\n")) == gone.MAX_LINES


def test_error_has_how_the_guest_has_ended(house: str, monkeypatch: pytest.MonkeyPatch) -> None:
    ending = Ending(cause="panicked", code=255, text="by hand")
    monkeypatch.setattr(unsupervised, "ended", lambda _: ending)
    found = gone.explained(GuestEnded("demo has ended"), "demo")
    assert str(found) == "demo has ended: panicked: by hand"
    assert (found.ending, found.console) == (ending, "")


def test_guest_that_begins_anew_has_no_ending(house: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(umid_lock, "has_owner", lambda _: True)
    monkeypatch.setattr(gone, "_begins_anew", lambda _: True)
    assert gone.explained(GuestEnded("demo was rebooted"), "demo").ending is None
