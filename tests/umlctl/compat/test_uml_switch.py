"""Side by side with the original."""

from __future__ import annotations

import os
import pty
import signal
import socket
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.program import SCRIPT
from tests.switches import BROADCAST, frame, mac, until
from tests.umlctl.compat.test_daemon_switch import Kernel, kernels
from umlctl.compat import uml_switch
from umlctl.compat.uml_switch import Asked, Wrong, read
from umlctl.host import processes

if TYPE_CHECKING:
    from collections.abc import Iterator

DEADLINE = 30.0
BOTH = pytest.mark.parametrize("program", ["stock", "ours"])


def command(program: str, short: str) -> list[str]:
    if program == "stock":
        return ["stdbuf", "-oL", "uml_switch"]  # what it prints is lost otherwise
    link = f"{short}/uml_switch"
    if not os.path.lexists(link):
        os.symlink(SCRIPT, link)
    return [sys.executable, link]


@contextmanager
def running(program: str, short: str, *words: str) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [*command(program, short), *words],
        cwd=short,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        until(lambda: os.path.exists(f"{short}/ctl") or process.poll() is not None)
        try:
            yield process
        finally:
            process.kill()


def wait_ready(short: str) -> None:
    """Until it takes connections: its socket is there before."""

    def answers() -> bool:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as tried:
            return tried.connect_ex(f"{short}/ctl") == 0

    until(answers)


@BOTH
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["-unix", "ctl"], "uml_switch attached to unix socket 'ctl'\n"),
        (
            ["-hub", "-unix", "ctl"],
            "uml_switch will be a hub instead of a switch\n",
        ),
        (
            ["-compat-v0", "-unix", "ctl", "data"],
            "Control protocol 0 compatibility\n",
        ),
    ],
)
def test_what_it_says_and_how_it_ends(
    short: str, program: str, words: list[str], said: str
) -> None:
    words = [f"{short}/data" if word == "data" else word for word in words]
    with running(program, short, *words) as process:
        wait_ready(short)
        with kernels(f"{short}/ctl", 2) as (a, b):
            for to in (BROADCAST, mac(2), mac(1)):
                a.send(frame(to, mac(1)))
                if to != mac(1) or "-hub" in words:  # that is behind its own port
                    assert b.hears(frame(to, mac(1)))
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=DEADLINE)
        assert process.returncode == -signal.SIGINT
    assert out.startswith(said)
    assert "New connection\n" in out
    assert out.endswith("Caught signal 2, cleaning up and exiting\n")
    assert not os.path.exists(f"{short}/ctl")
    assert not os.path.exists(f"{short}/data")


@BOTH
def test_socket_that_is_taken_is_left_and_one_that_is_dead_is_not(short: str, program: str) -> None:
    with running(program, short, "-unix", "ctl"):
        wait_ready(short)
        with running(program, short, "-unix", "ctl") as second:
            out, _ = second.communicate(timeout=DEADLINE)
            assert second.returncode == 1
            assert "The control socket 'ctl' has another server attached to it\n" in out
    with running(program, short, "-unix", "ctl"):  # the first was killed
        wait_ready(short)


def test_second_switch_leaves_the_socket_of_the_first(short: str) -> None:
    """The original removes it."""
    with running("ours", short, "-unix", "ctl"):
        wait_ready(short)
        with running("ours", short, "-unix", "ctl") as second:
            second.communicate(timeout=DEADLINE)
        wait_ready(short)


@BOTH
def test_in_the_background(short: str, program: str) -> None:
    """The sockets are there when it returns."""
    done = subprocess.run(
        [*command(program, short), "-daemon", "-unix", f"{short}/ctl"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        timeout=DEADLINE,
        check=False,
    )
    assert done.returncode == 0
    Kernel(f"{short}/ctl").close()
    pid = _daemon(f"{short}/ctl")
    started = processes.start_time(pid)
    os.kill(pid, signal.SIGINT)
    until(lambda: started is None or not processes.alive(pid, started))
    assert not os.path.exists(f"{short}/ctl")


def _daemon(path: str) -> int:
    (found,) = [
        int(name)
        for name in os.listdir("/proc")
        if name.isdigit() and path.encode() in _words(name) and b"-daemon" in _words(name)
    ]
    return found


def _words(name: str) -> list[bytes]:
    try:
        return Path(f"/proc/{name}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return []


@pytest.mark.parametrize(
    "words",
    ["-x", "x", "-unix", "-tap", "-compat-v0 -unix ctl", "-unix ctl x", "--help", "-hub -h"],
)
def test_usage_is_the_originals(short: str, capsys: pytest.CaptureFixture[str], words: str) -> None:
    code = uml_switch.main(["/opt/uml_switch", *words.split()])
    stock = subprocess.run(
        ["uml_switch", *words.split()],
        cwd=short,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=False,
    )
    out, err = capsys.readouterr()
    assert (code, out, err) == (stock.returncode, "", stock.stderr)


def test_what_cannot_be_had_is_said(short: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert uml_switch.main(["uml_switch", "-unix", "/nowhere/ctl"]) == 1
    assert "No such file or directory" in capsys.readouterr().err
    Path(f"{short}/file").write_text("")
    assert uml_switch.main(["uml_switch", "-unix", f"{short}/file"]) == 1
    assert os.path.exists(f"{short}/file")
    assert uml_switch.main(["uml_switch", "-unix", f"{short}/ctl", "-tap", "bad/name"]) == 1
    assert not os.path.exists(f"{short}/ctl")
    assert uml_switch.main(["uml_switch", "-unix", f"{short}/ctl", "-network", "no/name"]) == 1
    assert not os.path.exists(f"{short}/ctl")


def test_command_line_is_read() -> None:
    assert read([]) == Asked("/tmp/uml.ctl")
    assert read(["-compat-v0"]).data == "/tmp/uml.data"
    assert read(["-hub", "-daemon", "-tap", "t", "-unix", "c", "-network", "lan"]) == Asked(
        "c", "", "t", "lan", hub=True, daemon=True
    )
    with pytest.raises(Wrong):
        read(["-unix", ""])


def test_terminal_that_ends_ends_it(short: str) -> None:
    front, back = pty.openpty()
    with subprocess.Popen(
        [*command("ours", short), "-unix", "ctl"],
        cwd=short,
        stdin=back,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        os.close(back)
        wait_ready(short)
        os.write(front, b"\n")
        os.write(front, b"\x04")
        out, _ = process.communicate(timeout=DEADLINE)
    os.close(front)
    assert process.returncode == 0
    assert out.endswith("EOF on stdin, cleaning up and exiting\n")
    assert not os.path.exists(f"{short}/ctl")


if os.geteuid() == 0:

    @BOTH
    def test_tap_is_a_port(short: str, program: str) -> None:
        tap = f"t{os.getpid() % 1000000}{program[0]}"
        with running(program, short, "-tap", tap, "-unix", "ctl"):
            wait_ready(short)
            with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as host:
                host.settimeout(DEADLINE)
                until(lambda: tap in [name for _, name in socket.if_nameindex()])
                subprocess.run(["ip", "link", "set", tap, "up"], check=True)
                host.bind((tap, 0x0800))
                with kernels(f"{short}/ctl", 1) as (a,):
                    sent = frame(BROADCAST, mac(1), b"up" * 30)
                    a.send(sent)
                    assert host.recv(2000) == sent
                    back = frame(mac(1), mac(5), b"down" * 15)
                    host.send(back)
                    while not a.hears(back):
                        pass  # this host's own, as of IPv6
