"""What runs each guest of `umlctl test`, in a process of its own, see
`umlctl.testing.trial_server`."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import msgspec

from umlctl import exitcodes, streams
from umlctl.cli import exec as execs
from umlctl.errors import UmlctlError
from umlctl.execution.explained import late_text, not_executed, why_unprepared
from umlctl.host.files import write_atomically
from umlctl.state import endings
from umlctl.testing.guest_process import ASKED, ENDED
from umlctl.testing.trial import ENDED as GUEST_ENDED
from umlctl.testing.trial import (
    EXITED,
    INTERRUPTED,
    LATE,
    NOT_BEGUN,
    SIGNALLED,
    Ended,
    Trial,
    decode,
)

if TYPE_CHECKING:
    from umlctl.cli.exec_guest import Result


def perform(trial: Trial) -> Ended:
    """Run the command of a trial in a guest of its own; how that went."""
    try:
        result = execs.perform(trial.words, trial.options)
    except UmlctlError as problem:
        return Ended(kind=NOT_BEGUN, code=problem.code, text=str(problem))
    return how(result, trial)


def how(result: Result, trial: Trial) -> Ended:
    """How a guest ended, in the words of a test run."""
    outcome, said = result.outcome, result.outcome.said
    panic = outcome.panic or endings.early_panic(result.tail)
    if outcome.late:
        return Ended(kind=LATE, text=late_text(trial.options["timeout"]))
    if said is None and outcome.caught:
        return Ended(kind=INTERRUPTED, code=outcome.caught, text=f"signal {outcome.caught}")
    if said is None:
        return _of_guest(result, panic)
    if said.word == "status":
        status = said.numbers[0]
        if os.WIFSIGNALED(status):
            return Ended(kind=SIGNALLED, code=os.WTERMSIG(status))
        return Ended(kind=EXITED, code=os.waitstatus_to_exitcode(status), text=result.problem)
    if said.word == "noexec":
        code, text = not_executed(said, trial.words[0])
        return Ended(kind=EXITED, code=code, text=text)
    return Ended(
        kind=NOT_BEGUN,
        code=exitcodes.NEVER_STARTED,
        text=why_unprepared(said, result.todo),
    )


def _of_guest(result: Result, panic: str) -> Ended:
    ending = result.ending
    assert ending is not None
    text = f"the guest has ended: {endings.describe(ending)}"
    if not result.outcome.began:
        return Ended(kind=NOT_BEGUN, code=ending.code, text=text, panic=panic)
    if ending.cause == "exited":
        return Ended(kind=EXITED, code=ending.code, text=text if ending.code else "")
    return Ended(
        kind=GUEST_ENDED,
        code=ending.code,
        text=text,
        panic=panic if ending.cause == "panicked" else "",
    )


def run(directory: str) -> None:
    """Run the trial whose files are in a directory."""
    with open(f"{directory}/{ASKED}", "rb") as file:
        trial = decode(file.read())
    write_atomically(f"{directory}/{ENDED}", msgspec.json.encode(perform(trial)), sync=False)


if __name__ == "__main__":
    from umlctl.cli import exec_guest  # noqa: F401 - each trial takes it
    from umlctl.testing import trial_server

    streams.open_all()
    trial_server.serve(int(sys.argv[1]), int(sys.argv[2]), run)
