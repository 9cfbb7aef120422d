from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from umlctl.errors import UsageError
from umlctl.guest.grants import CONTROL, READ, Grant, parse_grant


@pytest.mark.parametrize(
    ("text", "grant"),
    [
        ("anna", Grant("anna", READ)),
        ("anna:read", Grant("anna", READ)),
        ("1001:control", Grant("1001", CONTROL)),
    ],
)
def test_grant_is_read(text: str, grant: Grant) -> None:
    assert parse_grant(text) == grant


@pytest.mark.parametrize(
    "text", ["", ":read", "anna:", "anna:write", "anna:read:", "-x", "a b", "a\n:read", "a\0"]
)
def test_what_is_no_grant_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        parse_grant(text)


@given(st.text())
def test_any_text_is_a_grant_or_an_error(text: str) -> None:
    try:
        grant = parse_grant(text)
    except UsageError:
        return
    assert grant.level in (READ, CONTROL)
    assert text in (grant.name, f"{grant.name}:{grant.level}")
    assert grant.level == READ or text.endswith(":control")
