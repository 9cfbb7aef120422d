"""Help at the prompt: what a command is, what fits behind it, and what a user may have meant.

`topic` says what a `?` behind some text asks about, `about` answers it.
"""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Final

from umlctl.cli import prompt
from umlctl.cli.main import GROUPS
from umlctl.cli.man import TOPICS
from umlctl.cli.prompt import INSTEAD, VERBS, asks_for_help, help_of, is_command, options_of
from umlctl.errors import UsageError
from umlctl.protocol.commands import BY_NAME, HOST, KERNEL, SYSRQ
from umlctl.shell.command_line import last
from umlctl.shell.completion import (
    BUILT_IN,
    CHANNELS,
    DISK_OPTIONS,
    NIC_KINDS,
    NIC_OPTIONS,
    PLUG_KINDS,
    PLUGGED_CONSOLES,
    PROC_FILES,
    SHARE_OPTIONS,
    TRANSPORTS,
)
from umlctl.synonyms import HARMFUL, SYNONYMS, meant

if TYPE_CHECKING:
    from collections.abc import Sequence

    from umlctl.protocol.commands import Command

_SPECS: Final = {
    "disk": ((f"plug disk FILE[,OPTION...]   {PLUG_KINDS['disk']}", DISK_OPTIONS),),
    "nic": (
        (f"plug nic KIND[,OPTION...]   {PLUG_KINDS['nic']}", NIC_KINDS),
        ("more options, behind a comma:", NIC_OPTIONS),
    ),
    "share": ((f"plug share DIR[:PATH][,ro]   {PLUG_KINDS['share']}", SHARE_OPTIONS),),
    "console": (
        (f"plug console NAME   {PLUG_KINDS['console']}", {" ".join(PLUGGED_CONSOLES): ""}),
    ),
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
_NATIVE: Final = tuple(name for name, command in BY_NAME.items() if command.served != HOST)
"""The commands that a guest is asked over its socket."""
_PROMPT: Final = {
    "help": "this; `help --kernel`: what the kernel says",
    "@GUEST COMMAND": "of another guest",
    "!PROGRAM": "a program of the host; `COMMAND | PROGRAM` hands it an answer",
    "COMMAND > FILE": "the answer is written to a file; >> adds it",
}
_BEHIND: Final = {
    "plug": tuple(section for what in PLUG_KINDS for section in _SPECS[what]),
    "config": _CONFIG,
    "proc": (("PATH, among others:", PROC_FILES),),
    "sysrq": (("LETTER:", SYSRQ),),
}
"""What fits behind a command."""


def names() -> list[str]:
    """The words that can begin a line."""
    return [*dict.fromkeys((*_NATIVE, *BUILT_IN, *VERBS))]


def unknown(word: str) -> str:
    """The error for a command that does not exist."""
    if word in INSTEAD:
        return f"there is no `{word}` at the prompt: {INSTEAD[word]}"
    near = meant(word, names())
    hint = f"did you mean {near}?" if near else "`help` lists the commands"
    return f"there is no command {word!r}; {hint}"


def of_the_host(line: str) -> str:
    """The program of the host that a line of `!PROGRAM ...` runs; empty if the line is none.

    A program that might harm the host, and be meant for the guest, is not run, such as `!poweroff`.

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
    if word in VERBS and shutil.which(word) is None:
        raise UsageError(
            f"there is no program {word!r} on this host; `{word}` without `!` is the command, and "
            "where it can be insisted on, it has --force"
        )
    return text


def topic(before: str) -> list[str] | None:
    """The words of the command that a `?` behind this text asks about; no words: all commands.

    None: the `?` is a letter like any other.
    """
    text = last(before)
    if text is None:
        return None
    words = text.split()
    if words and words[0].startswith("@"):
        words = words[1:]
        if not words and not text.endswith(" "):
            return None
    if words[:1] == ["watch"] and len(words) > 1:
        words = words[3 if words[1] == "-n" else 1 :]
    if not words:
        return []
    words[0] = words[0].removeprefix("!")
    whole = text.endswith(" ")
    if words[0] not in names() or (words[0] == "help" and whole):
        return None
    if len(words) == 1 or is_command(words):
        return words
    if words[0] == "plug" and words[1] in _SPECS and (whole or text.endswith(",")):
        return words[:2] if len(words) == 2 or text.endswith(",") else None
    return None


def question(line: str, words: list[str]) -> list[str] | None:
    """The words that a line wants explained, and not done, as `about` takes them; None: none.

    words: of the line; there are some
    """
    asked = topic(line.rstrip()[:-1]) if line.rstrip().endswith("?") else None
    if asked is None and words[0] == "help" and prompt.KERNEL not in words:
        return words[1:]
    return words if asked is None and asks_for_help(words) else asked


def about(words: list[str]) -> list[str]:
    """A command's arguments, meaning, cost, options, example, and what fits where; all commands if
    none is named.

    words: a command, and perhaps the kind of thing that it is about

    Raises: UsageError
    """
    if not words:
        return overview()
    name = words[0]
    if name == "plug" and len(words) > 1 and words[1] in _SPECS:
        return _sections(_SPECS[words[1]])
    if name in _NATIVE:
        return _about_native(BY_NAME[name])
    if name in VERBS:
        return help_of(words)
    if name in TOPICS:
        from umlctl.cli.migrating import text

        return text().splitlines()
    if name in BUILT_IN:
        return [f"{name}: {BUILT_IN[name]}"]
    raise UsageError(unknown(name))


def _about_native(command: Command) -> list[str]:
    """Help for a command of mconsole, with the options that it has on the command line and here."""
    name = command.name
    lines = [f"{name} {command.args}".rstrip(), f"    {command.help}"]
    if command.served == KERNEL:
        lines.append("    the kernel answers: bare kernels have it too")
    if command.danger:
        lines.append(f"    mind: {command.danger}")
    if command.example:
        lines.append(f"    example: {name} {command.example}")
    return lines + _sections(_BEHIND.get(name, ())) + options_of(name)


def overview() -> list[str]:
    """Every command with its meaning, grouped by purpose."""
    of_prompt = {name: meaning for name, meaning in BUILT_IN.items() if name not in VERBS}
    meanings = {name: BY_NAME[name].help for name in _NATIVE if name != "help"} | VERBS | BUILT_IN
    sections = [
        (f"{heading}:", {name: meanings[name] for name in group if name in shown})
        for heading, group in GROUPS.items()
        if (shown := set(group) & meanings.keys() - of_prompt.keys())
    ]
    return [
        "Of the guest of the prompt; `help COMMAND` and `COMMAND ?` say more of one:",
        *_sections([*sections, ("The prompt:", _PROMPT | of_prompt)]),
    ]


def _sections(sections: Sequence[tuple[str, dict[str, str]]]) -> list[str]:
    """Headings, and below each its words; all meanings stand under each other."""
    lines = []
    tables = [table for _, table in sections]
    width = max((len(word) for table in tables for word in table if table[word]), default=0)
    for heading, table in sections:
        lines.append(heading)
        lines += [f"    {word:<{width}}  {meaning}".rstrip() for word, meaning in table.items()]
    return lines
