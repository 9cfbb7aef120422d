"""Consoles of real guests, through real terminals."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
from typing import TYPE_CHECKING, Any

import pexpect
import pytest

from tests import fake_kernel
from tests.live.conftest import DEADLINE, WHOLE, ended_with, kill_supervisor, wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.live.conftest import House


@pytest.fixture(scope="module")
def guest(house: House) -> Iterator[str]:
    umid = f"consoles-{os.getpid()}"
    house.start(umid)
    house.has_shell(umid)
    yield umid
    house.umlctl("kill", umid)


class Terminals:
    """Terminals with `umlctl console` in them."""

    def __init__(self, house: House, guest: str) -> None:
        self._house = house
        self._guest = guest
        self._open: list[pexpect.spawn[str]] = []

    def __call__(self, *words: str, rows: int = 24, columns: int = 80) -> Any:
        program, *arguments = self._house.command("console", self._guest, *words)
        child = pexpect.spawn(
            program,
            arguments,
            env=self._house.env,
            dimensions=(rows, columns),
            encoding="utf-8",
            timeout=DEADLINE,
        )
        self._open.append(child)
        child.expect("attached to")
        return child

    def close(self) -> None:
        for child in self._open:
            child.close(force=True)


@pytest.fixture
def terminals(house: House, guest: str) -> Iterator[Terminals]:
    opened = Terminals(house, guest)
    yield opened
    opened.close()
    wait_for(lambda: not viewers(house, guest), "all viewers are gone")


def viewers(house: House, guest: str) -> list[dict[str, Any]]:
    return [viewer for console in house.status(guest)["consoles"] for viewer in console["viewers"]]


def has_keyboard(house: House, guest: str, pid: int) -> bool:
    return any(each["pid"] == pid and each["keyboard"] for each in viewers(house, guest))


def test_two_terminals_share_a_console(house: House, guest: str, terminals: Terminals) -> None:
    first = terminals(rows=31, columns=97)
    wait_for(lambda: house.shell(guest, "stty size </dev/tty0") == "31 97", "it is told")
    first.send("\rstty size\r")
    first.expect("31 97")
    second = terminals()
    second.expect(f"pid {first.pid} has the keyboard; --force takes it")
    first.send("echo one$((1+1))\r")
    second.expect("one2.*# ")  # what readline does to the terminal is done
    assert has_keyboard(house, guest, first.pid)
    first.setwinsize(40, 120)
    first.send("while ! stty size | grep 40; do sleep 0.1; done\r")
    first.expect("40 120")
    third = terminals("--force")
    first.expect(f"pid {third.pid} has the keyboard now")
    third.send("echo three$((1+2))\r")
    second.expect("three3")
    third.send("\x1d\x1d\x1d")
    third.expect(pexpect.EOF)
    third.close()
    assert third.exitstatus == 0
    wait_for(lambda: has_keyboard(house, guest, first.pid), "the first has the keyboard again")


def test_programs_are_told_that_the_window_has_changed(terminals: Terminals) -> None:
    terminal = terminals(rows=20, columns=60)
    terminal.send(
        "sh -c 'trap \"stty size; exit\" WINCH; echo re''ady; while :; do sleep 1; done'\r"
    )
    terminal.expect("ready")
    terminal.setwinsize(35, 100)
    terminal.expect("35 100")
    terminal.send("\x1d")
    terminal.expect(pexpect.EOF)


def test_reader_does_not_type_and_another_key_leaves(
    house: House, guest: str, terminals: Terminals
) -> None:
    terminal = terminals("--read-only", "--escape", "^A")
    terminal.send("echo no$((1+1))\r\x1d")
    typist = terminals()
    typist.send("echo yes$((1+1))\r")
    terminal.expect("yes2")
    assert "no2" not in terminal.before
    assert not has_keyboard(house, guest, terminal.pid)
    terminal.send("\x01")
    terminal.expect(pexpect.EOF)


def test_terminal_is_as_it_was_afterwards(house: House, guest: str) -> None:
    """However the viewer ends."""
    shell = pexpect.spawn(
        "/bin/sh", env={**house.env, "PS1": "host> "}, encoding="utf-8", timeout=DEADLINE
    )
    for end in ("\x1d", signal.SIGTERM, signal.SIGHUP):
        shell.send("stty -a | md5sum; echo done\r")
        shell.expect(r"([0-9a-f]{32})")
        before = shell.match[1]
        shell.expect("host> $")
        shell.send(" ".join(house.command("console", guest)) + "\r")
        shell.expect("attached to")
        wait_for(lambda: viewers(house, guest), "the viewer is attached")
        if isinstance(end, str):
            shell.send(end)
        else:
            os.kill(viewers(house, guest)[0]["pid"], end)
        wait_for(lambda: not viewers(house, guest), "the viewer is gone")
        shell.expect("host> $")
        shell.send("stty -a | md5sum; echo done\r")
        shell.expect(r"([0-9a-f]{32})")
        assert shell.match[1] == before
    shell.close(force=True)


def test_line_is_plugged_when_it_is_first_wanted(
    house: House, guest: str, terminals: Terminals
) -> None:
    for name, device in (("1", "/dev/tty1"), ("ssl2", "/dev/ttyS2")):
        terminal = terminals(name)
        if name == "ssl2":  # con1 to con4 have a shell of our init program's
            house.shell(guest, f"setsid sh -c 'exec sh -i <{device} >{device} 2>&1' &")
        terminal.expect("# ")
        terminal.send("echo on $(tty)\r")
        terminal.expect(f"on {device}")
        assert name.removeprefix("con") in "".join(house.table(guest))
        assert f"on {device}" in house.ok("logs", guest, "--console", name)
        terminal.send("exit\r\x1d")
        terminal.expect(pexpect.EOF)
    listed = "ls -l /proc/[0-9]*/fd 2>/dev/null | grep -q '/dev/tty1$'"
    wait_for(lambda: house.try_shell(guest, listed)[0] == 1, "nobody has it open any more")
    terminal = terminals("1")
    terminal.expect("the shell on tty1 has ended.*# ")
    house.ok("reboot", guest)
    house.has_shell(guest)
    terminal.expect("# ")  # its viewer has stayed
    terminal.send("echo again on $(tty)\r")
    terminal.expect("again on /dev/tty1")
    terminal.send("\x1d")
    terminal.expect(pexpect.EOF)
    terminal = terminals("ssl2")
    house.shell(guest, "echo after the reboot >/dev/ttyS2")
    terminal.expect("after the reboot")
    terminal.send("\x1d")
    terminal.expect(pexpect.EOF)
    house.ok("remove", guest, "ssl2")
    consoles = [console["name"] for console in house.status(guest)["consoles"]]
    assert consoles == ["con0", "con1"]


@pytest.mark.parametrize("console", ["0", "2"])
def test_keys_interrupt_what_runs(
    house: House, guest: str, terminals: Terminals, console: str
) -> None:
    terminal = terminals(console)
    for key, number in (("\x03", 130), ("\x1c", 131)):
        terminal.send("sh -c 'echo sleeps $((20+3)); exec sleep 1000'\r")
        terminal.expect("sleeps 23")
        terminal.send(key)
        terminal.expect("# ")
        terminal.send("echo code $?\r")
        terminal.expect(f"code {number}\r")
    terminal.send("grep SigIgn /proc/self/status\r")
    terminal.expect("SigIgn:\t0000000000000000")
    terminal.send("\x1d")
    terminal.expect(pexpect.EOF)


LINES = """#!/bin/sh
mount -t proc proc /proc
[ -c /dev/tty1 ] || mount -t devtmpfs dev /dev
echo on S3 >/dev/ttyS3
exec 5<>/dev/tty1
echo on tty1 >&5
read -r line <&5
echo "heard $line" >&5
exec 5>&-
echo 3 >/proc/exitcode
echo o >/proc/sysrq-trigger
while :; do sleep 1; done
"""


def test_descriptors_of_the_caller_are_the_lines_that_name_them(
    house: House, umid: str, tmp_path: Path
) -> None:
    program = tmp_path / "init"
    program.write_text(LINES)
    program.chmod(0o755)
    words = house.command("run", umid, "--mem", "64M", "--init", str(program))
    words += ["--", "con1=fd:0,fd:1", "ssl3=null,fd:9"]
    process = subprocess.Popen(
        ["sh", "-c", 'exec 9>"$0" && exec "$@"', str(tmp_path / "nine"), *words],
        env=house.env,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    with process:
        lines = iter(process.stdout)
        assert any(line.strip() == b"on tty1" for line in lines)
        process.stdin.write(b"typed\n")
        process.stdin.flush()
        assert any(line.strip() == b"heard typed" for line in lines)
        process.wait(DEADLINE)
    assert ended_with(3, process.returncode, house.listed(umid)["ending"]["text"])
    assert (tmp_path / "nine").read_text().strip() == "on S3"
    refused = house.umlctl("start", umid, "--", "con1=fd:0,fd:1")
    assert refused.returncode == 2
    assert "in the background has no descriptors of yours" in refused.stderr


def test_noise_of_our_own_arguments_is_in_the_log_alone(house: House, guest: str) -> None:
    assert "configured as 'none'" in house.ok("logs", guest)
    told = house.ok("dmesg", guest)
    assert "Console initialized on /dev/tty0" in told
    assert "configured as 'none'" not in told


def test_modules_of_the_kernel_are_where_modprobe_looks(house: House, guest: str) -> None:
    kernel = os.path.realpath(house.status(guest)["command"][0])
    modules = f"{os.path.dirname(os.path.dirname(kernel))}/lib/uml/modules"
    place = "/lib/modules" if os.path.isdir("/lib/modules") else "/run/modules/lib/modules"
    look = f"readlink -f {place}/$(uname -r); test -e {place}/$(uname -r)/modules.dep"
    if os.path.isdir(modules):
        wait_for(lambda: house.try_shell(guest, look)[0] == 0, "they are there")
    else:
        assert house.try_shell(guest, look)[0] != 0


def test_kernel_that_was_added_by_a_name_has_its_modules(
    house: House, guest: str, umid: str
) -> None:
    kernel = os.path.realpath(house.status(guest)["command"][0])
    house.ok("kernel", "add", kernel, "--name", umid)
    house.start(umid, "--kernel", umid)
    house.has_shell(umid)
    assert house.status(umid)["command"][0] == f"{house.state}/kernels/{umid}/1/linux"
    place = "/lib/modules" if os.path.isdir("/lib/modules") else "/run/modules/lib/modules"
    look = f"ls {place}/$(uname -r) || echo none"
    assert house.shell(umid, look) == house.shell(guest, look)
    assert "a guest has the kernel" in house.umlctl("kernel", "rm", umid).stderr
    house.ok("kill", umid)
    house.ok("rm", umid)
    house.ok("kernel", "rm", umid)


def test_script_types_and_reads(house: House, guest: str) -> None:
    output = house.ok("console", guest, stdin="echo sum $((20+3))\n")
    assert "sum 23" in output


def test_prompt_of_the_guests_shell_names_the_guest_and_the_directory(
    house: House, guest: str, terminals: Terminals
) -> None:
    terminal = terminals()
    terminal.send("cd /proc/sys\r")
    terminal.expect_exact(f"{guest}:/proc/sys# ")
    terminal.send("cd /\r")
    terminal.expect_exact(f"{guest}:/# ")
    terminal.send("\x1d")
    terminal.expect(pexpect.EOF)


def test_script_does_not_wait_for_a_keyboard_that_somebody_has(
    house: House, guest: str, terminals: Terminals
) -> None:
    terminals()
    refused = house.umlctl("console", guest, stdin="echo lost\n")
    assert refused.returncode == 1
    assert "has the keyboard; --force takes it" in refused.stderr
    assert "sum 7" in house.ok("console", guest, "--force", stdin="echo sum $((3+4))\n")


def test_who_only_reads_a_socket_has_no_keyboard(house: House, guest: str) -> None:
    with socket.socket(socket.AF_UNIX) as stream:
        stream.connect(house.status(guest)["consoles"][0]["socket"])
        wait_for(lambda: house.status(guest)["consoles"][0]["viewers"], "it is there")
        assert "sum 9" in house.ok("console", guest, stdin="echo sum $((4+5))\n")


def test_log_is_followed_into_the_next_life(house: House, umid: str) -> None:
    house.start(umid, "--restart", "on-failure")
    with subprocess.Popen(
        house.command("logs", umid, "-f"),
        env=house.env,
        stdout=subprocess.PIPE,
        text=True,
    ) as following:
        assert following.stdout is not None
        following.stdout.readline()  # it has begun
        house.umlctl("sysrq", umid, "c")
        wait_for(lambda: house.listed(umid).get("restarts") == 1, "it is started again")
        house.has_shell(umid)
        house.ok("log", umid, "in its next life")
        house.ok("kill", umid)
        said = following.stdout.read()
    assert "sysrq triggered crash" in said
    assert said.count("Linux version") == 2
    assert "in its next life" in said


def test_socket_is_the_bare_console(house: House, guest: str) -> None:
    with socket.socket(socket.AF_UNIX) as stream:
        stream.settimeout(DEADLINE)
        stream.connect(house.status(guest)["consoles"][0]["socket"])
        stream.sendall(b"echo plain$((1+1))\n")
        seen = b""
        while b"plain2" not in seen:
            seen += stream.recv(4096)


def test_kernels_messages_of_each_boot_can_be_read(house: House, guest: str) -> None:
    house.ok("log", guest, "before the reboot")
    house.ok("reboot", guest)
    house.has_shell(guest)
    house.ok("log", guest, "after the reboot")
    assert "after the reboot" in house.ok("dmesg", guest)
    assert "before the reboot" not in house.ok("dmesg", guest)
    assert "Linux version" in house.ok("dmesg", guest)
    assert "before the reboot" in house.ok("dmesg", guest, "--boot", "-1")
    assert "before the reboot" in house.ok("logs", guest)
    assert "runs on the host's files" not in house.ok("dmesg", guest)
    answer = house.ok("stack", guest, "1")
    assert not re.search(r"^\[ *\d+\.\d{6}\]", answer, re.MULTILINE)


@pytest.mark.timeout(300)
def test_flood_is_bounded_and_harms_nobody(house: House, guest: str, terminals: Terminals) -> None:
    """The log keeps its last 16 MiB, whole; a viewer that never reads changes nothing."""
    stuck = terminals("--read-only")
    stuck.delaybeforesend = None
    supervisor = house.status(guest)["supervisor_pid"]
    last = 7_250_000 if WHOLE else 4_750_000
    for first in range(1_000_001, last, 1_250_000):  # on a busy host, each takes its time
        # A line of its own for the first, behind the prompt.
        house.shell(guest, f"{{ echo; seq {first} {first + 1_249_999}; }} >/dev/tty0")
    house.shell(guest, "echo the end >/dev/tty0")
    log = house.status(guest)["log"]
    wait_for(lambda: os.stat(log).st_blocks * 512 < 21 << 20, "the log is cut")
    # Kernels print their own messages between lines, among them what was asked of them in vain;
    # later ones (7.2) between a line and its end.
    told = re.sub(r"\[ *\d+\.\d{6}\] [^\n]*\n", "", house.ok("logs", guest))
    assert re.search(r"the end\r?$", told, re.MULTILINE), told[-4000:]  # behind a prompt, at times
    numbers = re.findall(r"^(\d{7})\r?$", told, re.MULTILINE)
    assert numbers[-1] == str(last)
    assert len(numbers) * 9 > 15 << 20
    assert [int(number) for number in numbers] == list(range(int(numbers[0]), last + 1))
    with open(f"/proc/{supervisor}/status") as file:
        (resident,) = [line.split()[1] for line in file if line.startswith("VmHWM:")]
    assert int(resident) < 64 << 10, "KiB"


def test_console_from_the_first_byte(house: House, umid: str) -> None:
    program, *arguments = house.command("start", umid, "--mem", "64M", "--console")
    child = pexpect.spawn(
        program, arguments, env=house.env, encoding="utf-8", timeout=DEADLINE, maxread=1 << 20
    )
    child.expect("Core dump limits")
    child.expect("Linux version")
    child.expect("runs on the host's files")
    child.send("exit\r")
    child.expect(f"{umid} has ended: exited with status 0")
    child.expect(pexpect.EOF)


def test_console_in_the_foreground(house: House, umid: str) -> None:
    program, *arguments = house.command("run", umid, "--mem", "64M", "--console")
    child = pexpect.spawn(
        program, arguments, env=house.env, encoding="utf-8", timeout=DEADLINE, maxread=1 << 20
    )
    child.expect("Core dump limits")
    child.expect("runs on the host's files")
    child.send("echo 7 >/proc/exitcode; exit\r")
    child.expect(pexpect.EOF)
    child.close()
    assert ended_with(7, child.exitstatus, house.listed(umid)["ending"]["text"])
    assert house.leftovers(umid) == []


def test_viewer_goes_on_though_the_supervisor_is_killed(house: House, umid: str) -> None:
    house.start(umid)
    house.has_shell(umid)
    opened = Terminals(house, umid)
    terminal, other = opened(), opened("--read-only")
    terminal.send("x=42\r")
    other.expect("x=42")
    for _ in range(3):
        kill_supervisor(house, umid)
        terminal.send("echo $x$x\r")
        for each in (terminal, other):
            each.expect("4242")
    wait_for(lambda: has_keyboard(house, umid, terminal.pid), "it has the keyboard again")
    opened.close()


def test_guest_that_does_not_start_has_no_console_to_wait_for(house: House, umid: str) -> None:
    kernel = fake_kernel.write(f"{house.path}/{umid}.linux", "exit 1\n")
    done = house.umlctl("run", umid, "--console", "--kernel", kernel)
    assert done.returncode == 125
    done = house.umlctl("start", umid, "--console", "--kernel", kernel)
    assert done.returncode == 125
    assert house.umlctl("run", umid, "--console", "--kernel", "/bin/false").returncode == 7


@pytest.mark.parametrize("command", ["run", "start"])
def test_guest_that_never_was_ready_shows_why(house: House, umid: str, command: str) -> None:
    words = (command, umid, "--mem", "64M", "--console", "--", "root=/dev/none", "rootfstype=ext4")
    done = house.umlctl(*words)
    assert done.returncode == 125, done
    assert "Unable to mount root fs" in done.stdout


SAYS = """#!/bin/sh
mount -t proc proc /proc
for number in $(seq 200); do echo "line $number of two hundred"; done
echo 7 >/proc/exitcode
echo o >/proc/sysrq-trigger
sleep 60
"""
"""Process 1 of a guest that ends as soon as it can."""
SAID = [f"line {number} of two hundred" for number in range(1, 201)]
TIMES = 67 if WHOLE else 4


def lines_of(output: str) -> list[str]:
    return [line for line in output.splitlines() if line.startswith("line ")]


@pytest.fixture
def says(tmp_path: Path) -> str:
    script = tmp_path / "says"
    script.write_text(SAYS)
    script.chmod(0o755)
    return str(script)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("way", ["null", "pipe", "terminal"])
def test_console_of_a_guest_that_ends_at_once_is_whole(
    house: House, umid: str, says: str, way: str
) -> None:
    words = house.command("run", umid, "--mem", "64M", "--console", "--init", says)
    for _ in range(TIMES):
        if way == "terminal":
            child = pexpect.spawn(
                words[0], words[1:], env=house.env, encoding="utf-8", timeout=DEADLINE
            )
            output = child.read()
            child.close()
            status = child.exitstatus
        else:
            with subprocess.Popen(
                words,
                env=house.env,
                stdin=subprocess.DEVNULL if way == "null" else subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
            ) as process:
                assert process.stdout is not None
                output = process.stdout.read()
                status = process.wait(DEADLINE)
        assert lines_of(output) == SAID
        assert ended_with(7, status, house.listed(umid)["ending"]["text"])


def test_console_is_shown_to_the_end_though_there_is_no_input(
    house: House, umid: str, tmp_path: Path
) -> None:
    script = tmp_path / "late"
    script.write_text(SAYS.replace("for number", "sleep 2; for number"))
    script.chmod(0o755)
    done = house.umlctl("run", umid, "--mem", "64M", "--console", "--init", str(script))
    assert lines_of(done.stdout) == SAID
    assert ended_with(7, done.returncode, done.stderr), done
    assert done.returncode != 7 or f"umlctl: {umid}: exited with status 7" in done.stderr


def test_every_life_of_a_guest_is_shown(house: House, umid: str, says: str) -> None:
    words = ("--console", "--init", says, "--restart", "on-failure")
    with subprocess.Popen(
        house.command("run", umid, "--mem", "64M", *words),
        env=house.env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        assert process.stdout is not None
        seen: list[str] = []
        while len(seen) < 400:
            seen += lines_of(process.stdout.readline())
        process.terminate()
        seen += lines_of(process.stdout.read())
    assert seen[:400] == SAID * 2
    third = seen[400:-1]  # may have begun meanwhile, and been ended in the middle of a line
    assert third == SAID[: len(third)]


def test_viewer_ends_with_the_run_that_was_killed(house: House, umid: str) -> None:
    shell = pexpect.spawn(
        "/bin/sh", env={**house.env, "PS1": "host> "}, encoding="utf-8", timeout=DEADLINE
    )
    shell.send("stty -a | md5sum; echo done\r")
    shell.expect(r"([0-9a-f]{32})")
    before = shell.match[1]
    shell.send(" ".join(house.command("run", umid, "--mem", "64M", "--console")) + "\r")
    shell.expect("runs on the host's files")
    kill_supervisor(house, umid)
    shell.expect(f"{umid} may run on")
    wait_for(lambda: not viewers(house, umid), "the viewer is gone")  # asked of the next one
    shell.send("stty -a | md5sum; echo done\r")
    shell.expect(r"([0-9a-f]{32})")
    assert shell.match[1] == before
    shell.close(force=True)


def test_window_of_no_size_is_told_to_nobody(house: House, terminals: Terminals) -> None:
    terminal = terminals(rows=0, columns=0)
    terminal.send('echo he""re\r')
    terminal.expect("here\r")
    said = terminal.before
    terminal.send("\x1b[93;5u")  # ^], where the guest has asked for keys to be reported so
    terminal.expect(pexpect.EOF)
    assert "stty rows" not in said + terminal.before


def test_console_that_is_elsewhere_takes_no_typing(house: House, umid: str) -> None:
    house.start(umid, "--", "con0=null")
    done = house.umlctl("console", umid, stdin="echo lost\n")
    assert done.returncode == 7
    assert "started with con0=null; --read-only shows" in done.stderr


def test_script_gets_all_that_it_asked_for(house: House, guest: str) -> None:
    wait_for(lambda: not viewers(house, guest), "nobody has the keyboard")
    house.ok("console", guest, stdin="\n")
    done = house.umlctl("console", guest, stdin='sleep 1; echo do""ne\nsleep 1; echo an""d\n')
    assert "done" in done.stdout
    assert "and" in done.stdout
    assert (done.returncode, done.stderr) == (0, "")


def test_script_that_leaves_before_the_end_is_told(house: House, guest: str) -> None:
    done = house.umlctl("console", guest, "--wait", "0.5", stdin='read x; echo do""ne\n')
    assert done.returncode == 0
    assert "done" not in done.stdout
    assert "printed nothing for 0.5s, and may print on" in done.stderr
    house.ok("console", guest, "--until", "done", stdin="\n")
    done = house.umlctl("console", guest, "--until", "never", "--wait", "0.5", stdin="\n")
    assert done.returncode == 4
    assert "'never' was not in it" in done.stderr
    done = house.umlctl("console", guest, "--until", "done", stdin="sleep 3; echo done\n")
    assert done.stdout.count("done") == 2, "its echo, and what was waited for, with its end or not"
    house.ok("console", guest, "--until", "quiet", stdin='echo qu""iet\n')


def test_console_of_another_guest_is_not_taken_for_the_new_one(house: House, guest: str) -> None:
    done = house.umlctl("start", guest, "--console", stdin="touch /tmp/typed\n")
    assert done.returncode == 1
    assert "is the name of a running guest" in done.stderr
    assert house.try_shell(guest, "test -e /tmp/typed")[0] == 1


def test_viewer_of_a_stopped_guest_can_be_left(house: House, guest: str) -> None:
    house.ok("stop", guest)
    opened = Terminals(house, guest)
    try:
        for end in ("key", signal.SIGTERM):
            terminal = opened()
            for _ in range(100):
                terminal.send("x" * 1000)
            if isinstance(end, str):
                terminal.send("\x1d")
            else:
                os.kill(terminal.pid, end)
            terminal.expect(pexpect.EOF)
            wait_for(lambda: not viewers(house, guest), "the viewer is gone")
    finally:
        opened.close()
        house.ok("go", guest)
    house.ok("console", guest, stdin="\x15\n")
    assert house.shell(guest, "echo well") == "well"


def test_missing_guest_is_said(house: House) -> None:
    done = house.umlctl("console", "nobody")
    assert done.returncode == 3
    assert "no guest 'nobody' with a console to attach to" in done.stderr
