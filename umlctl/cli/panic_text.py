"""What is shown of a panic: its lines of the kernel's log, with files and lines where they can be
had."""

from __future__ import annotations

from typing import Final

from umlctl.cli.exec_command import say
from umlctl.errors import UmlctlError

PANIC: Final = b"Kernel panic - not syncing"
LINES_BEFORE: Final = 12
"""How many lines before a panic's own are shown."""


def lines_of(tail: bytes, kernel: str | None, user: str) -> list[bytes]:
    """What is shown; nothing, if there was no panic. Why its stack is not decoded is said.

    tail: of the kernel's log; kernel, user: as they were asked for
    """
    panic = tail.rfind(PANIC)
    if panic < 0:
        return []
    first = len(tail[:panic].split(b"\n")) - 1
    lines = tail.split(b"\n")[max(0, first - LINES_BEFORE) :]
    from umlctl.kernels import find, stack_decoding  # which few commands need

    if not any(map(stack_decoding.PLACE.search, lines)):
        return lines
    try:
        with stack_decoding.decoder(find.probe(find.find(kernel), user)) as decoder:
            return list(decoder.lines(iter(lines)))
    except UmlctlError as problem:
        say(f"its stack has no files and lines: {problem}")
        return lines
