from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from tests.fuzz import __main__ as fuzzing
from tests.fuzz.targets import MODULES, corpus, harness

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def away(house: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the fuzzer sets in the environment ends with the test."""
    monkeypatch.setattr(fuzzing, "set_home", lambda _home: None)


def test_every_target_has_a_harness_that_says_what_it_is() -> None:
    for target in MODULES:
        assert harness(target).__doc__
        assert corpus(target)


def test_input_is_replayed_without_a_fuzzer(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "atheris", None)
    path = corpus("wire")[0]
    assert fuzzing.main(["wire", "--replay", str(path)]) == 0
    assert capsys.readouterr().out == f"wire: nothing is wrong with {path}\n"


def test_finding_is_one_again(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "found").write_bytes(b"x")
    broken = {b"x": ZeroDivisionError("here")}

    def raises(data: bytes) -> None:
        raise broken[data]

    monkeypatch.setattr(fuzzing, "harness", lambda _target: raises)
    assert fuzzing.main(["wire", "--replay", str(tmp_path / "found")]) == 1
    said = capsys.readouterr()
    assert "ZeroDivisionError: here" in said.err
    assert "is a finding" in said.out


def test_missing_fuzzer_is_said_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "atheris", None)
    with pytest.raises(SystemExit, match=r"needs atheris.*Python 3\.11 to 3\.14.*`\./dev chaos`"):
        fuzzing.main(["wire"])


@pytest.mark.parametrize(
    "words", [["nothing"], ["--seconds", "0"], ["--replay", "f"], ["wire", "cow", "--replay", "f"]]
)
def test_wrong_command_line_is_refused(words: list[str]) -> None:
    with pytest.raises(SystemExit) as refused:
        fuzzing.main(words)
    assert refused.value.code == 2


def test_executions_are_counted() -> None:
    assert fuzzing._count("x\nstat::number_of_executed_units: 907\n") == "907"
    assert fuzzing._count("") == "?"
