from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from socketproto.wire import MAX_TEXT_BYTES
from umlctl.protocol.proc_files import BLOCK_BYTES, is_cut, may_be_cut, unescaped


def replies(data: bytes) -> list[bytes]:
    """What the kernel sends for a file, as its source has it."""
    sent = [b"\n"]
    for start in range(0, len(data), BLOCK_BYTES):
        block = data[start : start + BLOCK_BYTES].partition(b"\0")[0]
        sent += [
            block[at : at + MAX_TEXT_BYTES] for at in range(0, len(block) or 1, MAX_TEXT_BYTES)
        ]
    return [*sent, b""]


def cut(data: bytes) -> bool:
    sent = replies(data)
    return is_cut([len(piece) for piece in sent if piece], len(sent))


@given(st.integers(0, 4 * BLOCK_BYTES))
def test_file_without_zero_bytes_is_whole(size: int) -> None:
    assert not cut(b"x" * size)


@given(st.integers(1, 3), st.integers(0, BLOCK_BYTES - 1), st.integers(0, 2 * BLOCK_BYTES))
def test_zero_byte_before_the_last_block_is_noticed(block: int, at: int, more: int) -> None:
    """Unless what is left looks as one block that is the last."""
    data = bytearray(b"x" * (block * BLOCK_BYTES + 1 + more))
    data[(block - 1) * BLOCK_BYTES + at] = 0
    rest = len(data) - block * BLOCK_BYTES
    assert cut(bytes(data)) == (at % MAX_TEXT_BYTES > 0 or at == 0 or at + rest > BLOCK_BYTES)


def test_file_that_begins_with_a_zero_byte_is_not_an_empty_one() -> None:
    assert not cut(b"")
    assert cut(b"\0")


@given(st.lists(st.integers(1, MAX_TEXT_BYTES)), st.integers(0, 100))
def test_any_sizes_can_be_judged(sizes: list[int], replies: int) -> None:
    assert is_cut(sizes, replies) in (True, False)


@pytest.mark.parametrize("data", [b"", b"a\n", "grün\t\x1b[1mx\r\n".encode(), b"\xe9\n"])
def test_text_that_ends_its_last_line_is_whole(data: bytes) -> None:
    assert not may_be_cut(data)


@pytest.mark.parametrize("data", [b"a", b"\x89PNG\r\n\x1a\n", b"\x7fELF\x02\x01\x01", b"a\x7f\n"])
def test_what_else_may_have_lost_its_end(data: bytes) -> None:
    assert may_be_cut(data)


def test_blank_in_a_field_is_a_blank() -> None:
    assert unescaped("/a\\040b\\011c\\134") == "/a b\tc\\"
    assert unescaped("/plain") == "/plain"
