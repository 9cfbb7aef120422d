from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from umlctl.errors import UsageError
from umlctl.kernels import configuration
from umlctl.kernels.configuration import FEATURES

SYMBOLS = st.from_regex(r"[A-Z][A-Z0-9_]{0,12}", fullmatch=True)
VALUES = st.sampled_from(["y", "m", "n", "18", '"pts"', ""])


@given(st.dictionaries(SYMBOLS, VALUES))
def test_what_is_written_is_read(asked: dict[str, str]) -> None:
    assert configuration.read(configuration.write(asked), "x") == asked


@given(st.text())
def test_any_text_is_read_or_refused(text: str) -> None:
    found: dict[str, str] = {}
    said = ""
    try:
        found = configuration.read(text, "x")
    except UsageError as problem:
        said = str(problem)
    assert not said or re.match(r"x, line \d+: ", said)
    assert not any(set(symbol) & set("=# ") for symbol in found)


def test_last_setting_of_a_symbol_counts() -> None:
    text = "# a comment\n\nCONFIG_A=y\n# CONFIG_A is not set\n  CONFIG_B=m\n"
    assert configuration.read(text, "x") == {"A": "n", "B": "m"}


@pytest.mark.parametrize("line", ["A=y", "CONFIG_A y", "CONFIG_=y", "y"])
def test_line_that_is_no_setting_is_named(line: str) -> None:
    with pytest.raises(UsageError, match=r"mine, line 2: .*and not"):
        configuration.read(f"CONFIG_B=y\n{line}\n", "mine")


def test_features_are_taken_once_in_one_order() -> None:
    assert configuration.check_features(["wireguard", "kunit", "kunit"]) == ("kunit", "wireguard")
    assert configuration.check_features([]) == ()


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["kunti"], "did you mean kunit"),
        ([""], "there are kunit, time-travel"),
        (["xyzzy"], "there are kunit, time-travel"),
        (["smp", "time-travel"], "exclude each other: the kernel's clock"),
        (["time-travel", "smp"], "exclude each other"),
    ],
)
def test_features_that_cannot_be_had_are_refused(names: list[str], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        configuration.check_features(names)


def test_own_settings_win_over_features_and_those_over_what_all_have() -> None:
    found = configuration.settings(("kunit", "debug"), {"KUNIT": "m", "NET": "n"})
    assert (found["DEBUG_INFO_NONE"], found["KUNIT"], found["NET"]) == ("n", "m", "n")
    assert configuration.settings((), {})["DEBUG_INFO_NONE"] == "y"


@pytest.mark.parametrize("name", FEATURES)
def test_feature_asks_for_what_it_takes(name: str) -> None:
    asked = configuration.settings((name,), {})
    assert configuration.lacking(configuration.required((name,)), asked) == []
    assert configuration.lacking(configuration.required((name,)), {"DEBUG_INFO_NONE": "y"})


@pytest.mark.parametrize(
    ("asked", "got", "lacks"),
    [
        ("y", "y", False),
        ("y", "m", True),
        ("y", "", True),
        ("m", "y", False),
        ("m", "m", False),
        ("m", "n", True),
        ("n", "", False),
        ("n", "y", True),
        ("18", "18", False),
        ("18", "14", True),
    ],
)
def test_settings_that_are_not_as_asked_for_are_seen(asked: str, got: str, lacks: bool) -> None:
    assert configuration.lacking({"A": asked}, {"A": got} if got else {}) == ["A"] * lacks
