"""Real guests for the live tests: a private home a test process, and guests booted in it."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pexpect
import pytest

from socketproto.blocking import Connection
from tests.histories import strange
from tests.program import UMLCTL
from umlctl import exitcodes
from umlctl.host import processes, programs
from umlctl.protocol.status import STATUS_LOST
from umlctl.state.event_log import decode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from socketproto.exchange import Outcome

DEADLINE = 60.0
WHOLE = bool(os.environ.get("UMLCTL_TEST_WHOLE"))
"""Do as often as it takes to find what happens rarely: `./dev chaos` asks for that."""
CONFINE = os.environ.get("UMLCTL_TEST_CONFINE", "")
"""How the guests of these tests are confined that say nothing of it."""
READ = [
    word
    for path in sorted({sys.prefix, sys.base_prefix})
    for word in (("--ro", path) if CONFINE == "strict" else ())
]
"""Gives them what they run of these tests' own programs."""
TOOLS = "".join(
    f"export {name}={shlex.quote(os.environ[name])}; "
    for name in ("PATH", "LD_LIBRARY_PATH")
    if name in os.environ
)
"""Has a guest's shell find what these tests find on the host, wherever that was unpacked."""


def unless_strict(why: str) -> pytest.MarkDecorator:
    """A test that guests who are confined strictly cannot pass."""
    return pytest.mark.skipif(CONFINE == "strict", reason=why)


LOADS_NOTHING = programs.init_lacks("insmod") and programs.init_lacks("busybox")
"""This host has no program by which a guest that has its files could load a module."""


def takes_insmod(done: subprocess.CompletedProcess[Any]) -> bool:
    """Whether a guest was not started for want of that, and this was said before."""
    said = done.stderr if isinstance(done.stderr, str) else done.stderr.decode()
    return LOADS_NOTHING and done.returncode == exitcodes.NEVER_STARTED and "takes insmod" in said


