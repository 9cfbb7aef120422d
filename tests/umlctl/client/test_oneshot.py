from __future__ import annotations

import errno
import os
import signal
import subprocess
import time
from typing import TYPE_CHECKING

import pytest

from socketproto import blocking
from socketproto.exchange import pieces
from tests.umlctl.recovery.test_discover import running
from tests.umlctl.state.test_records import write_record
from umlctl import exitcodes, streams
from umlctl.client import ask, oneshot, unsupervised
from umlctl.host import paths, processes
from umlctl.protocol.commands import COMMANDS, HOST, KERNEL, Command

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.conftest import Address, Bare
    from tests.umlctl.conftest import Run

    MakeBare = Callable[..., Bare]


def reply(data: bytes, error: int = 0) -> list[bytes]:
    return [each.encode() for each in pieces(data, error)]


def saying(data: bytes, error: int = 0) -> Callable[..., list[bytes]]:
    return lambda *_: reply(data, error)


# What is sent


@pytest.mark.parametrize(
    ("words", "sent"),
    [
        (["version"], b"version"),
        (["help"], b"help"),
        (["stack", "1"], b"stack 1"),
        (["proc", "sys/kernel/hostname"], b"proc sys/kernel/hostname"),
        (["config", "ubd1"], b"config ubd1"),
        (["config", "ubd1=/a,/b"], b"config ubd1=/a,/b"),
        (["config", "vec0:transport=tap,ifname=t"], b"config vec0:transport=tap,ifname=t"),
        (["remove", "ubd1"], b"remove ubd1"),
        (["sysrq"], b"sysrq"),
        (["sysrq", "m"], b"sysrq m"),
        (["log", "two", "words"], b"log two words\n"),
        (["log", "one line\n"], b"log one line\n"),
        (["log", "--force", "text", "--json"], b"log text --json\n"),
        (["log", "text", "--json", "--timeout"], b"log text --json --timeout\n"),
        (["log", "--", "--json"], b"log --json\n"),
    ],
)
def test_words_go_to_a_bare_kernel_as_one_command(
    shot: Callable[..., Run], bare: MakeBare, words: list[str], sent: bytes
) -> None:
    server = bare()
    verb, *arguments = words
    assert shot(verb, server.path, *arguments).code == 0
    assert server.commands == [sent]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """One-shot commands have a clock that stands still but while they sleep."""
    now = 0.0

    def sleep(seconds: float) -> None:
        nonlocal now
        now += seconds

    monkeypatch.setattr(oneshot, "monotonic", lambda: now)
    monkeypatch.setattr(oneshot, "sleep", sleep)


@pytest.mark.usefixtures("clock")
def test_disk_of_a_bare_kernel_that_is_still_scanned_is_removed_a_moment_later(
    shot: Callable[..., Run], bare: MakeBare, monkeypatch: pytest.MonkeyPatch
) -> None:
    def answer(server: Bare, data: bytes, _address: Address) -> list[bytes]:
        open_yet = server.commands.count(data) < 3
        return reply(b"Device is currently open", -errno.EBUSY) if open_yet else reply(b"")

    server = bare(answer)
    assert shot("remove", server.path, "ubd1").code == 0
    assert server.commands == [b"remove ubd1"] * 3
    monkeypatch.setattr(oneshot, "SCAN_TIMEOUT", 0.0)
    other = bare(saying(b"Device is currently open", -errno.EBUSY), name="other")
    assert shot("remove", other.path, "ubd1").code == 1
    assert other.commands == [b"remove ubd1"]


@pytest.mark.parametrize(
    ("words", "way"),
    [
        (["plug", "disk", "/a"], "`umlctl config GUEST ubd1=FILE` adds a disk"),
        (["devices"], "`umlctl config GUEST ubd1` asks for a disk"),
    ],
)
def test_what_a_bare_kernel_has_instead_is_said(
    shot: Callable[..., Run], bare: MakeBare, words: list[str], way: str
) -> None:
    server = bare()
    done = shot(words[0], server.path, *words[1:])
    assert done.code == exitcodes.REFUSED
    assert way in done.err
    assert server.commands == []


