"""Where the measurements happen: an installed wheel, a home of its own, guests.

Everything is below one short directory in /tmp (socket paths have at most 107 bytes) and goes
with it. Children are put into sessions of their own: Ctrl-C comes here, and the guests are
ended from here. A kernel is ended by SIGTERM or with its whole process group, never alone:
what it runs would go on as processes of this host.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

CHECKOUT: Final = Path(__file__).resolve().parent.parent
BOOT: Final = 60.0
ENDS: Final = 10.0
KEPT: Final = ("PATH", "LANG", "LD_LIBRARY_PATH", "UMLCTL_KERNEL", "PIP_CERT", "SSL_CERT_FILE")
"""What children see of our environment: nothing of Python's, no TMPDIR."""
INIT: Final = """#!/bin/sh
/bin/mount -t proc proc /proc
echo o >/proc/sysrq-trigger
while :; do /bin/sleep 1; done
"""


class BenchError(Exception):
    """Something that was to be measured did not work; the message says what."""


class House:
    """The place of one run.

    Fields:
        top: the directory that goes with it
        python: the interpreter of the installed wheel
        umlctl: its command
        uml_mconsole: the peer
        environment: what all children get
    """

    def __init__(self, top: Path) -> None:
        self.top = top
        self.python = str(top / "v/bin/python")
        self.umlctl = str(top / "v/bin/umlctl")
        self.uml_mconsole = _tool("uml_mconsole")
        self.environment = {name: os.environ[name] for name in KEPT if name in os.environ}
        self.environment |= {"HOME": str(top / "h"), "UMLCTL_DIR": str(top / "u")}
        for directory in ("h", "u"):
            (top / directory).mkdir(mode=0o700)
        self.init = top / "init"
        self.init.write_text(INIT)
        self.init.chmod(0o755)

    def public_socket(self, name: str) -> str:
        return str(self.top / "h/.uml" / name / "mconsole")

    def kernel_socket(self, name: str) -> str:
        return str(self.top / "u/run/k" / name / "mconsole")

    def console(self, name: str) -> str:
        """Where a guest's console reads from."""
        return str(self.top / "u/run/g" / name / "con0.in")

    def kernel(self) -> str:
        """The kernel that umlctl takes."""
        return self.output([self.umlctl, "setup"]).strip()

    def install(self) -> None:
        """Build the wheel of the checkout, and install it into a venv with its byte code."""
        wheels = self.top / "w"
        pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
        build = [*pip, "wheel", "--no-deps", "--wheel-dir", str(wheels), str(CHECKOUT)]
        _patiently(build)
        _patiently([sys.executable, "-m", "venv", "--without-pip", str(self.top / "v")])
        (wheel,) = wheels.glob("*.whl")
        _patiently([*pip, "--python", self.python, "install", "--compile", str(wheel)])
        script = "import umlctl.entry as o, os; print(os.path.exists(o.__cached__), o.__file__)"
        compiled, _, where = self.output([self.python, "-I", "-c", script]).strip().partition(" ")
        if compiled != "True" or not where.startswith(str(self.top)):
            raise BenchError(f"the wheel was not installed as it should be: {compiled} {where}")

    def output(self, command: list[str], stdin: bytes | None = None) -> str:
        """What a command prints.

        Raises: BenchError
        """
        child = subprocess.Popen(
            command,
            env=self.environment,
            stdin=subprocess.PIPE if stdin is not None else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        try:
            out, errors = child.communicate(stdin)
        except BaseException:
            child.terminate()
            child.wait()
            raise
        if child.returncode:
            said = errors.decode("utf-8", "replace").strip()
            raise BenchError(f"{' '.join(command)} ended with {child.returncode}: {said}")
        return out.decode("utf-8", "replace")

    def probe(self, *arguments: object) -> Any:
        """Run bench/probe.py on the installed wheel; what it found."""
        words = [str(argument) for argument in arguments]
        script = str(CHECKOUT / "bench/probe.py")
        return json.loads(self.output([self.python, "-I", script, *words]))

    def seconds(self, command: list[str], stdin: str = "/dev/null") -> float:
        """How long a command takes from its start to its end; its output goes nowhere.

        Raises: BenchError
        """
        actions = [
            (os.POSIX_SPAWN_OPEN, 0, stdin, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, "/dev/null", os.O_WRONLY, 0),
            (os.POSIX_SPAWN_OPEN, 2, str(self.top / "err"), os.O_WRONLY | os.O_CREAT, 0o600),
        ]
        begin = time.perf_counter()
        pid = os.posix_spawn(
            command[0], command, self.environment, file_actions=actions, setsid=True
        )
        try:
            status = os.waitpid(pid, 0)[1]
        except BaseException:
            _end(pid)
            raise
        taken = time.perf_counter() - begin
        if status:
            code = os.waitstatus_to_exitcode(status)
            said = (self.top / "err").read_text(errors="replace").strip()
            raise BenchError(f"{' '.join(command)} ended with {code}: {said}")
        return taken

    @contextlib.contextmanager
    def guest(self, name: str, *options: str) -> Iterator[None]:
        """A supervised guest, ready."""
        with open(self.top / f"{name}.err", "wb") as errors:
            supervisor = subprocess.Popen(
                [self.umlctl, "run", name, *options],
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=errors,
                start_new_session=True,
            )
        try:
            self._await_ready(name, supervisor)
            yield
        finally:
            # The first shuts the guest down in order, which is not what is measured here.
            for _ in range(2):
                supervisor.terminate()
                with contextlib.suppress(subprocess.TimeoutExpired):
                    supervisor.wait(ENDS / 4)
            supervisor.wait(ENDS)

    def _await_ready(self, name: str, supervisor: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + BOOT
        errors = self.top / f"{name}.err"
        while b"ready" not in errors.read_bytes():
            if supervisor.poll() is not None or time.monotonic() > deadline:
                raise BenchError(f"the guest did not start: {errors.read_text().strip()}")
            time.sleep(0.02)


@contextlib.contextmanager
def house() -> Iterator[House]:
    """Make the place, and leave nothing of it."""
    signal.signal(signal.SIGTERM, _interrupt)
    signal.signal(signal.SIGHUP, _interrupt)
    top = Path(tempfile.mkdtemp(prefix="ub-", dir="/tmp"))
    try:
        yield House(top)
    finally:
        shutil.rmtree(top)


def _interrupt(number: int, _frame: object) -> None:
    raise SystemExit(128 + number)


def _tool(name: str) -> str:
    path = shutil.which(name)
    if path is None:
        raise BenchError(f"there is no {name} here; ./dev bench gets it")
    return path


def _patiently(command: list[str]) -> None:
    """Run one step of the installation, silent unless it fails."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    child = subprocess.Popen(
        command,
        cwd="/",
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        said, _ = child.communicate()
    except BaseException:
        os.killpg(child.pid, signal.SIGKILL)  # pip runs another pip
        child.wait()
        raise
    if child.returncode:
        raise BenchError(f"{' '.join(command)} failed: {said}")


def _end(pid: int) -> None:
    """End a child that leads a session: SIGTERM, then everything of its group."""
    os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + ENDS
    while time.monotonic() < deadline:
        if os.waitpid(pid, os.WNOHANG)[0]:
            return
        time.sleep(0.02)
    os.killpg(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
