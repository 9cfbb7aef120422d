"""Consoles whose kernel is this test: it appends to the logs and reads the FIFOs."""

from __future__ import annotations

import os
import socket
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
import trio
import trio.testing

from umlctl.host import attaching, consolelog
from umlctl.host.attaching import HELLO, INPUT, NOTICE, OUTPUT, PACKET, SIZE
from umlctl.host.inotify import Watch
from umlctl.host.records import Entry
from umlctl.supervisor import consoles as module
from umlctl.supervisor.consoles import Consoles
from umlctl.supervisor.history import History

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

DEADLINE = 30.0


async def until(condition: Callable[[], object]) -> None:
    with trio.fail_after(DEADLINE):
        while not condition():  # noqa: ASYNC110 - files have nobody to tell
            await trio.sleep(0.002)


def size_of(path: str) -> int:
    return os.stat(path).st_size


class Kernel:
    """The other end of the consoles' files."""

    def __init__(self, place: Path) -> None:
        self.directory = str(place / "run")
        self.records = str(place / "records")
        os.mkdir(self.directory)
        os.mkdir(self.records)
        self.inputs = {}
        for name in (*attaching.CONSOLES, "agent"):
            path = f"{self.directory}/{name}.in"
            os.mkfifo(path)
            self.inputs[name] = os.open(path, os.O_RDWR | os.O_NONBLOCK)
        self.write("")
        self.history = History("demo")
        self.consoles = Consoles(self.directory, self.records, self.history, agent=True)
        self.viewers: list[Viewer] = []

    def write(self, text: str | bytes, name: str = "con0") -> None:
        data = text.encode() if isinstance(text, str) else text
        with open(f"{self.records}/{attaching.log_name(name)}", "ab") as file:
            file.write(data)

    def read(self, name: str = "con0") -> bytes:
        try:
            return os.read(self.inputs[name], 1 << 17)
        except BlockingIOError:
            return b""

    async def hears(self, data: bytes, name: str = "con0") -> None:
        heard = b""
        with trio.fail_after(DEADLINE):
            while len(heard) < len(data):
                heard += self.read(name)
                await trio.sleep(0.002)
        assert heard == data

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        async with trio.open_nursery() as nursery:
            await nursery.start(self.consoles.run)
            yield
            nursery.cancel_scope.cancel()

    def close(self) -> None:
        for viewer in self.viewers:
            if viewer.connection.fileno() >= 0:
                os.close(viewer.connection.detach())
        for descriptor in self.inputs.values():
            os.close(descriptor)


@pytest.fixture
def kernel(tmp_path: Path) -> Any:
    made = Kernel(tmp_path)
    yield made
    made.close()


class Viewer:
    """Somebody on the socket `attach`."""

    def __init__(self, kernel: Kernel) -> None:
        self.connection = trio.socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        kernel.viewers.append(self)
        self.path = f"{kernel.directory}/attach"
        self.output = b""
        self.notices: list[dict[str, Any]] = []
        self.over = False

    async def hello(self, console: str = "con0", **asked: object) -> Viewer:
        await self.connection.connect(self.path)
        hello = {"console": console, **asked}
        await self.connection.send(HELLO + msgspec.json.encode(hello))
        return self

    async def until(self, condition: Callable[[], object]) -> None:
        with trio.fail_after(DEADLINE):
            while not condition():
                packet = await self.connection.recv(PACKET)
                if packet[:1] == OUTPUT:
                    self.output += packet[1:]
                elif packet[:1] == NOTICE:
                    self.notices.append(msgspec.json.decode(packet[1:]))
                else:
                    assert packet == b""
                    self.over = True
                    assert condition()

    async def sees(self, data: bytes) -> None:
        await self.until(lambda: data in self.output)

    async def is_told(self, **facts: object) -> dict[str, Any]:
        def told() -> dict[str, Any] | None:
            return next((n for n in self.notices if facts.items() <= n.items()), None)

        await self.until(told)
        found = told()
        assert found is not None
        self.notices.remove(found)
        return found

    async def type(self, data: bytes) -> None:
        await self.connection.send(INPUT + data)

    def close(self) -> None:
        self.connection.close()


