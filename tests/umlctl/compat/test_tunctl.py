"""Side by side with the original, in network namespaces of their own."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.program import SCRIPT
from umlctl.compat import tunctl
from umlctl.networks.interfaces import IFF_TAP

if TYPE_CHECKING:
    from pathlib import Path

ROOT = os.geteuid() == 0


@pytest.mark.parametrize(
    "words",
    [
        *("-h", "x", "-t d x", "x -t d", "-t", "-z", "-u nobody-here", "-g nobody-here"),
        *("-u 12x", "-u 08", "-u 0x", "-f /nowhere", "-f /dev/null", "-f /dev/null -d d", "-bt"),
    ],
)
def test_errors_are_those_of_the_original(capsys: pytest.CaptureFixture[str], words: str) -> None:
    code = tunctl.main(["/opt/tunctl", *words.split()])
    stock = subprocess.run(["tunctl", *words.split()], capture_output=True, text=True, check=False)
    assert (code, *capsys.readouterr()) == (stock.returncode, stock.stdout, stock.stderr)
    assert code == 1


@pytest.mark.parametrize("words", [["-u", ""], ["-g", ""], ["-u", "4294967296"], ["-u", "-1"]])
def test_owner_is_never_guessed(capsys: pytest.CaptureFixture[str], words: list[str]) -> None:
    """The original takes the first two for root."""
    assert tunctl.main(["tunctl", *words]) == 1
    assert f"'{words[1]}' is neither a " in capsys.readouterr().err


def test_command_line_is_read() -> None:
    asked = tunctl.read(["-bt", "d", "-u0x10", "-g", "010", "-n", "-f", "/x"])
    assert (asked.name, asked.owner, asked.group, asked.device) == ("d", 16, 8, "/x")
    assert (asked.brief, asked.delete, asked.kind) == (True, False, tunctl.IFF_TUN)
    asked = tunctl.read(["-n", "-p", "-d", "a"])
    assert (asked.delete, asked.kind) == (True, IFF_TAP)
    assert tunctl.read(["-u", "root"]).owner == 0


@given(st.lists(st.text(st.sampled_from("-bdftugnp01x ä"), max_size=4), max_size=5))
def test_any_words_are_read_or_wrong(words: list[str]) -> None:
    try:
        asked = tunctl.read(words)
    except tunctl.Wrong:
        return
    assert asked.owner is None or 0 <= asked.owner <= tunctl.MAX_ID


if ROOT:

    def both(script: str, tmp_path: Path) -> tuple[str, str]:
        """What a script prints with each of them, for the command T."""
        link = tmp_path / "tunctl"
        link.symlink_to(SCRIPT)
        said = []
        for client in ("tunctl", f"{shlex.quote(sys.executable)} {link}"):
            program = f'mount -t sysfs sysfs /sys; T() {{ {client} "$@"; echo "= $?"; }}'
            text = f"{program}\n{script}\nip -o tuntap | sort"
            done = subprocess.run(
                ["unshare", "-nm", "sh", "-c", text],
                capture_output=True,
                text=True,
                timeout=60,
                check=True,
            )
            said.append(done.stdout + done.stderr)
        return said[0], said[1]

    @pytest.mark.parametrize(
        "script",
        [
            "T; T -b; T -b",
            "T -t d1; T -t d1 -u nobody; T -t d1 -g nogroup; T -d d1; T -d d1",
            "T -b -t d2 -u 12 -g 0x20; T -d d2 -b; T -u root -t d3",
            "T -t a-name-much-too-long-for-it; T -d a-name-much-too-long-for-it",
            "T -t bad/name; T -t ''; T -d never-there; T -t 'x%d'; T -d ''",
            "ip link add d4 type dummy; T -t d4; T -d d4",
            "T -u 2147483647 -t d5; T -g 65535 -t d6; T -d d5",
        ],
    )
    def test_same_as_the_original(tmp_path: Path, script: str) -> None:
        stock, ours = both(script, tmp_path)
        assert ours == stock
        assert "= 0" in stock

    def test_tun_is_made_as_others_make_it(tmp_path: Path) -> None:
        _, ours = both("T -n -t d7; T -p -t d8; T -d d7; T -n -d d7", tmp_path)
        assert ours.splitlines()[:3] == [
            f"Set 'd7' persistent and owned by uid {os.getuid()}",
            "= 0",
            f"Set 'd8' persistent and owned by uid {os.getuid()}",
        ]
        assert "TUNSETIFF: Invalid argument" in ours  # a tun is no tap
        assert "Set 'd7' nonpersistent" in ours
        assert "d8: tap" in ours
