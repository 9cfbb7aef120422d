from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.umlctl.cli.conftest import Started


def test_foreground_guest_without_a_name_gets_one_that_is_forgotten(started: Started) -> None:
    assert started.main("run") == 0
    definition = started.definitions[-1]
    assert definition.umid == f"uml-{os.getpid()}"
    assert not definition.named
    assert started.main("run", "--", "quiet") == 0
    assert started.definitions[-1].arguments == ("quiet",)
    assert started.main("run", "demo") == 0
    assert started.definitions[-1].named


def test_code_of_the_guest_is_that_of_run(started: Started) -> None:
    started.code = 42
    assert started.main("run", "demo") == 42


def test_run_tells_programs_how_it_ended(started: Started) -> None:
    started.code = 7
    assert started.main("run", "ci", "--json", "--log", "ci.log") == 7
    result = json.loads(started.out)
    assert result.pop("seconds") >= 0
    place = os.path.realpath("ci.log")
    told = {"umid": "ci", "status": 7, "cause": "exited", "text": "", "log": place}
    assert result == told
    assert started.main("run", "ci", "--json", "--mem", "much") == 2
    result = json.loads(started.out)
    assert (result["status"], result["cause"], result["log"]) == (2, "failed", None)
    assert "much" in result["text"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--log", ""], "'--log': it is empty"),
        (["--log", "none/ci.log"], "cannot write the log to none/ci.log"),
        (["--json", "--console"], "--json and --console"),
    ],
)
def test_run_that_cannot_tell_boots_nothing(started: Started, words: list[str], said: str) -> None:
    assert started.main("run", "ci", *words) in (2, 7)
    assert said in started.err
    assert not started.definitions
