"""The shell in a real terminal, and without one."""

from __future__ import annotations

import os
import re
import signal
import sys
from typing import TYPE_CHECKING

import pexpect
import pytest

from tests.live.conftest import Terminal, heed_signals, processes_of, wait_for

if TYPE_CHECKING:
    from pathlib import Path

    from tests.live.conftest import House


PROMPT = r"running\S*>"
NOBODY = r"umlctl\S*>"
"""The prompt without a guest."""


def _open(
    house: House,
    guest: str,
    *words: str,
    rows: int = 30,
    columns: int = 120,
    prompt: str = PROMPT,
    **env: str,
) -> Terminal:
    child = Terminal(
        sys.executable,
        ["-m", "umlctl", "shell", guest, *words],
        env={**house.env, "TERM": "xterm", "COLORTERM": "", **env},
        encoding="utf-8",
        timeout=30,
        dimensions=(rows, columns),
    )
    child.expect(prompt)
    return child


def _opened(house: House, prompt: str) -> Terminal:
    """A prompt that was opened without saying of which guest."""
    child = Terminal(
        sys.executable,
        ["-m", "umlctl", "shell"],
        env={**house.env, "TERM": "xterm", "COLORTERM": "", "PAGER": "cat"},
        encoding="utf-8",
        timeout=60,
        dimensions=(60, 120),
    )
    child.expect(prompt)
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
    child.expect(PROMPT)
    child.sendeof()
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 0
    history = f"{house.state}/history/{shared}"
    with open(history) as file:
        assert "+version" in file.read()
    assert os.stat(history).st_mode & 0o777 == 0o600


def test_ctrl_c_gives_up_the_running_command_and_only_it(house: House, shared: str) -> None:
    child = _open(house, shared)
    child.send("events\r")
    child.expect(r"shared ready .*pid=")
    child.sendintr()
    child.expect("given up")
    child.expect(PROMPT)
    # Read with the line, since nobody had time to read the line alone.
    child.send("events\r\x03version\r")
    child.expect("given up")
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
    child = Terminal(
        sys.executable, ["-m", "umlctl", "shell", "nobody"], env=house.env, encoding="utf-8"
    )
    child.expect("no guest 'nobody'")
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 3


def test_a_day_at_the_prompt(  # noqa: PLR0915 - a day is long
    house: House, umid: str, shared: str, tmp_path: Path
) -> None:
    """Completion from the guest, other clients' doings above the line, watching, another guest."""
    house.start(umid)
    house.has_shell(umid)
    image = tmp_path / "data.img"
    image.write_bytes(b"\0" * (1 << 20))
    child = _open(house, umid, PAGER="cat")
    # Live data: a device of the guest, a file of the host.
    child.send(f"plug disk {tmp_path}/da")
    child.expect("data.img")  # the menu of completions
    child.send("\t\r")
    child.expect("ubd1 is in the guest as /dev/ubdb, 1.0M")
    child.send("remove ubd")
    child.expect("data.img")  # what ubd1 is
    child.send("\x15proc partitions\r")
    child.expect("NAME")
    child.expect("ubdb")
    child.send("stack 1\r")
    child.expect("schedule")
    shell = house.shell(umid, "echo $$")
    child.send(f"stack {shell[:-1]}")
    child.expect(rf"\s{shell}\s")  # the menu, of the guest's own processes
    for typed, said in (
        ("remove ?", "take a device away"),
        ("proc ?", "meminfo +memory, by use"),
        ("config ?", "ubdN=FILE"),
        ("plug disk a.img,?", "forget what is written"),
        ("log ?\r", "enter text into the kernel log"),
        ("!sh -c 'test -t 0 && echo on a terminal'\r", "on a terminal\r"),
    ):
        child.send(f"\x15{typed}")
        child.expect(said)
        child.expect(PROMPT)
    # Another client, while something is half typed.
    child.send("\x15half-typed")
    house.ok("stop", umid)
    child.expect("paused")
    child.expect("half-typed")
    house.ok("go", umid)
    child.expect("resumed")
    child.send("\x15proc meminfo | tr a-z A-Z | grep MEMTOTAL\r")
    child.expect(r"MEMTOTAL: +\d+ KB")
    child.send("halt\r")
    child.expect("Go on")
    child.send("no\r")
    child.expect("not sent")
    child.send(f"switch {shared}\r")
    child.expect(f"{shared}.{{0,20}}running")
    child.send("version\r")
    child.expect(f"Linux {shared}")
    child.send(f"switch {umid}\r")
    child.expect(f"{umid}.{{0,20}}running")
    child.send("half-typed")
    house.umlctl("sysrq", umid, "c")
    child.expect("panicked")
    child.expect("half-typed")
    child.expect("dead")
    child.send("\x15ver")
    child.expect("kernel name")  # a guest that is gone does not hold up typing
    child.send("\x15status\r")
    child.expect("ended +panicked: sysrq triggered crash")
    child.send("events | tail -n 1\r")
    child.expect('"event":"ended"')
    child.expect(r"dead\S*>")
    child.send("\x04")
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 0


