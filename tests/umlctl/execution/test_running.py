from __future__ import annotations

import os
import socket
import threading
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

from socketproto.wire import Request
from tests.umlctl.state.test_records import keep
from umlctl.errors import NeverStarted, NoGuest, Refused
from umlctl.execution import running as module
from umlctl.host import paths, processes
from umlctl.protocol import command_lines
from umlctl.protocol.status import Ending
from umlctl.state import records

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """That of a guest whose kernel has its FIFOs open."""
    monkeypatch.setenv("UMLCTL_DIR", str(tmp_path))
    monkeypatch.setattr(module, "END_TIMEOUT", 0.2)
    monkeypatch.setattr(module, "TURN_TIMEOUT", 0.0)
    for path in ("run", "run/g", "run/g/demo"):
        os.mkdir(f"{tmp_path}/{path}", 0o700)
    place = paths.guest_dir("demo")
    with ExitStack() as stack:
        for name in command_lines.openings(has_agent=True).values():
            os.mkfifo(f"{place}/{name}")
            descriptor = os.open(f"{place}/{name}", os.O_RDWR | os.O_NONBLOCK)
            stack.callback(os.close, descriptor)
        yield place


def slots(directory: str, stack: ExitStack) -> list[int]:
    """Those that are free; they are taken then."""
    found = []
    while (slot := module._free_slot(directory, stack)) is not None:
        found.append(slot.number)
    return found


def leave_open(directory: str, number: int) -> None:
    with open(f"{directory}/{command_lines.fifo(number, 'open')}", "w"):
        pass


def test_each_slot_is_for_one(directory: str) -> None:
    everyone = list(range(command_lines.SLOTS))
    with ExitStack() as stack:
        assert slots(directory, stack) == everyone
        with pytest.raises(Refused, match="4 commands already"), module.slot_for("demo", directory):
            pass
    with module.slot_for("demo", directory) as slot:
        assert slot.number == 0
        assert os.path.exists(f"{directory}/exec0.open")


def test_slot_that_was_left_is_free_once_its_program_has_ended(directory: str) -> None:
    leave_open(directory, 0)
    with (
        open(f"{directory}/exec0.tell", "r+b", 0) as tell,
        open(f"{directory}/exec0.hear", "r+b", 0) as hear,
    ):

        def end() -> None:
            assert tell.read(4) == b"bye\n"
            hear.write(b"status 9\nover\n")

        program = threading.Thread(target=end)
        program.start()
        with ExitStack() as stack:
            assert slots(directory, stack)[0] == 0
        program.join()
    assert not os.path.exists(f"{directory}/exec0.open")


def test_slot_that_was_left_is_free_where_nobody_is_told_to_end(directory: str) -> None:
    """As after a reboot."""
    leave_open(directory, 0)
    with ExitStack() as stack:
        assert slots(directory, stack)[0] == 0
    with open(f"{directory}/exec0.tell", "r+b", 0) as tell:
        os.set_blocking(tell.fileno(), False)
        assert tell.read(4) is None, "the next program does not hear it"


def test_slot_whose_program_does_not_end_stays_taken(directory: str) -> None:
    leave_open(directory, 0)
    over = threading.Event()
    with open(f"{directory}/exec0.tell", "r+b", 0) as tell:
        os.set_blocking(tell.fileno(), False)

        def hang() -> None:
            while not over.wait(0.01):
                tell.read(100)

        program = threading.Thread(target=hang)
        program.start()
        with ExitStack() as stack:
            assert slots(directory, stack) == list(range(1, command_lines.SLOTS))
        over.set()
        program.join()


def test_what_an_earlier_command_has_left_is_not_the_next_ones(directory: str) -> None:
    for name in ("tell", "hear", "typed", "output", "error"):
        with open(f"{directory}/exec0.{name}", "r+b", 0) as fifo:
            fifo.write(b"old\n" * 100)
    with module.slot_for("demo", directory) as slot, module.wires_of(slot) as wires:
        for descriptor in (wires.tell, wires.hear, wires.terminal, *wires.outputs):
            os.set_blocking(descriptor, False)
            with pytest.raises(BlockingIOError):
                os.read(descriptor, 1)


