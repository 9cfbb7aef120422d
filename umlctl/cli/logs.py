"""`umlctl logs` and `umlctl dmesg`: what a guest has put on its consoles, alive or dead."""

from __future__ import annotations

import os
import re
import sys
import time
from contextlib import suppress
from itertools import chain
from typing import TYPE_CHECKING, Final, NamedTuple

import click

from umlctl import exitcodes
from umlctl.cli import complete, durations
from umlctl.cli.noise import STAMP, is_noise
from umlctl.errors import HostError, NoGuest, UsageError
from umlctl.host import paths
from umlctl.host.files import is_still_at
from umlctl.host.inotify import Watch
from umlctl.output import say
from umlctl.state import console_log
from umlctl.streams import await_source

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from umlctl.kernels.stack_decoding import Decoder

LOOK_INTERVAL: Final = 0.25
"""The time between two looks at whether the guest lives, and at a log that cannot be watched,
seconds."""
_CONSOLE: Final = re.compile(r"(con|ssl)\d+")


def _options(function: Callable[..., int]) -> Callable[..., int]:
    for option in (
        click.option("--json", "in_json", is_flag=True, help="Print an object for each line."),
        click.option("-f", "--follow", is_flag=True, help="Go on with what comes, to the end."),
        click.option("--boot", type=int, metavar="N", help="0: the last boot; -1: the one before."),
        click.option("--since", metavar="TIME", help="As 10m (ago), 14:30 or 2026-01-31T14:30."),
        click.option(
            "-n", "--lines", type=click.IntRange(0), metavar="LINES", help="Only the last LINES."
        ),
        click.argument("guest", shell_complete=complete.guests),
    ):
        function = option(function)
    return function


@click.command(
    epilog="""\b
Examples:
  umlctl logs demo
  umlctl logs demo -n 20 -f
  umlctl logs demo --boot -1          the boot before the last reboot or start
  umlctl logs demo --since 10m
  umlctl logs demo --console ssl0
""",
)
@_options
@click.option(
    "--console",
    default="0",
    show_default=True,
    metavar="CONSOLE",
    help="As `umlctl console`.",
    shell_complete=complete.consoles,
)
def logs(
    guest: str,
    lines: int | None,
    since: str | None,
    boot: int | None,
    follow: bool,
    in_json: bool,
    console: str,
) -> int:
    """Print what a guest has put on its console since it was started."""
    name = f"con{console}" if console.isdigit() else console
    if not _CONSOLE.fullmatch(name):
        raise UsageError(f"a console is N, conN or sslN, not {console!r}")
    part = Part(lines=lines, since=since, boot=boot, follow=follow)
    show(guest, name, _as_it_is, part, in_json=in_json)
    return 0


@click.command(
    epilog="""\b
Examples:
  umlctl dmesg demo
  umlctl dmesg demo -n 5 -f
  umlctl dmesg demo --decode          stacks with files and lines
""",
)
@_options
@click.option(
    "--decode",
    is_flag=True,
    help="Stacks with files and lines, where the kernel's vmlinux and scripts are at hand.",
)
def dmesg(
    guest: str,
    lines: int | None,
    since: str | None,
    boot: int | None,
    follow: bool,
    in_json: bool,
    decode: bool,
) -> int:
    """Print the kernel's own messages on a guest's console, those of the last boot."""
    boot = 0 if boot is None and since is None else boot
    part = Part(lines=lines, since=since, boot=boot, follow=follow)
    if not decode:
        show(guest, "con0", _kernels_own, part, in_json=in_json)
        return 0
    with _decoder(guest) as decoder:
        kept = _Decoded(decoder)
        show(guest, "con0", kept, part, in_json=in_json)
    return 0


class _Decoded:
    """The kernel's lines with their stacks decoded."""

    def __init__(self, decoder: Decoder) -> None:
        self._decoder = decoder

    def __call__(self, pieces: Iterator[bytes]) -> Iterator[bytes]:
        return self._decoder.lines(_kernels_own(pieces))


