from __future__ import annotations

import json
import os
import select
import signal
from errno import ENOENT
from typing import TYPE_CHECKING, Any

import pytest

from umlctl import exitcodes
from umlctl.cli import exec as execs
from umlctl.cli import trial as trials
from umlctl.cli.exec_guest import Result
from umlctl.errors import NeverStarted
from umlctl.execution.session import Outcome
from umlctl.guest.command import Command, Root, steps
from umlctl.protocol.control_line import Said
from umlctl.protocol.status import Ending
from umlctl.testing.trial import ENDED as GUEST_ENDED
from umlctl.testing.trial import (
    EXITED,
    INTERRUPTED,
    LATE,
    NOT_BEGUN,
    SIGNALLED,
    Ended,
    Trial,
    encode,
)
from umlctl.testing.trial_server import TrialServer

if TYPE_CHECKING:
    from pathlib import Path

TODO = steps(Root(), Command(("x",), "/", {}, "ppp", "t"))
TRIAL = Trial(name="t", kernel="/k", words=("cmd",), options={"timeout": 2.0})
PANIC = b"[    1.0] Kernel panic - not syncing: Fatal exception\n[    1.0] Call Trace:\n"


def how(
    said: Said | None = None, ending: Ending | None = None, tail: bytes = b"", **outcome: Any
) -> Ended:
    result = Result(Outcome(said, **{"began": True, **outcome}), ending, TODO, tail, "")
    return trials.how(result, TRIAL)


def test_commands_own_end_is_told() -> None:
    assert how(Said("status", (7 << 8,))) == Ended(kind=EXITED, code=7)
    assert how(Said("status", (signal.SIGSEGV,))) == Ended(kind=SIGNALLED, code=11)
    found = how(Said("noexec", (ENOENT,)))
    assert (found.kind, found.code) == (EXITED, exitcodes.NO_COMMAND)
    assert found.text == "cmd: No such file or directory"


def test_command_that_was_ended_is_told() -> None:
    assert how(late=True) == Ended(kind=LATE, text="not over within 2 seconds")
    assert how(caught=signal.SIGTERM).kind == INTERRUPTED


@pytest.mark.parametrize("word", ["nowhere", "unprepared", "failed"])
def test_guest_that_did_not_get_so_far_is_told(word: str) -> None:
    found = how(Said(word, (1, ENOENT) if word == "failed" else (ENOENT,)))
    assert (found.kind, found.code) == (NOT_BEGUN, exitcodes.NEVER_STARTED)
    assert found.text


def test_end_of_the_guest_is_told_with_its_panic() -> None:
    panicked = Ending(cause="panicked", code=255, text="Fatal exception")
    assert how(ending=panicked, tail=PANIC) == Ended(
        kind=GUEST_ENDED,
        code=255,
        text="the guest has ended: panicked: Fatal exception",
        panic="Fatal exception",
    )
    powered_off = Ending(cause="exited", code=3)
    found = how(ending=powered_off, tail=PANIC)  # which the guest may have printed
    assert (found.kind, found.code, found.panic) == (EXITED, 3, "")
    early = how(ending=Ending(cause="never started", code=125), tail=PANIC, began=False)
    assert (early.kind, early.panic) == (NOT_BEGUN, "Fatal exception")
    tested = how(ending=Ending(cause="exited", code=0), began=False)
    assert (tested.kind, tested.code, tested.panic) == (NOT_BEGUN, 0, "")


def test_error_is_why_there_was_no_command(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise NeverStarted("no overlay")

    monkeypatch.setattr(execs, "perform", fail)
    assert trials.perform(TRIAL) == Ended(kind=NOT_BEGUN, code=125, text="no overlay")


def test_trial_is_read_and_its_end_is_written_down(tmp_path: Path) -> None:
    asked = Trial(name="t", kernel="/k", words=("",), options={"timeout": None})
    (tmp_path / "asked.json").write_bytes(encode(asked))
    trials.run(str(tmp_path))
    found = json.loads((tmp_path / "ended.json").read_text())
    assert (found["kind"], found["code"]) == (NOT_BEGUN, exitcodes.USAGE)


def test_server_runs_trials(tmp_path: Path) -> None:
    asked = Trial(name="t", kernel="/k", words=("",), options={"timeout": None})
    (tmp_path / "asked.json").write_bytes(encode(asked))
    with TrialServer() as server:
        forked = server.fork(str(tmp_path))
        select.select([forked.descriptor], [], [], 60)
        for descriptor in (forked.descriptor, *forked.outputs):
            os.close(descriptor)
    assert (tmp_path / "ended.json").exists()
