"""A kernel that says what it is told to say."""

from __future__ import annotations

from typing import Any

import pytest

from socketproto.exchange import ANSWERED, REFUSED, Outcome
from umlctl.state.records import DeviceEntry

SYSFS = "sysfs /sys sysfs rw 0 0\n"


class Answers:
    """Answers by the text that it is asked, and refuses all else.

    Fields:
        asked: what it was asked
    """

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.by_text: dict[str, bytes] = {}

    def __setitem__(self, text: str, answer: str | bytes) -> None:
        self.by_text[text] = answer if isinstance(answer, bytes) else answer.encode()

    async def ask(self, text: str, /) -> Outcome:
        self.asked.append(text)
        if text in self.by_text:
            return Outcome(ANSWERED, 0, self.by_text[text])
        return Outcome(REFUSED, -2, b"No such file")


@pytest.fixture
def kernel() -> Answers:
    return Answers()


def entry(name: str, kernel: str = "", **fields: Any) -> DeviceEntry:
    return DeviceEntry(name=name, asked=kernel, kernel=kernel, **fields)
