"""`linux` beside the kernel that it becomes: what scripts see of the two is the same."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import termios
from pathlib import Path
from typing import TYPE_CHECKING

import pexpect
import pytest

from socketproto.wire import PANIC, SOCKET, USER, Notification
from tests.live.conftest import DEADLINE, heed_signals, processes_of, wait_for
from umlctl.host import processes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.live.conftest import House

OURS = [sys.executable, "-m", "umlctl.compat.linux"]
HOST = "mem=64M root=/dev/root rootfstype=hostfs rootflags=/ ro hostname=linux ubd0r=/dev/null"
both = pytest.mark.parametrize("ours", [False, True], ids=["kernel", "linux"])

pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


class Kernel:
    """What starts kernels as scripts do, by themselves or by our `linux`."""

    def __init__(self, house: House, *, ours: bool) -> None:
        self.house = house
        self.ours = ours
        found = json.loads(house.ok("kernel", "list", "--json"))[0]["path"]
        self.path: str = found
        self.program = OURS if ours else [found]

    def run(self, *words: str) -> subprocess.CompletedProcess[bytes]:
        """Run a kernel to its end."""
        return subprocess.run(
            [*self.program, *words],
            env=self.house.env,
            stdin=subprocess.DEVNULL,  # the end of a pipe would hang the console up
            capture_output=True,
            timeout=DEADLINE,
            check=False,
        )

    @contextlib.contextmanager
    def running(self, *words: str, **options: object) -> Iterator[subprocess.Popen[bytes]]:
        """A kernel that is killed at last."""
        process: subprocess.Popen[bytes] = subprocess.Popen(  # type: ignore[call-overload]
            [*self.program, *words],
            env=self.house.env,
            **{
                "stdin": subprocess.PIPE,
                "stdout": subprocess.PIPE,
                "stderr": subprocess.PIPE,
                "start_new_session": True,
                "preexec_fn": heed_signals,
                **options,
            },
        )
        try:
            yield process
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait(DEADLINE)
            for stream in (process.stdin, process.stdout, process.stderr):
                if stream is not None:
                    stream.close()


@pytest.fixture
def kernel(house: House, ours: bool) -> Kernel:
    return Kernel(house, ours=ours)


@pytest.fixture
def linux(house: House) -> Kernel:
    return Kernel(house, ours=True)


def script(tmp_path: Path, text: str) -> str:
    """An init program that runs a few commands; the word that names it."""
    path = tmp_path / "init"
    path.write_text(f"#!/bin/sh\nmount -t proc proc /proc\n{text}\n")
    path.chmod(0o755)
    return f"init={path}"


def powering_off(tmp_path: Path, text: str) -> str:
    return script(tmp_path, f"{text}\necho o >/proc/sysrq-trigger\nsleep 60")


def ended_as(code: int, status: int | None) -> bool:
    """Whether a kernel that was told to power down ended with a status: it may abort instead, see
    `ended_with`."""
    return status in (code, -signal.SIGABRT)


def status_of(child: pexpect.spawn) -> int | None:
    """How what ran in a terminal ended, as subprocess has it."""
    child.wait()
    status: int | None = -child.signalstatus if child.signalstatus else child.exitstatus
    return status


def is_supervised(house: House, umid: str) -> Callable[[], object]:
    return lambda: house.umlctl("version", umid).returncode == 0 and house.status(umid)


def read_until(process: subprocess.Popen[bytes], text: bytes) -> bytes:
    """What a kernel prints up to a text."""
    assert process.stdout is not None
    found = b""
    while text not in found:
        piece = os.read(process.stdout.fileno(), 65536)
        assert piece, found
        found += piece
    return found


# What it prints, and how it ends


@pytest.mark.parametrize("word", ["--version", "--help", "--showconfig"])
def test_what_the_kernel_prints_is_the_kernels(house: House, word: str) -> None:
    real, ours = (Kernel(house, ours=each).run(word) for each in (False, True))
    assert (ours.returncode, ours.stdout, ours.stderr) == (
        real.returncode,
        real.stdout,
        real.stderr,
    )
    assert ours.stdout or ours.stderr


@both
@pytest.mark.parametrize(
    ("text", "code"),
    [("", 0), ("echo 7 >/proc/exitcode", 7), ("echo c >/proc/sysrq-trigger", -signal.SIGABRT)],
    ids=["0", "7", "panic"],
)
def test_status_is_the_kernels(kernel: Kernel, tmp_path: Path, text: str, code: int) -> None:
    done = kernel.run(*HOST.split(), powering_off(tmp_path, f"echo VERDICT\n{text}"))
    assert ended_as(code, done.returncode), done
    assert b"VERDICT" in done.stdout
    assert b"umlctl" not in done.stderr
    # The kernel itself complains on standard error, line by line, before it begins.
    assert not [line for line in done.stderr.splitlines() if b"Traceback" in line]


@both
def test_too_little_memory_is_said_and_ends_with_1(kernel: Kernel, umid: str) -> None:
    done = kernel.run("mem=4M", f"umid={umid}")
    assert done.returncode in (1, -signal.SIGABRT, -signal.SIGSEGV), done
    wait_for(lambda: not kernel.house.leftovers(umid), "nothing is left")
    assert umid not in kernel.house.ok("list")


@both
def test_output_is_the_same_from_the_first_byte_on(kernel: Kernel, tmp_path: Path) -> None:
    done = kernel.run(*HOST.split(), powering_off(tmp_path, "echo VERDICT"))
    assert done.stderr.startswith(b"Core dump limits :\n"), done.stderr
    assert done.stdout.count(b"VERDICT") == 1
    assert b"reboot: Power down" in done.stdout


@both
def test_what_it_reads_is_the_guests(kernel: Kernel, tmp_path: Path) -> None:
    init = powering_off(tmp_path, "read line; echo got $line")
    with kernel.running(*HOST.split(), init, "con0=fd:0,fd:1") as process:
        assert process.stdin is not None
        process.stdin.write(b"hello\n")
        process.stdin.flush()
        assert b"got hello" in read_until(process, b"got hello")
        assert ended_as(0, process.wait(DEADLINE))


@both
def test_descriptors_are_there_under_their_numbers(kernel: Kernel, tmp_path: Path) -> None:
    init = powering_off(
        tmp_path,
        "mount -t tmpfs none /tmp; mknod /tmp/s c 4 65; exec 5<>/tmp/s; stty raw -echo <&5\n"
        "echo ready >&5; read x <&5; echo back $x >&5",
    )
    here, there = socket.socketpair()
    with here, there, contextlib.ExitStack() as stack:
        os.dup2(there.fileno(), 100)
        stack.callback(os.close, 100)
        words = [*HOST.split(), init, "ssl1=fd:100"]
        process = stack.enter_context(
            kernel.running(*words, pass_fds=[100], stdout=subprocess.DEVNULL)
        )
        here.settimeout(DEADLINE)
        assert here.recv(5) == b"ready"
        here.sendall(b"text\n")
        found = b""
        while b"back text" not in found:
            found += here.recv(100)
        assert ended_as(0, process.wait(DEADLINE))


@both
def test_flags_of_what_it_shares_are_as_they_were(kernel: Kernel, tmp_path: Path) -> None:
    """But the kernel itself leaves a pipe so that it does not block."""
    reader, writer = os.pipe()
    with contextlib.ExitStack() as stack:
        stack.callback(os.close, reader)
        stack.callback(os.close, writer)
        init = powering_off(tmp_path, "")
        process = stack.enter_context(kernel.running(*HOST.split(), init, stdin=reader))
        process.communicate(timeout=DEADLINE)
        flags = fcntl.fcntl(reader, fcntl.F_GETFL)
        assert bool(flags & os.O_NONBLOCK) is not kernel.ours


# One process


def test_its_process_is_the_kernel(linux: Kernel, tmp_path: Path, umid: str) -> None:
    house = linux.house
    words = [*HOST.split(), script(tmp_path, "sleep 1000"), f"umid={umid}"]
    with linux.running(*words) as process:
        wait_for(is_supervised(house, umid), "it is supervised")
        assert processes.command(process.pid)[: len(words) + 1] == [linux.path, *words]
        assert os.getpgid(process.pid) == process.pid
        found = processes_of(f"umid={umid}")
        assert process.pid in found
        assert {*found} <= {process.pid, *processes.descendants(process.pid)}  # its helpers
        status = house.status(umid)
        assert status["pid"] == process.pid
        assert Path(house.public(umid)).parent.joinpath("pid").read_text().strip() == str(
            process.pid
        )
        assert house.stock(umid, "version").stdout.startswith(b"OK Linux")
        process.kill()
        assert process.wait(DEADLINE) == -signal.SIGKILL
        wait_for(lambda: not house.leftovers(umid), "nothing of it is left")
    wait_for(lambda: house.listed(umid)["state"] == "dead", "its end is written down")


@both
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_ends_it(kernel: Kernel, tmp_path: Path, number: int) -> None:
    with kernel.running(*HOST.split(), script(tmp_path, "echo VERDICT; sleep 1000")) as process:
        read_until(process, b"VERDICT")
        process.send_signal(number)
        assert process.wait(DEADLINE) == 1


def test_others_in_its_group_live_on(linux: Kernel, tmp_path: Path, umid: str) -> None:
    """As in a pipeline of a shell with job control: `linux ... | tee log`."""
    house = linux.house
    words = [*HOST.split(), script(tmp_path, "sleep 1000"), f"umid={umid}"]
    with linux.running(*words, start_new_session=False, process_group=0) as process:
        mate = subprocess.Popen(["sleep", "1000"], process_group=process.pid)
        try:
            wait_for(is_supervised(house, umid), "it is supervised")
            os.kill(process.pid, signal.SIGKILL)
            process.wait(DEADLINE)
            wait_for(lambda: not house.leftovers(umid), "nothing of it is left")
            assert mate.poll() is None
        finally:
            mate.kill()
            mate.wait()


def test_how_it_ended_is_written_down(linux: Kernel, tmp_path: Path, umid: str) -> None:
    house = linux.house
    init = powering_off(tmp_path, "read x; echo 9 >/proc/exitcode")
    with linux.running(*HOST.split(), init, f"umid={umid}") as process:
        wait_for(is_supervised(house, umid), "it is supervised")
        process.communicate(b"\n", timeout=DEADLINE)
        assert ended_as(9, process.returncode)
        code = 9 if process.returncode == 9 else 255
    wait_for(lambda: house.listed(umid)["state"] == "dead", "its end is written down")
    ending = house.listed(umid)["ending"]
    # Hosts before Linux 6.15 do not tell.
    assert ending["code"] in (code, 5)


def test_umlctl_ends_it(linux: Kernel, tmp_path: Path, umid: str) -> None:
    house = linux.house
    init = script(tmp_path, "trap 'echo o >/proc/sysrq-trigger' INT\nwhile :; do sleep 1; done")
    with linux.running(*HOST.split(), init, f"umid={umid}") as process:
        wait_for(is_supervised(house, umid), "it is supervised")
        done = house.umlctl("restart", umid)
        assert done.returncode != 0
        assert "who started it starts it again" in done.stderr
        assert process.poll() is None
        house.ok("kill", umid)
        assert process.wait(DEADLINE) == -signal.SIGKILL


# Where it is found


@both
def test_its_socket_is_in_uml_dir(kernel: Kernel, tmp_path: Path, umid: str) -> None:
    place = f"{kernel.house.path}/{umid}.d"
    socket_path, pid = f"{place}/{umid}/mconsole", Path(f"{place}/{umid}/pid")
    words = [*HOST.split(), script(tmp_path, "sleep 1000"), f"umid={umid}", f"uml_dir={place}"]
    with kernel.running(*words) as process:
        # The stock client waits for ever for an answer that a kernel owes it as it boots.
        wait_for(lambda: kernel.house.umlctl("version", socket_path).returncode == 0, "it answers")
        assert pid.read_text() == f"{process.pid}\n"
        process.terminate()
        assert process.wait(DEADLINE) == 1
        wait_for(lambda: not pid.exists() and not os.path.lexists(socket_path), "it is removed")


def test_without_a_name_it_takes_one(linux: Kernel, tmp_path: Path) -> None:
    house = linux.house
    with linux.running(*HOST.split(), script(tmp_path, "sleep 1000")) as process:

        def name() -> str:
            named = [word for word in processes.command(process.pid) if word.startswith("umid=")]
            return named[0].removeprefix("umid=") if named else ""

        wait_for(name, "it has a name")
        wait_for(is_supervised(house, name()), "it is supervised")
        process.terminate()
        assert process.wait(DEADLINE) == 1


def test_a_name_in_use_is_the_kernels_own_matter(linux: Kernel, tmp_path: Path, umid: str) -> None:
    """A kernel takes a random name then, and says so."""
    words = [*HOST.split(), f"umid={umid}"]
    other = tmp_path / "other"
    other.mkdir()
    with linux.running(*words, script(tmp_path, "sleep 1000")) as process:
        wait_for(is_supervised(linux.house, umid), "it is supervised")
        done = linux.run(*words, powering_off(other, "echo VERDICT"))
        assert ended_as(0, done.returncode)
        assert b"VERDICT" in done.stdout
        assert b"trying with a random umid" in done.stdout
        assert process.poll() is None


def test_name_is_in_use_from_the_beginning(linux: Kernel, tmp_path: Path, umid: str) -> None:
    words = [*HOST.split(), f"umid={umid}"]
    other = tmp_path / "other"
    other.mkdir()
    with linux.running(*words, script(tmp_path, "sleep 1000")) as process:
        said = Path(f"/proc/{process.pid}/cmdline")
        wait_for(lambda: b"mconsole=notify:" in said.read_bytes(), "it is a kernel")
        done = linux.run(*words, powering_off(other, "echo VERDICT"))
        assert f'umid "{umid}" is already in use by pid {process.pid}'.encode() in done.stdout


@both
def test_notifications_are_handed_on(kernel: Kernel, tmp_path: Path, umid: str) -> None:
    path = f"{kernel.house.path}/{umid}.n"
    init = script(
        tmp_path,
        "echo said >/proc/mconsole; read x; echo more >/proc/mconsole; echo c >/proc/sysrq-trigger",
    )
    words = [*HOST.split(), init, f"umid={umid}", f"mconsole=notify:{path}"]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
        notify.bind(path)
        notify.settimeout(DEADLINE)
        with kernel.running(*words) as process:
            early = sorted(
                (Notification.decode(notify.recv(1024)) for _ in range(2)),
                key=lambda each: each.kind,
            )
            assert [each.kind for each in early] == [SOCKET, USER]
            named = os.fsdecode(early[0].data.rstrip(b"\0"))
            assert named == kernel.house.public(umid)
            assert early[1].data == b"said\n"
            wait_for(lambda: kernel.house.umlctl("version", named).returncode == 0, "it answers")
            assert process.stdin is not None
            process.stdin.write(b"\n")
            process.stdin.flush()
            late = [Notification.decode(notify.recv(1024)) for _ in range(2)]
            assert [(each.kind, each.data.rstrip(b"\0")) for each in late] == [
                (USER, b"more\n"),
                (PANIC, b"sysrq triggered crash"),
            ]
            assert process.wait(DEADLINE) == -signal.SIGABRT
    os.unlink(path)
    if not kernel.ours:  # a kernel that panics leaves it
        shutil.rmtree(os.path.dirname(named))


# On a terminal


@both
def test_terminal_is_the_guests(kernel: Kernel, tmp_path: Path) -> None:
    """A Ctrl-C is for the guest, whose terminal it is."""
    init = powering_off(
        tmp_path,
        "exec </dev/tty0 >/dev/tty0 2>&1; trap 'echo caught' INT; echo VERDICT\n"
        "setsid -c sh -c \"trap 'echo caught' INT; stty isig; echo waits; sleep 3; :\"",
    )
    child = pexpect.spawn(
        kernel.program[0],
        [*kernel.program[1:], *HOST.split(), init],
        env=kernel.house.env,
        timeout=DEADLINE,
        dimensions=(25, 80),
    )
    before = termios.tcgetattr(child.fileno())
    try:
        child.expect("waits")
        child.send("\x03")
        child.expect("caught")
        child.expect("Power down")
        child.expect(pexpect.EOF)
        assert ended_as(0, status_of(child))
        assert termios.tcgetattr(child.fileno()) == before
    finally:
        child.close(force=True)


def test_command_line_of_the_howto_works(
    linux: Kernel, tmp_path: Path, umid: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """But for the memory and the names, which are this test's own."""
    root = tmp_path / "root"
    for name in ("bin", "sbin", "dev", "proc"):
        (root / name).mkdir(parents=True)
    shutil.copy(shutil.which("busybox") or "", root / "bin" / "busybox")
    init = root / "sbin" / "init"
    init.write_text(
        "#!/bin/busybox sh\nexport PATH=/bin\nbusybox mount -t proc proc /proc\n"
        "busybox mount -t devtmpfs dev /dev\nexec </dev/tty1 >/dev/tty1 2>&1\n"
        "echo login:; read name; echo hello $name; busybox poweroff -f\n"
    )
    init.chmod(0o755)
    image = tmp_path / "Filesystem.img"
    subprocess.run(["mke2fs", "-q", "-d", root, image, "8M"], check=True)
    monkeypatch.chdir(tmp_path)
    tap = f"t{os.getpid()}"
    words = (
        f"mem=64M umid={umid} ubd0=Filesystem.img "
        f"vec0:transport=tap,ifname={tap},depth=128,gro=1 "
        "root=/dev/ubda con=null con0=null,fd:2 con1=fd:0,fd:1"
    )
    child = pexpect.spawn(
        linux.program[0],
        [*linux.program[1:], *words.split()],
        env=linux.house.env,
        timeout=DEADLINE,
    )
    try:
        child.expect("login:")
        wait_for(is_supervised(linux.house, umid), "it is supervised")
        table = linux.house.table(umid)
        assert table["ubd0"]["holds"][0]["path"] == str(image)
        assert table["ubd0"]["observed"]["block"] == "ubda"
        assert "vec0" in table
        child.send("me\r")
        child.expect("hello me")
        child.expect(pexpect.EOF)
        assert ended_as(0, status_of(child))
    finally:
        child.close(force=True)


@pytest.mark.parametrize("end", ["panic", "kill"])
def test_terminal_is_sane_afterwards(linux: Kernel, tmp_path: Path, umid: str, end: str) -> None:
    """Though the kernel has no time to see to that."""
    init = script(tmp_path, "echo VERDICT; read x; echo c >/proc/sysrq-trigger")
    words = " ".join([*linux.program, *HOST.split(), init, f"umid={umid}"])
    shell = pexpect.spawn(
        "sh", ["-c", f"{words}; echo status $?; read y"], env=linux.house.env, timeout=DEADLINE
    )
    before = termios.tcgetattr(shell.fileno())
    try:
        shell.expect("VERDICT")
        if end == "panic":
            shell.send("\r")
        else:
            wait_for(is_supervised(linux.house, umid), "it is supervised")
            os.kill(linux.house.status(umid)["pid"], signal.SIGKILL)
        shell.expect("status 134" if end == "panic" else "status 137")
        wait_for(lambda: termios.tcgetattr(shell.fileno()) == before, "it is as it was")
    finally:
        shell.close(force=True)
