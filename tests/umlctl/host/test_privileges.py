from __future__ import annotations

import os
import subprocess

import pytest

from umlctl.host import call_list, privileges
from umlctl.host.call_list import CallList, open_program

pytestmark = pytest.mark.skipif(
    os.uname().machine not in call_list.MACHINES, reason="such programs are for x86-64"
)


def kept(*names: str, namespace: bool = False, within: tuple[str, ...] = ()) -> dict[str, int]:
    """What a program has of each set of capabilities that was to keep these.

    within: what leads to it
    """
    calls = CallList()
    privileges.keep(calls, names, namespace=namespace)
    program = open_program(calls.program())
    try:
        done = subprocess.run(
            [*within, f"/proc/self/fd/{program}", "/bin/cat", "/proc/self/status"],
            pass_fds=[program],
            capture_output=True,
            text=True,
            check=True,
        )
    finally:
        os.close(program)
    lines = (line.split() for line in done.stdout.splitlines())
    return {words[0][3:-1]: int(words[1], 16) for words in lines if words[0].startswith("Cap")}


def test_only_what_is_kept_is_there() -> None:
    had = privileges._permitted()
    found = kept("CAP_CHOWN", "CAP_NET_ADMIN")
    assert found["Prm"] == found["Eff"] == had & (1 << 0 | 1 << 12)
    assert found["Inh"] == found["Amb"] == 0
    assert had == 0 or found["Bnd"] == found["Prm"]
    assert kept()["Prm"] == 0


def test_what_is_of_files_is_what_root_does_with_the_files_of_others() -> None:
    assert kept(*privileges.OF_FILES)["Eff"] == privileges._permitted() & 0b11111


@pytest.mark.parametrize("mapped", ["--map-current-user", "--map-root-user"])
def test_nothing_is_kept_of_what_a_user_namespace_gives(mapped: str) -> None:
    within = ("unshare", "--user", mapped, "--keep-caps")
    found = kept("CAP_CHOWN", namespace=True, within=within)
    assert found["Prm"] == found["Eff"] == found["Inh"] == found["Amb"] == 0


@pytest.mark.parametrize("names", [(), ("CAP_CHOWN",)])
def test_personality_stays_though_privileges_go(names: tuple[str, ...]) -> None:
    """A kernel since Linux 6.16 executes itself until it has it."""
    calls = CallList()
    privileges.keep(calls, names, namespace=False)
    program = open_program(calls.program())
    try:
        words = ["setarch", "-R", f"/proc/self/fd/{program}", "/bin/cat", "/proc/self/personality"]
        done = subprocess.run(words, pass_fds=[program], capture_output=True, text=True, check=True)
    finally:
        os.close(program)
    assert int(done.stdout, 16) & 0x0040000
