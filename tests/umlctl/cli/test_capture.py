"""`umlctl capture`: where frames are captured, and the file that is written."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any, cast

import pytest

from tests.switches import frame, mac
from tests.umlctl.networks.test_packet_filter import passed
from tests.umlctl.networks.test_pcapng import packets
from umlctl import exitcodes
from umlctl.cli import capture as module
from umlctl.cli import main
from umlctl.cli.capture import File, Place
from umlctl.errors import HostError, NoGuest, UsageError
from umlctl.guest.definition import Definition
from umlctl.host import processes
from umlctl.networks import interfaces, packet_filter, pcapng, segments
from umlctl.networks.captured import RECEIVED, SENT, Captured
from umlctl.recovery import discover
from umlctl.state.records import DeviceEntry, Record

if TYPE_CHECKING:
    from pathlib import Path

FRAME = b"\xff" * 6 + b"\x02\0\0\0\0\1" + b"\x08\0" + b"text"


def entry(name: str, number: int, **values: Any) -> DeviceEntry:
    return DeviceEntry(name=name, asked="", kernel="", mac=f"02:00:00:00:00:0{number}", **values)


@pytest.fixture
def host(house: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two guests, the network `lan`, the bridge `br0`."""
    both = [entry("vec0", 1, network="lan"), entry("vec1", 2, network="lan")]
    devices = {
        "one": [entry("vec0", 3, network="..one-0"), entry("ubd0", 9)],
        "two": [*both, entry("vec2", 4, tap="t0", bridge="br0")],
        "lan": [entry("vec0", 5, network="lan")],
    }
    records = [
        Record(
            definition=Definition(umid=umid, kernel="/linux"),
            supervisor_pid=1,
            pid=10 + len(umid),
            started=1,
            boot_id="",
            since=1.0,
            devices=each,
        )
        for umid, each in devices.items()
    ]
    monkeypatch.setattr(discover, "running", lambda: records)
    monkeypatch.setattr(segments, "running", lambda name: name == "lan")
    bridge = interfaces.Interface("br0", "bridge", None, None, False, "", "", True, True, False)
    monkeypatch.setattr(interfaces, "look", {"br0": bridge}.get)


@pytest.mark.parametrize(
    ("where", "words", "place", "rest"),
    [
        ("lan", "", Place("the network lan", "lan"), ""),
        ("lan", "arp", Place("the network lan", "lan"), "arp"),
        ("lan", "vec0", Place("lan's vec0 on lan", "lan", pid=13, guest="lan"), ""),
        ("br0", "arp", Place("the bridge br0", interface="br0"), "arp"),
        ("one", "tcp port 80", Place("one's vec0", "..one-0", pid=13, guest="one"), "tcp port 80"),
        ("one", "0", Place("one's vec0", "..one-0", pid=13, guest="one"), ""),
        (
            *("two", "vec1 arp"),
            Place(
                *("two's vec1 on lan", "lan", "", 13),
                *("02:00:00:00:00:02", ("02:00:00:00:00:01",), "two"),
            ),
            "arp",
        ),
        ("two", "vec2", Place("two's vec2 on t0", interface="t0"), ""),
    ],
)
def test_place_is_found(host: None, where: str, words: str, place: Place, rest: str) -> None:
    assert module._place(where, words.split()) == (place, rest.split())


@pytest.mark.parametrize(
    ("where", "words", "problem", "text"),
    [
        ("none", [], NoGuest, "no network and no guest 'none' runs here"),
        ("../x", [], NoGuest, "no network and no guest"),
        ("two", [], UsageError, "two has several NICs: name one of vec0, vec1, vec2"),
        ("two", ["vec7"], UsageError, "has not vec7 on a switch, a tap or a bridge"),
        ("one", ["eth0"], UsageError, "of these it has: vec0"),
        ("br0", ["vec0"], UsageError, "br0 is a network, and vec0 a NIC: name its guest"),
    ],
)
def test_place_that_is_none_is_said(
    host: None, where: str, words: list[str], problem: type[Exception], text: str
) -> None:
    with pytest.raises(problem, match=text):
        module._place(where, words)


def written(
    tmp_path: Path, place: Place, names: dict[int, str], frames: list[Captured]
) -> list[tuple[str, int, bytes, int]]:
    path = tmp_path / "file"
    descriptor = os.open(path, os.O_CREAT | os.O_WRONLY)
    file = File(descriptor, place, lambda: names)
    for each in frames:
        file.add(each)
    file.end(0)
    os.close(descriptor)
    assert file.count == len(frames)
    return packets(path.read_bytes())


def test_ports_of_the_next_switch_are_others(tmp_path: Path) -> None:
    path = tmp_path / "file"
    names = {1: "a vec0"}
    with path.open("wb") as target:
        file = File(target.fileno(), Place("", "lan"), lambda: names)
        file.add(Captured(FRAME, 5, 1, 0, SENT), 0)
        names[1] = "b vec1"
        file.add(Captured(FRAME, 6, 1, 0, SENT), 0)
        file.add(Captured(FRAME, 7, 1, 0, SENT), 1)
        file.end(0)
    assert [each[0] for each in packets(path.read_bytes())] == ["a vec0", "a vec0", "b vec1"]


