from __future__ import annotations

from umlctl import exitcodes
from umlctl.execution import explained
from umlctl.guest.command import Step
from umlctl.protocol.control_line import Said


def test_command_that_is_not_there_is_told_from_one_that_cannot_be_executed() -> None:
    code, text = explained.not_executed(Said("noexec", (2,)), "x")
    assert (code, text) == (exitcodes.NO_COMMAND, "x: No such file or directory")
    code, text = explained.not_executed(Said("noexec", (13,)), "x")
    assert (code, text) == (exitcodes.NOT_EXECUTED, "x: Permission denied")


def test_step_that_failed_is_named() -> None:
    todo = [Step("p", ("hostfs",), "share /x")]
    assert explained.why_unprepared(Said("failed", (0, 13)), todo) == (
        "the guest could not share /x: Permission denied"
    )
    assert "--cwd" in explained.why_unprepared(Said("nowhere", (2,)), todo)
    assert "has failed" in explained.why_unprepared(Said("unprepared", ()), todo)


def test_time_that_is_up_is_said() -> None:
    assert explained.late_text(1.5) == "not over within 1.5 seconds"
    assert explained.late_text(None) == "told to end"