@pytest.mark.parametrize("rows", [8, 4, 2, 1])
def test_small_terminal_has_a_prompt(house: House, shared: str, rows: int) -> None:
    child = _open(house, shared, rows=rows, PAGER="cat")
    child.send("vers")
    child.expect("vers")
    child.send("ion\r")
    child.expect(f"Linux {shared}")
    child.setwinsize(rows + 1, 120)
    child.send("proc sys/kernel/hostname\r")
    child.expect(f"{shared}\r")
    child.expect(PROMPT)
    child.send("\x04")
    child.expect(pexpect.EOF)
    assert "too small" not in child.before


def test_history_that_cannot_be_written_ends_nothing(
    house: House, shared: str, tmp_path: Path
) -> None:
    (tmp_path / "state").mkdir()
    (tmp_path / "state/history").touch()
    child = _open(house, house.public(shared), UMLCTL_DIR=str(tmp_path))
    child.send("version\r")
    child.expect(f"Linux {shared}")
    child.expect("forgotten when the shell ends: .*File exists")
    child.send("proc uptime\r")
    child.expect(r"\d\.\d\d \d")
    child.expect(PROMPT)
    child.send("\x1b[A")
    child.expect("uptime")
    child.send("\r")
    child.expect(r"\d\.\d\d \d")
    child.send("\x04")
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 0, child.before


def test_ctrl_z_suspends_the_shell(house: House, shared: str) -> None:
    shell = Terminal(
        "/bin/bash",
        ["--norc", "--noprofile"],
        env={**house.env, "PS1": "host> ", "TERM": "xterm", "COLORTERM": ""},
        encoding="utf-8",
        timeout=30,
        dimensions=(30, 200),
    )
    shell.expect("host> ")
    shell.send(f"{sys.executable} -m umlctl shell {shared}\r")
    shell.expect(PROMPT)
    shell.send("half-typed\x1a")
    shell.expect("Stopped")
    shell.expect("host> ")
    shell.send("echo here $((20 + 3))\r")
    shell.expect("here 23")
    shell.send("fg\r")
    shell.expect("half-typed")
    shell.send("\x15version\r")
    shell.expect(f"Linux {shared}")
    shell.send("\x04")
    shell.expect("host> ")
    shell.close(force=True)


