from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from umlctl import exitcodes
from umlctl.cli.console import attach_while
from umlctl.errors import HostError

if TYPE_CHECKING:
    from tests.umlctl.cli.conftest import Supervisor


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--until", ""], "Invalid value for '--until': it is empty"),
        (["--escape", "q"], "an escape key is ^A to ^_ or `none`, not 'q'"),
    ],
)
def test_wrong_words_are_said_before_anything_is_done(
    supervisor: Supervisor, words: list[str], said: str
) -> None:
    assert supervisor.main("console", "demo", *words) == exitcodes.USAGE
    assert said in supervisor.err
    assert supervisor.asked == []


def test_console_that_the_guest_lacks_is_plugged_first(supervisor: Supervisor) -> None:
    supervisor.refuse("plug console con2", "no more lines", 22)
    assert supervisor.main("console", "demo", "2") == exitcodes.FAILED
    assert supervisor.asked == ["plug console con2"]
    assert "no more lines" in supervisor.err


@pytest.mark.usefixtures("house")
def test_guest_that_did_not_start_says_why_itself() -> None:
    def start() -> int:
        raise HostError("no memory")

    with pytest.raises(HostError, match="no memory"):
        attach_while("demo", start)
    assert attach_while("demo", lambda: exitcodes.FAILED) == exitcodes.FAILED
    assert attach_while("demo", lambda: exitcodes.OK) == exitcodes.NO_GUEST
