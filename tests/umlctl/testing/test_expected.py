from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.results import a
from umlctl.testing import expected
from umlctl.testing.ktap import CRASHED, FAILED, PASSED, SKIPPED
from umlctl.testing.result import KNOWN, NEVER_STARTED, PANICKED, UNEXPECTED

KNOWN_FAILURES = expected.read(
    "# all of these are known\n\nlist.broken   # since 6.12\nnet.*\nparams.a[1]?\nname with words\n"
)


@pytest.mark.parametrize(
    ("name", "status", "becomes"),
    [
        ("list.broken", FAILED, KNOWN),
        ("list.broken", CRASHED, KNOWN),
        ("list.broken", PANICKED, KNOWN),
        ("list.broken", PASSED, UNEXPECTED),
        ("list.broken", SKIPPED, SKIPPED),
        ("list.broken", NEVER_STARTED, NEVER_STARTED),
        ("list.other", FAILED, FAILED),
        ("list.other", PASSED, PASSED),
        ("net.any.thing", FAILED, KNOWN),
        ("net.any.thing", PASSED, PASSED),
        ("params.a[1]x", FAILED, KNOWN),
        ("params.a1x", FAILED, FAILED),
        ("name with words", FAILED, KNOWN),
    ],
)
def test_only_differences_count(name: str, status: str, becomes: str) -> None:
    found = KNOWN_FAILURES.judge(a(name, status, reason="why"))
    assert found.status == becomes
    if becomes == KNOWN:
        assert found.reason == f"{status}: why"


def test_what_is_known_and_was_not_run_is_told() -> None:
    assert KNOWN_FAILURES.unseen([a("list.broken", FAILED)]) == ["name with words"]


def test_without_a_file_nothing_is_known() -> None:
    assert expected.Expected().judge(a("x", FAILED)).status == FAILED


@given(st.text())
def test_any_file_is_read(text: str) -> None:
    found = expected.read(text)
    assert all(name == name.strip() != "" for name in found.names)
    assert all(pattern for pattern in found.patterns)


@given(st.text(st.characters(exclude_characters="*?#", exclude_categories=["C", "Z"]), min_size=1))
def test_a_name_means_itself(name: str) -> None:
    assert expected.read(name).judge(a(name, FAILED)).status == KNOWN
