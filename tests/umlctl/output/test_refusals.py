from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from umlctl.output.refusals import MEANINGS, explained
from umlctl.protocol.commands import BY_NAME


@pytest.mark.parametrize(
    ("name", "words", "said", "text"),
    [
        ("proc", ["nosuch"], "Failed to open file", "nosuch: Failed to open file: no such file"),
        (
            "proc",
            ["/etc/x"],
            "Failed to open file",
            "/etc/x: Failed to open file: no such file; the guest's own is 1/root/etc/x",
        ),
        (
            "proc",
            ["1/root/etc/x"],
            "Failed to open file",
            "1/root/etc/x: Failed to open file: no such file; an absolute link cannot be followed",
        ),
        ("remove", ["ubd7"], "it is ubd7", "it is ubd7"),
        ("remove", ["ubd7"], "Permission denied", "ubd7: Permission denied"),
        ("stop", [], "Already stopped", "Already stopped"),
        ("log", ["a", "b"], "no", "no"),
    ],
)
def test_refusal_says_what_it_is_about(name: str, words: list[str], said: str, text: str) -> None:
    assert explained(name, words, said) == text


def test_what_has_a_meaning_is_of_a_command() -> None:
    for (name, said), meaning in MEANINGS.items():
        assert name in BY_NAME
        assert meaning in explained(name, ["x"], said)


@given(st.sampled_from(sorted(BY_NAME)), st.lists(st.text(), max_size=3), st.text())
def test_nothing_that_was_said_is_lost(name: str, words: list[str], said: str) -> None:
    assert said in explained(name, words, said)
