from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from umlctl.cli.console import Viewer, escape_key
from umlctl.errors import UsageError

SETTINGS = [
    b"\x1b[?1049h",
    b"\x1b[?25l",
    b"\x1b[?25h",
    b"\x1b[?1;1000h",
    b"\x1b[?1l",
    b"\x1b[2;20r",
    b"\x1b=",
    b"\x1b(0",
    b"text\r\n",
    b"\x1b[1;31m",
]
"""What programs of a guest send to a terminal."""


def viewer() -> Viewer:
    found = Viewer("demo", "con0", b"\x1d")
    found._terminal = True
    return found


def restoring(pieces: list[bytes]) -> bytes:
    found = viewer()
    for piece in pieces:
        found._note_modes(piece)
    return found._restoring()


def test_what_was_set_is_undone() -> None:
    assert restoring([b"\x1b[?1049h\x1b[?25l"]) == b"\x1b[?1049l\x1b[?25h\x1b[0m\r\n"
    assert restoring([b"\x1b[?25l", b"\x1b[?25h", b"plain"]) == b"\x1b[0m\r\n"
    assert b"\x1b[r" in restoring([b"\x1b[5;10r"])
    assert b"\x1b>" in restoring([b"\x1b="])


@given(st.lists(st.sampled_from(SETTINGS), max_size=8), st.data())
def test_packets_may_end_anywhere(settings: list[bytes], data: st.DataObject) -> None:
    text = b"".join(settings)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=6)))
    pieces = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    assert restoring(pieces) == restoring([text])


BOOT = (
    b"Core dump limits :\n\tsoft - 0\n[    0.000000] Linux\n[    0.1] no stamp\n"
    b"umlctl: demo runs\r\n# [    1.500000] in the middle\n"
    b"[    2.000000] sysrq: HELP\nbare\n# \r\n\n"
)
SHOWN = (
    b"Core dump limits :\r\n\tsoft - 0\r\n[    0.000000] Linux\r\n[    0.1] no stamp\r\n"
    b"umlctl: demo runs\r\n# [    1.500000] in the middle\n"
    b"[    2.000000] sysrq: HELP\r\nbare\n# \r\n\n"
)


@given(st.lists(st.integers(0, len(BOOT)), max_size=6))
def test_kernels_own_lines_begin_at_the_left(cuts: list[int]) -> None:
    found = viewer()
    places = [0, *sorted(cuts), len(BOOT)]
    pieces = [BOOT[a:b] for a, b in pairwise(places)]
    assert b"".join(found._returned(piece) for piece in pieces) == SHOWN


def test_escape_keys() -> None:
    assert escape_key("^]") == b"\x1d"
    assert escape_key("^a") == b"\x01"
    assert escape_key("none") == b""
    for wrong in ("]", "^", "^1", "escape"):
        with pytest.raises(UsageError):
            escape_key(wrong)
