"""Guests of a program: `import umlctl`, in this process."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import pytest

import umlctl
from tests.live.conftest import DEADLINE, House, a_house, wait_for
from umlctl import exitcodes
from umlctl.guest.command import AGENT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from umlctl import Guest
    from umlctl.pytest_plugin import Guests

SMALL = "64M"


@pytest.fixture(scope="module")
def place() -> Iterator[House]:
    """Where these tests' process has its guests."""
    with a_house() as house, pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", house.home)
        for name in [name for name in os.environ if name.startswith("XDG_")]:
            patch.delenv(name)
        patch.setenv("UMLCTL_DIR", house.env["UMLCTL_DIR"])
        yield house


@pytest.fixture(scope="module")
def guest(place: House) -> Iterator[Guest]:
    with umlctl.start(mem=SMALL) as started:
        yield started


def test_command_has_its_streams_and_its_status(guest: Guest) -> None:
    script = "cat; echo err >&2; echo $GIVEN $PWD $HOME; exit 7"
    done = guest.exec(["sh", "-c", script], input=b"in\n", env={"GIVEN": "this"}, cwd="/usr")
    assert (done.returncode, done.stdout) == (7, b"in\nthis /usr /root\n")
    assert done.stderr == b"err\n"
    assert guest.exec(["uname", "-n"], text=True).stdout == f"{guest.name}\n"
    assert guest.exec(["sh", "-c", "kill -SEGV $$"]).returncode == -signal.SIGSEGV
    with pytest.raises(umlctl.CommandFailed, match="status 1"):
        guest.exec(["false"], check=True)
    if os.access(AGENT, os.X_OK):
        with pytest.raises(umlctl.NotExecuted, match="/no/such"):
            guest.exec(["/no/such"])
    else:  # a shell says it in its own words
        assert guest.exec(["/no/such"]).returncode == exitcodes.NO_COMMAND
    with pytest.raises(umlctl.CommandTimedOut):
        guest.exec(["sleep", "7755"], timeout=2)
    assert b"7755" not in guest.exec(["sh", "-c", "cat /proc/[0-9]*/cmdline | tr '\\0' ' '"]).stdout


def test_megabytes_come_back_as_they_went(guest: Guest, tmp_path: Path) -> None:
    data = os.urandom(4_000_000)
    assert guest.exec(["cat"], input=data).stdout == data
    (tmp_path / "in").write_bytes(data)
    with open(tmp_path / "in", "rb") as source, open(tmp_path / "out", "wb") as target:
        guest.exec(["cat"], stdin=source, stdout=target, check=True)
    assert hashlib.sha256((tmp_path / "out").read_bytes()).digest() == hashlib.sha256(data).digest()


def test_commands_of_threads_run_side_by_side(guest: Guest) -> None:
    found: list[bytes] = []

    def run(number: int) -> None:
        found.append(guest.exec(["echo", str(number)]).stdout)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(6)]
    for each in threads:
        each.start()
    for each in threads:
        each.join(DEADLINE)
    assert sorted(found) == [b"%d\n" % number for number in range(6)]


def test_paused_guest_leaves_no_thread_behind(guest: Guest) -> None:
    """What is read later is not to be read for a command that nobody waits for any more."""
    before = len(os.listdir("/proc/self/task"))
    guest.request("stop")
    with pytest.raises((umlctl.TimedOut, umlctl.NeverStarted)):
        guest.exec(["sleep", "7766"], timeout=2)
    wait_for(lambda: len(os.listdir("/proc/self/task")) <= before, "its threads have ended")
    guest.request("go")
    assert guest.exec(["echo", "here"]).stdout == b"here\n"


def test_files_are_copied(guest: Guest, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"data")
    guest.copy_in(tmp_path / "a", "/tmp/b")
    assert guest.copy_out("/tmp/b", tmp_path) == f"{tmp_path}/b"
    assert (tmp_path / "b").read_bytes() == b"data"
    with pytest.raises(umlctl.Refused, match="No such file"):
        guest.copy_out("/no/such", tmp_path)


def test_disk_is_plugged_and_removed(guest: Guest, tmp_path: Path) -> None:
    with open(tmp_path / "disk.img", "wb") as file:
        file.truncate(1 << 20)
    device = guest.add_disk(tmp_path / "disk.img")
    assert device.name in [each.name for each in guest.devices()]
    assert (device.observed or {})["size"] == 1 << 20
    guest.remove_device(device.name)
    assert device.name not in [each.name for each in guest.devices()]
    with pytest.raises(umlctl.UmlctlError, match=r"none\.img"):
        guest.add_disk(f"{tmp_path}/none.img")