@pytest.mark.parametrize("how", ["--plain", "dumb", ""])
def test_plain_prompt_is_text_and_nothing_else(house: House, umid: str, how: str) -> None:
    house.start(umid)
    words = ("--plain",) if how == "--plain" else ()
    child = _open(house, umid, *words, prompt=r"(\w+)> ", TERM="xterm" if words else how)
    seen = child.before + child.after

    def is_known() -> bool:
        """It is not drawn anew when who supervises the guest has answered after all."""
        nonlocal seen
        if child.match[1] == "unknown":
            child.send("\r")
            child.expect(r"(\w+)> ")
            seen += child.before + child.after
        return bool(child.match[1] == "running")

    wait_for(is_known, "its state is known")
    for line, said in (
        ("version", f"Linux {umid}"),
        ("proc meminfo", "MemFree:"),
        ("devices", r"\[\]"),
        ("remove ?", "take a device away"),
        ("halt", "Go on"),
        ("no", "not sent"),
        ("top", "NAME"),
    ):
        child.send(f"{line}\r")
        child.expect(said)
        seen += child.before + child.after
        if line != "halt":
            child.expect_exact(f"{umid} running> ")
            seen += child.before + child.after
    house.ok("stop", umid)
    child.expect(rf"\* \S+ {umid} paused")
    child.expect_exact(f"{umid} paused> ")
    seen += child.before + child.after
    child.send("half-typed\x03")
    child.expect_exact(f"{umid} paused> ")
    child.send("events\r")
    child.expect("ready")
    child.sendintr()
    child.expect("given up")
    child.expect_exact(f"{umid} paused> ")
    child.send("\x04")
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 0, child.before
    assert "\x1b" not in seen


def test_no_colour_where_none_is_wanted(house: House, shared: str) -> None:
    child = _open(house, shared, NO_COLOR="1", PAGER="cat")
    seen = child.before + child.after
    assert f"{shared} running>" in seen
    child.send("hal")
    child.expect("end the kernel at once")
    child.send("\x15stack 1\r")
    child.expect("schedule")
    child.send("\x04")
    child.expect(pexpect.EOF)
    seen += child.before
    assert not re.search(r"\x1b\[(\d+;)*(3\d|4\d|9\d)(;\d+)*m", seen)


def test_menu_has_what_comes_while_a_line_is_typed(
    house: House, shared: str, tmp_path: Path
) -> None:
    image = tmp_path / "late.img"
    image.write_bytes(b"\0" * (1 << 20))
    child = _open(house, shared)
    child.send("remove ubd")
    child.expect("ubd")
    name = house.ok("disk", "add", shared, str(image)).split()[0]
    try:
        child.expect("late.img")  # the event, above the line
        child.expect("late.img")  # the menu
        child.send("\x15\x04")
        child.expect(pexpect.EOF)
    finally:
        child.close()
        house.ok("disk", "rm", shared, name)


def test_watching_from_the_command_line(house: House, shared: str) -> None:
    child = Terminal(
        *(sys.executable, ["-m", "umlctl", "watch", "-n", "0.2", shared, "proc", "uptime"]),
        env={**house.env, "TERM": "xterm"},
        encoding="utf-8",
        timeout=30,
        preexec_fn=heed_signals,
    )
    for _ in range(2):
        child.expect(r"every 0.2s: proc uptime  \d\d:\d\d:\d\d  \(Ctrl-C ends\)")
    child.sendintr()
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 0, child.before
    assert shared in house.ok("top")


def test_watching_and_pasting(house: House, shared: str) -> None:
    child = _open(house, shared)
    child.send("watch -n 0.2 proc uptime\r")
    child.expect("every 0.2s")
    child.expect("every 0.2s")
    child.sendintr()
    child.expect("given up")
    child.expect(PROMPT)
    pasted = "\x1b[200~version\nproc uptime\n\x1b[201~\r"
    child.send(pasted)
    child.expect("2 commands, the first is `version`. Do them all")
    child.send("n\r")
    child.expect("not sent")
    child.expect(PROMPT)
    child.send(pasted)
    child.expect("Do them all")
    child.send("y\r")
    child.expect(f"Linux {shared}")
    child.expect(r"\d+\.\d\d \d+\.\d\d")
    child.expect(PROMPT)
    child.send("\x1b[200~proc uptime\n\x1b[201~\r")  # one needs no asking
    child.expect(r"\d+\.\d\d \d+\.\d\d")
    child.expect(PROMPT)
    child.send("\x12upt")
    child.expect("reverse-i-search")
    child.send("\r\x0c\r")  # what was found is taken, the screen cleared, and it is done
    child.expect(r"\d+\.\d\d \d+\.\d\d")
    child.expect(PROMPT)
    child.send("\x04")
    child.expect(pexpect.EOF)


