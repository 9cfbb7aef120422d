"""The life of a guest: boot, reboot, panic, every way to end, and what is left of it: nothing."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pexpect
import pytest

from tests.live.conftest import (
    DEADLINE,
    DEAF_INIT,
    WHOLE,
    ended_with,
    heed_signals,
    hold,
    kill_supervisor,
    processes_of,
    wait_for,
)
from umlctl import exitcodes
from umlctl.host import processes

if TYPE_CHECKING:
    from tests.live.conftest import House

EARLY_BOOTS = 100 if WHOLE else 12
EARLY_ENDS = 25 if WHOLE else 2

SPIN = """#!/bin/sh
# Writes to the host file system as long as it runs, and reports when it has begun.
mount -t proc proc /proc
mount -t tmpfs tmpfs /tmp
( while :; do :; done ) &
( while :; do echo x >{written}; done ) &
echo spinning >/proc/mconsole
while :; do read -r line </dev/tty0; done
"""


def _script(path: Path, text: str) -> str:
    path.write_text(text)
    path.chmod(0o755)
    directory = path.parent
    while directory != directory.parent and directory.stat().st_uid == os.getuid():
        directory.chmod(directory.stat().st_mode | 0o755)
        directory = directory.parent
        if str(directory) == "/tmp":
            break
    return str(path)


def _events(house: House, umid: str) -> list[dict[str, Any]]:
    """The history of a guest up to now."""
    return [json.loads(line) for line in house.ok("events", umid, "--json").splitlines()]


@pytest.mark.parametrize("status", [42, 127, 134])
def test_run_ends_with_the_guests_own_status(
    house: House, umid: str, tmp_path: Path, status: int
) -> None:
    script = _script(
        tmp_path / "init",
        "#!/bin/sh\nmount -t proc proc /proc\necho Kernel panic - not syncing: no\n"
        f"echo {status} >/proc/exitcode\n"
        "echo o >/proc/sysrq-trigger\nwhile :; do sleep 1; done\n",
    )
    done = house.umlctl("run", umid, "--init", script)
    assert ended_with(status, done.returncode, done.stderr), done
    assert done.returncode != status or house.listed(umid)["ending"]["cause"] == "exited"
    assert house.leftovers(umid) == []


@pytest.mark.parametrize(
    ("last", "code", "told"),
    [
        ("echo o >/proc/sysrq-trigger; while :; do /bin/sleep 1; done", 0, "exited with status 0"),
        ("exit 3", 255, "panicked: Attempted to kill init"),
    ],
)
def test_an_init_that_ends_at_once_was_started_all_the_same(
    house: House, umid: str, tmp_path: Path, last: str, code: int, told: str
) -> None:
    init = _script(tmp_path / "init", f"#!/bin/sh\n/bin/mount -t proc proc /proc\n{last}\n")
    for _ in range(5):
        done = house.umlctl("run", umid, "--init", init)
        assert ended_with(code, done.returncode, done.stderr), done
        assert done.returncode != code or told in done.stderr, done


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_to_the_supervisor_shuts_the_guest_down_in_order(
    house: House, umid: str, number: signal.Signals
) -> None:
    with house.running(umid) as process:
        house.has_init(umid)
        process.send_signal(number)
        assert process.wait(DEADLINE) == 128 + number
    assert "reboot: Power down" in house.ok("logs", umid)
    assert house.listed(umid)["ending"]["cause"] == "shut down"
    assert house.leftovers(umid) == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_while_the_supervisor_is_still_starting_leaves_nothing(
    house: House, umid: str, number: signal.Signals
) -> None:
    process = subprocess.Popen(
        house.command("run", umid, "--mem", "64M"),
        env=house.env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=heed_signals,  # noqa: PLW1509
    )
    wait_for(lambda: os.path.exists(f"{house.run}/g/{umid}/notify"), "the launch has begun")
    process.send_signal(number)
    _, said = process.communicate(timeout=DEADLINE)
    assert "Traceback" not in said
    assert process.returncode > 0
    assert house.leftovers(umid) == []


def test_what_nohup_ignores_stays_ignored(house: House, umid: str) -> None:
    process = subprocess.Popen(
        ["sh", "-c", 'trap "" HUP; exec "$@"', "sh", *house.command("run", umid, "--mem", "64M")],
        env=house.env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    wait_for(lambda: house.umlctl("version", umid).returncode == 0, f"{umid} is ready")
    process.send_signal(signal.SIGHUP)
    house.ok("version", umid)
    process.terminate()
    assert process.wait(DEADLINE) == 128 + signal.SIGTERM


def test_shutdown_is_orderly(house: House, umid: str) -> None:
    house.start(umid)
    house.has_init(umid)
    assert "shut down" in house.ok("shutdown", umid)
    assert "reboot: Power down" in house.ok("logs", umid)


def test_shutdown_of_a_guest_that_ignores_it_syncs_and_halts(
    house: House, umid: str, tmp_path: Path
) -> None:
    script = _script(tmp_path / "init", DEAF_INIT)
    house.start(umid, "--init", script)
    wait_for(lambda: any(e["event"] == "user" for e in _events(house, umid)), "init is deaf")
    house.ok("shutdown", umid, "1")
    log = house.ok("logs", umid)
    assert "Emergency Sync complete" in log
    assert house.listed(umid)["ending"]["code"] == 0


def test_shutdown_waits_for_a_socket_that_somebody_removed(house: House, umid: str) -> None:
    house.start(umid)
    house.has_init(umid)
    shutil.rmtree(os.path.realpath(os.path.dirname(house.kernel_socket(umid))))
    done = house.umlctl("shutdown", umid)
    assert (done.returncode, "shut down" in done.stdout) == (0, True), done
    assert "reboot: Power down" in house.ok("logs", umid)


def test_shutdown_whose_sync_is_not_seen_says_so(house: House, umid: str, tmp_path: Path) -> None:
    script = _script(tmp_path / "init", DEAF_INIT)
    house.start(umid, "--init", script)
    wait_for(lambda: any(e["event"] == "user" for e in _events(house, umid)), "init is deaf")
    os.unlink(house.status(umid)["log"])
    done = house.umlctl("shutdown", umid, "0.5")
    assert (done.returncode, "; not seen to sync: " in done.stdout) == (7, True), done
    ending = house.listed(umid)["ending"]
    assert (ending["cause"], ending["code"]) == ("killed", 143)
    assert house.umlctl("wait", umid).returncode == 143


def test_shutdown_of_a_guest_that_is_killed_meanwhile_says_so(
    house: House, umid: str, tmp_path: Path
) -> None:
    script = _script(
        tmp_path / "init", DEAF_INIT.replace("trap ''", "trap 'echo told to end >/proc/mconsole'")
    )
    house.start(umid, "--init", script)
    wait_for(lambda: any(e["event"] == "user" for e in _events(house, umid)), "init is deaf")
    pid = house.status(umid)["pid"]
    ending = subprocess.Popen(
        house.command("shutdown", umid, "60"), env=house.env, stdout=subprocess.PIPE, text=True
    )
    wait_for(
        lambda: any(e.get("text") == "told to end" for e in _events(house, umid)), "it is told"
    )
    os.killpg(pid, signal.SIGKILL)
    out, _ = ending.communicate(timeout=DEADLINE)
    assert (ending.returncode, "killed: signal 9" in out) == (7, True), out


CRASH = "mount -t proc proc /proc\necho c >/proc/sysrq-trigger\n"
EXIT_7 = "mount -t proc proc /proc\necho 7 >/proc/exitcode\necho o >/proc/sysrq-trigger\nsleep 9\n"


@pytest.mark.parametrize(
    ("text", "arguments", "code"),
    [
        (CRASH, [], 255),
        (CRASH, ["console=ttyS0"], 255),
        (CRASH, ["con0=null"], 255),
        (CRASH, ["quiet"], 255),
        (EXIT_7, ["console=ttyS0"], 7),
        (EXIT_7, ["con0=null"], 7),
        (EXIT_7, ["quiet"], 7),
    ],
)
def test_end_in_the_first_moments_has_its_status_wherever_the_console_is(
    house: House, umid: str, tmp_path: Path, text: str, arguments: list[str], code: int
) -> None:
    init = _script(tmp_path / "init", "#!/bin/sh\nPATH=/bin:/sbin\n" + text)
    more = ["--", *arguments, f"init={init}"]
    for _ in range(EARLY_ENDS):
        done = house.umlctl("run", umid, *more)
        assert ended_with(code, done.returncode, done.stderr), done


def test_a_panic_is_the_answer_to_who_waits(house: House, umid: str) -> None:
    with house.running(umid) as process:
        waiting = subprocess.Popen(
            house.command("wait", umid), env=house.env, stdout=subprocess.PIPE, text=True
        )
        answer = house.umlctl("sysrq", umid, "c")
        assert answer.returncode == 5
        assert "sysrq triggered crash" in answer.stderr
        assert process.wait(DEADLINE) == 255
        out, _ = waiting.communicate(timeout=DEADLINE)
        assert waiting.returncode == 255
        assert "sysrq triggered crash" in out
    row = house.listed(umid)
    assert row["state"] == "dead"
    assert row["last_panic"] == "sysrq triggered crash"
    assert house.leftovers(umid) == []


def test_a_reboot_keeps_the_guest_and_ends_who_waits(house: House, umid: str) -> None:
    house.start(umid)
    pid = house.status(umid)["pid"]
    house.ok("reboot", umid)
    wait_for(lambda: house.status(umid)["reboots"] == 1, "the reboot is seen")
    wait_for(lambda: house.status(umid)["state"] == "running", "the guest is back")
    assert house.status(umid)["pid"] == pid
    house.ok("version", umid)
    house.ok("stack", umid, "1")


def test_reboot_comes_back_when_the_guest_is_ready_again(house: House, umid: str) -> None:
    house.start(umid, "--", "noreboot")
    done = house.umlctl("reboot", umid)
    assert done.returncode == exitcodes.GONE, "it has ended instead"
    # Who asks late hears so from its record, and not from its supervisor.
    assert f"reboot {umid}: guest gone: " in done.stderr
    assert "exited with status 0" in done.stderr
    house.start(umid)
    for number in range(1, 4):
        house.ok("reboot", umid)
        status = house.status(umid)
        seen = (status["state"], status["boots"], status["reboots"])
        assert seen == ("running", 1 + number, number)


def test_requests_to_a_guest_that_reboots_are_held_until_it_is_ready(
    house: House, umid: str
) -> None:
    house.start(umid)
    for number in range(1, 4):
        house.ok("reboot", umid, "--no-wait")
        house.ok("version", umid)
        assert house.status(umid)["reboots"] == 2 * number - 1
        assert house.stock(umid, "reboot").returncode == 0
        asked = house.stock(umid, "proc", "uptime")
        assert (asked.returncode, asked.stdout[:3]) == (0, b"OK "), asked
    house.has_shell(umid)
    Path(f"{house.run}/g/{umid}/con0.in").write_text("echo b >/proc/sysrq-trigger\n")
    while house.status(umid)["reboots"] < 7:
        assert house.ask(umid, "version").ok, "who asks meanwhile need not know"


def test_who_does_not_wait_for_the_start_finds_the_guest_all_the_same(
    house: House, umid: str
) -> None:
    said = house.ok("start", umid, "--mem", "64M", "--no-wait")
    assert said.startswith(f"{umid} is booting, kernel pid ")
    house.ok("version", umid)
    assert house.status(umid)["state"] == "running"


def test_requests_to_a_guest_that_boots_are_held_until_it_is_ready(house: House, umid: str) -> None:
    process = subprocess.Popen(
        house.command("run", umid, "--mem", "64M"),
        env=house.env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_for(lambda: os.path.exists(house.public(umid)), "its socket is there")
        asked = house.stock(umid, "config", "con0")
        assert (asked.returncode, asked.stdout[:3]) == (0, b"OK "), asked
        house.ok("version", umid)
        house.ok("halt", umid)
    finally:
        process.wait(DEADLINE)


def test_guest_that_never_boots_holds_nobody_for_ever_and_can_be_ended(
    house: House, umid: str
) -> None:
    """Its root is late, and then somebody keeps its kernel from running."""
    process = subprocess.Popen(
        house.command("run", umid, "--timeout", "300", "--", "rootdelay=300"),
        env=house.env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    pid = Path(os.path.dirname(house.public(umid)), "pid")
    wait_for(lambda: pid.exists() and os.path.exists(house.public(umid)), "its socket is there")
    hold(int(pid.read_text()))
    late = house.umlctl("version", umid, "--timeout", "1.5")
    assert (late.returncode, "timed out" in late.stderr) == (4, True), late
    house.ok("halt", umid)
    _, said = process.communicate(timeout=DEADLINE)
    assert (process.returncode, "never started: halted by a user" in said) == (125, True), said


def test_run_ends_a_guest_that_takes_too_long(house: House, umid: str, tmp_path: Path) -> None:
    place = tmp_path / "log"
    done = house.umlctl("run", umid, "--limit", "3", "--json", "--log", str(place))
    result = json.loads(done.stdout)
    assert (done.returncode, result["status"], result["cause"]) == (124, 124, "timed out"), done
    assert "not over within 3 seconds; " in result["text"]
    assert result["log"] == str(place)
    assert place.read_text() == house.ok("logs", umid)


def test_run_that_was_killed_goes_on_with_its_guest_when_it_is_run_again(
    house: House, umid: str
) -> None:
    with house.running(umid) as first:
        pid = house.status(umid)["pid"]
        first.kill()
        first.wait(DEADLINE)
        other = house.umlctl("run", umid, "--mem", "65M")
        assert other.returncode == 1
        assert "runs on though its supervisor is gone" in other.stderr
        lock = Path(f"{house.run}/g/{umid}.lock")
        with subprocess.Popen(
            house.command("run", umid, "--mem", "64M"),
            env=house.env,
            preexec_fn=heed_signals,  # noqa: PLW1509
        ) as again:
            wait_for(lambda: lock.read_text() == f"{again.pid}\n", "it has a supervisor again")
            status = house.status(umid)
            assert (status["pid"], status["supervisor_pid"]) == (pid, again.pid)
            house.ok("shutdown", umid)
            assert again.wait(DEADLINE) == 0


def test_guest_of_a_run_that_is_killed_dies_with_it_if_that_is_wanted(
    house: House, umid: str
) -> None:
    with house.running(umid, "--die-with-parent") as process:
        process.kill()
        process.wait(DEADLINE)
        wait_for(lambda: house.listed(umid)["ending"], "it is dead, and seen how")
    assert house.listed(umid)["ending"]["cause"] == "killed"


def test_panic_is_told_once_and_where_its_trace_is(house: House, umid: str, tmp_path: Path) -> None:
    done = house.umlctl("run", umid, "--init", _script(tmp_path / "init", "#!/bin/sh\nexit 3\n"))
    assert done.returncode == 255
    assert done.stderr.count("Attempted to kill init") == 1
    assert f"`umlctl dmesg {umid}` has the trace" in done.stderr
    assert "Attempted to kill init" in house.ok("dmesg", umid)


def _kill_main_process(house: House, umid: str, init: str) -> bool:
    """SIGKILL to the kernel's main process alone; then nothing of the guest may run on.

    True if the host gave the kernel a namespace; it gives a user in a chroot none.
    """
    with house.running(umid, "--init", init) as process:
        wait_for(lambda: any(e["event"] == "user" for e in _events(house, umid)), "it spins")
        pid = house.status(umid)["pid"]
        told = Path(f"/proc/{pid}/status").read_text()
        namespaced = len(told.partition("NSpid:")[2].partition("\n")[0].split()) > 1
        family = {member: processes.start_time(member) for member in processes.descendants(pid)}
        os.kill(pid, signal.SIGKILL)
        wait_for(
            lambda: not any(born and processes.alive(p, born) for p, born in family.items()),
            "nothing of the guest runs",
        )
        _, said = process.communicate(timeout=DEADLINE)
        assert process.returncode == 128 + signal.SIGKILL, said
    assert house.listed(umid)["ending"]["cause"] == "killed"
    assert house.leftovers(umid) == []
    return namespaced


def test_no_guest_code_runs_here_when_the_main_process_is_killed(
    house: House, umid: str, tmp_path: Path
) -> None:
    """What the kernel traced would run on as a process of this host, and write to its files."""
    written = f"/tmp/umlctl-{os.getpid()}-{umid}"
    init = _script(tmp_path / "init", SPIN.format(written=written))
    # Without a namespace there is a moment, see umlctl(1).
    namespaced = _kill_main_process(house, umid, init)
    if os.path.exists(written):
        os.unlink(written)
        assert not namespaced


@pytest.fixture
def no_namespaces(house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A host that refuses them."""
    refusing = tmp_path / "bin" / "unshare"
    refusing.parent.mkdir()
    _script(refusing, "#!/bin/sh\nexit 1\n")
    monkeypatch.setitem(house.env, "PATH", f"{refusing.parent}:{os.environ['PATH']}")