class House:
    """A place of its own for guests.

    Fields:
        home: HOME, where uml_mconsole looks
        run, state: where the guests' sockets are, and what outlives them
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.home = f"{path}/h"
        self.run = f"{path}/u/run"
        self.state = f"{path}/u/state"
        os.makedirs(self.home)
        self.env = {
            **{k: v for k, v in os.environ.items() if not k.startswith(("XDG_", "UMLCTL_"))},
            "HOME": self.home,
            "UMLCTL_DIR": f"{path}/u",
        }
        kernel = os.environ.get("UMLCTL_KERNEL")
        if kernel:
            self.env["UMLCTL_KERNEL"] = kernel

    def command(self, *words: str) -> list[str]:
        if CONFINE and words[:1] in (("start",), ("run",)) and "--confine" not in words:
            words = (words[0], "--confine", CONFINE, *READ, *words[1:])
        return [*UMLCTL, *words]

    def umlctl(self, *words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """Run `umlctl WORDS` to its end."""
        return subprocess.run(
            self.command(*words),
            env=self.env,
            input=stdin,
            capture_output=True,
            text=True,
            errors="surrogateescape",
            timeout=DEADLINE,
            check=False,
        )

    def ok(self, *words: str, stdin: str = "") -> str:
        """Run `umlctl WORDS`, which must succeed; what it printed."""
        done = self.umlctl(*words, stdin=stdin)
        assert done.returncode == 0, (words, done)
        return done.stdout

    def remove(self) -> None:
        """Remove it, and switches that have no guest any more: who runs makes its place anew."""
        for network in json.loads(self.umlctl("network", "list", "--json").stdout or "[]"):
            self.umlctl("network", "rm", network["name"])
        wait_for(self._is_removed, "nothing of it comes again")

    def strange_events(self) -> list[str]:
        """What the histories of all guests have that the table of events has not."""
        histories = Path(f"{self.state}/guests").glob("*/events.jsonl*")
        lines = [line for path in histories for line in path.read_bytes().splitlines()]
        return [each for line in lines if (event := decode(line)) for each in strange(event)]

    def _is_removed(self) -> bool:
        shutil.rmtree(self.path, ignore_errors=True)
        return not os.path.exists(self.path)

    def stock(self, *words: str) -> subprocess.CompletedProcess[bytes]:
        """Run the stock client."""
        return subprocess.run(
            ["uml_mconsole", *words],
            env=self.env,
            capture_output=True,
            timeout=DEADLINE,
            check=False,
        )

    def status(self, umid: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.ok("status", umid, "--json"))
        return found

    def rows(self, *umids: str) -> dict[str, dict[str, Any]]:
        """What `list` shows, by name, once someone has answered for each of the guests that are
        named, or for all: it waits for nobody for long, and a busy host lets anybody stand still.
        """
        found: dict[str, dict[str, Any]] = {}

        def all_answer() -> bool:
            found.clear()
            found.update({row["umid"]: row for row in json.loads(self.ok("list", "--json"))})
            named = umids or found.keys()
            return all(found[umid]["state"] != "silent" for umid in found.keys() & named)

        wait_for(all_answer, "somebody answers for each")
        return found

    def listed(self, umid: str) -> dict[str, Any]:
        """The row of `list` for a guest."""
        return self.rows(umid)[umid]

    def network(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.ok("network", "show", name, "--json"))
        return found

    def public(self, umid: str) -> str:
        return f"{self.home}/.uml/{umid}/mconsole"

    def kernel_socket(self, umid: str) -> str:
        return f"{self.run}/k/{umid}/mconsole"

    def leftovers(self, umid: str) -> list[str]:
        """What is left on this host of a guest that has ended, but for its records."""
        found = [
            path
            for path in (
                f"{self.home}/.uml/{umid}",
                f"{self.run}/k/{umid}",
                f"{self.run}/g/{umid}",
                f"{self.run}/g/{umid}.lock",
                f"{self.run}-kept/{umid}",
            )
            if os.path.lexists(path)
        ]
        return found + [f"process {pid}" for pid in processes_of(f"umid={umid}")]

    def ask(self, umid: str, text: str) -> Outcome:
        """One request, without a process for it."""
        with Connection(self.public(umid)) as connection:
            return connection.request(text, DEADLINE, renew=DEADLINE)

    def table(self, umid: str) -> dict[str, dict[str, Any]]:
        """The device table, by name."""
        return {row["name"]: row for row in json.loads(self.ask(umid, "devices").data)}

    def lasting(self, umid: str) -> dict[str, dict[str, Any]]:
        """The same, but for what its guest and its switches say, which comes and goes by itself."""
        passing = ("observed", "host")
        return {
            name: {fact: row[fact] for fact in row if fact not in passing}
            for name, row in self.table(umid).items()
        }

    def shell(self, umid: str, command: str) -> str:
        """Have the shell on the guest's console do something, which must succeed; what it said."""
        status, output = self.try_shell(umid, command)
        assert status == 0, (command, output)
        return output

    def try_shell(self, umid: str, command: str) -> tuple[int, str]:
        """The same, with the exit status. Needs a guest on the host's own files."""
        name = f"/tmp/.{next(_commands)}"
        line = f"{TOOLS}{{ {command}\n}} >{name}.o 2>&1; echo $? >{name}~; mv {name}~ {name}\n"
        with open(f"{self.run}/g/{umid}/con0.in", "w") as console:
            console.write(line)
        wait_for(lambda: self.ask(umid, f"proc 1/root{name}").ok, f"{umid} has done {command}")
        status = int(self.ask(umid, f"proc 1/root{name}").data.strip(b"\n\0") or b"1")
        output = self.ask(umid, f"proc 1/root{name}.o").data
        return status, output.decode("utf-8", "replace").strip("\n\0")

    def has_init(self, umid: str) -> None:
        """Wait for the guest's init program, which can be told to shut down then."""
        log = Path(f"{self.state}/guests/{umid}/console.log")
        wait_for(lambda: b"exit` ends it" in log.read_bytes(), f"{umid} has an init")

    def has_shell(self, umid: str) -> None:
        """Wait for the guest's shell, after a boot or a reboot."""
        wait_for(lambda: self.ask(umid, "version").ok, f"{umid} answers")
        wait_for(lambda: self.ask(umid, "proc 1/root/run/shell").ok, f"{umid} has a shell")

    def is_settled(self, umid: str) -> None:
        """Wait until the supervisor of a guest that has booted for the first time has written down
        which boot that is: it asks and writes nothing more of its own accord.
        """
        record = Path(f"{self.state}/guests/{umid}/record.json")
        wait_for(lambda: json.loads(record.read_bytes())["guest_boot"], "the boot is written down")

    def start(self, umid: str, *words: str) -> None:
        self.ok("start", umid, "--mem", "64M", *words)

    @contextlib.contextmanager
    def running(self, umid: str, *words: str) -> Iterator[subprocess.Popen[str]]:
        """`umlctl run` in the foreground, ready."""
        process = subprocess.Popen(
            self.command("run", umid, "--mem", "64M", *words),
            env=self.env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=heed_signals,  # noqa: PLW1509
        )
        try:
            wait_for(lambda: self.umlctl("version", umid).returncode == 0, f"{umid} is ready")
            yield process
        finally:
            process.terminate()
            process.wait(DEADLINE)
            for stream in (process.stdout, process.stderr):
                if stream is not None:
                    stream.close()

    @contextlib.contextmanager
    def by_hand(self, umid: str) -> Iterator[str]:
        """A kernel that nobody supervises, with a shell as process 1; its mconsole socket."""
        path = f"{self.path}/hand/{umid}/mconsole"
        kernel = json.loads(self.ok("kernel", "list", "--json"))[0]["path"]
        words = (
            f"mem=64M uml_dir={self.path}/hand umid={umid} ubd0r=/dev/null con=null con0=fd:0,fd:1 "
            f"root=/dev/root rootfstype=hostfs ro init=/bin/sh hostname={umid}"
        )
        console = f"{self.path}/{umid}.console"
        with open(console, "wb") as output:
            process = subprocess.Popen(
                ["setarch", os.uname().machine, "-R", kernel, *words.split()],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        try:
            # The kernel answers before, and there is no trace of a process 1 that still boots it.
            wait_for(lambda: Path(console).read_bytes().endswith(b"# "), "the shell waits")
            wait_for(lambda: self.umlctl("version", path).returncode == 0, "it answers")
            yield path
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait(DEADLINE)
            assert process.stdin is not None
            process.stdin.close()
            shutil.rmtree(os.path.dirname(path), ignore_errors=True)


DEAF_INIT = """#!/bin/sh
trap '' INT
mount -t proc proc /proc
echo 0 >/proc/sys/kernel/ctrl-alt-del
echo deaf >/proc/mconsole
while :; do sleep 1; done
"""
"""An init program that ignores Ctrl-Alt-Del, and says so."""


def to_hang(house: House, umid: str) -> Callable[[], None]:
    """Get a guest ready to hang, whose supervisor may be gone by then: called, the result has its
    kernel read what is not written, and answer nothing until then but what interrupts do.
    """
    name = "/tmp/.hang"
    house.shell(umid, f"mkfifo {name}")

    def hang() -> None:
        with Connection(house.kernel_socket(umid)) as connection:
            connection.request(f"proc 1/root{name}", 0.3)

    return hang


def end_hang(house: House, umid: str) -> None:
    """Have it written what the guest's kernel reads."""
    with open(f"{house.run}/g/{umid}/con0.in", "w") as console:
        console.write("echo >/tmp/.hang\n")


def hold(pid: int) -> None:
    """SIGSTOP to the main process of a kernel, or to a supervisor, and wait until it stands: a
    busy host lets it go on for a while.
    """
    os.kill(pid, signal.SIGSTOP)
    wait_for(lambda: processes.held(pid), "it is held")


def heed_signals() -> None:
    """As at a prompt, even where these tests run in the background, and ignore SIGINT."""
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)