def test_the_terminal_is_as_it_was_however_the_shell_ends(house: House, shared: str) -> None:
    shell = Terminal(
        "/bin/dash",
        env={**house.env, "PS1": "host> ", "TERM": "xterm", "COLORTERM": ""},
        encoding="utf-8",
        timeout=30,
        dimensions=(30, 200),
    )
    shell.expect("host> ")
    for number in (signal.SIGTERM, signal.SIGHUP, 0):
        settings = []
        for _ in range(2):
            shell.send("stty -a | md5sum\r")
            shell.expect(r"([0-9a-f]{32})")
            settings.append(shell.match[1])
            shell.expect("host> ")
            if len(settings) == 1:
                shell.send(f"{sys.executable} -m umlctl shell {shared}\r")
                shell.expect(PROMPT)
                if number:
                    for pid in processes_of("shell"):
                        # Other test processes have a guest and a shell of these names, too.
                        with open(f"/proc/{pid}/environ") as file:
                            if f"HOME={house.home}\0" in file.read():
                                os.kill(pid, number)
                else:
                    shell.send("\x04")
                shell.expect("host> ")
        assert settings[0] == settings[1], number
    shell.close(force=True)


def test_a_bare_kernel_has_a_shell_that_says_what_is_lacking(house: House, shared: str) -> None:
    socket = house.kernel_socket(shared)
    child = Terminal(
        sys.executable,
        ["-m", "umlctl", "shell", socket],
        env={**house.env, "TERM": "xterm", "COLORTERM": ""},
        encoding="utf-8",
        timeout=30,
        dimensions=(30, 120),
    )
    child.expect("nobody supervises")
    child.expect("unmanaged")
    child.send("version\r")
    child.expect(f"Linux {shared}")
    child.send("proc meminfo\r")
    child.expect("MemTotal")
    child.send("q\x15")  # the pager, where there is one
    child.expect(r"unmanaged\S*>")
    child.send("status\r")
    child.expect("a bare kernel has no `status`")
    child.send("\x04")
    child.expect(pexpect.EOF)
    assert house.umlctl("shell", socket, "-c", "status").returncode == 1
    assert house.umlctl("shell", socket, "-c", f"log {'x' * 600}").returncode == 2


def test_a_day_at_the_prompt_of_a_kernel_that_nobody_supervises(
    house: House, umid: str, shared: str, tmp_path: Path
) -> None:
    image = tmp_path / "data.img"
    image.write_bytes(b"\0" * (1 << 20))
    with house.by_hand(umid) as socket:
        child = Terminal(
            sys.executable,
            ["-m", "umlctl", "shell", socket],
            env={**house.env, "TERM": "xterm", "COLORTERM": "", "PAGER": "cat"},
            encoding="utf-8",
            timeout=30,
            dimensions=(30, 120),
        )
        child.expect("nobody supervises")
        child.expect(r"unmanaged\S*>")
        child.send("vers")
        child.expect("kernel name, host name")
        child.send("\t\r")
        child.expect(f"Linux {umid}")
        child.send(f"config ubd1={tmp_path}/da")
        child.expect("data.img")
        child.send("\t\r")
        child.expect(r"unmanaged\S*>")
        child.send("proc partitions | grep ubd\r")
        child.expect("1024 ubdb")
        child.send("stack 1\r")
        child.expect("schedule")
        child.send("watch -n 0.2 proc meminfo\r")
        child.expect("MemTotal")
        child.sendintr()
        child.expect("given up")
        child.send("plug disk x\r")
        child.expect("a bare kernel has no `plug`")
        child.send("proc kcore\r")
        child.expect("refused: kcore")
        child.send(f"switch {shared}\r")
        child.expect(f"{shared}.{{0,20}}running")
        child.send(f"switch {socket}\r")
        child.expect(r"unmanaged\S*>")
        child.send("kill\r")
        child.expect("Go on")
        child.send("y\r")
        child.expect("killed")
        child.expect(r"dead\S*>")
        child.send("\x04")
        child.expect(pexpect.EOF)
        child.close()
        assert child.exitstatus == 0


