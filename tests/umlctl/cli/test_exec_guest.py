from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.live.conftest import processes_of, wait_for
from umlctl.cli import exec_guest
from umlctl.errors import HostError
from umlctl.execution.session import Outcome
from umlctl.guest import command
from umlctl.guest.definition import Definition
from umlctl.host import confine, paths, users
from umlctl.kernels.find import ProbedKernel
from umlctl.protocol import command_lines
from umlctl.protocol.control_line import Said
from umlctl.state.endings import ExitStatus
from umlctl.state.umid_lock import claim

if TYPE_CHECKING:
    from pathlib import Path

PLAIN = Definition(umid="exec-1", kernel="/k")


def test_process_1_is_the_program_where_it_can_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent = tmp_path / "agent"
    monkeypatch.setattr(command, "AGENT", str(agent))
    script = ["/bin/sh", command.SCRIPT]
    wide = ProbedKernel("/k", "6.1", frozenset(), {"64BIT": "y"})
    assert exec_guest.init_for(wide, "", "/x") == script
    agent.write_bytes(b"")
    agent.chmod(0o755)
    assert exec_guest.init_for(wide, "", "/x") == [str(agent)]
    assert exec_guest.init_for(wide._replace(config={}), "", "/x") == script
    assert os.path.exists(command.SCRIPT)


def test_script_is_handed_to_a_user_who_cannot_reach_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def check(_user: object, wanted: list[tuple[str, str]]) -> None:
        raise HostError(f"cannot reach {wanted[0][1]}")

    monkeypatch.setattr(users, "find", lambda name: name)
    monkeypatch.setattr(users, "check_reach", check)
    wide = ProbedKernel("/k", "6.1", frozenset(), {"64BIT": "y"})
    assert exec_guest.init_for(wide, "daemon", "/x") == ["/bin/sh", "/x/exec.sh"]


def test_confined_kernel_is_given_what_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(confine, "unable", lambda _kernel: "")
    found = exec_guest.reaching(PLAIN, ["/r"], ["/w"])
    assert (found.ro, found.rw) == (("/r",), ("/w",))
    monkeypatch.setattr(confine, "unable", lambda _kernel: "no Landlock")
    assert exec_guest.reaching(PLAIN, ["/r"], ["/w"]) == PLAIN
    asked = Definition(umid="exec-1", kernel="/k", confine="strict")
    assert exec_guest.reaching(asked, ["/r"], []).ro == ("/r",)
    off = Definition(umid="exec-1", kernel="/k", confine="off")
    assert exec_guest.reaching(off, ["/r"], []) == off


def test_guest_that_is_kept_begins_commands_for_others() -> None:
    asked = command.Command(("make",), "/x", {"A": "b"}, "ttt", "token", powerless=True)
    found = exec_guest._holder(asked)
    assert command_lines.SHELL_DEVICE in found.words[-1]
    assert (found.kinds, found.directory, found.powerless) == ("nnn", "/", True)
    assert found.environment == {"A": "b"}


@pytest.mark.parametrize(
    ("outcome", "goes_on"),
    [
        (Outcome(Said("status", (0,)), True), True),
        (Outcome(None, True, late=True), True),
        (Outcome(None, True, caught=2), True),
        (Outcome(None, True), False),
        (Outcome(None, True, panic="x"), False),
    ],
)
def test_guest_goes_on_unless_it_has_ended_by_itself(outcome: Outcome, goes_on: bool) -> None:
    assert exec_guest._goes_on(outcome) == goes_on


def test_guest_that_ends_by_itself_is_judged() -> None:
    panic = Outcome(None, True, panic="sysrq triggered crash")
    ended = exec_guest._judge(panic, b"Kernel panic - not syncing: x", ExitStatus(134, False))
    assert (ended.cause, ended.code) == ("panicked", 255)
    off = exec_guest._judge(Outcome(None, True), b"reboot: Power down", ExitStatus(3, False))
    assert (ended.cause, off.code) == ("panicked", 3)
    never = exec_guest._judge(Outcome(None, False), b"no memory", ExitStatus(1, False))
    assert never.code == 125


def test_what_a_killed_exec_leaves_is_removed(house: str) -> None:
    held = claim("exec-2")
    os.makedirs(paths.session_dir("exec-2"))
    held.leave()
    os.makedirs(paths.record_dir("exec-2"), exist_ok=True)  # logs, but no record yet
    exec_guest.clean_up("exec-2")
    assert not os.path.exists(paths.guest_dir("exec-2"))
    assert not os.path.exists(paths.record_dir("exec-2"))
    assert not os.path.exists(paths.session_dir("exec-2"))


@pytest.mark.parametrize("ending", ["", "os._exit(1)"])
def test_other_process_waits_until_this_one_is_gone(house: str, ending: str) -> None:
    """It cleans up where this one was killed, and else does nothing."""
    script = f"""
import os
from umlctl import streams
from umlctl.execution.if_killed import if_killed
from umlctl.host import paths, users
from umlctl.state.umid_lock import claim
held = claim("exec-3")
clean = [*streams.PYTHON, "umlctl.cli.exec_guest", "exec-3"]
with if_killed('exec "$@"', *clean):
    {ending or "pass"}
held.leave()
"""
    reader, writer = os.pipe()  # whose end the other process has too
    subprocess.run([sys.executable, "-P", "-c", script], pass_fds=[writer], check=False, timeout=60)
    os.close(writer)
    os.set_blocking(reader, True)
    os.close(reader)
    there = paths.guest_dir("exec-3")
    if not ending:
        assert os.path.exists(there)
        exec_guest.clean_up("exec-3")
    wait_for(lambda: not os.path.exists(there), "it is removed")
    # The other process ends after that, and still has files of this test's open.
    wait_for(lambda: not processes_of("exec-3"), "the other process has ended")
