"""`umlctl exec`: by the program that is its process 1, and by the script that stands in for it."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec
import pexpect
import pytest

import hatch_build
from tests.live.conftest import DEADLINE, a_house, ended_with, wait_for
from tests.live.exec_place import ROOT, Place, have_program, packages

if TYPE_CHECKING:
    from collections.abc import Iterator

USER = 1000


@pytest.fixture(scope="module")
def without() -> Iterator[Path]:
    """The packages without the program."""
    with packages() as found:
        yield found


@pytest.fixture(scope="module", params=["program", "script"])
def place(request: pytest.FixtureRequest) -> Iterator[Place]:
    if request.param == "program":
        have_program()
        source = ROOT
    else:
        source = request.getfixturevalue("without")
    with a_house() as house:
        yield Place(house, source)


@pytest.fixture(scope="module")
def program() -> Iterator[Place]:
    """By the program alone: what has nothing to do with which of the two it is."""
    have_program()
    with a_house() as house:
        yield Place(house, ROOT)


# Status


def test_status_and_streams_are_those_of_the_command(place: Place) -> None:
    done = place.run("--", "sh", "-c", "echo out; echo err >&2; exit 7")
    assert (done.returncode, done.stdout, done.stderr) == (7, b"out\n", b"err\n")


def test_signal_that_ends_the_command_is_told(place: Place) -> None:
    for number in (signal.SIGSEGV, signal.SIGKILL):
        done = place.run("--", "sh", "-c", f"kill -{int(number)} $$")
        assert done.returncode == 128 + number


@pytest.mark.parametrize(("word", "code"), [("/no/such", 127), ("nor-this", 127), ("/etc", 126)])
def test_command_that_cannot_be_executed(place: Place, word: str, code: int) -> None:
    done = place.run("--", word)
    assert done.returncode == code
    assert word.encode() in done.stderr


def test_panic_is_told_with_its_stack(place: Place) -> None:
    script = "echo before; sleep 1; echo c >/proc/sysrq-trigger; sleep 60"
    done = place.run("--", "sh", "-c", script)
    assert (done.returncode, done.stdout) == (255, b"before\n")
    assert b"Kernel panic - not syncing: sysrq triggered crash" in done.stderr
    assert b"Call Trace:" in done.stderr


def test_command_whose_time_is_up_is_ended(place: Place) -> None:
    """Though it does not heed SIGTERM. On a busy host it may not have begun by then."""
    script = "trap '' TERM; echo begun; sleep 600 & wait"
    done = place.run("--timeout", "3", "--", "sh", "-c", script)
    assert done.returncode == 124
    assert done.stdout in (b"begun\n", b"")
    assert b"not over within 3 seconds" in done.stderr


def test_command_can_power_its_guest_off(program: Place) -> None:
    script = "echo 3 >/proc/exitcode; echo o >/proc/sysrq-trigger; sleep 60"
    done = program.run("--", "sh", "-c", script)
    assert ended_with(3, done.returncode, done.stderr.decode()), done


def test_directory_that_is_not_there_is_said(place: Place) -> None:
    done = place.run("--cwd", "/no/such", "--", "true")
    assert done.returncode == 125
    assert b"No such file" in done.stderr


def test_guest_that_cannot_begin_says_why(program: Place) -> None:
    done = program.run("--append", "initcall_blacklist=init_hostfs", "--", "true")
    assert done.returncode == 125
    assert done.stderr.strip()


# Streams


@pytest.mark.parametrize(
    ("place", "megabytes"), [("program", 100), ("script", 25)], indirect=["place"]
)
def test_megabytes_come_back_as_they_went(place: Place, megabytes: int) -> None:
    data = os.urandom(1 << 20) * megabytes
    done = place.run("--", "cat", stdin=data)
    assert done.returncode == 0
    assert hashlib.sha256(done.stdout).digest() == hashlib.sha256(data).digest()


def test_end_of_input_reaches_the_command(place: Place) -> None:
    assert place.run("--", "wc", "-c", stdin=b"").stdout.strip() == b"0"


def test_input_without_end_holds_nothing_up(place: Place) -> None:
    with subprocess.Popen(["yes"], stdout=subprocess.PIPE) as yes:
        assert yes.stdout is not None
        done = subprocess.run(
            place.command("--", "head", "-1"),
            env=place.env,
            stdin=yes.stdout,
            capture_output=True,
            timeout=DEADLINE,
            check=False,
        )
        yes.kill()
    assert (done.returncode, done.stdout) == (0, b"y\n")


def test_reader_that_is_gone_ends_the_command(place: Place) -> None:
    with place.begun("--", "sh", "-c", "echo begun; exec yes") as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.wait(DEADLINE) == 128 + signal.SIGPIPE


def test_slow_reader_misses_nothing(program: Place) -> None:
    script = "echo begun; seq 60000; echo last"
    with program.begun("--", "sh", "-c", script) as process:
        # It stands still as long as this is not read.
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(3)
        assert process.stdout is not None
        lines = process.stdout.read().splitlines()
    assert lines == [*(b"%d" % number for number in range(1, 60001)), b"last"]


def test_what_the_command_leaves_running_ends_with_it(place: Place) -> None:
    done = place.run("--", "sh", "-c", "echo out; sleep 600 & exit 3")
    assert (done.returncode, done.stdout) == (3, b"out\n")


def test_standard_descriptors_may_be_closed(place: Place) -> None:
    words = " ".join(place.command("--", "sh", "-c", "'cat; echo out; echo err >&2; exit 5'"))
    done = subprocess.run(
        ["sh", "-c", f"{words} <&- >&- 2>&-"],
        env={name: place.env[name] for name in place.env if name not in ("HOME", "TERM")},
        timeout=DEADLINE,
        check=False,
    )
    assert done.returncode == 5


# Signals


def test_signals_reach_the_command(place: Place) -> None:
    with place.begun("--", "sh", "-c", "echo begun; exec sleep 600") as process:
        process.send_signal(signal.SIGTERM)
        assert process.wait(DEADLINE) == 128 + signal.SIGTERM
    caught = (signal.SIGINT, signal.SIGHUP, signal.SIGTERM)
    traps = "".join(f"trap 'echo {int(each)}' {int(each)}; " for each in caught)
    with place.begun(
        "--", "sh", "-c", f"{traps}echo begun; while :; do sleep 0.1; done"
    ) as process:
        assert process.stdout is not None
        for each in caught:
            process.send_signal(each)
            assert process.stdout.readline() == b"%d\n" % each
        process.send_signal(signal.SIGUSR1)
        assert process.wait(DEADLINE) == 128 + signal.SIGUSR1
    assert place.left() == []


def test_nothing_is_left_once_it_is_killed(place: Place) -> None:
    for script in ("echo begun; sleep 600", "echo begun; while :; do :; done"):
        with place.begun("--", "sh", "-c", script) as process:
            process.kill()
            process.wait(DEADLINE)
            wait_for(lambda: place.left() == [], "all of it is gone")


def test_nothing_is_left_at_whatever_moment_it_is_killed(program: Place) -> None:
    """Such as when its kernel is about to begin, and nothing was written down of that."""
    for moment in range(24):
        process = subprocess.Popen(
            program.command("--", "sleep", "600"),
            env=program.env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        time.sleep(0.02 * moment)  # this is the moment, and no wait
        process.kill()
        process.wait(DEADLINE)
    wait_for(lambda: program.left() == [], "all of it is gone")


# Files


def test_command_writes_anywhere_and_the_host_is_as_it_was(place: Place) -> None:
    before = listing("/usr/share/doc"), listing("/etc")
    script = (
        "rm -rf /usr/share/doc && [ ! -e /usr/share/doc ] && echo x >/etc/new && "
        "echo y >>/etc/passwd && mv /etc/new /etc/newer && mkdir /srv/made && pwd && id -u"
    )
    done = place.run("--", "sh", "-c", script)
    assert (done.returncode, done.stdout.split()) == (0, [os.getcwd().encode(), b"0"])
    assert (listing("/usr/share/doc"), listing("/etc")) == before
    assert not os.path.exists("/srv/made")


def listing(directory: str) -> list[tuple[str, int, int, int]]:
    """What is in a directory, with what tells that it was touched."""
    found = []
    for path in sorted(Path(directory).rglob("*")):
        looked = path.lstat()
        found.append((str(path), looked.st_mode, looked.st_size, looked.st_mtime_ns))
    return found


def test_files_can_be_left_as_they_are(place: Place) -> None:
    script = "! touch /etc/new 2>/dev/null && echo x >/run/x && cat /run/x"
    done = place.run("--ro", "--", "sh", "-c", script)
    assert (done.returncode, done.stdout) == (0, b"x\n"), done


def test_directories_are_shared_to_write_and_to_read(place: Place, tmp_path: Path) -> None:
    for name in ("rw", "shared", "read"):
        (tmp_path / name).mkdir()
    (tmp_path / "read" / "file").write_text("here\n")
    script = (
        f"echo a >{tmp_path}/rw/a && echo b >/mnt/b && cat /media/file && "
        "! touch /media/x 2>/dev/null && echo c >/etc/c"
    )
    done = place.run(
        *("--rw", f"{tmp_path}/rw", "--share", f"{tmp_path}/shared:/mnt"),
        *("--share", f"{tmp_path}/read:/media,ro", "--", "sh", "-c", script),
    )
    assert (done.returncode, done.stdout) == (0, b"here\n"), done
    assert (tmp_path / "rw" / "a").read_text() == "a\n"
    assert (tmp_path / "shared" / "b").read_text() == "b\n"


def test_what_was_written_is_kept_to_go_on_with(place: Place, tmp_path: Path) -> None:
    script = "mkdir /srv/d && echo x >/srv/d/f && rm /etc/hostname; echo y >>/etc/hosts"
    kept = f"--overlay={tmp_path}"
    assert place.run(kept, "--", "sh", "-c", script).returncode == 0
    assert os.listdir(tmp_path) == ["overlay.img"]
    script = "cat /srv/d/f && [ ! -e /etc/hostname ] && tail -1 /etc/hosts"
    done = place.run(kept, "--", "sh", "-c", script)
    assert (done.returncode, done.stdout) == (0, b"x\ny\n"), done


def test_gdb_has_the_kernel_before_it_begins_and_lets_it_go_on(program: Place) -> None:
    """gdb reads an end of its commands, and is left then."""
    done = program.run("--gdb", "--", "sh", "-c", "echo here; exit 9")
    if shutil.which("gdb") is None:
        assert done.returncode == 7
        assert b"its package is called gdb" in done.stderr
    else:
        assert done.returncode == 9, done
        assert b"in _start ()" in done.stdout
        assert done.stdout.endswith(b"here\n")


def test_kernel_without_an_overlay_gets_a_word(program: Place, tmp_path: Path) -> None:
    kernel = program.env.get("UMLCTL_KERNEL") or shutil.which("linux.uml")
    assert kernel is not None
    copy = tmp_path / "bin" / "linux.uml"  # whose modules are not beside it
    copy.parent.mkdir()
    shutil.copy(kernel, copy)
    done = program.run("--kernel", str(copy), "--", "true")
    assert done.returncode == 125
    assert b"overlay" in done.stderr
    assert b"--ro" in done.stderr
    assert program.run("--ro", "--kernel", str(copy), "--", "true").returncode == 0


def test_modules_of_the_kernel_are_there(program: Place) -> None:
    look = "ls /lib/modules/$(uname -r)/kernel; grep -q ^dummy /proc/modules && echo loaded"
    done = program.run("--module", "dummy", "--", "sh", "-c", look)
    assert done.returncode == 0
    assert b"fs" in done.stdout.split()


# What it has of this host


def test_environment_is_the_callers_but_for_what_must_not_leak(program: Place) -> None:
    program.env |= {"KEPT": "a b\n'c'", "GITHUB_TOKEN": "x", "SSH_AUTH_SOCK": "/x"}
    try:
        done = program.run(
            *("--env", "NEW=1", "--env", "GITHUB_TOKEN", "--", "sh", "-c"),
            'echo "$KEPT,$NEW,$GITHUB_TOKEN,${SSH_AUTH_SOCK-none}"',
        )
        assert done.stdout == b"a b\n'c',1,x,none\n"
        done = program.run("--clean-env", "--", "sh", "-c", 'echo "${KEPT-none}${GITHUB_TOKEN-}"')
        assert done.stdout == b"none\n"
    finally:
        for name in ("KEPT", "GITHUB_TOKEN", "SSH_AUTH_SOCK"):
            del program.env[name]


@pytest.mark.parametrize(
    ("place", "mode"),
    [*(("program", mode) for mode in ("writes", "strict", "off")), ("script", "strict")],
    indirect=["place"],
)
def test_kernel_is_confined_as_asked(place: Place, mode: str) -> None:
    with tempfile.TemporaryDirectory(dir="/var/tmp") as here:
        Path(here, "file").write_text("here\n")
        done = place.run("--confine", mode, "--", "cat", "file", cwd=here)
        assert (done.returncode, done.stdout) == (0, b"here\n"), done


def test_word_that_the_kernel_does_not_know_is_not_heeded(program: Place) -> None:
    """A kernel hands it on to process 1, ahead of its own words."""
    assert program.run("--append", "off", "--", "sh", "-c", "exit 3").returncode == 3


def test_log_has_what_the_kernel_said(program: Place, tmp_path: Path) -> None:
    log = tmp_path / "log"
    done = program.run("--log", str(log), "--", "sh", "-c", "echo from inside >/dev/kmsg")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    assert "Linux version" in log.read_text()
    assert "from inside" in log.read_text()


def test_nic_is_set_up_before_the_command(program: Place) -> None:
    script = "ip -4 -br addr show lo && ip -4 -br addr show vec0 && ip route"
    done = program.run("--nic", "switch=lab,addr=10.9.8.7/24", "--", "sh", "-c", script)
    program.house.ok("network", "rm", "lab")
    assert done.returncode == 0, done
    assert b"10.9.8.7/24" in done.stdout
    assert b"127.0.0.1/8" in done.stdout


def test_disk_is_there(program: Place, tmp_path: Path) -> None:
    image = tmp_path / "disk.img"
    image.write_bytes(b"begin" + bytes((1 << 20) - 5))
    script = "head -c 5 /dev/ubdb && echo END | dd of=/dev/ubdb conv=notrunc 2>/dev/null"
    done = program.run("--disk", str(image), "--", "sh", "-c", script)
    assert (done.returncode, done.stdout) == (0, b"begin"), done
    assert image.read_bytes()[:4] == b"END\n"


# Terminals


def test_terminal_is_a_terminal(place: Place) -> None:
    with place.terminal("--", "sh", "-c", "test -t 0 && test -t 2 && stty size; exit 3") as screen:
        screen.expect("30 90\r\n")
        screen.expect(pexpect.EOF)
        screen.close()
        assert screen.exitstatus == 3


def test_keys_are_the_commands(place: Place) -> None:
    with place.terminal("--", "sh", "-c", "echo be''gun; exec sleep 600") as screen:
        screen.expect("begun\r\n")
        screen.sendcontrol("c")
        screen.expect(pexpect.EOF)
        screen.close()
        assert screen.exitstatus == 130
    with place.terminal("--", "sh", "-c", "echo be''gun; exec cat") as screen:
        screen.expect("begun\r\n")
        screen.sendline("line")
        screen.expect("line\r\nline\r\n")
        screen.sendcontrol("d")
        screen.expect(pexpect.EOF)
        screen.close()
        assert screen.exitstatus == 0


def test_shell_has_jobs_and_is_told_of_a_new_size(place: Place) -> None:
    with place.terminal("--", "bash", "--norc", "-i") as screen:
        screen.expect("ready> ")
        screen.sendline("sleep 600")
        screen.expect("sleep 600\r\n")
        screen.sendcontrol("z")
        # The shell heeds no such key, and says nothing when it has given its job the terminal.
        while screen.expect(["Stopped", pexpect.TIMEOUT], timeout=1):
            screen.sendcontrol("z")
        screen.sendline("kill %1; echo ki''lled")
        screen.expect("killed")

        def has_size() -> bool:
            # Readline reads the size and sets it again: one that comes in between is lost on any
            # terminal, so it is set anew.
            screen.setwinsize(40, 99)
            screen.setwinsize(40, 100)
            screen.sendline("stty size")
            return bool(screen.expect([r"\d+ \d+\r\n"]) == 0 and "40 100" in screen.after)

        wait_for(has_size, "the shell is told")
        screen.sendline("exit 4")
        screen.expect(pexpect.EOF)
        screen.close()
        assert screen.exitstatus == 4


def test_editor_follows_the_window(program: Place) -> None:
    if shutil.which("vi") is None:
        pytest.skip("this host has no vi")
    with program.terminal("--", "vi", "-u", "NONE", "-c", "set shortmess+=I") as screen:
        screen.expect("~")
        screen.setwinsize(20, 60)
        screen.send(":set lines?\r")
        while screen.expect(["lines=20", "lines=30"]):  # what is typed may be faster than the size
            screen.send(":set lines?\r")
        screen.send(":q!\r")
        screen.expect(pexpect.EOF)
        screen.close()
        assert screen.exitstatus == 0


def test_command_that_is_stopped_stops_exec(place: Place) -> None:
    shell = pexpect.spawn(
        "bash",
        ["--norc", "-i"],
        env={**place.env, "PS1": "ready> ", "TERM": "dumb"},
        timeout=DEADLINE,
        encoding="utf-8",
    )
    try:
        shell.expect("ready> ")
        script = "echo be''gun; read x; echo do''ne; exit 6"
        shell.sendline(" ".join(place.command("--", "sh", "-c", f'"{script}"')))
        shell.expect("begun\r\n")
        shell.sendcontrol("z")
        shell.expect("Stopped")
        shell.expect("ready> ")
        shell.sendline("stty -a | grep -o -e '-*icanon'")
        shell.expect(r"\r\nicanon")
        shell.expect("ready> ")
        shell.sendline("fg")
        shell.expect("umlctl exec.*\r\n")
        shell.sendline("x")
        shell.expect("done\r\n")
        shell.expect("ready> ")
        shell.sendline("echo status $?")
        shell.expect("status 6")
    finally:
        shell.close(force=True)


# An ordinary user


@pytest.mark.skipif(os.geteuid() != 0, reason="it is for root")
@pytest.mark.parametrize(
    ("place", "mode"),
    [("program", "writes"), ("program", "strict"), ("script", "strict")],
    indirect=["place"],
)
def test_kernel_of_another_user_reaches_what_that_user_does(place: Place, mode: str) -> None:
    script = "id -u; ! cat /etc/shadow 2>/dev/null; cat; exit 6"
    done = place.run(
        *("--user", "daemon", "--confine", mode, "--cwd", "/", "--", "sh", "-c", script),
        stdin=b"in\n",
    )
    assert (done.returncode, done.stdout) == (6, b"0\nin\n"), done


@pytest.fixture
def users_home() -> Iterator[str]:
    with tempfile.TemporaryDirectory(prefix="u", dir="/tmp") as home:
        os.chown(home, USER, USER)
        yield home


@pytest.mark.skipif(os.geteuid() != 0, reason="whoever runs this is one")
@pytest.mark.parametrize("kind", ["program", "script"])
def test_ordinary_user_has_the_same(users_home: str, without: Path, kind: str) -> None:
    """By an interpreter and packages that the user can read."""
    source = f"{users_home}/site"
    shutil.copytree(without, source)
    if kind == "program":
        shutil.copy(hatch_build.AGENT, f"{source}/umlctl/guest/agent")
    for package in (click, msgspec):
        where = Path(package.__file__ or "").parent
        shutil.copytree(where, f"{source}/{where.name}")
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    if not os.path.exists(f"/usr/bin/{version}"):
        pytest.skip(f"this host has no /usr/bin/{version}, which others can execute")
    words = ["setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups", "env", "-i"]
    words += [f"HOME={users_home}", f"UMLCTL_DIR={users_home}/u", f"PYTHONPATH={source}"]
    words += ["PATH=/usr/bin:/bin", f"UMLCTL_KERNEL={os.environ.get('UMLCTL_KERNEL', 'linux.uml')}"]
    script = "id -u; pwd; touch /etc/x && rm -rf /usr/share/doc && ! cat /etc/shadow; exit 8"
    command = ["-m", "umlctl", "exec", "--", "sh", "-c", script]
    before = listing("/usr/share/doc")
    done = subprocess.run(
        [*words, f"/usr/bin/{version}", *command],
        cwd="/var",
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=2 * DEADLINE,
        check=False,
    )
    assert (done.returncode, done.stdout) == (8, b"0\n/var\n"), done
    assert listing("/usr/share/doc") == before
    assert os.listdir(f"{users_home}/u/run/g") == []


def test_what_became_of_it_is_written_apart(program: Place, tmp_path: Path) -> None:
    def how(*words: str) -> tuple[subprocess.CompletedProcess[bytes], dict[str, Any]]:
        path = tmp_path / "how.json"
        done = program.run("--json", str(path), "--kmsg", str(tmp_path / "log"), *words)
        return done, json.loads(path.read_bytes())

    done, found = how("--", "sh", "-c", "echo out; echo err >&2; exit 7")
    assert (done.stdout, done.stderr) == (b"out\n", b"err\n")
    assert (done.returncode, found["status"], found["cause"]) == (7, 7, "exited")
    assert b"Linux version" in (tmp_path / "log").read_bytes()
    done, found = how("--", "sh", "-c", "sleep 1; echo c >/proc/sysrq-trigger; sleep 60")
    assert (done.returncode, found["cause"]) == (255, "panicked")
    assert found["panic"] == "sysrq triggered crash"
    done, found = how("--kernel", "/no/such", "--", "true")
    assert (found["cause"], found["status"]) == ("not begun", done.returncode)


def kept(
    place: Place, how: Path, *words: str, stdin: bytes | None = None
) -> tuple[subprocess.CompletedProcess[bytes], dict[str, Any]]:
    """Run a command in a guest that is kept; what became of it."""
    done = place.run_to_end("--keep", "--json", str(how), *words, stdin=stdin)
    return done, json.loads(how.read_bytes())


def end(place: Place, name: str) -> None:
    """End a guest that was kept, of which nothing is left then."""
    place.house.umlctl("kill", name)
    place.house.umlctl("rm", name)
    wait_for(lambda: place.house.leftovers(name) == [], "nothing is left")


def test_guest_that_is_kept_goes_on(place: Place, tmp_path: Path) -> None:
    script = "echo kept >/etc/mine; cat; echo $GIVEN $PWD; exit 3"
    words = ("--env", "GIVEN=this", "--cwd", "/usr", "--", "sh", "-c", script)
    done, how = kept(place, tmp_path / "how", *words, stdin=b"in\n")
    name = how["guest"]
    try:
        assert (done.returncode, done.stdout) == (3, b"in\nthis /usr\n")
        assert f"the guest stays, as {name}: ".encode() in done.stderr
        assert place.house.ok("exec", name, "--", "cat", "/etc/mine") == "kept\n"
        assert not os.path.exists("/etc/mine")
        assert b"a reboot ends it" in done.stderr
        assert place.house.umlctl("reboot", name).returncode == 1  # it would not come back
        assert place.house.listed(name)["state"] == "running"
        place.house.ok("shutdown", name)
    finally:
        end(place, name)


def test_guest_of_another_user_is_kept(program: Place, tmp_path: Path) -> None:
    if os.geteuid():
        pytest.skip("only root runs a guest as another user")
    done, how = kept(program, tmp_path / "how", "--user", "nobody", "--cwd", "/", "--", "true")
    try:
        assert done.returncode == 0, done
        assert program.house.ok("exec", how["guest"], "--", "echo", "here") == "here\n"
    finally:
        end(program, how["guest"])


def test_kept_guest_outlives_a_command_whose_time_is_up(program: Place, tmp_path: Path) -> None:
    words = ("--timeout", "3", "--", "sleep", "7799")
    done, how = kept(program, tmp_path / "how", *words)
    try:
        assert (done.returncode, how["cause"]) == (124, "timed out")
        assert program.house.ok("exec", how["guest"], "--", "echo", "here") == "here\n"
    finally:
        end(program, how["guest"])


def test_guest_that_panics_is_not_kept(program: Place) -> None:
    done = program.run("--keep", "--", "sh", "-c", "sleep 1; echo c >/proc/sysrq-trigger; sleep 60")
    assert done.returncode == 255
    assert b"sysrq triggered crash" in done.stderr
    assert b"the guest stays" not in done.stderr
    assert program.run("--keep", "--kernel", "/no/such", "--", "true").returncode != 0
