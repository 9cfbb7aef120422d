from __future__ import annotations

import socket
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from umlctl.cli.console import Viewer, escape_key
from umlctl.cli.terminal import Key, Screen
from umlctl.client import unsupervised
from umlctl.errors import UsageError
from umlctl.host.attaching import INPUT

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
    *(b"\x1b[>1u", b"\x1b[>5u", b"\x1b[<u", b"\x1b[=3;1u", b"\x1b[>4;2m", b"\x1b[4 q", b"\x1b[4h"),
]
"""What programs of a guest send to a terminal."""


def test_what_was_typed_goes_to_the_next_supervisor_that_hears_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One may be killed before it has said anything."""
    viewer = Viewer("demo", "con0", b"\x1d")
    ends: list[socket.socket] = []
    hellos = []

    def connect(_waits: object) -> None:
        viewer._connection, end = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ends.append(end)
        hellos.append(viewer._force)

    monkeypatch.setattr(viewer, "_connect", connect)
    monkeypatch.setattr(unsupervised, "take_over", lambda _umid: True)
    viewer._connect(None)
    viewer._hear({"keyboard": "yours"})
    ends[-1].close()
    viewer._send(INPUT + b"typed")
    assert viewer._come_back()
    ends[-1].close()
    assert viewer._come_back()
    viewer._hear({"keyboard": "yours"})
    assert ends[-1].recv(64, socket.MSG_DONTWAIT) == INPUT + b"typed"
    assert hellos == [False, True, True], "the keyboard is its own still"
    ends[-1].close()
    assert viewer._connection is not None
    viewer._connection.close()


def restoring(pieces: list[bytes]) -> bytes:
    screen = Screen()
    for piece in pieces:
        screen.note(piece)
    return screen.restoring()


def test_what_was_set_is_undone() -> None:
    assert restoring([b"\x1b[?1049h\x1b[?25l"]) == b"\x1b[?1049l\x1b[?25h\x1b[0m\r\n"
    assert restoring([b"\x1b[?25l", b"\x1b[?25h", b"plain"]) == b"\x1b[0m\r\n"
    assert b"\x1b[r" in restoring([b"\x1b[5;10r"])
    assert b"\x1b>" in restoring([b"\x1b="])
    assert restoring([b"\x1b[4h\x1b[20h"]) == b"\x1b[20l\x1b[4l\x1b[0m\r\n"
    assert b"\x1b[0 q" in restoring([b"\x1b[4 q"])
    assert b"\x1b[<2u\x1b[=0u" in restoring([b"\x1b[>1u\x1b[>1u\x1b[>1u\x1b[<u"])
    assert b"\x1b[>4m" in restoring([b"\x1b[>4;2m"])


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
    screen = Screen()
    places = [0, *sorted(cuts), len(BOOT)]
    pieces = [BOOT[a:b] for a, b in pairwise(places)]
    assert b"".join(screen.returned(piece) for piece in pieces) == SHOWN


@pytest.mark.parametrize(
    ("typed", "place"),
    [
        (b"abc", -1),
        (b"ab\x1d", 2),
        (b"a\x1b[93;5u", 1),
        (b"\x1b[93;5:1u", 0),
        (b"\x1b[93;133u", 0),
        (b"\x1b[45:93;6u\x1d", 10),
        (b"x\x1b[27;5;93~", 1),
        (b"\x1b[93;7u\x1b[93u\x1b[97;5u\x1b[5~\x1b[27;5;9~", -1),
    ],
)
def test_escape_key_is_seen_however_the_terminal_reports_it(typed: bytes, place: int) -> None:
    assert Key(b"\x1d").find(typed) == place
    for cut in range(1, len(typed)):
        key = Key(b"\x1d")
        found = [key.find(typed[:cut]), key.find(typed[cut:])]
        assert (max(found) >= 0) == (place >= 0)


def test_nothing_but_the_key_is_swallowed() -> None:
    key = Key(b"\x1d")
    assert key.only(b"\x1d\x1b[93;5u\x1b[93;5:3u")
    assert not key.only(b"\x1dl")
    assert Key(b"").find(b"\x1d") == -1


def test_escape_keys() -> None:
    assert escape_key("^]") == b"\x1d"
    assert escape_key("^a") == b"\x01"
    assert escape_key("none") == b""
    for wrong in ("]", "^", "^1", "escape"):
        with pytest.raises(UsageError):
            escape_key(wrong)
