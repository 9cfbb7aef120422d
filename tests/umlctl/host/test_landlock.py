"""Each in a process of its own that restricts itself, on this host's own Landlock."""

from __future__ import annotations

import errno
import os
import signal
import socket
import subprocess
import sys
from typing import TYPE_CHECKING, Final

import pytest

from umlctl.host import call_list, landlock, seccomp
from umlctl.host.call_list import CallList, open_program
from umlctl.host.landlock import (
    CHANGE,
    DEVICE,
    DEVICES,
    EXECUTE,
    READ,
    WRITE,
    FileRule,
    Files,
    Ports,
    Scopes,
)

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

HERE: Final = landlock.version() if os.uname().machine in call_list.MACHINES else 0
ALL: Final = CHANGE | EXECUTE | DEVICES | Files.IOCTL_DEV
SYSTEM: Final = [FileRule(each, EXECUTE) for each in ("/usr", "/bin", "/lib", "/lib64", "/etc")]
needs_landlock = pytest.mark.skipif(HERE < 1, reason="this host has no Landlock for us")
from_version_4 = pytest.mark.skipif(HERE < 4, reason="this host's Landlock knows no TCP")
from_version_6 = pytest.mark.skipif(HERE < 6, reason="this host's Landlock has no scopes")


def confined(
    rules: Iterable[FileRule],
    *words: str,
    handled: Files = ALL,
    ports: int = 0,
    scopes: int = 0,
    version: int = HERE,
    cwd: str = "/",
) -> subprocess.CompletedProcess[str]:
    """What a program does that is confined to the rules."""
    made = landlock.ruleset(rules, handled=handled, ports=ports, scopes=scopes, version=version)
    calls = CallList()
    landlock.restrict(calls, made)
    list_ = open_program(calls.program())
    try:
        return subprocess.run(
            ["umlctl-calls", *words],
            executable=f"/proc/self/fd/{list_}",
            pass_fds=[list_, made],
            cwd=cwd,
            capture_output=True,
            text=True,
            check=False,
        )
    finally:
        os.close(list_)
        os.close(made)


def shell(rules: Iterable[FileRule], script: str, *, version: int = HERE) -> str:
    """What a script says that may run the host's programs too, errors included."""
    done = confined([*SYSTEM, *rules], "/bin/sh", "-c", script, version=version)
    return done.stdout + done.stderr


def python(script: str, *, ports: int = 0, scopes: int = 0, version: int = HERE) -> str:
    """What a Python program says that may do with files what it likes."""
    words = ["/usr/bin/python3", "-c", script]
    done = confined(
        [], *words, handled=Files.MAKE_BLOCK, ports=ports, scopes=scopes, version=version
    )
    return done.stdout + done.stderr


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A directory of two, each with a file."""
    for name in ("given", "kept"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text(f"{name}\n")
    return tmp_path


@needs_landlock
def test_what_is_not_allowed_is_refused(files: Path) -> None:
    rules = [FileRule(f"{files}/given", WRITE)]
    script = (
        "for each in given kept; do "
        "cat {0}/$each/file; ls {0}/$each; echo $each >{0}/$each/file; mkdir {0}/$each/d; "
        "rm {0}/$each/file; ln -s x {0}/$each/l; mkfifo {0}/$each/f; done"
    )
    said = shell(rules, script.format(files))
    assert said.count("denied") == 7, said
    assert sorted(os.listdir(files / "given")) == ["d", "f", "l"]
    assert os.listdir(files / "kept") == ["file"]
    assert (files / "kept" / "file").read_text() == "kept\n"


@needs_landlock
def test_reading_is_not_writing(files: Path) -> None:
    said = shell([FileRule(f"{files}", READ)], f"cd {files}/kept; cat file; echo >file; rm file")
    assert said.startswith("kept\n")
    assert (files / "kept" / "file").read_text() == "kept\n"


@needs_landlock
def test_file_alone_can_be_allowed(files: Path) -> None:
    script = f"cd {files}; echo new >kept/file; cat kept/file; echo >kept/other"
    said = shell([FileRule(f"{files}/kept/file", WRITE)], script)
    assert said.startswith("new\n")
    assert os.listdir(files / "kept") == ["file"]


@needs_landlock
def test_path_that_is_not_there_is_left_out(files: Path) -> None:
    rules = [
        FileRule(f"{files}/no", READ),
        FileRule(f"{files}/kept/file/no", READ),
        FileRule(f"{files}", READ),
    ]
    assert shell(rules, f"cat {files}/kept/file") == "kept\n"


@needs_landlock
def test_nobody_makes_device_nodes_even_where_all_can_be_written(files: Path) -> None:
    if os.geteuid() == 0:
        assert "denied" in shell([FileRule("/", WRITE)], f"mknod {files}/null c 1 3")
    assert not WRITE & DEVICES


TRY: Final = """
import os
for call in (
    lambda: os.rename("given/file", "given/other/file"),
    lambda: os.truncate("kept/file", 1),
    lambda: open("kept/file", "r+"),
    lambda: os.mkdir("given/made"),
):
    try: call()
    except OSError as problem: print(problem.errno, end=" ")
    else: print("well", end=" ")
