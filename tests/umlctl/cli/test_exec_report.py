from __future__ import annotations

import json
import os
import signal
from errno import ENOENT
from typing import TYPE_CHECKING, Any

import pytest

from umlctl.cli import exec_report as module
from umlctl.cli.exec_guest import Result
from umlctl.errors import HostError, NoKernel
from umlctl.execution.running import Ran
from umlctl.execution.session import Outcome
from umlctl.guest.command import Command, Root, steps
from umlctl.protocol.control_line import Said
from umlctl.protocol.status import Ending

if TYPE_CHECKING:
    from pathlib import Path

TODO = steps(Root(), Command(("x",), "/", {}, "ppp", "t"))
PANIC = Ending(cause="panicked", code=255, text="by hand", time=1.0)


def how(outcome: Outcome, ending: Ending | None = None, problem: str = "") -> dict[str, Any]:
    result = Result(outcome, ending, TODO, b"", problem)
    return module.of_result(result, "cmd", 9, 2.0, 1.23456)


@pytest.mark.parametrize(
    ("outcome", "ending", "cause", "number", "text"),
    [
        (Outcome(Said("status", (9 << 8,)), True), None, "exited", None, ""),
        (Outcome(Said("status", (signal.SIGSEGV,)), True), None, "signalled", 11, ""),
        (Outcome(Said("noexec", (ENOENT,)), True), None, "not executed", None, "cmd: No such file"),
        (Outcome(Said("nowhere", (ENOENT,)), False), None, "not begun", None, "the directory"),
        (Outcome(None, True, late=True), None, "timed out", None, "within 2 seconds"),
        (Outcome(None, True, caught=15), None, "interrupted", 15, "told to end"),
        (Outcome(None, True, panic="by hand"), PANIC, "panicked", None, "by hand"),
        (Outcome(None, False), PANIC, "not begun", None, "by hand"),
    ],
)
def test_document_says_how_it_ended(
    outcome: Outcome, ending: Ending | None, cause: str, number: int | None, text: str
) -> None:
    found = how(outcome, ending)
    assert (found["status"], found["cause"], found["signal"]) == (9, cause, number)
    assert text in found["text"]
    assert (found["seconds"], found["panic"]) == (1.235, outcome.panic or None)


def test_guest_that_runs_is_one_too() -> None:
    ran = Ran(Outcome(Said("status", (9 << 8,)), True), [], "")
    found = module.of_result(ran, "cmd", 9, None, 1.0)
    assert (found["cause"], found["status"], found["guest"]) == ("exited", 9, None)
    found = module.of_result(Ran(Outcome(None, True), [], ""), "cmd", 5, None, 1.0)
    assert (found["cause"], found["text"]) == ("ended", "the guest has ended, or was rebooted")


def test_guest_that_there_was_not_is_said() -> None:
    found = module.of_problem(NoKernel("no kernel"), 0.5)
    assert (found["cause"], found["status"]) == ("not begun", NoKernel.code)
    assert found["text"].startswith("no kernel")


def test_it_goes_to_a_file_or_a_descriptor(tmp_path: Path) -> None:
    path = tmp_path / "how.json"
    module.write(str(path), {"status": 1})
    module.write(str(path), {"status": 2})
    assert json.loads(path.read_bytes()) == {"status": 2}
    reader, writer = os.pipe()
    module.write(f"/dev/fd/{writer}", {"status": 3})
    assert json.loads(os.read(reader, 100)) == {"status": 3}
    with open(path, "r+b") as file:
        file.seek(0, os.SEEK_END)
        module.write(f"/dev/fd/{file.fileno()}", {"status": 4})
    assert [json.loads(line)["status"] for line in path.read_text().splitlines()] == [2, 4]
    os.close(reader)
    os.close(writer)


def test_place_that_cannot_be_written_to_is_seen_before(tmp_path: Path) -> None:
    module.check(str(tmp_path / "new"))
    with pytest.raises(HostError, match="cannot write"):
        module.check(str(tmp_path / "none" / "new"))
    with pytest.raises(HostError, match="cannot write"):
        module.write(str(tmp_path / "none" / "new"), {})