def test_console_is_waited_for(guest: Guest) -> None:
    with guest.console() as console:
        console.expect("# ", timeout=DEADLINE)
        console.sendline("echo $((6*7)) is it")
        assert console.expect(r"(\d+) is it\n", timeout=DEADLINE)[1] == "42"
        with pytest.raises(umlctl.TimedOut, match="never"):
            console.expect("never", timeout=0.2)
    assert "42 is it" in guest.console_tail()


def test_it_is_asked(guest: Guest) -> None:
    assert guest.status().state == "running"
    assert guest.request("version").startswith(b"Linux ")
    assert next(iter(guest.events()))["event"] == "started"
    assert guest.wait_for("ready", timeout=DEADLINE)["umid"] == guest.name
    for problem in (lambda: guest.wait(timeout=0.2), lambda: guest.wait_for("panicked", 0.2)):
        with pytest.raises(umlctl.TimedOut):
            problem()
    with pytest.raises(umlctl.Refused):
        guest.request("no-such-command")


def test_name_of_a_guest_that_runs_is_taken(guest: Guest) -> None:
    with pytest.raises(umlctl.GuestInUse, match=guest.name):
        umlctl.start(guest.name)
    assert guest.exec(["true"]).returncode == 0


def test_other_programs_attach_to_it_and_leave_it(guest: Guest, place: House) -> None:
    with umlctl.attach(guest.name) as other:
        assert other.exec(["true"]).returncode == 0
    assert place.listed(guest.name)["state"] == "running"


def test_panic_is_told(place: House, uml: Guests) -> None:
    guest = uml(mem=SMALL)
    with pytest.raises(umlctl.GuestEnded, match="sysrq triggered crash") as caught:
        guest.exec(["sh", "-c", "echo c >/proc/sysrq-trigger; sleep 60"])
    assert caught.value.ending.cause == "panicked"
    assert "Call Trace" in caught.value.console
    assert guest.wait().code == 255
    with pytest.raises((umlctl.NoGuest, umlctl.NeverStarted)):
        guest.exec(["true"])


def test_nothing_is_left_of_what_was_started(place: House) -> None:
    with umlctl.start(mem=SMALL) as guest:
        pass
    assert place.leftovers(guest.name) == []
    assert not os.path.exists(f"{place.state}/guests/{guest.name}")


def test_shutdown_is_in_order(place: House, uml: Guests) -> None:
    guest = uml(mem=SMALL, disk=[], hang_after=30)
    place.has_init(guest.name)
    ending = guest.shutdown()
    assert (ending.cause, ending.code) == ("shut down", 0)
    assert guest.status().state == "dead"


def test_guest_that_cannot_be_is_an_error(place: House) -> None:
    with pytest.raises(umlctl.NoKernel):
        umlctl.start(kernel="/no/such/kernel")
    with pytest.raises(umlctl.Refused, match="/no/such/init"):
        umlctl.start("never", mem=SMALL, init="/no/such/init")
    with pytest.raises(umlctl.NeverStarted) as caught:
        umlctl.start("never", mem=SMALL, arguments=["root=/dev/ubdb", "rootfstype=ext4"])
    assert "never" in str(caught.value)
    assert "VFS" in caught.value.__notes__[0]
    umlctl.Guest("never", is_own=True).remove()
    assert place.leftovers("never") == []
    before = os.listdir(f"{place.state}/guests")
    with pytest.raises(umlctl.NeverStarted):
        umlctl.start(mem=SMALL, arguments=["root=/dev/ubdb", "rootfstype=ext4"])
    assert os.listdir(f"{place.state}/guests") == before


def test_killed_program_leaves_no_guest(place: House) -> None:
    program = (
        "import umlctl, sys\n"
        f"with umlctl.start('orphan', mem='{SMALL}') as guest:\n"
        "    print('up', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program],
        env=place.env,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"up\n"
        process.kill()
    wait_for(lambda: not place.leftovers("orphan"), "it is gone")
    wait_for(lambda: not os.path.exists(f"{place.state}/guests/orphan"), "and its records")


def test_runner_runs_many(place: House) -> None:
    runner = umlctl.Runner(mem=SMALL, jobs=2, timeout=DEADLINE)
    found = runner.run_all({"good": ["true"], "bad": ["sh", "-c", "echo why; exit 3"]}, repeat=2)
    assert [(each.name, each.status) for each in found] == 2 * [
        ("good", "passed"),
        ("bad", "failed"),
    ]
    assert found[1].reason == "exit status 3"
    assert "why" in found[1].log
