from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from umlctl import exitcodes
from umlctl.cli import cp as module
from umlctl.cli import main
from umlctl.errors import UsageError


@pytest.mark.parametrize(
    ("text", "guest", "path"),
    [
        ("file", "", "file"),
        ("./a:b", "", "./a:b"),
        ("/x/a:b", "", "/x/a:b"),
        (".:x", "", ".:x"),
        ("demo:/etc/hosts", "demo", "/etc/hosts"),
        ("demo:/a:b", "demo", "/a:b"),
    ],
)
def test_place_is_here_or_in_a_guest(text: str, guest: str, path: str) -> None:
    assert module._place(text) == (guest, path)


@pytest.mark.parametrize("text", [":/x", "demo:", "demo:x", "a:b"])
def test_place_that_may_be_either_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match=r"\./NAME"):
        module._place(text)


@given(st.text(st.characters(exclude_characters="\0"), min_size=1))
def test_every_text_is_one_place_or_an_error(text: str) -> None:
    try:
        place = module._place(text)
    except UsageError:
        assert ":" in text
        return
    assert text == (f"{place.guest}:{place.path}" if place.guest else place.path)
    assert "/" not in place.guest


@pytest.mark.parametrize(
    "words", [[], ["a"], ["a", "b"], ["g:/a", "g:/b"], ["a", "g:/b", "./c"], ["a", "b:c"]]
)
def test_one_side_is_a_guest(words: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    assert main.run(["cp", *words]) == exitcodes.USAGE
    assert capfd.readouterr().err
