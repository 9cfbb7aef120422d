"""The shell in a real terminal, and without one."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import pexpect

if TYPE_CHECKING:
    from tests.live.conftest import House


def _open(house: House, guest: str) -> pexpect.spawn:
    child = pexpect.spawn(
        sys.executable,
        ["-m", "umlctl", "shell", guest],
        env={**house.env, "TERM": "xterm", "PROMPT_TOOLKIT_NO_CPR": "1"},
        encoding="utf-8",
        timeout=30,
        dimensions=(30, 120),
    )
    child.expect(f"{guest}>")
    return child


def test_commands_are_answered_completed_and_remembered(house: House, shared: str) -> None:
    child = _open(house, shared)
    child.send("vers")
    child.expect("kernel name, host name")  # the menu of completions
    child.send("\t")
    child.expect("ion")
    child.send("\r")
    child.expect("Linux shared")
    child.send("remove ubd7\r")
    child.expect("Device doesn't exist")
    child.send("nonsense\r")
    child.expect("there is no command")
    child.expect(f"{shared}>")
    child.sendeof()
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 0
    history = f"{house.path}/s/umlctl/history/{shared}"
    with open(history) as file:
        assert "+version" in file.read()
    assert os.stat(history).st_mode & 0o777 == 0o600


def test_ctrl_c_gives_up_the_running_command_and_only_it(house: House, shared: str) -> None:
    child = _open(house, shared)
    child.send("events\r")
    child.expect("ready")
    child.sendintr()
    child.expect("given up")
    child.send("version\r")
    child.expect("Linux shared")
    child.sendintr()
    child.send("quit\r")
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 0, child.before


def test_without_a_terminal_commands_come_from_standard_input(house: House, shared: str) -> None:
    done = house.umlctl("shell", shared, stdin="# a script\nversion\nproc sys/kernel/hostname\n")
    assert done.returncode == 0
    assert done.stdout.splitlines()[1] == shared
    failed = house.umlctl("shell", shared, stdin="remove ubd7\nversion\n")
    assert failed.returncode == 1
    assert "Linux" not in failed.stdout


def test_a_shell_for_nobody_says_so(house: House) -> None:
    child = pexpect.spawn(
        sys.executable, ["-m", "umlctl", "shell", "nobody"], env=house.env, encoding="utf-8"
    )
    child.expect("no guest 'nobody'")
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 3
