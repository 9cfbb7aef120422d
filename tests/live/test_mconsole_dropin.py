"""`uml_mconsole`, the original and ours, side by side: the same answers and exit codes, asked of a
kernel that nobody supervises and of a guest, but for the faults of the original.

The faults, which ours does not share unless it is asked for `--strict`:

* A bare kernel has no room for many parts of an answer, and the original may wait for ever for
  what was lost (`stack`, `sysrq`); it waits for ever for a guest that hangs, too.
* `log` and `help` end with 0 whatever the guest said.
* Of a command of more than 511 bytes it sends the beginning.
* `umlfs` with a number reads what it never had.
* What would end a bare kernel, or block it for good, is sent.
"""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from socketproto.blocking import KICK, kicker
from tests.live.conftest import DEADLINE, Terminal, hold, wait_for
from tests.program import SCRIPT
from umlctl.host import processes

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.live.conftest import House

STOCK = ["uml_mconsole"]
Said = tuple[bytes, int]

SESSIONS = {
    "version": ["version", "versionX", "version now", " version", "VERSION"],
    "unknown": ["nonsense", "", "k", "!version", "x" * 300, "ä☃"],
    "help": ["help"],
    "config": ["config", "config ubd0", "config ubd9", "config nix", "config nix=1", "config con1"],
    "disk": [
        *("config ubd1=a.img", "config ubd1", "config ubd1=a.img", "remove ubd1", "config ubd1"),
        *("remove ubd1", "config ubd1r=link/b.img", "config ubd1", "remove ubd1"),
    ],
    "cow": ["config ubd2=c.cow,b.img", "config ubd2", "remove ubd2", "remove ubd2"],
    "no disk": ["config ubd1=nowhere.img", "config ubd1", "remove ubd1", "remove ubd15"],
    "odd disks": [
        "config ubd16=a.img",
        "config ubd01",
        "config ubdx=a.img",
        "config ubd=a.img",
        "remove ubd",
    ],
    "remove": ["remove", "remove nix", "remove ubd1x"],
    "lines": ["config con2", "config ssl1", "config con99", "remove con99"],
    "networks": ["config vec9", "config vec9=x", "config eth7", "remove vec9", "remove eth7"],
    "proc": ["proc version", "proc sys/kernel/hostname", "proc nix", "proc", "proc filesystems"],
    "procs": ["proc /version", "proc  version", "proc 1/root/etc/hostname", "proc 1/mounts"],
    "log": ["log hello", "log", "loghello", "log " + "x" * 1200, "log -f text", "log a\nb"],
    "pause": ["stop", "stop", "version", "go", "go"],
    "stack": ["stack", "stack 99999", "stack x"],
    "sysrq": ["sysrq 7", "sysrq h"],
    "own": ["mconsole-version", "mconsole-versionX", "quit", "quit now", "umlfs x"],
    "switch": ["switch nowhere-at-all", "switch"],
    "mem": ["config mem", "config memory"],
}


@pytest.fixture(scope="module")
def client(house: House) -> list[str]:
    """Ours, by a link of its name."""
    link = f"{house.path}/bin/uml_mconsole"
    os.makedirs(os.path.dirname(link), exist_ok=True)
    if not os.path.lexists(link):
        os.symlink(SCRIPT, link)
    return [sys.executable, link]


@pytest.fixture(scope="module")
def here(house: House) -> str:
    """A directory with the files that are asked for."""
    path = f"{house.path}/here"
    os.makedirs(f"{path}/real", exist_ok=True)
    if not os.path.lexists(f"{path}/link"):
        os.symlink("real", f"{path}/link")
    for name in ("a.img", "b.img", "real/b.img"):
        with open(f"{path}/{name}", "wb") as file:
            file.truncate(1 << 20)
    Path(f"{path}/text").write_bytes(b"from a file\n" * 100)
    return path


@pytest.fixture(scope="module")
def hand(house: House) -> Iterator[str]:
    """A kernel that nobody supervises; its socket."""
    with house.by_hand("hand") as path:
        yield path


