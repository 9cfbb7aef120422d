"""What people and clients type: command lines for a guest, and for the shell."""

from __future__ import annotations

from contextlib import suppress

from umlctl.errors import Refusal, UsageError
from umlctl.protocol import guard as guards
from umlctl.shell import command_line as shell
from umlctl.shell import completion as completions


def guard(data: bytes) -> None:
    """A request: it is refused with a reason, or means the same to the kernel as to us."""
    try:
        line = guards.read(data.decode("utf-8", "surrogateescape"))
    except Refusal as refusal:
        assert str(refusal)
        assert refusal.error
        return
    again = guards.read(line.text)
    assert (again.command, again.argument) == (line.command, line.argument)
    guards.is_query(line)
    for stopped in (False, True):
        try:
            guards.check(line, stopped=stopped)
        except Refusal as refusal:
            assert not line.forced
            assert refusal.error


def typed(data: bytes) -> None:
    """A text at the prompt, of one command or more."""
    text = data.decode("utf-8", "surrogateescape")
    for each in shell.split(text):
        with suppress(UsageError):
            found = shell.read(each)
            assert not (found.program and found.file)


def completion(data: bytes) -> None:
    """Completion anywhere in a text: what is offered begins with what was typed."""
    text = data.decode("utf-8", "surrogateescape")
    facts = completions.Facts(devices={"ubd1": "/a"}, guests={"a": ""}, networks=("n",), root="/")
    for cursor in {0, len(text) // 2, len(text)}:
        found = completions.wanted(text, cursor)
        assert text[:cursor].endswith(found.prefix), (text, cursor, found)
        for each in completions.offer(found, facts, lambda prefix: (prefix, prefix + "/")):
            assert each.text.startswith(found.prefix)
