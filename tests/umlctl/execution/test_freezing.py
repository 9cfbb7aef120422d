"""What the host says and hears when file systems are frozen, of a guest that is a thread."""

from __future__ import annotations

import os
import socket
import threading
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from umlctl.errors import NoGuest, Refused
from umlctl.execution import freezing, running
from umlctl.execution.freezing import Frozen
from umlctl.host import paths
from umlctl.protocol import command_lines

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Guest:
    """Its kernel has its FIFOs open.

    Fields:
        directory: with them
        heard: what its program was told
    """

    def __init__(self, directory: str, stack: ExitStack) -> None:
        self.directory = directory
        self.heard: list[str] = []
        self._program = threading.Thread()
        self._stack = stack
        self._tell, self._hear = (self._open(f"exec0.{name}") for name in ("tell", "hear"))
        self._shell = self._open(command_lines.SHELL_FIFO)

    def _open(self, name: str) -> int:
        descriptor = os.open(f"{self.directory}/{name}", os.O_RDWR)
        self._stack.callback(os.close, descriptor)
        return descriptor

    def answer(self, *answers: str) -> None:
        """Begin the program when told to; each line that it hears then has an answer."""

        def live() -> None:
            os.read(self._shell, 4096)
            os.write(self._hear, b"up\n")
            with open(os.dup(self._tell), "rb", 0) as lines:
                for answer in answers:
                    self.heard.append(lines.readline().decode())
                    os.write(self._hear, answer.encode())

        self._program = threading.Thread(target=live, daemon=True)
        self._program.start()

    def end(self) -> None:
        """Have it end, when it has given its answers."""
        self._program.join(30)

    def is_left(self) -> bool:
        """Whether a slot is taken, or files are handed out."""
        handed = os.listdir(f"{self.directory}/{command_lines.HANDED}")
        is_open = os.path.exists(f"{self.directory}/exec0.open")
        return is_open or any(not name.startswith(("agent-", "exec.sh-")) for name in handed)


@pytest.fixture
def guest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Guest]:
    monkeypatch.setenv("UMLCTL_DIR", str(tmp_path))
    for where, name in ((running, "END_TIMEOUT"), (freezing, "HEARD_TIMEOUT")):
        monkeypatch.setattr(where, name, 30.0)  # this process may stand still
    for path in ("run", "run/g", "run/g/demo"):
        os.mkdir(f"{tmp_path}/{path}", 0o700)
    place = paths.guest_dir("demo")
    os.mkdir(f"{place}/{command_lines.HANDED}")
    for name in command_lines.openings(has_agent=False).values():
        os.mkfifo(f"{place}/{name}")
    path = paths.kernel_socket("demo")
    os.makedirs(os.path.dirname(path))
    with ExitStack() as stack, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as kernel:
        kernel.bind(path)
        yield Guest(place, stack)


def test_file_systems_are_frozen_and_thawed(guest: Guest) -> None:
    guest.answer("frozen 2 0\n", "over\n")
    frozen = Frozen("demo")
    assert frozen.missed == 0
    assert guest.heard == ["go\n"]
    frozen.thaw()
    guest.end()
    assert guest.heard[1:] == ["bye\n"]
    assert not frozen.left
    assert not guest.is_left()


def test_what_could_not_be_frozen_is_counted(guest: Guest) -> None:
    guest.answer("frozen 1 2\n", "over\n")
    frozen = Frozen("demo")
    frozen.thaw()
    assert frozen.missed == 2


def test_thawing_that_is_not_heard_of_is_known_and_is_still_to_come(
    guest: Guest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(freezing, "THAW_TIMEOUT", 0.1)
    guest.answer("frozen 1 0\n")
    frozen = Frozen("demo")
    frozen.thaw()
    assert frozen.left
    assert os.read(guest._tell, 100) == b"bye\n", "it hears that when it runs again"
    assert os.path.exists(f"{guest.directory}/exec0.open"), "and who comes next waits for it"


def test_guest_where_nobody_reads_is_soon_known(
    guest: Guest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(freezing, "HEARD_TIMEOUT", 0.1)
    for _ in range(2):
        with pytest.raises(Refused, match="nobody to freeze"):
            Frozen("demo")
        assert not guest.is_left()
    assert len(os.read(guest._shell, 1 << 16).splitlines()) == 1, "it is told once"
    with pytest.raises(NoGuest):
        Frozen("nobody")


@pytest.mark.parametrize("said", ["failed 0 22\n", "over\n"])
def test_guest_that_cannot_is_told_to_end(guest: Guest, said: str) -> None:
    guest.answer(said, "over\n")
    with pytest.raises(Refused, match="cannot freeze"):
        Frozen("demo")
    guest.end()
    assert guest.heard[1:] == ["bye\n"]
    assert not guest.is_left()


def test_guest_that_takes_too_long_is_told_to_end(
    guest: Guest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(freezing, "FREEZE_TIMEOUT", 0.5)
    guest.answer("began\n", "over\n")
    with pytest.raises(Refused, match="has not frozen"):
        Frozen("demo")
    guest.end()
    assert guest.heard[-1] == "bye\n"
