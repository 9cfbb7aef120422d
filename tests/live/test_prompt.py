"""A whole session at the prompt, driven by keys, from no guest at all."""

from __future__ import annotations

import os
import sys
import termios
from typing import TYPE_CHECKING, Any

import pexpect

from tests.live.conftest import Terminal

if TYPE_CHECKING:
    from pathlib import Path

    from tests.live.conftest import House
BEGINS, ENDS = r"\x1b\[\?2004h", r"\x1b\[\?2004l"
"""What a terminal is told when a line begins to be typed, and when it is taken."""


class Prompt:
    """`umlctl shell` in a terminal.

    Fields:
        child: it
        guest: whose prompt is waited for; empty: none's
    """

    def __init__(self, house: House) -> None:
        self.guest = ""
        self.child = Terminal(
            *(sys.executable, ["-m", "umlctl", "shell"]),
            env={**house.env, "TERM": "xterm", "COLORTERM": "", "PAGER": "cat"},
            encoding="utf-8",
            timeout=20,
            dimensions=(50, 160),
        )
        self.child.str_last_chars = 4000

    def returns(self) -> str:
        """Wait for the prompt; what was shown before it."""
        self.child.expect(BEGINS)
        shown = str(self.child.before)
        self.child.expect(self.guest or "umlctl")
        # A state that has changed since is drawn by itself, in the place of the one before.
        self.child.expect(r"running\S*>" if self.guest else r"\S*>")
        return shown

    def do(self, keys: str, *said: str) -> str:
        """Type something, see what is said, in this order, and wait for the prompt."""
        self.enter(keys)
        for each in said:
            self.child.expect(each)
        return self.returns()

    def enter(self, keys: str) -> None:
        """Type a line, and wait until it is taken."""
        self.child.send(f"{keys}\r")
        self.child.expect(ENDS)

    def settings(self) -> list[Any]:
        return termios.tcgetattr(self.child.child_fd)


def test_session_from_no_guest_to_two_and_their_devices(empty_house: House, tmp_path: Path) -> None:
    a, b = f"a{os.getpid()}", f"b{os.getpid()}"
    (tmp_path / "data.img").write_bytes(b"\0" * (1 << 20))
    prompt = Prompt(empty_house)
    child = prompt.child
    assert "no guest runs" in prompt.returns()
    prompt.do("version", "`version` needs a guest, and no guest runs")
    child.send("sta")
    child.expect("boot a guest in the background")  # the menu
    prompt.guest = a
    prompt.do(f"rt {a} --mem 64M", f"{a} is running, kernel pid")
    prompt.do(f"start {b} --mem 64M", f"{b} is running, kernel pid")

    child.send(f"disk add {tmp_path}/da")
    child.expect("data.img")
    told = prompt.do("\t --ro", f"ubd1 is in {a} as /dev/ubdb, 1.0M")
    assert "device added" not in told, "who has done it need not be told"
    prompt.do("nic add --switch lan", f"vec0 is in {a}, [^\\r]*switch lan")
    assert "vec0" not in prompt.do(f"@{b} nic list", "MAC")
    prompt.do("nic list | grep -v MAC", r"vec0[^\r]*switch lan")
    prompt.do("network show lan --json | tr -d ' '", f'"guest":"{a}"')

    before = prompt.settings()
    prompt.enter("console")
    child.expect("attached to con0")
    child.send("echo in $((20+3))\r")
    child.expect("in 23")
    child.send("\x1d")
    prompt.returns()
    assert prompt.settings() == before
    prompt.enter("logs -f")
    child.expect("in 23")
    child.sendintr()
    prompt.returns()
    assert prompt.settings() == before
    prompt.enter("watch -n 0.2 status")
    child.expect("every 0.2s: status")
    child.expect("every 0.2s: status")
    child.sendintr()
    prompt.returns()

    listed = prompt.do("list")
    assert {a, b} <= set(listed.split())
    prompt.do("disk rm ubd1", "ubd1 is out of")
    prompt.do("restart", f"{a} shut down", f"{a} is running, kernel pid")
    prompt.guest = b
    prompt.do(f"switch {b}")
    prompt.do(f"@{a} status --json | tr -d ' '", f'"umid":"{a}"')
    child.send("\x04")
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 0, child.before
    rows = empty_house.rows()
    assert {umid: row["state"] for umid, row in rows.items()} == {a: "running", b: "running"}