@pytest.mark.usefixtures("no_namespaces")
def test_where_there_are_no_namespaces_the_group_is_killed(
    house: House, umid: str, tmp_path: Path
) -> None:
    init = _script(tmp_path / "init", SPIN.format(written="/dev/null"))
    assert not _kill_main_process(house, umid, init)


def test_the_guest_outlives_its_supervisor_and_ends_whole(house: House, umid: str) -> None:
    _outlive(house, umid)


@pytest.mark.usefixtures("no_namespaces")
def test_without_namespaces_the_tiny_parent_ends_what_the_kernel_leaves(
    house: House, umid: str
) -> None:
    _outlive(house, umid)


def _outlive(house: House, umid: str) -> None:
    with house.running(umid) as process:
        pid = house.status(umid)["pid"]
        process.kill()
        process.wait(DEADLINE)
        assert house.ok("version", house.kernel_socket(umid)).startswith("Linux")
        os.kill(pid, signal.SIGKILL)
        wait_for(lambda: not processes_of(f"umid={umid}"), "nothing of the guest runs")
    # What the dead supervisor could not remove, the next one does.
    wait_for(lambda: house.listed(umid)["ending"], "it is seen how")
    assert house.listed(umid)["ending"]["cause"] == "killed"
    house.ok("adopt", umid)
    assert house.listed(umid)["ending"]["cause"] == "killed"
    assert house.leftovers(umid) == []
    house.start(umid)