def alive() -> dict[str, Any]:
    """As if this process were a kernel."""
    pid = os.getpid()
    return {
        "pid": pid,
        "started": processes.start_time(pid),
        "boot_id": records.host_boot_id(),
    }


def test_guest_that_takes_none_is_said(directory: str) -> None:
    with pytest.raises(NoGuest, match="no guest 'other'"):
        module.check_takes_commands("other", paths.guest_dir("other"))
    os.unlink(f"{directory}/exec0.tell")
    with pytest.raises(Refused, match="earlier umlctl"):
        module.check_takes_commands("demo", directory)
    keep("demo", own_line=True, **alive())
    with pytest.raises(Refused, match="was started as `linux`"):
        module.check_takes_commands("demo", directory)


def test_guest_of_which_something_is_left_yet_is_no_guest(directory: str) -> None:
    os.unlink(f"{directory}/exec0.tell")
    keep("demo", pid=1 << 22, started=1)
    with pytest.raises(NoGuest, match="no guest 'demo'"):
        module.check_takes_commands("demo", directory)
    ending = Ending(cause="exited", code=0)
    keep("demo", ending=ending, **alive())
    with pytest.raises(NoGuest, match="no guest 'demo'"):
        module.check_takes_commands("demo", directory)


def test_silence_is_explained(directory: str) -> None:
    assert "is it paused" in module._silent("demo", directory)
    os.mkfifo(f"{directory}/{command_lines.SHELL_FIFO}")
    said = module._silent("demo", directory)
    assert "ExecStart=/bin/sh /dev/ttyS39" in said
    assert "respawn:/bin/sh /dev/ttyS39" in said
    assert "has ended" in module._silent("other", paths.guest_dir("other"))


@pytest.mark.usefixtures("directory")
def test_kernel_that_begins_anew_is_seen() -> None:
    path = paths.kernel_socket("demo")
    with pytest.raises(NeverStarted, match="boots, or ends"), module.losing("demo"):
        pass
    os.makedirs(os.path.dirname(path))
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as one:
        one.bind(path)
        with module.losing("demo") as lost:
            assert not lost()
            one.settimeout(10)
            assert Request.decode(one.recv(1024)).data == b"k", "and it is kicked"
            os.unlink(path)
            assert not lost(), "whoever removed it, its supervisor makes it anew"
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other:
                other.bind(path)
                assert lost()


def test_command_that_is_cancelled_does_not_begin(directory: str) -> None:
    canceller = module.Canceller()
    canceller.cancel()
    with ExitStack() as stack:
        slots(directory, stack)
        with pytest.raises(Refused), module.slot_for("demo", directory, canceller):
            pass


def test_canceller_reaches_the_session_of_its_command_alone() -> None:
    class Told:
        times = 0

        def cancel(self) -> None:
            self.times += 1

    canceller, told = module.Canceller(), Told()
    with canceller.over(told):  # type: ignore[arg-type]
        canceller.cancel()
    canceller.cancel()
    assert told.times == 1
    with canceller.over(told):  # type: ignore[arg-type]
        assert told.times == 2


def test_threads_that_need_the_program_at_once_all_have_it(tmp_path: Path) -> None:
    source = tmp_path / "program"
    source.write_bytes(b"x" * 100_000)
    (tmp_path / "above").mkdir()
    found: list[str] = []
    threads = [
        threading.Thread(
            target=lambda: found.append(module._program(str(tmp_path / "above"), str(source)))
        )
        for _ in range(16)
    ]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert len(found) == len(threads)
    assert [each.name for each in (tmp_path / "above").iterdir()] == [found[0]]