def test_disk_paths_are_the_callers(
    shot: Callable[..., Run], bare: MakeBare, house: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = bare()
    monkeypatch.chdir(house)
    assert shot("config", server.path, "ubd1r=a.cow,b.img").code == 0
    assert shot("config", server.path, "ubd99=no,such,slot,at,all").code == 0
    assert server.commands == [
        f"config ubd1r={house}/a.cow,{house}/b.img".encode(),
        b"config ubd99=no,such,slot,at,all",
    ]


@pytest.mark.parametrize("force", ["", "!", "! "])
def test_disk_paths_are_the_callers_in_any_text_too(
    shot: Callable[..., Run],
    bare: MakeBare,
    house: str,
    monkeypatch: pytest.MonkeyPatch,
    force: str,
) -> None:
    server = bare()
    monkeypatch.chdir(house)
    assert shot("mconsole", server.path, f"{force}config", "ubd1r=a.cow,b.img").code == 0
    assert shot("mconsole", server.path, f"{force}config ubd1=a.img", "--json").code == 0
    assert shot("mconsole", server.path, "log  two  ubd1=a").code == 0
    assert server.commands == [
        f"config ubd1r={house}/a.cow,{house}/b.img".encode(),
        f"config ubd1={house}/a.img".encode(),
        b"log  two  ubd1=a\n",
    ]


@pytest.mark.parametrize("words", ["plug", "!plug", "plug ", "config", "remove"])
def test_command_without_its_words_is_answered_whatever_it_is(
    shot: Callable[..., Run], bare: MakeBare, words: str
) -> None:
    assert shot("mconsole", bare().path, words).code in (exitcodes.OK, exitcodes.REFUSED)


@pytest.mark.parametrize("words", [[], [""], [" ", ""]])
def test_no_text_at_all_is_a_usage_error(
    shot: Callable[..., Run], bare: MakeBare, words: list[str]
) -> None:
    server = bare()
    assert shot("mconsole", server.path, *words).code == exitcodes.USAGE
    assert shot("mconsole", "", "version").code == exitcodes.USAGE
    assert server.commands == []


def test_bytes_that_are_no_text_go_through(shot: Callable[..., Run], bare: MakeBare) -> None:
    done = shot("proc", bare().path, "1/root/tmp/\udcff")
    assert done.out == b"proc 1/root/tmp/\xff\n"


def test_guest_is_found_by_its_umid(shot: Callable[..., Run], bare: MakeBare, house: str) -> None:
    os.makedirs(f"{house}/h/.uml/demo")
    bare(name="h/.uml/demo/mconsole")
    assert shot("version", "demo").out == b"version\n"
    assert shot("version", f"{house}/h/.uml/demo").out == b"version\n"


@pytest.mark.parametrize("words", [["proc", "kcore"], ["sysrq", "t"], ["config", "udb1=/x"]])
def test_bare_kernel_is_guarded_unless_forced(
    shot: Callable[..., Run], bare: MakeBare, words: list[str]
) -> None:
    server = bare()
    verb, *arguments = words
    refused = shot(verb, server.path, *arguments)
    assert (refused.code, refused.out) == (exitcodes.REFUSED, b"")
    assert f"umlctl: {verb} {server.path}: refused: " in refused.err
    assert not server.seen
    assert shot(verb, server.path, "--force", *arguments).code == 0
    assert server.seen[0] == " ".join(words).encode()


def test_supervisor_is_told_to_force(shot: Callable[..., Run], bare: MakeBare) -> None:
    server = bare(mode=0o600)
    assert shot("proc", server.path, "kcore").code == 0
    assert shot("proc", server.path, "kcore", "--force").code == 0
    assert server.seen == [b"proc kcore", b"!proc kcore"]


@pytest.mark.parametrize(
    "command",
    [c for c in COMMANDS if c.served not in (KERNEL, HOST) and not c.own_face],
    ids=lambda command: command.name,
)
def test_bare_kernel_is_not_sent_what_only_a_supervisor_knows(
    shot: Callable[..., Run], bare: MakeBare, command: Command
) -> None:
    server = bare()
    done = shot(command.name, server.path, *command.example.split())
    assert done.code == exitcodes.REFUSED
    assert f"a bare kernel has no `{command.name}`" in done.err
    assert not server.seen


# What is shown


def test_answer_is_printed_with_one_end_of_line(shot: Callable[..., Run], bare: MakeBare) -> None:
    server = bare(saying(b"Linux demo"))
    assert shot("version", server.path).out == b"Linux demo\n"
    server.answer = saying(b"two\nlines\n")
    assert shot("version", server.path).out == b"two\nlines\n"
    server.answer = saying(b"")
    assert shot("go", server.path).out == b""


def test_file_is_printed_without_the_line_that_the_kernel_puts_before_it(
    shot: Callable[..., Run], bare: MakeBare
) -> None:
    server = bare(saying(b"\n\nMemTotal: \xff\n"))
    assert shot("proc", server.path, "meminfo").out == b"\nMemTotal: \xff\n"
    server.answer = saying(b"\n")
    assert shot("proc", server.path, "empty").out == b""


def test_err_goes_to_standard_error(shot: Callable[..., Run], bare: MakeBare) -> None:
    server = bare(saying(b"no such device\n", -errno.ENODEV))
    done = shot("remove", server.path, "ubd7")
    assert (done.code, done.out) == (exitcodes.REFUSED, b"")
    assert done.err == f"umlctl: remove {server.path}: ubd7: no such device\n"
    server.answer = saying(b"", 1)
    assert shot("remove", server.path, "eth7").err.endswith(": error 1\n")


@pytest.mark.parametrize(
    ("error", "code"),
    [(-104, exitcodes.GONE), (-110, exitcodes.TIMED_OUT), (-16, exitcodes.REFUSED)],
)
def test_outcome_that_a_supervisor_passes_on_sets_the_code(
    shot: Callable[..., Run], bare: MakeBare, error: int, code: int
) -> None:
    server = bare(saying(b"why", error), mode=0o600)
    assert shot("version", server.path).code == code
    done = shot("version", server.path, "--json")
    assert (done.code, done.json["error"], done.json["outcome"]) == (code, error, "refused")


def test_silence_is_a_timeout(
    shot: Callable[..., Run], bare: MakeBare, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ask, "monotonic", lambda: 0.0)  # it is not over before it is asked
    done = shot("version", bare(lambda *_: []).path, "--timeout", "0.05")
    assert (done.code, done.out) == (exitcodes.TIMED_OUT, b"")
    assert done.err.endswith(": timed out: no answer within the deadline\n")


def test_reboot_ends_with_the_answer_to_a_question_that_is_held_until_the_guest_is_ready(
    shot: Callable[..., Run], bare: MakeBare
) -> None:
    supervised = bare(mode=0o600)
    assert shot("reboot", supervised.path).code == 0
    assert shot("reboot", supervised.path, "--no-wait").code == 0
    assert supervised.commands == [b"reboot", b"version", b"reboot"]
    kernel = bare()
    assert shot("reboot", kernel.path).code == 0
    assert kernel.commands == [b"reboot"], "nobody says when it can be asked without harm"


def test_reboot_of_a_guest_that_does_not_come_back_has_failed(
    shot: Callable[..., Run], bare: MakeBare
) -> None:
    def ends(_server: Bare, data: bytes, _address: Address) -> list[bytes]:
        return reply(
            b"" if data == b"reboot" else b"it has ended", 0 if data == b"reboot" else -104
        )

    done = shot("reboot", bare(ends, mode=0o600).path)
    assert done.code == exitcodes.GONE
    assert done.err.endswith("it has ended\n")

    def is_gone(server: Bare, _data: bytes, _address: Address) -> list[bytes]:
        os.unlink(server.path)  # before anybody could ask it again
        return reply(b"")

    done = shot("reboot", bare(is_gone, mode=0o600, name="gone").path)
    assert done.code == exitcodes.GONE
    assert "guest gone: no guest " in done.err

    def hangs(_server: Bare, data: bytes, _address: Address) -> list[bytes]:
        return reply(b"") if data == b"reboot" else []

    done = shot("reboot", bare(hangs, mode=0o600).path, "--timeout", "0.2", "--json")
    assert (done.code, done.json["outcome"]) == (exitcodes.TIMED_OUT, "timed out")


def test_supervisors_that_are_killed_one_after_another_put_off_no_deadline(
    shot: Callable[..., Run], house: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ask_to_adopt(_guest: str) -> bool:
        time.sleep(0.02)
        return True

    monkeypatch.setattr(unsupervised, "ask_to_adopt", ask_to_adopt)
    paths.make_run_dir()
    os.makedirs(paths.guest_dir("demo"))
    done = shot("version", "demo", "--timeout", "0.01")
    assert done.code == exitcodes.TIMED_OUT
    assert "version demo: timed out: not done within 0.01 seconds" in done.err


def dying(server: Bare, data: bytes, _address: Address) -> list[bytes]:
    """A supervisor that is killed by the first request."""
    if data != b"k":
        server.unbind(remove=False)
    return []


@pytest.fixture
def killed(bare: MakeBare, house: str) -> Iterator[int]:
    """The guest `demo`, whose supervisor is killed by the first request; the kernel's pid."""
    paths.make_run_dir()
    os.makedirs(paths.guest_dir("demo"))
    with running() as pid:
        write_record(pid=pid)
        bare(dying, name=os.path.relpath(paths.guest_socket("demo"), house), mode=0o600)
        yield pid


def test_guest_whose_supervisor_is_killed_by_kill_is_killed(
    shot: Callable[..., Run], killed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unsupervised, "ask_to_adopt", lambda _guest: False)
    done = shot("kill", "demo")
    assert (done.code, done.out) == (0, b"demo killed\n")
    assert processes.start_time(killed) is None


def test_guest_that_runs_though_its_supervisor_does_not_is_not_said_to_be_gone(
    shot: Callable[..., Run], killed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unsupervised, "ask_to_adopt", lambda _guest: False)
    done = shot("shutdown", "demo")
    assert done.code == exitcodes.NO_GUEST
    assert f"the guest runs (pid {killed}), but its supervisor is gone" in done.err


@pytest.mark.parametrize("words", [("wait",), ("wait", "--json"), ("status", "--json")])
def test_guest_that_ends_with_its_supervisor_is_answered_for(
    shot: Callable[..., Run], bare: MakeBare, house: str, words: tuple[str, ...]
) -> None:
    paths.make_run_dir()
    os.makedirs(paths.guest_dir("demo"))
    with running() as pid:
        write_record(pid=pid)

        def end(server: Bare, data: bytes, address: Address) -> list[bytes]:
            if data != b"k":
                os.kill(pid, signal.SIGKILL)
                os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
            return dying(server, data, address)

        bare(end, name=os.path.relpath(paths.guest_socket("demo"), house), mode=0o600)
        done = shot(words[0], "demo", *words[1:])
    assert b"guest gone" not in done.out
    assert done.code == (0 if words[0] == "status" else exitcodes.GONE), done.err
    if words[0] == "status":
        assert done.json["state"] == "dead"


def test_next_supervisor_is_found_wherever_it_is(
    shot: Callable[..., Run], bare: MakeBare, house: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The caller's HOME may be another, and the guest have no directory yet."""
    paths.make_run_dir()
    write_record()

    def ask_to_adopt(_guest: str) -> bool:
        os.makedirs(paths.guest_dir("demo"))
        bare(name=os.path.relpath(paths.guest_socket("demo"), house), mode=0o600)
        return True

    monkeypatch.setattr(unsupervised, "ask_to_adopt", ask_to_adopt)
    assert shot("version", "demo").code == 0


def test_programs_are_told_that_nobody_knows(
    shot: Callable[..., Run], killed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unsupervised, "ask_to_adopt", lambda _guest: True)
    done = shot("mconsole", "demo", "--json", "remove", "ubd1")
    assert (done.code, done.json["outcome"]) == (exitcodes.GONE, "guest gone")
    assert "whether this was done is not known" in done.json["reason"]


def test_refusal_stands_though_it_is_not_answered_again(
    shot: Callable[..., Run], bare: MakeBare, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0

    def once(server: Bare, data: bytes, _address: Address) -> list[bytes]:
        nonlocal now
        if server.commands == [data]:
            return reply(b"Device is currently open", -errno.EBUSY)
        now = 60.0 if len(server.commands) > 1 else 0.0
        return []

    for module in (ask, blocking):
        monkeypatch.setattr(module, "monotonic", lambda: now)
    done = shot("remove", bare(once).path, "ubd1", "--timeout", "30")
    assert done.code == exitcodes.REFUSED
    assert "it is in use in the guest" in done.err


def test_lost_end_is_said_after_what_came(
    shot: Callable[..., Run], bare: MakeBare, time_up_after: Callable[[int], None]
) -> None:
    time_up_after(1)
    server = bare(lambda _server, data, _address: reply(b"x" * 600)[:1] if data != b"k" else [])
    done = shot("stack", server.path, "1")
    assert (done.code, done.out) == (exitcodes.TRUNCATED, b"x" * 511 + b"\n")
    assert "truncated" in done.err


def test_guest_that_ends_under_a_request_is_gone(shot: Callable[..., Run], bare: MakeBare) -> None:
    def end(server: Bare, _data: bytes, _address: Address) -> list[bytes]:
        server.unbind()
        return []

    done = shot("halt", bare(end).path)
    assert done.code == exitcodes.GONE
    assert "guest gone" in done.err


def test_guest_that_is_not_there_is_named(shot: Callable[..., Run]) -> None:
    done = shot("version", "demo")
    assert (done.code, done.out) == (exitcodes.NO_GUEST, b"")
    assert done.err == "umlctl: no guest 'demo'; `umlctl list` shows the guests\n"
    done = shot("version", "/nowhere/mconsole")
    assert done.err.startswith("umlctl: no guest '/nowhere/mconsole': /nowhere/mconsole: No such")


def test_outcome_as_json(shot: Callable[..., Run], bare: MakeBare) -> None:
    done = shot("version", bare(saying(b"Linux \xff")).path, "--json")
    assert done.code == 0
    assert done.json["text"] == "Linux \ufffd"
    assert (done.json["command"], done.json["outcome"]) == ("version", "answered")
    assert done.out.count(b"\n") == 1


# Wrong command lines


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["remove"], "remove PATH: remove needs DEVICE"),
        (["stack"], "stack PATH: stack needs PID"),
        (["plug", "disk"], "plug PATH: plug needs disk|nic|share|console SPEC..."),
        (["version", "now"], "version PATH: version takes no argument, not 'now'"),
        (["stack", "1", "2"], "stack PATH: stack takes PID, not '2'"),
        (["log", "x" * 600], "log PATH: a command has at most 511 bytes"),
    ],
)
def test_wrong_words_are_said_and_nothing_is_sent(
    shot: Callable[..., Run], bare: MakeBare, words: list[str], said: str
) -> None:
    server = bare()
    verb, *arguments = words
    done = shot(verb, server.path, *arguments)
    assert (done.code, done.out) == (exitcodes.USAGE, b"")
    assert said.replace("PATH", server.path) in done.err
    assert not server.seen


# An interrupt

INTERRUPTED = """
import os, signal, sys
from types import SimpleNamespace
from umlctl.client import oneshot
class Finder:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name == "umlctl.client.afterlife":
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Finder)
signal.signal(signal.SIGINT, signal.default_int_handler)  # it may be ignored from the start
idle = oneshot._Idle(SimpleNamespace(name="demo", link=None))
idle._since -= 2 * oneshot.SILENCE_TIMEOUT
try:
    idle.look()
except KeyboardInterrupt:
    print("umlctl.client.afterlife" in sys.modules)
"""


def test_interrupt_is_held_back_while_python_imports() -> None:
    """It can be lost there: what is raised in a callback of its locks is ignored."""
    command = [*streams.PYTHON[:-1], "-c", INTERRUPTED]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "True\n"
