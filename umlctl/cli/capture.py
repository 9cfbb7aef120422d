"""`umlctl capture`: the frames of a network, or of one guest's NIC."""

from __future__ import annotations

import os
import select
import shutil
import signal
import subprocess
import time
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING, Final, NamedTuple

import click

from umlctl import exitcodes, streams
from umlctl.cli import complete, guest_nic
from umlctl.devices.families import NIC
from umlctl.errors import HostError, NoGuest, UsageError
from umlctl.host import naming, processes
from umlctl.networks import interfaces, packet_filter, pcapng, segments
from umlctl.networks.capture import Capture
from umlctl.networks.captured import SENT
from umlctl.output import say
from umlctl.recovery import discover

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from umlctl.networks.captured import Captured
    from umlctl.state.records import DeviceEntry, Record

NAMES_INTERVAL: Final = 1.0
"""How often it is asked who is at a port that is not known, seconds."""
FLUSH_BYTES: Final = 1 << 18
"""How much is kept before it is written, bytes, while frames come without a pause."""
MAX_BURST_FRAMES: Final = 256
"""How many frames are taken before it is seen whether this is to end."""
_STOP: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Place(NamedTuple):
    """Where frames are captured.

    Fields:
        text: what it is, in words
        network: of umlctl, by whose switch they go; empty if it is an interface of the host
        interface: of the host
        pid: of the one kernel whose frames are wanted; 0: all
        mac: of the one NIC whose frames are wanted, where the kernel has others there; else empty
        other_macs: of those
        guest: whose kernel that is
    """

    text: str
    network: str = ""
    interface: str = ""
    pid: int = 0
    mac: str = ""
    other_macs: tuple[str, ...] = ()
    guest: str = ""

    @property
    def own(self) -> list[str]:
        """A filter for the frames of the one NIC, those to a group among them; empty if that takes
        none."""
        if not self.mac:
            return []
        others = [word for mac in self.other_macs for word in ("and", "not", "ether", "src", mac)]
        return [
            *("(", "ether", "host", self.mac),
            *("or", "(", "ether", "multicast"),
            *others,
            "))",
        ]


@click.command(
    "capture",
    epilog="""\b
Examples:
  umlctl capture lan                          what goes over a network, as text, by tcpdump
  umlctl capture demo                         what the one NIC of a guest sends and receives
  umlctl capture demo vec1 icmp or arp        of one of its NICs, what passes a filter
  umlctl capture lan -w lan.pcapng            a file for wireshark and tcpdump -r
  umlctl capture lan -w - | wireshark -k -i -
""",
)
@click.argument("guest", metavar="NETWORK|GUEST", shell_complete=complete.captured)
@click.argument(
    "words",
    metavar="[NIC] [FILTER]...",
    nargs=-1,
    type=click.UNPROCESSED,
    shell_complete=complete.devices(NIC),
)
@click.option("-w", "--write", metavar="FILE", help="Write pcapng to FILE; -: standard output.")
@click.option("-c", "--count", type=click.IntRange(min=1), help="End after so many frames.")
def capture(guest: str, words: tuple[str, ...], write: str | None, count: int | None) -> int:
    """Capture the frames of a network or of a guest's NIC, without root.

    On a switch of umlctl, every frame is captured as it comes in, or those that the guest sends
    and receives; on a tap or bridge of the host tcpdump captures, which may need root. Ctrl-C
    ends it; twice, at once.
    """
    if "" in words:
        raise UsageError("a word of the filter, or the NIC, is empty")
    place, rest = _place(guest, words)
    if write == "-" and os.isatty(streams.STDOUT):
        raise UsageError("frames are no text for a terminal: -w FILE, or a program behind a pipe")
    if place.interface:
        _execute_tcpdump(place, rest, write, count)
    if own := place.own:
        rest = (*own, *(("and", "(", *rest, ")") if rest else ()))
    program = packet_filter.compile_filter(rest) if rest else []
    with ExitStack() as stack:
        source = Capture(place.network, place.pid, program, place.guest)
        stack.callback(source.close)
        target = stack.enter_context(_target(write))
        try:
            file = File(target, place, _names_of(place))
            say(f"captures {place.text}; Ctrl-C ends it", exitcodes.OK)
            why = _run(place, source, file, count)
            file.end(source.lost)
        except OSError as problem:
            what = write or "the text of frames"
            raise HostError(f"{what} cannot be written: {problem.strerror}") from problem
        lost = f", {source.lost} lost: they came faster than they were taken"
        frames = "1 frame" if file.count == 1 else f"{file.count} frames"
        said = f"{frames} captured{lost if source.lost else ''}"
        say(f"{said}; {why}" if why else said, exitcodes.OK)
    return exitcodes.OK


# Where