def test_what_is_sent_to_all_is_of_one_nic_among_several_too() -> None:
    own, sibling, far, all_of_them = mac(1), mac(2), mac(3), b"\xff" * 6
    place = Place("", "lan", pid=1, mac=own.hex(":"), other_macs=(sibling.hex(":"),))
    ways = [(own, far), (far, own), (all_of_them, far), (all_of_them, own)]
    others = [(sibling, far), (far, sibling), (all_of_them, sibling)]
    frames = [frame(to, source) for to, source in (*ways, *others)]
    assert passed(packet_filter.compile_filter(place.own), frames, b"") == frames[: len(ways)]
    assert not Place("", "lan", pid=1).own


class Endless:
    """Frames that come faster than they are taken; this process is told to end meanwhile."""

    switch = 0

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self.taken = 0

    def fileno(self) -> int:
        return self._descriptor

    def receive(self) -> Captured:
        self.taken += 1
        if self.taken == 1000:
            os.kill(os.getpid(), signal.SIGTERM)
        assert self.taken < 10_000
        return Captured(FRAME, time.time_ns(), 1, 0, SENT)


def test_capture_ends_when_told_though_frames_keep_coming(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    os.write(writer, b"x")
    with (tmp_path / "file").open("wb") as target:
        file = File(target.fileno(), Place("", "lan"), dict)
        assert module._run(Place("", "lan"), cast("Any", Endless(reader)), file, None) == ""
        assert file.count >= 1000
    os.close(reader)
    os.close(writer)


def test_second_signal_ends_a_capture_whose_frames_nobody_takes() -> None:
    text = (
        "import os\nfrom umlctl.cli import capture\nfrom umlctl import streams\n"
        "with capture._stopping():\n    streams.write_all(1, bytes(1 << 22))\n"
    )
    with subprocess.Popen([sys.executable, "-c", text], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.read(1)
        deadline = time.monotonic() + 30
        while process.poll() is None:
            if time.monotonic() > deadline:
                process.kill()
            process.terminate()
            time.sleep(0.05)
    assert process.returncode == -signal.SIGTERM


def test_frames_of_a_network_are_of_the_nics_that_sent_them(tmp_path: Path) -> None:
    frames = [Captured(FRAME, time, port, 0, SENT) for time, port in ((5, 1), (6, 9), (7, 2))]
    found = written(tmp_path, Place("", "lan"), {1: "a vec0", 2: "b vec1"}, frames)
    assert found == [
        ("a vec0", 5, FRAME, pcapng.INBOUND),
        ("lan", 6, FRAME, pcapng.INBOUND),
        ("b vec1", 7, FRAME, pcapng.INBOUND),
    ]


def test_frames_of_a_nic_have_its_directions(tmp_path: Path) -> None:
    place = Place("a's vec0", "lan", pid=7)
    frames = [Captured(FRAME, 5, 1, 0, SENT), Captured(FRAME, 6, 3, 0, RECEIVED)]
    assert written(tmp_path, place, {1: "never asked"}, frames) == [
        ("a's vec0", 5, FRAME, pcapng.OUTBOUND),
        ("a's vec0", 6, FRAME, pcapng.INBOUND),
    ]


def test_frames_are_not_written_to_a_terminal(
    host: None, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(os, "isatty", lambda _descriptor: True)
    assert main.run(["capture", "lan", "-w", "-"]) == exitcodes.USAGE
    sys.stdout.flush()
    assert "frames are no text for a terminal" in capfd.readouterr().err


def test_file_that_cannot_be_written_is_said(host: None, tmp_path: Path) -> None:
    with pytest.raises(HostError, match="cannot be written: Is a directory"):
        module._opened(str(tmp_path))


def test_interface_of_the_host_takes_a_privilege(
    host: None, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(processes, "has_capability", lambda _name: False)
    monkeypatch.setattr(module, "_has_capabilities", lambda _program: False)
    assert main.run(["capture", "br0"]) == exitcodes.FAILED
    sys.stdout.flush()
    assert "takes CAP_NET_RAW" in capfd.readouterr().err


def test_interface_of_the_host_is_captured_by_tcpdump(
    host: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    executed: list[list[str]] = []
    monkeypatch.setattr(processes, "has_capability", lambda _name: True)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(os, "execv", lambda _program, words: executed.append(words[1:]))
    module._execute_tcpdump(Place("", interface="t0"), ["arp"], None, 3)
    assert executed == [["-n", "-i", "t0", "-l", "-c", "3", "--", "arp"]]


def test_full_disk_is_said(
    host: None, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    class Nothing:
        lost = 0

        def close(self) -> None:
            pass

    monkeypatch.setattr(module, "Capture", lambda *_: Nothing())
    assert main.run(["capture", "lan", "-w", "/dev/full"]) == exitcodes.FAILED
    sys.stdout.flush()
    assert "/dev/full cannot be written: No space left on device" in capfd.readouterr().err
