from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import pytest

from umlctl.cli.exec import execute
from umlctl.errors import UsageError
from umlctl.kernels import find
from umlctl.library import many
from umlctl.testing import trial as trials

OF_ANOTHER_KIND = {"guest", "words", "timeout", "log", "report", "keep"}
"""Parameters of `umlctl exec` that are no options of its guest, or the runner's."""


@pytest.fixture(autouse=True)
def _kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(find, "find", lambda word: word or "/linux")


def test_options_are_those_of_exec_with_its_defaults() -> None:
    declared = {param.name: param for param in execute.params if param.name not in OF_ANOTHER_KIND}
    assert set(many.DEFAULTS) <= set(declared)
    given = execute.make_context("exec", ["--", "true"]).params
    assert {name: given[name] for name in many.DEFAULTS} == many.DEFAULTS
    spelled = {
        param.opts[0].lstrip("-").replace("-", "_"): name
        for name, param in declared.items()
        if name in many.DEFAULTS
    }
    assert set(many.Options.__annotations__) == set(spelled)
    assert {option: name for option, name in spelled.items() if option != name} == many.ASKED_AS


def test_trial_is_told_what_is_asked_for() -> None:
    found = many.told({"mem": "1G", "rw": [Path("/x")], "env": {"A": "b", "C": ""}, "ro": True})
    assert (found["mem"], found["rw"], found["readonly"]) == ("1G", ("/x",), True)
    assert (found["variables"], found["kernel"]) == (("A=b", "C="), "/linux")
    runner = many.Runner(kernel=Path("/k"))
    for trial in runner.trials({"a": ["true"]}, 1):
        assert trials.decode(trials.encode(trial)) == trial


def test_commands_are_run_in_turn() -> None:
    found = many.Runner().trials({"a": ["true"], "b": ["false", "x"]}, 2)
    assert [(each.name, each.repetition) for each in found] == [
        ("a", 1),
        ("b", 1),
        ("a", 2),
        ("b", 2),
    ]
    assert found[1].words == ("false", "x")


@pytest.mark.parametrize("words", ["true", [], [""]])
def test_what_is_no_command_is_refused(words: Any) -> None:
    with pytest.raises(UsageError, match="a list of words"):
        many.Runner().run(words, name="x")


def test_unknown_option_is_refused() -> None:
    with pytest.raises(UsageError, match="disks: "):
        many.Runner(disks=["x"])  # type: ignore[call-arg]


def test_watcher_hears_what_a_runner_tells() -> None:
    from umlctl.testing.runner import Watcher

    for name in ("ended", "done"):
        expected = inspect.signature(getattr(Watcher, name)).parameters
        assert list(inspect.signature(getattr(many.Unwatched, name)).parameters) == list(expected)