# Adoption


@pytest.mark.parametrize("command", ["version", "status", "devices", "adopt"])
def test_any_command_has_a_lost_guest_adopted(house: House, umid: str, command: str) -> None:
    with house.running(umid) as process:
        kernel = house.status(umid)["pid"]
        process.kill()
        process.wait(DEADLINE)
        house.ok(command, *([] if command == "adopt" else [umid]))
        status = house.status(umid)
        assert (status["state"], status["pid"]) == ("running", kernel)
        assert status["supervisor_pid"] != process.pid
        refused = house.umlctl("start", umid)
        assert refused.returncode == 1
        assert "running guest" in refused.stderr
    house.ok("kill", umid)
    wait_for(lambda: not house.leftovers(umid), "nothing is left of it")
    assert house.listed(umid)["ending"]["cause"] == "killed"


@pytest.mark.parametrize("words", ["mconsole version", "mconsole -", "shell -c version"])
def test_face_has_a_lost_guest_adopted(house: House, umid: str, words: str) -> None:
    house.start(umid)
    kill_supervisor(house, umid)
    command, *rest = words.split()
    done = house.umlctl(command, umid, *rest, stdin="version\n")
    assert (done.returncode, "Linux" in done.stdout) == (0, True), done.stderr


def test_guest_goes_on_under_another_supervisor_after_an_upgrade(house: House, umid: str) -> None:
    house.start(umid)
    before = house.status(umid)
    assert "run on" in house.ok("quit", "--leave-guests")
    wait_for(lambda: processes.start_time(before["supervisor_pid"]) is None, "it is gone")
    after = house.status(umid)
    assert (after["state"], after["pid"]) == ("running", before["pid"])
    assert after["supervisor_pid"] != before["supervisor_pid"]


