"""Help at the prompt: what a command is, what fits behind it, and what was perhaps meant; pure.

`topic` says what a `?` behind some text asks about, `about` answers it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from umlctl.commands import BY_NAME, GUEST, HOST, KERNEL, SYSRQ
from umlctl.errors import UsageError
from umlctl.shell.completion import (
    BUILT_IN,
    CHANNELS,
    CONSOLES,
    DISK_OPTIONS,
    NIC_KINDS,
    NIC_OPTIONS,
    PLUGS,
    READABLE,
    TRANSPORTS,
)
from umlctl.shell.typed import unquoted
from umlctl.synonyms import HARMFUL, SYNONYMS, meant

if TYPE_CHECKING:
    from collections.abc import Sequence

HERE: Final = {
    "disk": "`plug disk FILE`, `remove ubdN` and `devices`",
    "nic": "`plug nic KIND`, `remove vecN` and `devices`",
    "mem": "`config mem=-64M`, and + to give it back",
    "ps": "`top`",
    "shell": "`switch`",
    "mconsole": "any command as it is",
}
"""What the prompt has for a command of umlctl that it has not."""
_SPECS: Final = {
    "disk": (("plug disk FILE[,OPTION...]   an image or a block device", DISK_OPTIONS),),
    "nic": (
        ("plug nic KIND[,OPTION...]   a network card", NIC_KINDS),
        ("more options, behind a comma:", NIC_OPTIONS),
    ),
    "console": (("plug console NAME   a line to attach to", {" ".join(CONSOLES): ""}),),
}
_CONFIG: Final = (
    (
        "DEVICE alone asks for what it is; otherwise, as the kernel takes it:",
        {
            "ubdN=FILE": "a disk; `plug disk` says more in words",
            "ubdN=COW,FILE": "a disk that writes to COW; flags follow N: r read-only, s sync",
            "vecN:transport=KIND,KEY=VALUE...": "a network card",
            "conN=CHANNEL, sslN=CHANNEL": "a line",
            "mem=-SIZE, mem=+SIZE": "take memory from it, and give it back",
        },
    ),
    ("KIND:", TRANSPORTS),
    ("CHANNEL:", CHANNELS),
)
_BEHIND: Final = {
    "plug": tuple(section for what in PLUGS for section in _SPECS[what]),
    "config": _CONFIG,
    "proc": (("PATH, among others:", READABLE),),
    "sysrq": (("LETTER:", SYSRQ),),
}
"""What fits behind a command."""


def names() -> list[str]:
    """What can begin a line."""
    found = [name for name, command in BY_NAME.items() if command.served != HOST]
    return [*found, *(name for name in BUILT_IN if name not in found)]


def unknown(word: str) -> str:
    """What is said of a command that there is none of."""
    from umlctl.cli.main import LAZY

    said = f"there is no command {word!r}"
    known = names()
    near = meant(word, [*known, *LAZY]) if word not in LAZY else word
    if near in known:
        return f"{said}; did you mean {near}?"
    if near in LAZY:
        here = f", and here {HERE[near]}" if near in HERE else ""
        return f"{said} here; outside it is `umlctl {near}`{here}"
    return f"{said}; `help` lists the commands"


def of_the_host(line: str) -> str:
    """The program of the host that a line of `!PROGRAM ...` runs; empty if it is none.

    What might harm the host and be meant for the guest is not run, such as `!poweroff`.

    Raises: UsageError
    """
    line = line.strip()
    text = line.removeprefix("!")
    word = text.split()[0] if text.strip() else ""
    if text == line or not word:
        return ""
    known = word in BY_NAME or word in BUILT_IN
    if known and text == text.lstrip():
        return ""
    if known or not HARMFUL.isdisjoint((word, *SYNONYMS.get(word, ()))):
        raise UsageError(
            f"`{word}` could be meant for the guest: `!` stands right before a command to insist "
            f"on it, and a program of the host by such a name is called by its path"
        )
    return text


def topic(before: str) -> list[str] | None:
    """What a `?` behind this text asks about: words of a command, none of them for all commands.

    None: it is a letter like any other.
    """
    begin = 0
    for place, letter in unquoted(before):
        if letter == ";":
            begin = place + 1
        elif letter in "|>":
            return None
    text = before[begin:].lstrip()
    words = text.split()
    if words[:1] == ["watch"] and len(words) > 1:
        words = words[3 if words[1] == "-n" else 1 :]
    if not words:
        return []
    words[0] = words[0].removeprefix("!")
    whole = text.endswith(" ")
    if words[0] not in names() or (words[0] == "help" and whole):
        return None
    if len(words) == 1:
        return words
    if words[0] == "plug" and words[1] in _SPECS and (whole or text.endswith(",")):
        return words[:2] if len(words) == 2 or text.endswith(",") else None
    return None


def about(words: list[str]) -> list[str]:
    """A command's arguments, meaning, cost, example, and what fits where; all, if none is named.

    words: a command, and perhaps which kind of thing it is about

    Raises: UsageError
    """
    if not words:
        return overview()
    name = words[0]
    if name in BUILT_IN:
        return [f"{name}: {BUILT_IN[name]}"]
    command = BY_NAME.get(name)
    if command is None or command.served == HOST:
        raise UsageError(unknown(name))
    if name == "plug" and words[1:]:
        return _sections(_SPECS[words[1]])
    lines = [f"{name} {command.args}".rstrip(), f"    {command.help}"]
    if command.served == KERNEL:
        lines.append("    the kernel answers: bare kernels have it too")
    if command.danger:
        lines.append(f"    mind: {command.danger}")
    if command.example:
        lines.append(f"    example: {name} {command.example}")
    return lines + _sections(_BEHIND.get(name, ()))


def overview() -> list[str]:
    """Every command with its meaning."""
    of_kernel = {c.name: c.help for c in BY_NAME.values() if c.served == KERNEL}
    of_supervisor = {c.name: c.help for c in BY_NAME.values() if c.served == GUEST}
    of_prompt = {
        "help": "the commands; `help COMMAND` and `COMMAND ?`: what it takes",
        **BUILT_IN,
        "!PROGRAM": "a program of the host; `COMMAND | PROGRAM` hands it an answer",
    }
    del of_kernel["help"]
    return _sections(
        [
            ("The kernel answers:", of_kernel),
            ("Its supervisor answers, which a bare kernel has not:", of_supervisor),
            ("The prompt has:", of_prompt),
        ]
    )


def _sections(sections: Sequence[tuple[str, dict[str, str]]]) -> list[str]:
    """Headings, and below each its words, with all meanings under each other."""
    lines = []
    tables = [table for _, table in sections]
    width = max((len(word) for table in tables for word in table if table[word]), default=0)
    for heading, table in sections:
        lines.append(heading)
        lines += [f"    {word:<{width}}  {meaning}".rstrip() for word, meaning in table.items()]
    return lines
