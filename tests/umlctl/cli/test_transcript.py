from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from umlctl.cli.transcript import Transcript, identity, log_path
from umlctl.state import console_log

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def log(house: str) -> str:
    """Of the console con0 of `demo`, which has printed something."""
    path = log_path("demo", "con0")
    os.makedirs(os.path.dirname(path))
    write(path, b"first\n")
    return path


def write(path: str, data: bytes) -> None:
    with open(path, "ab") as file:
        file.write(data)


@pytest.fixture
def whole(log: str) -> Iterator[Transcript]:
    """All of a log is to be shown."""
    transcript = Transcript("demo", "con0", 0)
    yield transcript
    transcript.close()


def test_rest_is_what_was_not_shown(log: str, whole: Transcript) -> None:
    assert list(whole.rest()) == []
    whole.take()
    assert whole.is_open
    assert list(whole.rest()) == [b"first\n"]
    whole.skip(6)
    assert list(whole.rest()) == []
    write(log, b"second\n")
    assert list(whole.rest()) == [b"second\n"]
    assert whole.before(13, 7) == b"second\n"
    assert whole.before(3, 7) == b"fir"


def test_next_life_is_shown_from_its_first_byte(log: str, whole: Transcript) -> None:
    whole.take()
    whole.skip(6)
    whole.take()
    assert list(whole.rest()) == [], "it is the same log still"
    console_log.begin(log)
    write(log, b"again\n")
    whole.take()
    assert list(whole.rest()) == [b"again\n"]


def test_what_is_cut_off_is_counted(log: str, whole: Transcript) -> None:
    write(log, b"x" * (1 << 20))
    whole.take()
    assert whole.cut_off() == 0
    cut = console_log.trim(log, 1 << 18)
    assert whole.cut_off() == cut > 0
    whole.skip(cut)
    assert whole.cut_off() == 0


def test_last_screen_alone_leaves_nothing_to_show(log: str) -> None:
    transcript = Transcript("demo", "con0", None)
    transcript.take()
    assert list(transcript.rest()) == []
    assert transcript.cut_off() == 0
    assert not transcript.is_unseen
    transcript.close()
    assert not transcript.is_open


def test_log_of_the_life_before_is_not_taken_for_the_new_one(log: str) -> None:
    transcript = Transcript("demo", "con0", 0, old=identity(log))
    assert not transcript.is_unseen
    console_log.begin(log)
    assert not transcript.is_unseen
    write(log, b"new\n")
    assert transcript.is_unseen
