"""`umlctl exec GUEST`: by the program, and by the script that stands in for it."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import signal
import subprocess
from typing import TYPE_CHECKING

import pexpect
import pytest

from tests.live.conftest import DEADLINE, House, a_house, wait_for
from tests.live.exec_place import ROOT, Place, have_program, packages
from umlctl.protocol import command_lines

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

GUEST = "running"


class Guest(Place):
    """Where `umlctl exec GUEST` is run from."""

    umid = GUEST

    def run(
        self, *words: str, stdin: bytes | None = None, cwd: str | None = None
    ) -> subprocess.CompletedProcess[bytes]:
        return self.run_to_end(self.umid, *words, stdin=stdin, cwd=cwd)

    def command(self, *words: str) -> list[str]:
        named = words if words[0] == self.umid else (self.umid, *words)
        return super().command(*named)

    def copy(self, *words: str) -> subprocess.CompletedProcess[bytes]:
        """`umlctl cp WORDS`."""
        command = [*Place.command(self)[:-1], "cp", *words]
        return subprocess.run(
            command, env=self.env, capture_output=True, timeout=2 * DEADLINE, check=False
        )

    def marks(self) -> list[str]:
        """Slots on which there is a command, or was one that has not ended well."""
        directory = f"{self.house.run}/g/{self.umid}"
        return [name for name in os.listdir(directory) if name.endswith(".open")]

    def processes(self) -> str:
        return self.run("--", "sh", "-c", "cat /proc/[0-9]*/comm").stdout.decode()


@pytest.fixture(scope="module", params=["program", "script"])
def place(request: pytest.FixtureRequest) -> Iterator[Guest]:
    with contextlib.ExitStack() as stack:
        if request.param == "program":
            have_program()
            source = ROOT
        else:
            source = stack.enter_context(packages())
        house = stack.enter_context(a_house())
        house.start(GUEST)
        yield Guest(house, source)


def test_status_streams_and_environment_are_those_of_a_command_there(place: Guest) -> None:
    script = "echo out; echo err >&2; echo $HOME $PWD $GIVEN; exit 7"
    done = place.run("--env", "GIVEN=this", "--", "sh", "-c", script)
    assert (done.returncode, done.stdout, done.stderr) == (7, b"out\n/root / this\n", b"err\n")
    assert place.run("--cwd", "/usr", "--", "pwd").stdout == b"/usr\n"
    done = place.run("--cwd", "/no/such", "--", "true")
    assert done.returncode == 125
    assert place.run("--", "/no/such").returncode == 127
    assert place.run("--", "sh", "-c", "kill -SEGV $$").returncode == 139
    assert place.marks() == []


def test_what_is_written_there_stays(place: Guest) -> None:
    assert place.run("--", "sh", "-c", "echo kept >/tmp/kept").returncode == 0
    assert place.run("--", "cat", "/tmp/kept").stdout == b"kept\n"


def test_megabytes_come_back_as_they_went(place: Guest) -> None:
    data = os.urandom(8_000_000)
    done = place.run("--", "cat", stdin=data)
    assert (done.returncode, done.stderr) == (0, b"")
    assert hashlib.sha256(done.stdout).digest() == hashlib.sha256(data).digest()


def test_commands_run_side_by_side_and_more_wait_for_their_turn(place: Guest) -> None:
    count = command_lines.SLOTS + 2
    script = "read -r line; echo $line"
    running = [
        subprocess.Popen(
            place.command("--", "sh", "-c", script),
            env=place.env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        for _ in range(count)
    ]
    wait_for(lambda: len(place.marks()) == command_lines.SLOTS, "all slots are taken")
    for number, each in enumerate(running):
        assert each.stdin is not None
        each.stdin.write(b"line %d\n" % number)
        each.stdin.flush()
    found = [each.communicate(timeout=DEADLINE)[0] for each in running]
    assert found == [b"line %d\n" % number for number in range(count)]
    assert [each.returncode for each in running] == [0] * count
    assert place.marks() == []


def test_command_whose_time_is_up_is_ended(place: Guest) -> None:
    done = place.run("--timeout", "3", "--", "sleep", "7700")
    assert done.returncode == 124
    assert "sleep" not in place.processes()


def test_signal_reaches_the_command(place: Guest) -> None:
    script = "trap 'exit 9' INT TERM HUP; echo begun; while :; do sleep 0.1; done"
    with place.begun("--", "sh", "-c", script) as process:
        process.send_signal(signal.SIGHUP)
        assert process.wait(DEADLINE) == 9


def test_guest_that_is_paused_is_waited_for_until_the_second_signal(place: Guest) -> None:
    with place.begun("--", "sh", "-c", "echo begun; exec sleep 7733") as process:
        assert process.stderr is not None
        place.house.ok("stop", place.umid)
        process.send_signal(signal.SIGINT)
        assert b"once more gives up" in process.stderr.readline()
        process.send_signal(signal.SIGINT)
        assert process.wait(DEADLINE) == 128 + signal.SIGINT
        place.house.ok("go", place.umid)
    wait_for(lambda: "sleep" not in place.processes(), "it has ended")


def test_keys_on_the_terminal_of_a_guest_that_is_paused_give_up(place: Guest) -> None:
    with place.terminal("--", "sh", "-c", "echo begun; exec sleep 7744") as shell:
        shell.expect("begun")
        place.house.ok("stop", place.umid)
        shell.send("\x03")
        shell.expect("once more gives up")
        shell.send("\x03")
        shell.expect(pexpect.EOF)
        shell.wait()
        assert shell.exitstatus == 128 + signal.SIGINT
        place.house.ok("go", place.umid)
    wait_for(lambda: "sleep" not in place.processes(), "it has ended")


def test_command_ends_whose_client_was_killed(place: Guest) -> None:
    with place.begun("--", "sh", "-c", "echo begun; exec sleep 7711") as process:
        process.kill()
        process.wait(DEADLINE)
        wait_for(lambda: "sleep" not in place.processes(), "it has ended")
    for _ in range(command_lines.SLOTS + 1):
        assert place.run("--", "echo", "here").stdout == b"here\n"
    assert place.marks() == []


def test_what_a_command_leaves_running_goes_on(place: Guest) -> None:
    script = "sleep 7722 >/dev/null 2>&1 & echo left"
    assert place.run("--", "sh", "-c", script).stdout == b"left\n"
    assert "sleep" in place.processes()
    place.run("--", "sh", "-c", "kill $(grep -l 7722 /proc/[0-9]*/cmdline | cut -d / -f 3)")


def test_terminal_is_a_terminal(place: Guest) -> None:
    with place.terminal("--", "sh") as shell:
        shell.expect("# ")
        shell.sendline("tty; stty size; exit 5")
        shell.expect(r"/dev/ttyS\d+\r\n30 90")
        shell.expect(pexpect.EOF)
        shell.wait()
        assert shell.exitstatus == 5


def test_files_are_copied_as_they_are(place: Guest, tmp_path: Path) -> None:
    data = os.urandom(3_000_000) + bytes(5000)
    (tmp_path / "a b").write_bytes(data)
    (tmp_path / "a b").chmod(0o750)
    (tmp_path / "c").write_bytes(b"")
    made = place.copy(str(tmp_path / "a b"), str(tmp_path / "c"), f"{GUEST}:/tmp")
    assert (made.returncode, made.stderr) == (0, b"")
    (tmp_path / "back").mkdir()
    made = place.copy(f"{GUEST}:/tmp/a b", f"{GUEST}:/tmp/c", str(tmp_path / "back"))
    assert (made.returncode, made.stderr) == (0, b"")
    found = {each.name: each.read_bytes() for each in (tmp_path / "back").iterdir()}
    assert found == {"a b": data, "c": b""}
    assert (tmp_path / "back" / "a b").stat().st_mode & 0o777 == 0o750


def test_file_that_cannot_be_copied_changes_nothing(place: Guest, tmp_path: Path) -> None:
    (tmp_path / "here").write_text("here\n")
    here = str(tmp_path / "here")
    for source, target, code, said in (
        (f"{GUEST}:/no/such", here, 1, b"/no/such"),
        (f"{GUEST}:/usr", here, 1, b"it is a directory"),
        (f"{tmp_path}/none", f"{GUEST}:/tmp/none", 7, b"No such file"),
        (str(tmp_path), f"{GUEST}:/tmp/none", 7, b"s a directory"),
        (here, f"{GUEST}:/proc/version/x", 1, b"nothing is at"),
        (here, f"{GUEST}:/nowhere/", 1, b"no such directory"),
        (here, "no-guest:/tmp/x", 3, b"no guest"),
        (f"{GUEST}:/etc/hosts", f"{tmp_path}/none/", 7, b"no such directory"),
    ):
        done = place.copy(source, target)
        assert (done.returncode, said in done.stderr) == (code, True), done
    assert [each.name for each in tmp_path.iterdir()] == ["here"]
    assert (tmp_path / "here").read_text() == "here\n"
    assert place.run("--", "ls", "/tmp").stdout.count(b"none") == 0


def test_what_became_of_it_is_written_apart(place: Guest, tmp_path: Path) -> None:
    how = tmp_path / "how.json"
    done = place.run("--json", str(how), "--", "sh", "-c", "echo out; kill -SEGV $$")
    assert (done.returncode, done.stdout) == (139, b"out\n")
    found = json.loads(how.read_bytes())
    assert (found["cause"], found["signal"], found["status"]) == ("signalled", 11, 139)
    ended = place.house.umlctl("exec", "no-guest", "--json", str(how), "--", "true")
    assert ended.returncode == 3
    assert json.loads(how.read_bytes())["cause"] == "not begun"


def test_options_of_a_fresh_guest_are_refused(place: Guest) -> None:
    done = place.run("--mem", "1G", "--", "true")
    assert done.returncode == 2
    assert b"--mem is for a guest of its own" in done.stderr


def test_guest_goes_on_whoever_supervises_it(place: Guest) -> None:
    """No supervisor takes part, and a reboot takes the lines along."""
    supervisor = place.house.status(GUEST)["supervisor_pid"]
    os.kill(supervisor, signal.SIGKILL)
    assert place.run("--", "echo", "alone").stdout == b"alone\n"
    place.house.ok("reboot", GUEST)
    assert place.run("--", "echo", "again").stdout == b"again\n"


def test_guest_that_ends_is_said(house: House, umid: str) -> None:
    house.start(umid)
    done = house.umlctl("exec", umid, "--", "sh", "-c", "echo b >/proc/sysrq-trigger; sleep 600")
    assert done.returncode == 5
    assert "has ended, or was rebooted" in done.stderr
    done = house.umlctl("exec", "no-guest", "--", "true")
    assert done.returncode == 3


@pytest.mark.timeout(300)
def test_guest_with_another_init_takes_commands_by_one_line_of_its_own(
    house: House, umid: str, tmp_path: Path
) -> None:
    """The line that is told who asks for a command before."""
    init = tmp_path / "init"
    init.write_text(
        "#!/bin/sh\nmount -t proc proc /proc\nmount -t tmpfs tmpfs /run\n"
        "echo 'userspace is up' >/proc/mconsole\n"
        f"exec /bin/sh {command_lines.SHELL_DEVICE}\n"
    )
    init.chmod(0o755)
    house.start(umid, "--init", str(init))
    done = house.umlctl("exec", umid, "--", "sh", "-c", "echo here >/run/x; cat /run/x")
    assert (done.returncode, done.stdout) == (0, "here\n"), done


@pytest.mark.parametrize("mode", ["writes", "strict", "off"])
def test_kernel_finds_commands_however_it_is_confined(house: House, umid: str, mode: str) -> None:
    house.start(umid, "--confine", mode)
    done = house.umlctl("exec", umid, "--", "cat", stdin="through\n")
    assert (done.returncode, done.stdout) == (0, "through\n"), done


def test_kernel_of_another_user_takes_commands(house: House, umid: str) -> None:
    if os.geteuid():
        pytest.skip("only root runs a guest as another user")
    house.start(umid, "--user", "nobody")
    done = house.umlctl("exec", umid, "--", "cat", stdin="through\n")
    assert (done.returncode, done.stdout) == (0, "through\n"), done
