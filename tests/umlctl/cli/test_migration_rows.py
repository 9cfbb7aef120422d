"""What the rows name is there: commands with their options, options of `start`, keys and files."""

from __future__ import annotations

import re
import shlex

import pytest

from tests.test_man import commands, options
from umlctl.cli.main import LAZY
from umlctl.cli.migration_rows import NOWHERE, SECTIONS, VKERNEL
from umlctl.guest import specs
from umlctl.guest.options import BY_NAME
from umlctl.guest.readers import vkernel
from umlctl.protocol.commands import BY_NAME as MCONSOLE

SAID = [each for section in SECTIONS for row in section.rows for each in (row.here,)]
SAID += [section.begins for section in SECTIONS]
TYPED = sorted({typed for said in SAID for typed in re.findall(r"`([^`]*)`", said)})
NOT_OURS = {
    *("vfio_uml.device=", "make ARCH=um", "UMLCTL_DIR", "~/.local/state/umlctl", "--"),
    *("~/.config/umlctl/guests/web.toml",),
}
"""What is typed elsewhere, or is a file."""


def command_of(typed: str) -> tuple[str, list[str]]:
    """The command that a line has, and the words behind it."""
    words = shlex.split(typed)[1:]
    if words and words[0] not in {*LAZY, *MCONSOLE}:
        return "", words
    known = commands()
    two = " ".join(words[:2])
    name = two if two in known else words[0]
    return name, words[len(name.split()) :]


@pytest.mark.parametrize("typed", [each for each in TYPED if each.startswith("umlctl ")])
def test_command_that_is_named_is_there_with_its_options(typed: str) -> None:
    name, words = command_of(typed)
    known = commands()
    groups = {each.partition(" ")[0] for each in known if " " in each}
    assert name in {*known, *groups}, typed
    own = words[: words.index("--")] if "--" in words else words
    asked = {word for word in own if re.fullmatch(r"--?[a-z][\w-]*", word)}
    assert asked <= (options(known[name]) if name in known else set()), typed


@pytest.mark.parametrize("typed", [each for each in TYPED if not each.startswith("umlctl ")])
def test_what_is_typed_is_an_option_of_start_or_a_word_of_one(typed: str) -> None:
    if typed in NOT_OURS:
        return
    name, _, value = typed.removeprefix("--").partition(" ")
    if not typed.startswith("--"):
        words = [*specs.DISK_FLAGS, "slot=N", "cow=FILE", "cow=COW"]
        assert typed in words
        return
    known = {each for name_ in ("start", "network create", "shutdown", "restart")
             for each in options(commands()[name_])}  # fmt: skip
    assert f"--{name}" in known
    if name == "nic" and value:
        specs.parse_nic(value.replace("MAC", "02:00:00:00:00:01"))
    elif name == "disk":
        for option in value.split(",")[1:]:
            assert option in (*specs.DISK_FLAGS, "serial=S")
    assert name in BY_NAME or name in ("up", "down", "user", "all")


def test_each_option_of_vkernel_has_a_row() -> None:
    said = " ".join(row.theirs for row in (*VKERNEL.rows, *NOWHERE.rows))
    for letter in vkernel.OPTIONS:
        if letter != "h":
            assert re.search(rf"-{letter}\b", said), letter


def test_no_row_is_there_twice_and_none_is_empty() -> None:
    theirs = [row.theirs for section in SECTIONS for row in section.rows]
    assert len(set(theirs)) == len(theirs)
    assert all(row.here and not row.here.endswith(".") for s in SECTIONS for row in s.rows)
