from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from umlctl.cli.main import LAZY
from umlctl.protocol.commands import BY_NAME, HOST
from umlctl.synonyms import HARMFUL, SYNONYMS, meant

KNOWN = [*LAZY, *(name for name, command in BY_NAME.items() if command.served != HOST)]


@pytest.mark.parametrize(
    ("word", "command"),
    [
        ("ls", "list"),
        ("inspect", "status"),
        ("dumpxml", "show"),
        ("configure", "edit"),
        ("attach", "console"),
        ("ssh", "console"),
        ("destroy", "kill"),
        ("poweroff", "shutdown"),
        ("pause", "stop"),
        ("resume", "go"),
        ("reset", "reboot"),
        ("verison", "version"),
        ("lst", "list"),
        ("ver", "version"),
        ("rename", ""),
        ("resum", ""),
        ("stopp", ""),
        ("shutdwon", ""),
        ("kil", ""),
        ("xyzzy", ""),
        ("", ""),
    ],
)
def test_word_leads_to_its_counterpart_or_to_what_is_harmless(word: str, command: str) -> None:
    assert meant(word, KNOWN) == command


def test_group_has_its_own_words() -> None:
    assert meant("remove", ["add", "list", "rm"]) == "rm"
    assert meant("delete", ["add", "list", "rm"]) == "rm"
    assert meant("ls", ["add", "list", "rm"]) == "list"


def test_every_synonym_leads_somewhere_and_is_no_command_of_its_own() -> None:
    elsewhere = {"rm", "remove", "create", "plug", "clear", "network"}
    for word, counterparts in SYNONYMS.items():
        assert set(counterparts) & {*KNOWN, *elsewhere}, word
        assert word not in KNOWN or set(counterparts) <= elsewhere, word


def test_whatever_may_cost_something_is_harmful() -> None:
    assert {name for name, command in BY_NAME.items() if command.confirm is not None} <= HARMFUL
    assert {name for name, command in BY_NAME.items() if command.danger} <= HARMFUL


@given(st.text(alphabet="abdehiklmnoprstuvw-", max_size=10))
def test_no_likeness_leads_to_harm(word: str) -> None:
    if word not in SYNONYMS:
        assert meant(word, KNOWN) not in HARMFUL