def _place(where: str, words: Sequence[str]) -> tuple[Place, Sequence[str]]:
    """What is captured, and the words of the filter.

    Raises: UsageError, NoGuest, HostError
    """
    running = {record.definition.umid: record for record in discover.running()}
    named = bool(words and guest_nic.NAME.fullmatch(words[0]))
    record = running.get(where)
    network = _network(where)
    if record is not None and (named or network is None):
        entry = guest_nic.find(record, words[0] if named else "", "captured")
        return _place_of(record, entry), words[1:] if named else words
    if network is None:
        raise NoGuest(
            f"no network and no guest {where!r} runs here; `umlctl network list` and `umlctl list` "
            "show those that do"
        )
    if named:
        raise UsageError(f"{where} is a network, and {words[0]} a NIC: name its guest")
    return network, words


def _network(name: str) -> Place | None:
    with suppress(ValueError):
        if segments.running(naming.check_public_network(name)):
            return Place(f"the network {name}", network=name)
    with suppress(UsageError, HostError):
        found = interfaces.look(name)
        if found is not None and found.kind == "bridge":
            return Place(f"the bridge {name}", interface=name)
    return None


def _place_of(record: Record, entry: DeviceEntry) -> Place:
    text = f"{record.definition.umid}'s {entry.name}"
    if not entry.network:
        return Place(f"{text} on {entry.tap}", interface=entry.tap)
    nics = [each for each in record.devices if each.network == entry.network]
    others = tuple(each.mac for each in nics if each is not entry)
    mac = entry.mac if others else ""
    on = "" if naming.PRIVATE_MARK in entry.network else f" on {entry.network}"
    guest = record.definition.umid
    return Place(
        f"{text}{on}",
        network=entry.network,
        pid=record.pid,
        guest=guest,
        mac=mac,
        other_macs=others,
    )


def _names_of(place: Place) -> Callable[[], dict[int, str]]:
    """What tells who is at which port of a network."""

    def names() -> dict[int, str]:
        with suppress(HostError):
            ports = segments.Segment(place.network).status()["ports"]
            guests = {record.pid: record for record in discover.running()}
            by_name = {record.definition.umid: record for record in guests.values()}
            return {
                port["id"]: _name_of(
                    port,
                    guests.get(port["pid"]) or by_name.get(port.get("guest", "")),
                    place.network,
                )
                for port in ports
            }
        return {}

    return names if not place.pid else dict


def _name_of(port: dict[str, object], record: Record | None, network: str) -> str:
    if record is None:
        return f"port {port['id']}"
    nics = [entry for entry in record.devices if entry.network == network]
    macs = port.get("macs")
    mine = [e for e in nics if isinstance(macs, list) and e.mac in macs] or nics
    return f"{record.definition.umid} {mine[0].name if len(mine) == 1 else port['id']}"


# Where to


class File:
    """A pcapng file that is written as frames come.

    Fields:
        count: of the frames in it
    """

    def __init__(self, target: int, place: Place, names: Callable[[], dict[int, str]]) -> None:
        """target: a descriptor
        names: tells who is at which port
        """
        self.count = 0
        self._target = target
        self._is_guests = bool(place.pid)
        self._names = names
        self._asked = -NAMES_INTERVAL
        self._switch = 0
        self._known: dict[int, int] = {}
        self._interfaces = 1
        name = place.text if place.pid else place.network
        self._waiting = pcapng.section("umlctl") + pcapng.interface(name)
        self.flush()

    def add(self, captured: Captured, switch: int = 0) -> None:
        """Add a frame.

        switch: which of the switches of its network it is from

        Raises: ReaderGone, OSError
        """
        if switch != self._switch:  # whose ports are others, with the same numbers
            self._switch = switch
            self._known.clear()
            self._asked = -NAMES_INTERVAL
        number = 0 if self._is_guests else self._number(captured.port)
        is_out = self._is_guests and captured.direction == SENT
        direction = pcapng.OUTBOUND if is_out else pcapng.INBOUND
        self._waiting += pcapng.packet(number, captured.time, captured.frame, direction)
        self.count += 1
        if len(self._waiting) >= FLUSH_BYTES:
            self.flush()

    def flush(self) -> None:
        """Write what waits.

        Raises: ReaderGone, OSError
        """
        waiting, self._waiting = self._waiting, b""
        streams.write_all(self._target, waiting)

    def end(self, lost: int) -> None:
        """Write the end.

        Raises: ReaderGone, OSError
        """
        self._waiting += pcapng.statistics(0, time.time_ns(), lost)
        self.flush()

    def _number(self, port: int) -> int:
        """The interface of a port; 0 if nobody knows who is there."""
        now = time.monotonic()
        if port not in self._known and now - self._asked >= NAMES_INTERVAL:
            self._asked = now
            for each, name in self._names().items():
                if each not in self._known:
                    self._known[each] = self._interfaces
                    self._interfaces += 1
                    self._waiting += pcapng.interface(name)
        return self._known.get(port, 0)


