from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from umlctl.devices.mem import MAX_CHANGE_BYTES, PAGE_BYTES, Mem, parse
from umlctl.errors import UsageError

pages = st.integers(1, MAX_CHANGE_BYTES // PAGE_BYTES)
anything = st.text(st.characters(), max_size=30)


@given(pages | pages.map(int.__neg__))
def test_what_is_printed_reads_the_same(count: int) -> None:
    mem = Mem(count * PAGE_BYTES)
    assert parse(str(mem)) == mem
    assert hash(parse(str(mem))) == hash(mem)


@pytest.mark.parametrize(
    ("text", "change", "printed"),
    [
        ("mem=+64M", 64 << 20, "mem=+64M"),
        ("mem=-64m", -64 << 20, "mem=-64M"),
        ("mem=-1024M", -1 << 30, "mem=-1G"),
        ("mem=+4k", 4096, "mem=+4K"),
        ("mem=+4096", 4096, "mem=+4K"),
        ("mem=-12288", -12288, "mem=-12K"),
        ("mem=+1g", 1 << 30, "mem=+1G"),
    ],
)
def test_change_is_in_bytes(text: str, change: int, printed: str) -> None:
    mem = parse(text)
    assert (mem.change, str(mem), mem.name) == (change, printed, "mem")
    assert mem != Mem(-change)
    assert mem != text
    assert repr(mem) == f"Mem({printed!r})"


@pytest.mark.parametrize(
    "text",
    [
        *("", "mem", "mem=", "mem=64M", "mem+64M", "mem=+", "mem=+M", "mem=++1M", "mem=+1T"),
        *("mem=+0", "mem=-0M", "mem=+010M", "mem=+0x10M", "mem=+64MB", "mem=+64M ", "mem=+64M\n"),
        *("memory=+64M", "Mem=+64M", "mem=+1.5G", "mem=+٣M", "mem=+" + "9" * 6000),
    ],
)
def test_what_is_no_change_is_said_to_be_none(text: str) -> None:
    with pytest.raises(UsageError, match=r"mem=\+SIZE or mem=-SIZE"):
        parse(text)


@pytest.mark.parametrize("text", ["mem=+1", "mem=-4095", "mem=+5k", "mem=+999999999999G"])
def test_kernel_would_round_the_rest_away(text: str) -> None:
    with pytest.raises(UsageError, match="whole pages of 4096 bytes"):
        parse(text)


@given(anything | anything.map("mem=".__add__))
def test_any_text_is_a_change_or_a_usage_error(text: str) -> None:
    try:
        mem = parse(text)
    except UsageError:
        return
    assert mem.change