def kill_supervisor(house: House, umid: str) -> int:
    """SIGKILL to who supervises a guest; its pid."""
    pid: int = house.status(umid)["supervisor_pid"]
    started = processes.start_time(pid)
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: started is None or not processes.alive(pid, started), "it is gone")
    return pid


def processes_of(word: str) -> list[int]:
    """Processes with this word on their command line."""
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                words = Path(f"/proc/{name}/cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if word.encode() in words and processes.start_time(int(name)) is not None:
                found.append(int(name))
    return found


def ended_with(status: int, code: int, said: str) -> bool:
    """Whether a guest that powered itself down ended with a status of its own: its kernel may panic
    as it does so, once in some 500 times on a busy host (6.1), which umlctl has to say then.

    code: that umlctl ended with; said: by umlctl
    """
    return code == status or (code == exitcodes.PANIC and STATUS_LOST in said)


def wait_for(condition: Callable[[], object], what: str, deadline: float = DEADLINE) -> None:
    """Look again until it is so, for half of the time at most: a look may start a process. But
    what passes by is to be seen: it is looked for again soon."""
    began = time.monotonic()
    end = began + deadline
    while not condition():
        now = time.monotonic()
        assert now < end, f"not within {deadline:g}s: {what}"
        time.sleep(min(0.2, max(0.01, now - began)))
        began = time.monotonic()


class Terminal(pexpect.spawn):  # type: ignore[misc]
    """A terminal that says where its cursor is, as real ones do."""

    def read_nonblocking(self, size: int = 1, timeout: float | None = -1) -> Any:
        data = super().read_nonblocking(size, timeout)
        for _ in range(data.count("\x1b[6n")):
            self.send("\x1b[20;1R")
        return data


@contextlib.contextmanager
def a_house(kind: type[House] = House) -> Iterator[House]:
    """A home whose background supervisor ends with it."""
    home = kind(tempfile.mkdtemp(prefix="u", dir="/tmp"))
    try:
        yield home
    finally:
        home.umlctl("quit")
        found = home.strange_events()
        home.remove()
        assert found == []


@pytest.fixture(scope="session")
def house() -> Iterator[House]:
    """One home for all tests of a test process."""
    with a_house() as home:
        yield home


@pytest.fixture
def empty_house() -> Iterator[House]:
    """A home of this test's own, without guests."""
    with a_house() as home:
        yield home


@pytest.fixture(scope="session")
def shared(house: House) -> str:
    """A guest that tests share: they may ask it anything and must leave it as it was."""
    house.start("shared")
    house.has_init("shared")
    wait_for(lambda: house.ok("stack", "shared", "1").count("\n") > 5, "process 1 waits")
    return "shared"


_count = 0
_commands = itertools.count(1)


@pytest.fixture
def umid(house: House) -> Iterator[str]:
    """A name of this test's own; whatever runs under it is ended, and nothing may be left."""
    global _count  # noqa: PLW0603 - names are made up once a process
    _count += 1
    name = f"g{os.getpid()}-{_count}"  # other test processes look at the same /proc
    yield name
    house.umlctl("kill", name)
    wait_for(lambda: not house.leftovers(name), f"nothing is left of {name}", 10)