def _decoder(guest: str) -> Decoder:
    """What decodes the stacks of a guest's kernel.

    Raises: NoGuest, HostError
    """
    from umlctl.kernels import find, stack_decoding
    from umlctl.state import records

    umid = paths.umid_of(guest)
    record = records.read(umid)
    if record is None:
        raise NoGuest(f"nothing is kept of a guest {guest!r} that says which kernel it has")
    definition = record.definition
    with suppress(OSError):
        if os.stat(definition.kernel).st_mtime > record.since:
            raise HostError(
                f"{definition.kernel} was built anew since {umid} was started, and its symbols are "
                "no longer those of the guest"
            )
    return stack_decoding.decoder(find.probe(definition.kernel, definition.user))


class Part(NamedTuple):
    """The part of a log that the options ask for."""

    lines: int | None
    since: str | None
    boot: int | None
    follow: bool


def show(
    guest: str,
    console: str,
    kept: Callable[[Iterator[bytes]], Iterator[bytes]],
    part: Part,
    *,
    in_json: bool = False,
) -> None:
    """Print a part of a log, or of it what `kept` keeps.

    Raises: NoGuest, UsageError, HostError, OSError
    """
    umid = paths.umid_of(guest)
    lines, since, boot, follow = part
    name = "console" if console == "con0" else console
    log = f"{paths.record_dir(umid)}/{name}.log"
    moment = None if since is None else durations.moment(since, time.time())
    if os.path.exists(log):
        log, begin, end = _part(log, boot)
    else:
        begin, end = 0, None
    try:
        descriptor = os.open(log, os.O_RDONLY | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        raise NoGuest(
            f"there is no log of {console} of a guest {guest!r} ({log}); "
            "a bare kernel's console is its own"
        ) from None
    except PermissionError:
        raise HostError(
            f"the log of {console} of {guest!r} is for the guest's owner alone ({log})"
        ) from None
    try:
        first = console_log.first_line(descriptor)
        if moment is not None:
            begin = max(begin, console_log.written_since(log, moment))
        begin = max(begin, first)
        size = os.fstat(descriptor).st_size
        last = size if end is None else min(size, end)  # an index may be damaged
        if not last and _is_elsewhere(umid):
            say(
                f"{umid}: it was started as `linux`: what it prints is for who started it, and is "
                "not kept",
                exitcodes.OK,
            )
        if lines is not None and kept is _as_it_is:
            begin = console_log.last_lines(descriptor, lines, begin, last)
        pieces = kept(console_log.read(descriptor, begin, last))
        if lines is not None and kept is not _as_it_is:
            pieces = iter(list(_lines(pieces))[-lines:] if lines else [])
        come: Iterator[bytes] = iter(())
        if follow and end is None:
            come = kept(_following(umid, log, descriptor, last))
        _print(pieces, come, console if in_json else "")
    finally:
        os.close(descriptor)


def _is_elsewhere(umid: str) -> bool:
    """The console of a guest is its starter's."""
    from umlctl.state import records  # who has a log does without

    record = records.load(umid)
    return record is not None and record.own_line


def _part(log: str, boot: int | None) -> tuple[str, int, int | None]:
    """The file that holds a boot, and its offsets there.

    Raises: UsageError
    """
    if boot is None:
        return log, 0, None
    if boot > 0:
        raise UsageError(f"--boot is 0 for the last boot, -1 for the one before, not {boot}")
    found: list[tuple[str, int, int | None]] = []
    for path in (log + ".1", log):
        index = console_log.index_of(log) + path.removeprefix(log)
        boots = [entry.offset for entry in console_log.boots(index)]
        ends: list[int | None] = [*boots[1:], None]
        found += [(path, begin, end) for begin, end in zip(boots, ends, strict=False)]
    if -boot >= len(found):
        raise UsageError(f"--boot {boot}: the log has {len(found)} boots")
    return found[boot - 1]


def _print(pieces: Iterator[bytes], come: Iterator[bytes], console: str) -> None:
    """Print what there is, and what comes; as objects if a console is named."""
    output = sys.stdout.buffer
    if console:
        for line in _lines(chain(pieces, come)):
            output.write(_as_json(console, line))
            output.flush()
        return
    for piece in pieces:
        output.write(piece)
    output.flush()
    for piece in come:
        output.write(piece)
        output.flush()


def _as_json(console: str, line: bytes) -> bytes:
    """A line as an object: its text, and the kernel's time if it begins with one, in seconds of the
    guest since its boot."""
    import msgspec

    stamp = STAMP.match(line)
    return (
        msgspec.json.encode(
            {
                "console": console,
                "seconds": None if stamp is None else float(stamp[0].strip(b"[] ")),
                "text": line.rstrip(b"\r\n").decode("utf-8", "backslashreplace"),
            }
        )
        + b"\n"
    )


def _as_it_is(pieces: Iterator[bytes]) -> Iterator[bytes]:
    return pieces


def _kernels_own(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """The kernel's lines, without noise; a line may begin behind a prompt."""
    for line in _lines(pieces):
        found = STAMP.search(line)
        if found is not None and not is_noise(line[found.start() :]):
            yield line[found.start() :]


def _lines(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Lines with their ends. A carriage return alone, as of a program that shows progress, ends
    none."""
    rest = b""
    for piece in pieces:
        *whole, rest = (rest + piece).split(b"\n")
        for line in whole:
            yield line + b"\n"
    if rest:
        yield rest


def _watched(log: str) -> Watch | None:
    """A watch that tells when a log grows; None if that cannot be: looking now and then will do."""
    watch = None
    with suppress(OSError):
        watch = Watch()
        watch.add(log)
    return watch


def _following(umid: str, log: str, descriptor: int, offset: int) -> Iterator[bytes]:
    """What is added to a log from an offset on, until its guest is gone. A guest that is started
    again has a new file.

    All is imported before anything is shown. An interrupt that comes while Python imports can be
    lost: Python ignores what is raised in a callback of its import locks.
    """
    from umlctl.recovery.cleanup import is_there

    return _additions(log, descriptor, offset, lambda: is_there(umid))


def _open(log: str, last: int) -> int:
    """The log of the life that followed another; -1 if it is not there yet.

    That life may be over too, and its log put aside. The lives before it are lost.

    last: the log of the other
    """
    for path in (log + ".1", log):
        try:
            found = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            continue
        this, other = os.fstat(found), os.fstat(last)
        is_later = this.st_mtime_ns >= other.st_mtime_ns and not os.path.samestat(this, other)
        if path == log or is_later:
            return found
        os.close(found)
    return -1


def _additions(
    log: str, descriptor: int, offset: int, is_there: Callable[[], bool]
) -> Iterator[bytes]:
    watch = _watched(log)
    newer = -1
    try:
        while True:
            lives = is_there()
            current = newer if newer >= 0 else descriptor
            replaced = not is_still_at(current, log)
            offset = max(offset, console_log.start(current))
            for data in console_log.read(current, offset, os.fstat(current).st_size):
                offset += len(data)
                yield data
            fresh = _open(log, current) if replaced else -1
            if fresh >= 0:
                if newer >= 0:
                    os.close(newer)
                newer, offset = fresh, 0
                if watch is not None:
                    with suppress(OSError):  # there is another life already: it is looked for
                        watch.add(log)
                continue
            if not lives:
                return
            if (
                await_source(-1 if watch is None else watch.fileno(), LOOK_INTERVAL)
                and watch is not None
            ):
                watch.clear()
    finally:
        if newer >= 0:
            os.close(newer)
        if watch is not None:
            watch.close()
