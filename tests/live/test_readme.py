"""The README, read as a newcomer does: from top to bottom, each line typed as it stands."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

import pexpect
import pytest

from tests.live.conftest import House, heed_signals
from umlctl.host import programs

if TYPE_CHECKING:
    from collections.abc import Iterator

README: Final = Path(__file__).parents[2] / "README.md"
SET_UP_ELSEWHERE: Final = ("Install", "A Debian of its own")
"""Sections that fetch from the network: what they install is here already, or takes minutes."""
TAKE_IP: Final = ("umlctl exec a -- getent hosts b",)
"""Lines that work where ip(8) is installed, as the README says above them: guests on this host's
files find no other, and an ordinary user installs none."""
LEFT_BY: Final = {"umlctl console": "\x1d", "umlctl shell demo\n": "\x04"}
"""What is typed to leave the commands that take the terminal."""
OWN_NETWORK: Final = "mount -t sysfs s /sys && ip link set lo up && exec bash --norc --noprofile"
"""Root's bridges and ports are in a network namespace of their own."""
PROMPT: Final = "newcomer> "
DEADLINE: Final = 60
VARYING: Final = re.compile(r"\d+|\b(Mon|Tue|Wed|Thu|Fri|Sat|Sun)\b|\b[A-Z][a-z]{2} +(?=\d)")
"""Numbers and dates, which differ from one run to the next."""


class Command(NamedTuple):
    """What is typed, and the lines that the README shows after it."""

    text: str
    shown: list[str]
    as_root: bool


def sections() -> Iterator[tuple[str, str]]:
    """The titles and texts of the README's sections."""
    for part in README.read_text().split("\n## ")[1:]:
        title, _, text = part.partition("\n")
        yield title, text


def commands(text: str) -> Iterator[Command]:
    """The commands of each console block: with what `<<` or a backslash makes part of them."""
    for block in re.findall(r"```console\n(.*?)```", text, re.DOTALL):
        lines = iter(block.splitlines())
        command: Command | None = None
        for line in lines:
            if not line.startswith(("$ ", "# ")):
                assert command is not None, line
                command.shown.append(line)
                continue
            if command is not None:
                yield command
            typed = line[2:]
            while typed.endswith("\\"):
                typed = f"{typed}\n{next(lines)}"
            here = re.search(r"<<'(\w+)'", typed)
            while here and not typed.endswith(f"\n{here[1]}"):
                typed = f"{typed}\n{next(lines)}"
            command = Command(typed, [], line.startswith("# "))
        if command is not None:
            yield command


def test_blocks_are_read_as_they_are_typed() -> None:
    text = "```console\n$ a \\\n  b\nshown\n# cat <<'E'\nx\nE\n$ c\n```\n"
    assert list(commands(text)) == [
        Command("a \\\n  b", ["shown"], as_root=False),
        Command("cat <<'E'\nx\nE", [], as_root=True),
        Command("c", [], as_root=False),
    ]


def test_nothing_comes_before_it_is_installed() -> None:
    first = next(iter(sections()))
    assert first[0] == "Install"
    assert "```" not in README.read_text().partition("\n## ")[0]


@pytest.fixture
def terminal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[pexpect.spawn[str]]:
    """A newcomer's shell in an empty directory, in a place of its own."""
    house = House(str(tmp_path_factory.mktemp("r")))
    assert shutil.which("umlctl"), "it is in PATH, as after the installation"
    shell = ["bash", "--norc", "--noprofile"]
    if os.getuid() == 0:
        # Where another directory is the root, nothing can be made private, and nothing needs to be.
        private = subprocess.run(["unshare", "--mount", "true"], capture_output=True, check=False)
        kept = ["--propagation", "unchanged"] if private.returncode else []
        shell = ["unshare", "--net", "--mount", *kept, "sh", "-c", OWN_NETWORK]
    child = pexpect.spawn(
        shell[0],
        shell[1:],
        cwd=house.home,
        env={**house.env, "PS1": PROMPT, "PS2": "", "TERM": "dumb", "LC_ALL": "C.UTF-8"},
        encoding="utf-8",
        timeout=DEADLINE,
        dimensions=(50, 200),
        echo=False,
        preexec_fn=heed_signals,
    )
    try:
        child.expect_exact(PROMPT)
        yield child
    finally:
        child.close(force=True)
        house.umlctl("quit")


@pytest.mark.timeout(300)
def test_every_line_works_in_the_order_in_which_it_stands(terminal: pexpect.spawn[str]) -> None:
    for title, text in sections():
        if title in SET_UP_ELSEWHERE:
            continue
        for command in commands(text):
            if is_for(command):
                type_in(terminal, command)


def is_for(command: Command) -> bool:
    """Whether a command is for who reads on this host."""
    if command.text.startswith(TAKE_IP) and programs.init_lacks("ip"):
        return False
    return not command.as_root or os.getuid() == 0


def type_in(terminal: pexpect.spawn[str], command: Command) -> None:
    """Type a command, leave what it opens, and compare what the README shows."""
    typed = re.sub(r" +#.*$", "", command.text) if "\n" not in command.text else command.text
    terminal.send(f"{typed}\n")
    for begin, key in LEFT_BY.items():
        if f"{typed}\n".startswith(begin):
            terminal.expect("leaves it|demo.*> ")
            terminal.send(key)
    terminal.expect_exact(PROMPT)
    said = terminal.before or ""
    terminal.send("echo =$?=\n")
    terminal.expect("=([0-9]+)=")
    assert terminal.match
    assert terminal.match[1] == "0", (typed, said)
    terminal.expect_exact(PROMPT)
    seen = [alike(line) for line in said.splitlines()]
    for line in command.shown:
        assert alike(line) in seen, (typed, said)


def alike(line: str) -> str:
    return VARYING.sub("0", line).strip()