def test_adopted_guest_is_as_it_was(house: House, umid: str, tmp_path: Path) -> None:
    """Its devices, its console, its state; and how it ends is known."""
    image = tmp_path / "disk.img"
    image.write_bytes(b"\0" * (1 << 20))
    house.start(umid, "--nic", "switch=adopted", "--pidfile", str(tmp_path / "pid"))
    house.has_shell(umid)
    house.ok("disk", "add", umid, str(image), "--slot", "5")
    house.ok("console", umid, "1")
    house.shell(umid, "x=42; echo $x >/tmp/x")
    before = house.lasting(umid)
    kill_supervisor(house, umid)
    assert house.umlctl("start", f"{umid}b", "--disk", str(image)).returncode != 0, "it is held"
    house.ok("adopt", umid)  # the supervisor that was started for that may be about to
    assert house.lasting(umid) == before
    assert house.shell(umid, "echo $x") == "42", "the same shell"
    status = house.status(umid)
    assert [console["name"] for console in status["consoles"]] == ["con0", "con1"]
    assert "after the adoption" not in house.ok("logs", umid)
    house.ok("log", umid, "after the adoption")
    assert "after the adoption" in house.ok("logs", umid)
    house.ok("stop", umid)
    kill_supervisor(house, umid)
    assert house.status(umid)["state"] == "stopped"
    house.ok("go", umid)
    kill_supervisor(house, umid)
    house.ok("adopt")
    house.ok("disk", "rm", umid, "5")
    house.shell(umid, "echo 9 >/proc/exitcode")
    house.ok("console", umid, stdin="exit\n")
    done = house.umlctl("wait", umid)
    assert ended_with(9, done.returncode, done.stdout), done
    wait_for(lambda: not house.leftovers(umid), "nothing is left of it")
    assert not (tmp_path / "pid").exists()