def test_commands_and_scripts_have_exit_codes(house: House, shared: str) -> None:
    assert house.ok("shell", shared, "-c", "version; proc sys/kernel/hostname").endswith(
        f"{shared}\n"
    )
    failed = house.umlctl("shell", shared, "--keep-going", stdin="remove ubd7\nversion\n")
    assert failed.returncode == 1
    assert "Linux" in failed.stdout
    assert house.umlctl("shell", shared, "-c", "nonsense").returncode == 2


def test_what_appears_above_the_line_never_ends_the_shell(house: House, umid: str) -> None:
    """Whatever key comes next."""
    house.start(umid)
    child = _open(house, umid)
    for key in ("x", "\x0c", "\x7f", "\x15", "a", "\x0c"):
        house.ok("stop", umid)
        child.expect("paused")
        house.ok("go", umid)
        child.expect("resumed")
        child.send(key)
        child.send("\x15stop ?")
        child.expect("pause the guest")
        child.send(key)
        child.send("\x15")
    child.send("version\r")
    child.expect(f"Linux {umid}")
    child.send("\x04")
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 0, child.before


def test_without_a_guest_it_opens_and_lists_them(house: House, umid: str, shared: str) -> None:
    """Of several; one alone is the guest that is meant."""
    house.start(umid)
    child = _opened(house, NOBODY)
    assert umid in child.before
    assert "`switch NAME` talks to one of them" in child.before
    child.send("version\r")
    child.expect("`version` needs a guest: which")
    child.expect(NOBODY)
    child.send(f"@{shared} version\r")
    child.expect(f"Linux {shared}")
    child.expect(NOBODY)
    child.send("help\r")
    child.expect("Consoles and logs:")
    child.expect(NOBODY)
    child.send("swi")
    child.expect("talk to another guest")
    child.send(f"\x15switch {shared}\r")
    child.expect(PROMPT)
    child.send("version\r")
    child.expect(f"Linux {shared}")
    child.send("\x04")
    child.expect(pexpect.EOF)


def test_ctrl_c_is_for_the_program_that_has_the_terminal(house: House, shared: str) -> None:
    child = _open(house, shared)
    own = f"600.{os.getpid()}"  # other test processes look at the same /proc
    child.send(f"version | sleep {own}\r")
    wait_for(lambda: processes_of(own), "the program runs")
    child.sendintr()
    child.expect(PROMPT)
    wait_for(lambda: not processes_of(own), "it has ended")
    ignores = "trap '' INT; echo ready; sleep 1; echo survived"
    child.send(f'version | sh -c "{ignores}"\r')
    child.expect("ready\r")
    child.sendintr()
    child.expect("survived\r")
    child.expect(PROMPT)
    child.send("\x04")
    child.expect(pexpect.EOF)


def test_what_a_line_asks_in_vain_is_said(house: House, shared: str, tmp_path: Path) -> None:
    script = f"top > {tmp_path}/f\nproc uptime > {tmp_path}/\0x\nhelp proc > {tmp_path}/h\n"
    script += f"events > {tmp_path}/e\n"
    done = house.umlctl("shell", shared, "--keep-going", stdin=script)
    assert done.returncode == 2
    assert "`top` is for the screen" in done.stderr
    assert "Traceback" not in done.stderr
    assert "read a file" in (tmp_path / "h").read_text()
    assert '"ready"' in (tmp_path / "e").read_text()