def ask(
    house: House, command: Sequence[str], words: Sequence[str], here: str, stdin: bytes = b""
) -> Said:
    """One call of a client. The original may miss that a kernel has not seen its request yet, and
    would wait for ever: kicked, the kernel looks again."""
    with subprocess.Popen(
        [*command, *words],
        env=house.env,
        cwd=here,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as client:
        end = time.monotonic() + DEADLINE
        asked: bytes | None = stdin
        try:
            while True:
                try:
                    said, _ = client.communicate(asked, timeout=1)
                except subprocess.TimeoutExpired:
                    asked = None  # it has been taken
                    assert time.monotonic() < end, f"{command[-1]} {words}: no answer"
                    if command == STOCK:
                        kick_kernels(house)
                else:
                    return said, client.returncode
        finally:
            client.kill()


def kick_kernels(house: House) -> None:
    """What a script names on its way is any of them."""
    for path in Path(house.path).glob("hand/*/mconsole"):
        with contextlib.suppress(OSError):
            kicker().sendto(KICK, socket.MSG_DONTWAIT, str(path))


def settled(house: House, command: list[str], guest: str, here: str, text: str) -> Said:
    """The same of a disk that nobody scans for partitions any more."""
    said = ask(house, command, [guest, text], here)
    end = time.monotonic() + DEADLINE
    while text.startswith("remove ubd") and said[1] == 240 and time.monotonic() < end:
        said = ask(house, command, [guest, text], here)
    return said


def both(house: House, client: list[str], guest: str, here: str, texts: list[str]) -> None:
    """A session with the one, then with the other."""
    said = []
    for command in (STOCK, client):
        for path in (f"{here}/c.cow",):
            if os.path.exists(path):
                os.unlink(path)
        said.append([settled(house, command, guest, here, text) for text in texts])
    stock, ours = said
    assert list(zip(texts, ours, strict=True)) == list(zip(texts, stock, strict=True))


def test_there_are_enough_cases() -> None:
    assert sum(map(len, SESSIONS.values())) >= 80


@pytest.mark.parametrize("name", SESSIONS)
def test_bare_kernel_side_by_side(
    house: House, client: list[str], hand: str, here: str, name: str
) -> None:
    both(house, client, hand, here, SESSIONS[name])


@pytest.mark.parametrize("name", SESSIONS)
def test_guest_side_by_side(
    house: House, client: list[str], shared: str, here: str, name: str
) -> None:
    both(house, client, shared, here, SESSIONS[name])


@pytest.mark.parametrize("guest", ["hand", "shared", "nobody-of-that-name"])
def test_script_on_standard_input_side_by_side(
    house: House,
    client: list[str],
    hand: str,
    shared: str,
    here: str,
    guest: str,
) -> None:
    """With its prompt, whether anybody is there or not."""
    path = {"hand": hand, "shared": shared}.get(guest, guest)
    lines = ["version", "", "nonsense", "mconsole-version", "log x", "switch nowhere-at-all"]
    lines += [f"switch {shared}", "config ubd0", "  version", f"switch {hand}", "proc version"]
    for end in ("\nquit\nversion\n", "\n", ""):
        stdin = ("\n".join(lines) + end).encode()
        stock = ask(house, STOCK, [path], here, stdin)
        assert ask(house, client, [path], here, stdin) == stock
        assert stock[1] == 0


def test_nobody_and_no_words_side_by_side(house: House, client: list[str], here: str) -> None:
    for words in (
        [],
        ["nobody-here", "version"],
        ["-h", "version"],
        ["", "version"],
        ["/", "help"],
    ):
        stock = ask(house, STOCK, words, here)
        ours = ask(house, client, words, here)
        assert (ours[0], ours[1] or "help" in words) == (stock[0], stock[1] or "help" in words)


def test_letter_has_the_same_words_on_standard_error(
    house: House, client: list[str], shared: str, here: str
) -> None:
    def errors(command: list[str], *words: str) -> bytes:
        done = subprocess.run(
            [*command, *words], env=house.env, cwd=here, capture_output=True, check=False
        )
        return done.stderr

    for words in (
        ("nobody-here", "version"),
        (f"{house.home}/.uml/nobody-here", "version"),
        (shared, "config ubd1=nowhere/a.img"),
        (shared, "switch nobody-here"),
        (shared, "log -f nowhere"),
        (),
    ):
        assert errors([*client, "--strict"], *words) == errors(STOCK, *words)


# The faults


def test_answer_of_many_parts_comes_whole_from_a_bare_kernel(
    house: House, client: list[str], hand: str, here: str
) -> None:
    for command, least in (("stack 1", 5), ("sysrq m", 20)):
        said, code = ask(house, client, [hand, command], here)
        assert (code, said[:3]) == (0, b"OK ")
        assert said.count(b"\n") > least


@pytest.mark.parametrize("text", ["proc kcore", "proc/kcore", "proc 1/fd/0", "sysrq t"])
def test_bare_kernel_survives_what_is_not_sent(
    house: House, client: list[str], hand: str, here: str, text: str
) -> None:
    said, code = ask(house, client, [hand, text], here)
    assert (said.startswith(b"ERR refused: "), code) == (True, 255)
    assert ask(house, client, [hand, "version"], here)[1] == 0


def test_exit_code_says_that_a_text_was_not_logged(
    house: House, client: list[str], umid: str, here: str
) -> None:
    """That of the original does not."""
    for words in (["log", "x"], ["help"]):
        assert ask(house, client, [umid, *words], here)[1] == 1
        for command in (STOCK, [*client, "--strict"]):
            assert ask(house, command, [umid, *words], here)[1] == 0


def test_command_that_is_too_long_is_not_cut(
    house: House, client: list[str], shared: str, here: str
) -> None:
    text = "config ubd1=" + "x" * 600
    said, code = ask(house, client, [shared, text], here)
    assert (b"a command has at most 511 bytes" in said, code) == (True, 1)


def test_long_refusal_is_an_error_for_the_stock_client_too(
    house: House, client: list[str], shared: str
) -> None:
    """Which looks at the last part of the answer alone."""
    here = f"{house.path}/{'d' * 150}"
    os.makedirs(here)
    with open(f"{here}/b.img", "wb") as file:
        file.truncate(1 << 20)
    subprocess.run(["uml_mkcow", "c.cow", "b.img"], cwd=here, check=True)
    os.utime(f"{here}/b.img", (1, 1))
    for command in (STOCK, client):
        said, code = ask(house, command, [shared, "config ubd1=c.cow"], here)
        assert len(said) > 520
        assert (said[:4], code) == (b"ERR ", 234)


def test_kernel_that_stands_still_is_not_waited_for_for_ever(
    house: House, client: list[str], umid: str, here: str
) -> None:
    with house.by_hand(umid) as path:
        pid = int(Path(f"{os.path.dirname(path)}/pid").read_text())
        hold(pid)
        said, code = ask(house, client, [path, "version"], here)
        os.kill(pid, 18)
        wait_for(lambda: processes.held(pid) is None, "it goes on")
    assert (said, code) == (b"ERR timed out: no answer within the deadline\n", 146)


def test_kernel_that_panics_is_gone_for_us_and_the_letter(
    house: House, client: list[str], umid: str, here: str
) -> None:
    for strict in ([], ["--strict"]):
        with house.by_hand(umid) as path:
            said, code = ask(house, client, [*strict, path, "sysrq c"], here)
        assert (said.startswith(b"ERR "), b"guest gone" in said, code) == (True, True, 152)


def test_interrupt_ends_a_bare_kernel(
    house: House, client: list[str], umid: str, here: str
) -> None:
    with house.by_hand(umid) as path:
        assert ask(house, client, [path, "int"], here) == (b"", 0)
        wait_for(lambda: not os.path.exists(path), "it has ended")
        said, code = ask(house, client, [path, "version"], here)
        assert (said, code) == (b"", 1)


def test_interrupt_ends_a_guest_as_that_of_the_original_does(
    house: House, client: list[str], umid: str, here: str
) -> None:
    for command in (STOCK, client, [*client, "--strict"]):
        house.start(umid)
        assert ask(house, command, [umid, "int"], here) == (b"", 0)
        wait_for(lambda: house.listed(umid)["state"] == "dead", "it has ended")
        assert "exited with status 1" in house.umlctl("version", umid).stderr


def test_guest_whose_supervisor_was_killed_answers(
    house: House, client: list[str], umid: str, here: str
) -> None:
    house.start(umid)
    os.kill(house.status(umid)["supervisor_pid"], 9)
    said, code = ask(house, client, [umid, "version"], here)
    assert (said.startswith(f"OK Linux {umid}".encode()), code) == (True, 0)
    assert ask(house, client, [umid, "reboot"], here) == (b"OK \n", 0)
    said, code = ask(house, client, [umid, "version"], here)  # it is held until then
    assert (said.startswith(f"OK Linux {umid}".encode()), code) == (True, 0)


def test_guest_is_found_where_netkit_and_others_have_it(
    house: House, client: list[str], hand: str, here: str
) -> None:
    name = os.path.basename(os.path.dirname(hand))
    above = os.path.dirname(os.path.dirname(hand))
    os.makedirs(f"{house.home}/.netkit")
    os.symlink(above, f"{house.home}/.netkit/mconsole")
    try:
        assert ask(house, client, [name, "version"], here)[1] == 0
    finally:
        os.unlink(f"{house.home}/.netkit/mconsole")
    assert ask(house, client, [name, "version"], here)[1] == 1
    by_variable = ["env", f"UML_MCONSOLE_PATH=/nowhere:{above}", *client]
    assert ask(house, by_variable, [name, "version"], here)[1] == 0
    assert ask(house, client, [os.path.dirname(hand), "version"], here)[1] == 0


def test_terminal_has_a_prompt_that_can_be_edited(
    house: House, client: list[str], shared: str, here: str
) -> None:
    terminal = Terminal(
        client[0],
        [client[1], shared],
        env={**house.env, "TERM": "xterm"},
        cwd=here,
        timeout=DEADLINE,
        encoding="utf-8",
    )
    try:
        terminal.expect_exact(f"({shared}) ")
        terminal.send("ersion\x01v\r")  # Ctrl-A: to the beginning
        terminal.expect_exact("OK Linux")
        terminal.expect_exact(f"({shared}) ")
        terminal.send("\x1b[A\r")  # the line before
        terminal.expect_exact("OK Linux")
        terminal.expect_exact(f"({shared}) ")
        terminal.send("\x04")
        terminal.wait()
        assert terminal.exitstatus == 0
    finally:
        terminal.close(force=True)