QUESTIONS = (("version",), ("status",), ("devices",), ("proc", "uptime"), ("config", "con0"))


def test_supervisor_killed_under_a_request_loses_no_client(house: House, umid: str) -> None:
    """A question is answered by the next one; of all else it is said that nobody knows."""
    house.start(umid)
    supervisor = house.status(umid)["supervisor_pid"]
    hold(supervisor)
    asked = [_client(house, command, umid, *rest) for command, *rest in QUESTIONS]
    through_table = _client(house, "disk", "list", umid)
    waiting = _client(house, "wait", umid)
    logging = _client(house, "log", umid, "something")
    adding = _client(house, "mem", umid, "-1M")
    for client in (*asked, through_table, waiting, logging, adding):
        wait_for(lambda client=client: _waits(client.pid), "it has asked")  # type: ignore[misc]
    os.kill(supervisor, signal.SIGKILL)
    for client in (*asked, through_table):
        out, err = client.communicate(timeout=DEADLINE)
        assert (client.returncode, err) == (0, ""), (client.args, out)
    for client in (logging, adding):
        _, err = client.communicate(timeout=DEADLINE)
        assert client.returncode == 5
        assert "its supervisor was killed before it answered; the guest runs on" in err
        assert "is not known" in err
    house.shell(umid, "echo 7 >/proc/exitcode")
    house.ok("console", umid, stdin="exit\n")
    out, err = waiting.communicate(timeout=DEADLINE)
    assert ended_with(7, waiting.returncode, out), (out, err)
    assert waiting.returncode != 7 or (out, err) == (f"{umid} exited with status 7\n", "")