@contextmanager
def _target(write: str | None) -> Iterator[int]:
    """A descriptor to write pcapng to: of a file, or of a program that shows it as text.

    Raises: HostError, UnfitHost
    """
    if write == "-":
        yield streams.STDOUT
    elif write is not None:
        descriptor = _opened(write)
        try:
            yield descriptor
        finally:
            os.close(descriptor)
    else:
        command = [packet_filter.find_program(), "-n", "-l", "-r", "-"]
        # Ctrl-C is ours: it has to show all that was captured before.
        with subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True) as shower:
            assert shower.stdin is not None
            yield shower.stdin.fileno()


def _opened(path: str) -> int:
    """A file to write frames to, which may be secrets.

    Raises: HostError
    """
    try:
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    except OSError as problem:
        raise HostError(f"{path} cannot be written: {problem.strerror}") from problem


# Capturing


def _run(place: Place, source: Capture, file: File, count: int | None) -> str:
    """Take frames until told to end; why it has ended, if nobody said so."""
    with ExitStack() as stack:
        stopped = stack.enter_context(_stopping())
        pidfd = -1
        if place.pid:
            try:
                pidfd = os.pidfd_open(place.pid)
            except ProcessLookupError:
                return "the guest has ended"
            stack.callback(os.close, pidfd)
        while True:
            poll = select.poll()
            for descriptor in (source.fileno(), stopped, *([pidfd] if pidfd >= 0 else [])):
                poll.register(descriptor, select.POLLIN)
            ready = {descriptor for descriptor, _ in poll.poll()}
            ends = time.time_ns() if ready & {stopped, pidfd} else None
            try:
                _take(source, file, count, ends)
            except EOFError:
                return "the network has ended"
            file.flush()
            if stopped in ready or (count is not None and file.count >= count):
                return ""
            if pidfd in ready:
                return "the guest has ended"


def _take(source: Capture, file: File, count: int | None, ends: int | None) -> None:
    """Take frames that are there: a few, or at the end those that came before it.

    ends: when that was, nanoseconds since 1970; None: it is not the end

    Raises: EOFError, HostError, ReaderGone, OSError
    """
    most = file.count + MAX_BURST_FRAMES
    with suppress(BlockingIOError):
        while (count is None or file.count < count) and (ends is not None or file.count < most):
            found = source.receive()
            if ends is not None and found.time > ends:
                return  # there may be no end of them
            file.add(found, source.switch)


@contextmanager
def _stopping() -> Iterator[int]:
    """A descriptor that can be read once a signal has asked for the end. One more ends this process
    by itself: who is to take the frames may not do so."""
    asked, asks = os.pipe()
    os.set_blocking(asks, False)

    def ask(*_: object) -> None:
        for number in before:
            signal.signal(number, signal.SIG_DFL)

    before = {
        number: signal.signal(number, ask)
        for number in _STOP
        # What nohup(1) has had ignored is left so.
        if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN
    }
    signal.set_wakeup_fd(asks)
    try:
        yield asked
    finally:
        signal.set_wakeup_fd(-1)
        for number, handler in before.items():
            signal.signal(number, handler)
        os.close(asked)
        os.close(asks)


def _execute_tcpdump(
    place: Place, words: Sequence[str], write: str | None, count: int | None
) -> None:
    """Become tcpdump, which captures on an interface of the host.

    Raises: HostError, UnfitHost
    """
    program = packet_filter.find_program()
    if not (processes.has_capability("CAP_NET_RAW") or _has_capabilities(program)):
        raise HostError(
            f"to capture {place.text}, an interface of the host, takes CAP_NET_RAW: be root, or "
            f"have it done by `setcap cap_net_raw+ep {program}`"
        )
    command = [program, "-n", "-i", place.interface]
    if os.geteuid() == 0:
        command += ["-Z", "root"]  # so that it writes where root may
    command += ["-l"] if write is None else ["-U", "-w", "-"]
    command += [] if count is None else ["-c", str(count)]
    if write not in (None, "-"):
        assert write is not None
        descriptor = _opened(write)
        os.dup2(descriptor, streams.STDOUT)
        os.close(descriptor)
    try:
        os.execv(program, [*command, "--", *words])  # noqa: S606 - it takes this one's place
    except OSError as problem:
        raise HostError(f"{program} cannot be executed: {problem.strerror}") from problem


def _has_capabilities(program: str) -> bool:
    """Whether a program is given capabilities when it is executed."""
    with suppress(OSError):
        return bool(os.getxattr(shutil.which(program) or program, "security.capability"))
    return False