"""


@needs_landlock
@pytest.mark.parametrize("version", range(1, HERE + 1))
def test_older_version_allows_what_it_does_not_know(files: Path, version: int) -> None:
    """But the first moves nothing to another directory."""
    (files / "given" / "other").mkdir()
    rules = [FileRule("/", EXECUTE), FileRule(f"{files}/given", WRITE)]
    done = confined(rules, "/usr/bin/python3", "-c", TRY, version=version, cwd=str(files))
    moved = "well" if version >= 2 else errno.EXDEV
    truncated = errno.EACCES if version >= 3 else "well"
    assert done.stdout.split() == [str(moved), str(truncated), str(errno.EACCES), "well"]


CONNECT: Final = "import socket\ntry: socket.create_connection(('127.0.0.1', {}))\n"
SAY: Final = "except OSError as problem: print(problem.errno)\nelse: print('well')"


@from_version_4
def test_tcp_is_refused() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        connect = CONNECT.format(server.getsockname()[1]) + SAY
        bind = "import socket\ntry: socket.create_server(('127.0.0.1', 0))\n" + SAY
        for script in (connect, bind):
            assert python(script) == "well\n"
            assert python(script, ports=Ports.BIND | Ports.CONNECT) == f"{errno.EACCES}\n"
            assert python(script, ports=Ports.BIND | Ports.CONNECT, version=3) == "well\n"


@from_version_6
def test_abstract_sockets_of_others_are_out_of_reach() -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        server.bind("")
        name = server.getsockname()
        script = f"import socket\ntry: socket.socket(1, 2).sendto(b'x', {name!r})\n{SAY}"
        assert python(script) == "well\n"
        assert python(script, scopes=Scopes.ABSTRACT_SOCKETS) == f"{errno.EPERM}\n"
        assert python(script, scopes=Scopes.ABSTRACT_SOCKETS, version=5) == "well\n"


@from_version_6
def test_signals_reach_nobody_outside() -> None:
    with subprocess.Popen(["sleep", "infinity"]) as other:
        script = f"import os\ntry: os.kill({other.pid}, {signal.SIGTERM.value})\n{SAY}"
        assert python(script, scopes=Scopes.SIGNALS) == f"{errno.EPERM}\n"
        assert python(f"import os\ntry: os.kill(0, 0)\n{SAY}", scopes=Scopes.SIGNALS) == "well\n"
        assert other.poll() is None
        other.kill()


@needs_landlock
@pytest.mark.skipif(HERE < 5, reason="this host's Landlock does not know ioctl")
def test_devices_are_ruled_only_where_that_is_allowed() -> None:
    script = "import fcntl, termios\ntry: fcntl.ioctl(open('{}'), termios.TCGETS, bytes(99))\n"
    for allowed, expected in ((DEVICE, errno.ENOTTY), (READ, errno.EACCES)):
        rules = [FileRule("/", EXECUTE), FileRule("/dev/null", allowed)]
        words = ["/usr/bin/python3", "-c", script.format("/dev/null") + SAY]
        assert confined(rules, *words).stdout == f"{expected}\n"


@needs_landlock
def test_confinement_holds_for_what_is_started_and_no_privilege_is_gained() -> None:
    said = shell([FileRule("/proc", READ)], "sh -c 'sh -c \"ls /\"'; cat /proc/self/status")
    assert "denied" in said
    assert "NoNewPrivs:\t1" in said


@needs_landlock
def test_host_that_refuses_the_calls_has_none() -> None:
    """As our own filter does."""
    script = (
        "import sys; sys.path = {!r}; from umlctl.host import landlock; print(landlock.version())\n"
        "try: landlock.ruleset([], handled=landlock.READ, version=1)\n"
        "except OSError as problem: print(problem)"
    )
    calls = CallList()
    seccomp.restrict(calls, seccomp.jail([seccomp.AF_UNIX], streams=True, abort=True))
    program = open_program(calls.program())
    words = ["umlctl-calls", sys.executable, "-c", script.format(sys.path)]
    path = f"/proc/self/fd/{program}"
    done = subprocess.run(
        words, executable=path, pass_fds=[program], capture_output=True, text=True, check=False
    )
    os.close(program)
    said = "[Errno 38] cannot make a Landlock ruleset: Function not implemented"
    assert done.stdout.splitlines() == ["0", said], done.stderr


def test_rule_that_cannot_be_made_is_an_error(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> int:
        raise PermissionError(errno.EACCES, "no", "/x")

    before = os.listdir("/proc/self/fd")
    if HERE:
        monkeypatch.setattr(os, "open", refused)
        with pytest.raises(PermissionError):
            landlock.ruleset([FileRule("/x", READ)], handled=READ, version=HERE)
    assert len(os.listdir("/proc/self/fd")) == len(before)