async def attached(kernel: Kernel, console: str = "con0", **asked: object) -> Viewer:
    return await Viewer(kernel).hello(console, **asked)


# Looking


async def test_viewer_sees_the_past_that_it_asks_for_and_what_comes(kernel: Kernel) -> None:
    kernel.write("one\ntwo\nthree\n")
    async with kernel.running():
        viewer = await attached(kernel, lines=2)
        assert (await viewer.is_told(offset=4))["replay"] == 10
        await viewer.sees(b"two\nthree\n")
        kernel.write("four\n")
        await viewer.sees(b"four\n")
        assert viewer.output == b"two\nthree\nfour\n"
        later = await attached(kernel)
        await later.is_told(offset=19)
        from_the_start = await attached(kernel, offset=0)
        await from_the_start.sees(b"four\n")
        assert from_the_start.output == b"one\ntwo\nthree\nfour\n"


async def test_output_of_many_writes_is_whole_and_in_order(kernel: Kernel) -> None:
    lines = [b"%06d\n" % number for number in range(20_000)]
    async with kernel.running():
        viewers = [await attached(kernel) for _ in range(3)]
        for viewer in viewers:
            await viewer.is_told(offset=0)
        for start in range(0, len(lines), 100):
            kernel.write(b"".join(lines[start : start + 100]))
            await trio.lowlevel.checkpoint()
        for viewer in viewers:
            await viewer.sees(lines[-1])
            assert viewer.output == b"".join(lines)


async def test_viewer_that_never_reads_delays_nobody(kernel: Kernel) -> None:
    async with kernel.running():
        stuck = await attached(kernel)
        good = await attached(kernel)
        await good.is_told(offset=0)
        data = os.urandom(1 << 22)
        kernel.write(data)
        await good.until(lambda: len(good.output) == len(data))
        assert good.output == data
        stuck.close()
        await until(lambda: len(kernel.consoles.by_name["con0"].viewers) == 1)


