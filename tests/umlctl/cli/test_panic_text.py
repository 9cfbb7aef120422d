from __future__ import annotations

from typing import TYPE_CHECKING

from umlctl.cli import panic_text
from umlctl.kernels import find, stack_decoding

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pytest

TAIL = b"\n".join([*(b"%d" % number for number in range(30)), panic_text.PANIC + b": why", b"f"])


def test_panic_is_shown_with_what_came_before_it() -> None:
    assert panic_text.lines_of(TAIL, None, "")[0] == b"18"
    assert panic_text.lines_of(TAIL, None, "")[-1] == b"f"
    assert panic_text.lines_of(b"no panic", None, "") == []


def test_stack_is_decoded_or_it_is_said_why_not(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    tail = TAIL + b"\n [<60>] panic+0x1/0x2"
    assert panic_text.lines_of(tail, "/no/such", "")[-1] == b" [<60>] panic+0x1/0x2"
    assert "its stack has no files and lines: " in capfd.readouterr().err

    class Decoder:
        def __enter__(self) -> Decoder:  # noqa: PYI034 - a stand-in
            return self

        def __exit__(self, *_: object) -> None: ...

        def lines(self, lines: Iterator[bytes]) -> Iterator[bytes]:
            return (line.upper() for line in lines)

    monkeypatch.setattr(find, "find", lambda kernel: kernel)
    monkeypatch.setattr(find, "probe", lambda *_: None)
    monkeypatch.setattr(stack_decoding, "decoder", lambda _: Decoder())
    assert panic_text.lines_of(tail, "/k", "")[-1] == b" [<60>] PANIC+0X1/0X2"
    assert capfd.readouterr().err == ""
