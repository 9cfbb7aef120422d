"""What a refusal was about, and what a kernel means by its few words; pure."""

from __future__ import annotations

from typing import Final

MEANINGS: Final = {
    ("proc", "Failed to open file"): "no such file",
    ("proc", "Read of file failed"): (
        "a directory, or a file that kernels cannot read for others, as most of net and of a "
        "process's own are"
    ),
    ("stack", "Couldn't find that pid"): "no process of the guest has this number",
    ("remove", "Device doesn't exist"): "`devices` lists those there are",
    ("remove", "Device is currently open"): "it is in use in the guest: mounted, or open",
}
"""The meaning, by the command and by what a kernel says (6.1)."""
WITH_AN_OBJECT: Final = ("proc", "stack", "remove", "sysrq")


def explained(name: str, words: list[str], said: str) -> str:
    """A refusal with what was asked for, and its meaning where that is known.

    words: the words after the command
    """
    meaning = MEANINGS.get((name, said))
    argument = " ".join(words)
    if meaning and name == "proc" and argument.startswith(("/", "1/root")):
        meaning += _on_the_guests_files(argument)
    text = f"{said}: {meaning}" if meaning else said
    if name in WITH_AN_OBJECT and argument and argument not in said:
        text = f"{argument}: {text}"
    return text


def _on_the_guests_files(path: str) -> str:
    if path.startswith("1/root"):
        return "; an absolute link cannot be followed"
    return f"; the guest's own is 1/root{path}"