async def test_viewer_without_inotify_sees_all_the_same(
    kernel: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none() -> None:
        raise OSError(24, "no more inotify")

    monkeypatch.setattr(module, "Watch", none)
    async with kernel.running():
        viewer = await attached(kernel)
        await viewer.is_told(offset=0)
        kernel.write("hello\n")
        await viewer.sees(b"hello\n")


async def test_more_is_kept_for_a_viewer_that_is_behind_and_reading(kernel: Kernel) -> None:
    async with kernel.running():
        viewer = await attached(kernel)
        await viewer.is_told(offset=0)
        console = kernel.consoles.by_name["con0"]
        (known,) = console.viewers
        for behind, since, kept in (
            (0, 0, consolelog.BOUND),
            (2 * consolelog.BOUND, 0, 2 * consolelog.BOUND),
            (2 * consolelog.BOUND, 10, consolelog.BOUND),
            (100 * consolelog.BOUND, 0, module.MOST),
        ):
            known.moved = trio.current_time() - since
            assert console._bound(known.offset + behind) == kept


async def test_viewer_that_is_too_slow_is_told_what_it_missed(
    kernel: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = consolelog.trim
    monkeypatch.setattr(consolelog, "trim", lambda log, _bound: real(log, 100_000))
    monkeypatch.setattr(consolelog, "BOUND", 0)
    kernel.write(b"x" * 300_000)
    async with kernel.running():
        console = kernel.consoles.by_name["con0"]
        await until(lambda: os.stat(console.log).st_blocks * 512 < 200_000)
        viewer = await attached(kernel, offset=0)
        await viewer.is_told(offset=0)
        (lost,) = [n["lost"] for n in [await viewer.is_told(lost=200_000 // 4096 * 4096)]]
        await viewer.until(lambda: len(viewer.output) == 300_000 - lost)
        assert set(viewer.output) == {ord("x")}, "no hole was shown"


async def test_end_of_the_guest_is_told_after_its_last_words(kernel: Kernel) -> None:
    async with kernel.running():
        viewer = await attached(kernel)
        await viewer.is_told(offset=0)
        kernel.write("last words\n")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(kernel.consoles.end, "exited with status 0")
            await viewer.is_told(ended="exited with status 0")
        assert viewer.output == b"last words\n"
        await viewer.until(lambda: viewer.over)


# Typing


async def test_one_viewer_has_the_keyboard_and_the_next_gets_it(kernel: Kernel) -> None:
    async with kernel.running():
        first = await attached(kernel)
        await first.is_told(keyboard="yours")
        second = await attached(kernel)
        await second.is_told(keyboard="waiting", by=os.getpid())
        reader = await attached(kernel, keyboard=False)
        await reader.is_told(offset=0)
        await second.type(b"nobody hears this")
        await first.type(b"hello")
        await kernel.hears(b"hello")
        listed = kernel.consoles.listing()[0].viewers
        assert [viewer.keyboard for viewer in listed] == [True, False, False]
        assert {viewer.pid for viewer in listed} == {os.getpid()}
        first.close()
        await second.is_told(keyboard="yours")
        await second.type(b"mine")
        await kernel.hears(b"mine")
        second.close()
        await until(lambda: len(kernel.consoles.by_name["con0"].viewers) == 1)
        assert kernel.consoles.by_name["con0"].typist is None


async def test_keyboard_can_be_taken(kernel: Kernel) -> None:
    async with kernel.running():
        first = await attached(kernel)
        await first.is_told(keyboard="yours")
        second = await attached(kernel, force=True)
        await second.is_told(keyboard="yours")
        await first.is_told(keyboard="taken", by=os.getpid())
        await first.type(b"lost")
        await second.type(b"kept")
        await kernel.hears(b"kept")


async def test_input_waits_for_a_guest_that_takes_none(kernel: Kernel) -> None:
    """Nothing of it is lost, though a FIFO holds 64 KiB."""
    data = os.urandom(200_000)
    async with kernel.running():
        viewer = await attached(kernel)
        await viewer.is_told(keyboard="yours")
        async with trio.open_nursery() as nursery:

            async def send() -> None:
                for start in range(0, len(data), 4096):
                    await viewer.type(data[start : start + 4096])

            nursery.start_soon(send)
            await kernel.hears(data)


@pytest.mark.parametrize("agent", [True, False])
async def test_size_of_the_window_is_told_to_the_guest(kernel: Kernel, agent: bool) -> None:
    kernel.consoles._agent = agent
    async with kernel.running():
        viewer = await attached(kernel)
        await viewer.is_told(keyboard="yours")
        await viewer.connection.send(SIZE + b"[50, 132]")
        await viewer.is_told(size=agent)
        if agent:
            await kernel.hears(b"size tty0 50 132\n", "agent")
        for bad in (b"[0, 80]", b"[1e9, 80]", b"{}", b"[1,2,3]", b'["a", 1]'):
            await viewer.connection.send(SIZE + bad)
            await viewer.is_told(size=False)
    assert kernel.read("agent") == b""


# Programs


async def test_what_comes_while_a_viewer_is_told_something_is_told_too(
    kernel: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its window may change twice in the time that one notice takes."""
    real = module._tell

    async def tell(connection: trio.socket.SocketType, notice: attaching.Notice) -> None:
        if notice.size:
            console = kernel.consoles.by_name["con0"]
            console.say(console.viewers[0], attaching.Notice(size=False))
            console.say(console.viewers[0], attaching.Notice(keyboard="taken", by=7))
        await real(connection, notice)

    monkeypatch.setattr(module, "_tell", tell)
    async with kernel.running():
        viewer = await attached(kernel)
        await viewer.connection.send(SIZE + b"[24, 80]")
        await viewer.until(lambda: {"keyboard": "taken", "by": 7} in viewer.notices)
        sizes = [each["size"] for each in viewer.notices if "size" in each]
        assert sizes == [True, False]


async def test_stream_socket_is_the_bare_console(kernel: Kernel) -> None:
    kernel.write("the past\n")
    async with kernel.running():
        stream = await trio.open_unix_socket(f"{kernel.directory}/con0")
        await stream.send_all(b"input\n")
        await kernel.hears(b"input\n")
        kernel.write(b"out\xff\0put\n")
        received = b""
        with trio.fail_after(DEADLINE):
            while not received.endswith(b"put\n"):
                received += await stream.receive_some()
        assert received == b"out\xff\0put\n"
        await stream.aclose()
        await until(lambda: not kernel.consoles.by_name["con0"].viewers)


async def test_program_types_when_its_turn_comes(kernel: Kernel) -> None:
    async with kernel.running():
        viewer = await attached(kernel)
        await viewer.is_told(keyboard="yours")
        stream = await trio.open_unix_socket(f"{kernel.directory}/con0")
        await stream.send_all(b"later\n")
        await viewer.type(b"first\n")
        await kernel.hears(b"first\n")
        viewer.close()
        await kernel.hears(b"later\n")
        await stream.aclose()


async def test_program_that_only_listens_any_more_lets_others_type(kernel: Kernel) -> None:
    async with kernel.running():
        stream = await trio.open_unix_socket(f"{kernel.directory}/con0")
        await stream.send_all(b"all\n")
        await stream.send_eof()
        await kernel.hears(b"all\n")
        viewer = await attached(kernel)
        await viewer.is_told(keyboard="yours")
        kernel.write("answer\n")
        with trio.fail_after(DEADLINE):
            assert await stream.receive_some() == b"answer\n"
        await stream.aclose()


# Further consoles


async def test_consoles_are_those_of_the_table(kernel: Kernel) -> None:
    def line(name: str, kernel_text: str = "") -> Entry:
        return Entry(name=name, asked="", kernel=kernel_text or attaching.config(name))

    async with kernel.running():
        kernel.consoles.sync(
            [line("con1"), line("con2", "con2=pts"), line("ssl0"), line("ubd1", "ubd1=/a")]
        )
        assert sorted(kernel.consoles.by_name) == ["con0", "con1", "ssl0"]
        kernel.write("on ssl0\n", "ssl0")
        viewer = await attached(kernel, "ssl0", offset=0)
        await viewer.sees(b"on ssl0\n")
        await viewer.type(b"for ssl0")
        await kernel.hears(b"for ssl0", "ssl0")
        stream = await trio.open_unix_socket(f"{kernel.directory}/con1")
        kernel.consoles.sync([line("con1")])
        await viewer.until(lambda: viewer.over)
        sockets = set(os.listdir(kernel.directory))
        assert "con1" in sockets
        assert "ssl0" not in sockets
        await stream.aclose()
        gone = await attached(kernel, "ssl0")
        await gone.is_told(problem="the guest has no console ssl0")


@pytest.mark.parametrize(
    "packet",
    [
        b"",
        b"h",
        b"h{}",
        b"hnull",
        b"x",
        b'h{"console": 1}',
        b'h{"console": "../"}',
        b'h{"console": "\xff"}',
        b'h{"console": "con0", "x": ' + b"[" * 60_000,
        b"\xff" * 9000,
    ],
)
async def test_rubbish_is_let_go_and_nobody_else(kernel: Kernel, packet: bytes) -> None:
    async with kernel.running():
        bad = Viewer(kernel)
        await bad.connection.connect(bad.path)
        if packet:
            await bad.connection.send(packet)
            await bad.until(lambda: bad.over)
        bad.close()
        good = await attached(kernel)
        await good.is_told(keyboard="yours")


async def test_console_that_goes_as_somebody_comes_harms_nobody(kernel: Kernel) -> None:
    line = Entry(name="con1", asked="", kernel=attaching.config("con1"))
    async with kernel.running():
        for _ in range(30):
            kernel.consoles.sync([line])
            plain = await trio.open_unix_socket(f"{kernel.directory}/con1")
            viewer = await attached(kernel, "con1")
            kernel.consoles.sync([])
            await plain.aclose()
            viewer.close()
        good = await attached(kernel)
        await good.is_told(keyboard="yours")
    assert not [event for event in kernel.history if event["event"] == "internal error"]


async def test_viewers_are_woken_though_a_log_cannot_be_watched(
    kernel: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No more watches, or somebody has removed the file."""
    async with kernel.running():
        first = await attached(kernel)
        await first.is_told(keyboard="yours")
        await trio.testing.wait_all_tasks_blocked()

        def none(_watch: object, path: str) -> None:
            raise OSError(28, "no more watches", path)

        monkeypatch.setattr(Watch, "add", none)
        second = await attached(kernel, keyboard=False)
        await second.is_told(offset=0)
        kernel.write("to both\n")
        for viewer in (first, second):
            await viewer.sees(b"to both\n")


async def test_viewer_that_dies_with_its_input_pending_lets_others_type(kernel: Kernel) -> None:
    async with kernel.running():
        first = await attached(kernel)
        await first.is_told(keyboard="yours")
        for _ in range(40):  # more than a FIFO holds, to a guest that takes none
            with trio.move_on_after(0.2):
                await first.type(b"x" * 4096)
        first.close()
        second = await attached(kernel)
        await second.is_told(keyboard="yours")
        while kernel.read():
            pass
        await second.type(b"mine")
        await kernel.hears(b"mine")


# Logs


async def test_log_is_kept_within_its_bound_with_its_times(
    kernel: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = consolelog.trim
    monkeypatch.setattr(consolelog, "trim", lambda log, _bound: real(log, 50_000))
    monkeypatch.setattr(consolelog, "BOUND", 0)
    monkeypatch.setattr(module, "MOMENTS", 0.0)
    log = f"{kernel.records}/console.log"
    async with kernel.running():
        for _ in range(10):
            kernel.write(b"y" * 20_000)
            size = size_of(log)
            await until(
                lambda size=size: any(  # type: ignore[misc]
                    size - 20_000 <= entry.offset
                    for entry in consolelog.read_index(consolelog.index_of(log))
                )
            )
        await until(lambda: os.stat(log).st_blocks * 512 < 80_000)
    assert size_of(log) == 200_000


async def test_log_that_cannot_be_cut_is_told_of_once(
    kernel: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries = []

    def trim(log: str, _bound: int) -> None:
        tries.append(log)
        raise OSError(95, "Operation not supported", log)

    monkeypatch.setattr(consolelog, "trim", trim)
    monkeypatch.setattr(consolelog, "BOUND", 0)
    monkeypatch.setattr(module, "LOOK", 0.001)
    async with kernel.running():
        for _ in range(3):
            before = len(tries)
            kernel.write("more\n")
            await until(lambda before=before: len(tries) > before)  # type: ignore[misc]
    assert [event["event"] for event in kernel.history] == ["log not kept"]


async def test_boot_is_noted_where_its_first_words_are(kernel: Kernel) -> None:
    kernel.write(b"before\n" + consolelog.BANNER + b"\nafter\n")
    kernel.consoles.note_boot()
    index = consolelog.index_of(f"{kernel.records}/console.log")
    assert [entry.offset for entry in consolelog.boots(index)] == [7]


async def test_place_without_room_for_sockets_is_no_end(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 100)
    deep.mkdir()
    kernel = Kernel(deep)
    async with kernel.running():
        pass
    kernel.close()
    assert {event["event"] for event in kernel.history} == {"failed"}
