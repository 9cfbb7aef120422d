from __future__ import annotations

import pytest

from umlctl.devices import MAX_REQUEST_BYTES, check_request
from umlctl.errors import UsageError


def test_request_has_a_length_in_bytes() -> None:
    room = MAX_REQUEST_BYTES - len("config ")
    check_request("é" * (room // 2))
    with pytest.raises(
        UsageError, match=f"has {MAX_REQUEST_BYTES} bytes for a device, and this needs 512"
    ):
        check_request("a" * (room + 1))
    with pytest.raises(UsageError, match="513"):
        check_request("é" * (room // 2 + 1))


@pytest.mark.parametrize(
    ("text", "said"), [("a\0b", "NUL"), ("\ud800", "UTF-8"), ("/\udcff", "UTF-8")]
)
def test_request_is_text_that_can_be_sent(text: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        check_request(text)
