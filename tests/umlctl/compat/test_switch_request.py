from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from umlctl.compat import switch_request
from umlctl.compat.switch_request import BadRequest, abstract, answer, decode


def request(
    path: bytes, *, magic: int = 0xFEEDFACE, version: int = 3, kind: int = 0, family: int = 1
) -> bytes:
    """As a kernel sends it, padding and all."""
    return struct.pack("=IIIH108s2x", magic, version, kind, family, path)


@pytest.mark.parametrize(
    ("path", "address"),
    [
        (b"/tmp/uml.1", b"/tmp/uml.1"),
        (b"/tmp/a\0garbage", b"/tmp/a"),
        (b"\0" + b"\1\2\3", (b"\0\1\2\3").ljust(108, b"\0")),
        (b"x" * 108, b"x" * 108),
    ],
)
def test_request_of_a_kernel(path: bytes, address: bytes) -> None:
    whole = request(path)
    assert decode(whole) == decode(whole[: switch_request.REQUEST_BYTES]) == address
    for size in range(switch_request.REQUEST_BYTES):
        assert decode(whole[:size]) is None


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        (request(b"x", magic=0), "no kernel since 2.6"),
        (request(b"x", version=1), "version 1 port, which this uml_switch doesn't support"),
        (request(b"x", version=4), "version 4 port"),
        (request(b"x", kind=1), "Bad request type : 1"),
        (request(b"x", family=2), "no unix socket"),
        (request(b""), "no unix socket"),
    ],
)
def test_bad_request(bad: bytes, said: str) -> None:
    with pytest.raises(BadRequest, match=said):
        decode(bad)


@given(st.binary(max_size=200))
def test_anything_is_an_address_or_bad_or_too_short(data: bytes) -> None:
    try:
        found = decode(data)
    except BadRequest:
        return
    assert found is None or (0 < len(found) <= 108 and found.strip(b"\0"))


def test_answer_is_an_address() -> None:
    address = abstract("uml_switch-7")
    assert (len(address), address[:13]) == (108, b"\0uml_switch-7")
    assert answer(address) == b"\1\0" + address
    assert len(answer(b"/tmp/uml.data")) == 110
