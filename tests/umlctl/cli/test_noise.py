from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from umlctl.cli.noise import Quiet, is_noise

NOISE = [
    b"[    0.080000] setup_one_line failed for device 15 : configured as 'none'\n",
    b"[   12.345678] setup_one_line failed for device 7 : configured as 'none'\r\n",
    b"[    0.130000] read_cow_header - short header\n",
    b"[    0.980000] epollctl add err fd 39, Operation not permitted\n",
]
OTHERS = [
    b"[    0.080000] setup_one_line failed for device 3 : failed to parse channel pair\n",
    b"[    0.080000] Console initialized on /dev/tty0\n",
    b"setup_one_line failed for device 15 : configured as 'none'\n",
    b"[    0.980000] epollctl add err fd 39, No such file\n",
    b"demo:/# ",
    b"\x1b[1m[ 12%] ",
    b"[    0.080000] ",
    b"\n",
]


@pytest.mark.parametrize("line", NOISE)
def test_complaint_about_an_argument_of_ours_is_noise(line: bytes) -> None:
    assert is_noise(line)
    assert Quiet()(b"demo:/# " + line + b"more") == b"demo:/# more"


@pytest.mark.parametrize("line", OTHERS)
def test_all_else_is_shown_at_once(line: bytes) -> None:
    assert not is_noise(line)
    assert Quiet()(line) == line


@given(st.lists(st.sampled_from(NOISE + OTHERS)), st.lists(st.integers(0, 600)))
def test_nothing_else_is_lost_wherever_a_piece_ends(lines: list[bytes], cuts: list[int]) -> None:
    """But noise is shown if the piece ends within the time at its front."""
    text = b"".join(line + b"\n" for line in lines)
    quiet = Quiet()
    ends = [*sorted(cuts), len(text)]
    pieces = [text[begin:end] for begin, end in zip([0, *ends], ends, strict=False)]
    shown = b"".join(map(quiet, pieces))
    assert Quiet()(shown) == Quiet()(text)
