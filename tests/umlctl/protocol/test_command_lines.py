from __future__ import annotations

import re

import pytest

from umlctl.guest.cmdline import AGENT_DESCRIPTOR, AGENT_LINE
from umlctl.protocol import command_lines, console_socket


@pytest.mark.parametrize("has_agent", [True, False])
def test_every_descriptor_is_a_fifo_of_its_own(has_agent: bool) -> None:
    openings = command_lines.openings(has_agent=has_agent)
    used = [
        int(number)
        for word in command_lines.words(has_agent=has_agent)
        for number in re.findall(r"fd:(\d+)", word)
    ]
    assert sorted(used) == list(openings)
    assert len(set(openings.values())) == len(openings)
    assert max(openings) == command_lines.LAST_DESCRIPTOR - has_agent
    consoles = [console_socket.config(name) for name in console_socket.CONSOLES[1:]]
    others = {int(number) for each in consoles for number in re.findall(r"fd:(\d+)", each)}
    assert not {*others, AGENT_DESCRIPTOR} & set(openings)


def test_every_line_is_one_that_no_console_or_other_program_has() -> None:
    words = command_lines.words(has_agent=False)
    names = [word.partition("=")[0] for word in words]
    assert len(set(names)) == len(names)
    assert not set(names) & {*console_socket.CONSOLES, AGENT_LINE, "ssl60", "ssl61", "ssl62"}
    first = [f"ssl{command_lines.line(slot)}" for slot in range(command_lines.SLOTS)]
    assert [name for name in names if name in first] == first
    assert f"/dev/ttyS{command_lines.SHELL_LINE.removeprefix('ssl')}" == command_lines.SHELL_DEVICE