def _client(house: House, *words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        house.command(*words),
        env=house.env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _waits(pid: int) -> bool:
    """A client has a socket open, and sleeps: for an answer, as it does nothing else there."""
    try:
        files = [os.readlink(f"/proc/{pid}/fd/{name}") for name in os.listdir(f"/proc/{pid}/fd")]
        with open(f"/proc/{pid}/stat") as file:
            state = file.read().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state == "S" and any(each.startswith("socket:") for each in files)


def test_supervisor_killed_in_a_long_read_does_not_leave_the_guest_stopped(
    house: House, umid: str
) -> None:
    """Long files are read while the guest is stopped, since its kernel drops pieces else."""
    house.start(umid)
    house.has_shell(umid)
    house.shell(umid, "seq 1 100000 >/tmp/long")
    marker = f"{house.run}/g/{umid}/reading"
    stopped = 0
    for _ in range(8 if WHOLE else 3):
        supervisor = house.status(umid)["supervisor_pid"]
        with subprocess.Popen(
            house.command("proc", umid, "1/root/tmp/long"),
            env=house.env,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        ) as reading:
            while reading.poll() is None and not os.path.exists(marker):
                time.sleep(0.001)
            os.kill(supervisor, signal.SIGKILL)
            stopped += os.path.exists(marker)
        assert house.status(umid)["state"] == "running"
        assert house.ok("proc", umid, "uptime")
    assert stopped, "it was killed in a read at least once"


def test_reboot_that_nobody_saw_is_noticed(house: House, umid: str, tmp_path: Path) -> None:
    image = tmp_path / "disk.img"
    image.write_bytes(b"\0" * (1 << 20))
    house.start(umid)
    house.ok("disk", "add", umid, str(image))
    boot = house.ok("proc", umid, "sys/kernel/random/boot_id")
    wait_for(lambda: boot.strip() in _record(house, umid), "the boot is written down")
    kill_supervisor(house, umid)
    socket = house.kernel_socket(umid)
    house.ok("mconsole", socket, "reboot")

    def rebooted() -> bool:
        done = house.umlctl("proc", socket, "sys/kernel/random/boot_id", "--timeout", "1")
        return done.returncode == 0 and done.stdout not in ("", boot)

    wait_for(rebooted, "it reboots")
    house.ok("adopt")
    wait_for(lambda: house.umlctl("version", umid).returncode == 0, "it is ready")
    assert "while it had no supervisor" in _story(house, umid)
    assert "1024 ubdb" in house.ok("proc", umid, "partitions")


def test_guest_whose_kernel_is_stuck_is_adopted_as_it_is(house: House, umid: str) -> None:
    """Its worker waits for a terminal; what needs no worker is answered."""
    house.start(umid)
    house.has_shell(umid)
    house.is_settled(umid)
    house.shell(umid, "mkfifo /tmp/nobody-writes")
    kill_supervisor(house, umid)
    stuck = ("mconsole", house.kernel_socket(umid), "!proc 1/root/tmp/nobody-writes")
    assert house.umlctl(*stuck, "--timeout", "0.5").returncode == 4
    house.ok("adopt", umid)
    status = house.status(umid)
    assert status["state"] == "running"
    assert "has not answered" in status["trouble"]
    house.ok("log", umid, "still here")
    assert house.umlctl("version", umid).returncode == 4
    with open(f"{house.run}/g/{umid}/con0.in", "w") as console:
        console.write("echo >/tmp/nobody-writes\n")
    wait_for(lambda: house.umlctl("version", umid).returncode == 0, "it answers again")
    assert house.status(umid)["trouble"] is None
    events = map(json.loads, house.ok("events", umid, "--json").splitlines())
    # What other tests change on this host may have something be hidden anew.
    story = [event["event"] for event in events if event["event"] != "restored"]
    assert story[story.index("adopted") :][:4] == ["adopted", "ready", "wedged", "recovered"]


def test_adopt_says_of_each_guest_what_has_become_of_it(house: House, umid: str) -> None:
    other, third = f"{umid}b", f"{umid}c"
    house.start(umid)
    house.start(other)
    kernel = house.status(other)["pid"]
    kill_supervisor(house, umid)
    os.killpg(kernel, signal.SIGKILL)
    wait_for(lambda: not processes_of(f"umid={other}"), "nothing of it runs")
    done = house.umlctl("adopt", umid, other, third)
    assert done.returncode == 3
    assert f"{umid} has a supervisor again\n" in done.stdout
    assert f"{other} died without a supervisor, killed: signal 9" in done.stdout
    assert f"no guest '{third}'" in done.stderr
    assert house.leftovers(other) == []
    assert house.ok("adopt", umid) == f"{umid} has a supervisor\n"
    again = house.umlctl("adopt", other)
    assert again.returncode == 3
    assert f"{other} does not run: killed: signal 9" in again.stderr
    kill_supervisor(house, umid)
    assert f"{umid} has a supervisor again\n" in house.ok("adopt")


def test_guest_that_died_meanwhile_is_not_adopted(house: House, umid: str) -> None:
    house.start(umid)
    kernel = house.status(umid)["pid"]
    kill_supervisor(house, umid)
    os.killpg(kernel, signal.SIGKILL)
    wait_for(lambda: not processes_of(f"umid={umid}"), "nothing of the guest runs")
    assert house.listed(umid)["state"] == "dead"
    assert house.umlctl("version", umid).returncode == 3
    wait_for(lambda: not house.leftovers(umid), "nothing is left of it")


def test_panic_that_nobody_saw_is_told_with_the_console(house: House, umid: str) -> None:
    house.start(umid, "--on-panic", "restart")
    kill_supervisor(house, umid)
    house.umlctl("mconsole", house.kernel_socket(umid), "!sysrq c", "--timeout", "1")
    wait_for(lambda: not processes_of(f"umid={umid}"), "nothing of the guest runs")
    assert "panicked: sysrq triggered crash; it is started again" in house.ok("adopt")
    story = [json.loads(line) for line in house.ok("events", umid, "--json").splitlines()]
    (panicked,) = (event for event in story if event["event"] == "panicked")
    assert panicked["text"] == "sysrq triggered crash"
    assert any("Kernel panic - not syncing" in line for line in panicked["console"])
    names = [event["event"] for event in story]
    assert names.index("panicked") < names.index("ended") < names.index("started", 1)


def _record(house: House, umid: str) -> str:
    with open(f"{house.state}/guests/{umid}/record.json") as file:
        return file.read()


def _story(house: House, umid: str) -> str:
    """What has been so far."""
    return house.ok("events", umid)


def test_history_says_who_ended_a_guest(house: House, umid: str) -> None:
    for command in ("shutdown", "kill"):
        house.start(umid)
        done = subprocess.Popen(house.command(command, umid), env=house.env)
        assert done.wait(DEADLINE) == 0
        story = [json.loads(line) for line in house.ok("events", umid, "--json").splitlines()]
        event = next(event for event in reversed(story) if event["event"] == command)
        assert (event["uid"], event["pid"]) == (os.getuid(), done.pid)


def test_every_command_says_what_became_of_a_guest_that_has_ended(house: House, umid: str) -> None:
    house.start(umid)
    house.ok("halt", umid)
    wait_for(lambda: not house.leftovers(umid), "nobody answers for it")
    commands = (
        *("version", "proc uptime", "shutdown", "kill", "console", "ps", "disk list", "nic rm"),
        *("mconsole", "shell"),
    )
    more = {"nic rm": ["vec0"], "mconsole": ["version"], "shell": ["-c", "version"]}
    for command in commands:
        verb, *rest = command.split()
        words = [verb, *rest, umid] if verb in ("disk", "nic") else [verb, umid, *rest]
        done = house.umlctl(*words, *more.get(command, []))
        assert done.returncode == 3, done
        assert f"{umid} does not run: exited with status 0" in done.stderr, done
        assert f"`umlctl start {umid}` starts it again" in done.stderr, done
        assert "No such file" not in done.stderr


def test_wait_tells_of_a_guest_that_is_dead_already(house: House, umid: str) -> None:
    house.start(umid)
    house.umlctl("sysrq", umid, "c")
    wait_for(lambda: house.listed(umid)["state"] == "dead", "it is dead")
    done = house.umlctl("wait", umid)
    assert done.returncode == 255
    assert "sysrq triggered crash" in done.stdout


def test_a_name_in_use_is_refused_and_says_by_whom(house: House, umid: str) -> None:
    house.start(umid)
    again = house.umlctl("run", umid)
    assert again.returncode == 1
    assert "running guest" in again.stderr
    house.ok("version", umid)


def test_a_disk_at_the_earliest_moment_never_panics(house: House, tmp_path: Path) -> None:
    """A disk added before the kernel's drivers are up panics it."""
    disk = tmp_path / "disk.img"
    disk.write_bytes(b"\0" * (1 << 16))
    names = [f"early{number}" for number in range(EARLY_BOOTS)]
    failures: list[str] = []

    def boot(mine: list[str]) -> None:
        for name in mine:
            process = subprocess.Popen(
                house.command("run", name, "--mem", "64M"),
                env=house.env,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            from socketproto.blocking import request

            # What is held until the guest is ready is done then, though nobody waits for it.
            answer = request(house.public(name), f"config ubd1={disk}", DEADLINE)
            while not answer.ok and process.poll() is None:
                answer = request(house.public(name), f"config ubd1={disk}", DEADLINE)
            seen = request(house.public(name), "proc partitions", DEADLINE)
            if b"ubdb" not in seen.data:
                failures.append(f"{name}: {answer} {seen}")
            request(house.public(name), "kill", 10)
            process.wait(DEADLINE)

    threads = [threading.Thread(target=boot, args=(names[n::3],)) for n in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    ended = house.rows()
    panics = [n for n in names if n in ended and ended[n]["last_panic"]]
    assert panics == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--root", "/no/such/image"], "cannot read /no/such/image"),
        (["--kernel", "/bin/true"], ""),
        (["--disk", "/no/such/disk"], "cannot read /no/such/disk"),
        (["--init", "/no/such/init"], "cannot have /no/such/init as init: there is no such file"),
    ],
)
def test_a_guest_that_cannot_start_says_why_and_leaves_nothing(
    house: House, umid: str, words: list[str], said: str
) -> None:
    done = house.umlctl("run", umid, "--timeout", "5", *words)
    assert done.returncode != 0
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert house.leftovers(umid) == []


def test_an_image_without_a_system_fails_to_start_with_the_kernels_words(
    house: House, umid: str, tmp_path: Path
) -> None:
    image = tmp_path / "image"
    image.write_bytes(b"\0" * (1 << 20))
    done = house.umlctl("start", umid, "--root", str(image))
    assert done.returncode == 125
    assert "VFS: Unable to mount root fs" in done.stderr


def test_a_pidfile_is_locked_while_the_guest_runs(house: House, umid: str, tmp_path: Path) -> None:
    pidfile = tmp_path / "pid"
    with house.running(umid, "--pidfile", str(pidfile)):
        assert int(pidfile.read_text()) == house.status(umid)["pid"]
        second = house.umlctl("run", f"{umid}-b", "--pidfile", str(pidfile))
        assert second.returncode == 7
        assert "locked" in second.stderr
    assert not pidfile.exists()


def test_arguments_of_the_user_win_over_ours(house: House, umid: str) -> None:
    house.start(umid, "--append", "lpj=20000000", "--", "quiet", "mem=96M")
    told = house.ok("proc", umid, "cmdline").split()
    assert {"quiet", "lpj=20000000"} <= set(told)
    # Since Linux 7 the guest does not show what its kernel itself has read.
    given = Path(f"/proc/{house.status(umid)['pid']}/cmdline").read_text()
    words = given.split("\0")
    assert [word for word in words if word.startswith("mem=")] == ["mem=96M"]


def test_memory_is_the_same_at_every_boot_without_randomisation(house: House, umid: str) -> None:
    totals = set()
    for _ in range(3):
        house.start(umid)
        totals.add(house.ok("proc", umid, "meminfo").splitlines()[0])
        house.umlctl("kill", umid)
    assert len(totals) == 1


def start_on_a_copy(house: House, umid: str) -> str:
    """Start a guest whose kernel's file can be removed; that file."""
    kernel = f"{house.path}/{umid}.linux"
    shutil.copy(json.loads(house.ok("kernel", "list", "--json"))[0]["path"], kernel)
    house.start(umid, "--kernel", kernel)
    house.has_shell(umid)
    return kernel


def test_reboot_makes_sure_of_what_it_needs_and_no_failure_of_it_is_a_success(
    house: House, umid: str
) -> None:
    kernel = start_on_a_copy(house, umid)
    os.unlink(f"{house.run}/g/{umid}/init")
    house.ok("reboot", umid)
    house.has_shell(umid)
    os.unlink(kernel)
    for words in (["reboot"], ["cad"], ["sysrq", "b"]):
        done = house.umlctl(words[0], umid, *words[1:])
        assert done.returncode == 1
        assert f"it would not come back: {kernel} is not a UML kernel: there is no" in done.stderr
    house.has_shell(umid)
    with open(f"{house.run}/g/{umid}/con0.in", "w") as console:
        console.write("echo b >/proc/sysrq-trigger\n")
    assert house.umlctl("wait", umid).returncode == 126
    said = f"reboot failed: the kernel {kernel} could not be executed again: there is no such file"
    assert said in house.ok("list")


def lose_kernel(house: House, umid: str) -> None:
    """Have a kernel end as one does that takes a tick of its timer when it is about to reboot, and
    has ended all but itself."""
    status = house.status(umid)
    said = "reboot: Restarting system"
    before = house.ok("logs", umid).count(f"] {said}")
    with open(f"{house.run}/g/{umid}/con0.in", "w") as console:
        console.write(f"echo '<0>{said}' >/dev/kmsg\n")
    wait_for(lambda: house.ok("logs", umid).count(f"] {said}") > before, "it says that it reboots")

    def idles() -> bool:
        seen = processes.cpu_seconds(status["pid"])
        time.sleep(0.2)
        return seen == processes.cpu_seconds(status["pid"])

    wait_for(idles, "it is idle")  # a fault in the context of a program is another panic
    hold(status["supervisor_pid"])
    os.unlink(house.kernel_socket(umid))
    os.kill(status["pid"], signal.SIGSEGV)
    os.kill(status["supervisor_pid"], signal.SIGCONT)


def test_guest_whose_kernel_dies_as_it_reboots_goes_on_with_another(
    house: House, umid: str, tmp_path: Path
) -> None:
    images = [tmp_path / f"{name}.img" for name in ("boot", "later")]
    for image in images:
        image.write_bytes(bytes(1 << 20))
    (tmp_path / "shared").mkdir()
    house.start(umid, "--disk", f"{images[0]},slot=1", "--on-panic", "kill")
    house.has_shell(umid)
    house.ok("disk", "add", umid, str(images[1]), "--slot", "3")
    house.ok("share", "add", umid, str(tmp_path / "shared"))
    house.ok("remove", umid, "ubd1")
    before = house.status(umid)
    program, *words = house.command("console", umid)
    with pexpect.spawn(program, words, env=house.env, encoding="utf-8", timeout=DEADLINE) as viewer:
        viewer.expect("attached to")
        for number in (1, 2):
            lose_kernel(house, umid)
            wait_for(
                lambda number=number: house.status(umid)["reboots"] == number,  # type: ignore[misc]
                "it reboots",
            )
            assert house.ask(umid, "proc uptime").ok  # answered when its devices are back
            house.has_shell(umid)
            after = house.status(umid)
            assert after["pid"] != before["pid"]
            assert (after["last_panic"], after["restarts"]) == (None, 0)
            assert [row["name"] for row in after["devices"]] == ["ubd3", "share0"]
            assert not any(row.get("problem") for row in after["devices"])
        viewer.send("echo still$((20+3))\r")
        viewer.expect("still23")
    house.ok("stop", umid, "1")
    wait_for(lambda: house.status(umid)["state"] == "running", "it is resumed by itself")
    house.ok("reboot", umid)  # as ever
    wait_for(lambda: house.status(umid)["reboots"] == 3, "it reboots")
    house.has_shell(umid)
    assert "reboot repeated" in [each["event"] for each in _events(house, umid)]
    house.ok("shutdown", umid)
    wait_for(lambda: not house.leftovers(umid), "nothing is left of it")


def test_guest_that_gets_no_other_kernel_for_one_that_died_as_it_rebooted_has_ended(
    house: House, umid: str
) -> None:
    kernel = start_on_a_copy(house, umid)
    os.unlink(kernel)
    lose_kernel(house, umid)
    assert house.umlctl("wait", umid).returncode == 126
    assert f"reboot failed: {kernel}" in house.ok("list")
    wait_for(lambda: not house.leftovers(umid), "nothing is left of it")


def test_guest_is_restarted_as_it_was_in_a_new_process(house: House, umid: str) -> None:
    house.ok("start", umid, "--mem", "96M")
    pid = house.status(umid)["pid"]
    said = house.ok("restart", umid, "10")
    assert said.startswith(f"{umid} shut down\n{umid} is running, kernel pid ")
    status = house.status(umid)
    assert status["pid"] != pid
    assert "mem=98304K" in status["command"]
    house.ok("kill", umid)
    house.ok("restart", umid)
    assert house.status(umid)["state"] == "running"
    house.ok("kill", umid)
    with house.running(umid) as process:
        refused = house.umlctl("restart", umid)
        assert refused.returncode == 1
        assert f"is supervised by `umlctl run`, pid {process.pid}" in refused.stderr
        assert house.status(umid)["state"] == "running"
