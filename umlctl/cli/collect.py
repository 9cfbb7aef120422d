"""`umlctl collect`: files of a running guest, whatever they are on, before it is ended.

They come by `proc 1/root/PATH`, which needs nothing in the guest. A file that cannot come whole
that way is refused: a file that was cut looks like one that was not.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
from typing import TYPE_CHECKING, Any, Final

import click

from socketproto.exchange import MAX_ANSWER_BYTES, TIMED_OUT
from umlctl import exitcodes
from umlctl.cli import device_options
from umlctl.client.ask import GuestClient
from umlctl.client.request import request
from umlctl.errors import HostError, Refused, UmlctlError, UsageError
from umlctl.host.paths import guest_dir, umid_of
from umlctl.output import say, views
from umlctl.protocol.proc_files import may_be_cut

if TYPE_CHECKING:
    from collections.abc import Sequence

    from umlctl.client.ask import Deadline

NOT_WHOLE: Final = (
    f"it cannot be had whole: it has zero bytes, or more than {MAX_ANSWER_BYTES >> 20} MB, or "
    "changes; as text it can, such as by `base64 FILE >FILE.b64` in the guest"
)
UNCOUNTED: Final = (
    "nobody in the guest has said how many bytes it has, so zero bytes at its end could not be "
    "seen; is the guest paused, or very busy? --force takes it as it comes"
)
COUNT_TIMEOUT: Final = 10.0
"""How long umlctl's init program may take to say how long a file is, seconds."""
PERHAPS: Final = (
    "it is no text that ends with a newline, so a zero byte near its end could not be seen; "
    "have it as text, such as by `base64 FILE >FILE.b64` in the guest, or insist with --force"
)
UNREADABLE_ANSWERS: Final = ("Failed to open file", "Read of file failed")
"""What the kernel says of a file that it cannot read. Source: mconsole_proc of
arch/um/drivers/mconsole_kern.c"""
LOOK_INTERVAL: Final = 0.01
NO_FILE: Final = (
    ": there is none, or it is a directory, or a link to a path that begins with '/', which "
    "cannot be followed from here"
)


@click.command(
    epilog="""\b
Examples:
  umlctl collect ci /var/log/test.log
  umlctl collect ci /root/result.xml /root/core.b64 --to results && umlctl shutdown ci
  umlctl collect ci /root/result.xml --to results --overwrite --json
"""
)
@device_options.guest_argument
@click.argument("paths", metavar="PATH...", nargs=-1, required=True)
@click.option(
    "--to",
    "directory",
    default=".",
    show_default="here",
    metavar="DIRECTORY",
    type=click.Path(file_okay=False),
    help="Where the files are put, each under its last name; made if it is not there.",
)
@click.option("--overwrite", is_flag=True, help="Replace files that are there already.")
@click.option(
    "--force", is_flag=True, help="Take a file too of which cannot be seen whether it is whole."
)
@device_options.timeout_option
@device_options.json_option
def collect(
    guest: str,
    paths: tuple[str, ...],
    directory: str,
    overwrite: bool,
    force: bool,
    deadline: Deadline,
    in_json: bool,
) -> int:
    """Copy files out of a running guest: texts of at most 32 MB, by their paths in the guest.

    Nothing is needed in the guest, and what it has not written to its disk yet is there too. A
    long file is read while the guest stands still. A file with zero bytes, or one that could have
    lost some, is refused; those that can be had are copied all the same.
    """
    names = _names(paths)
    _check_supervised(guest)
    try:
        os.makedirs(directory, exist_ok=True)
    except OSError as problem:
        raise HostError(f"--to {directory}: {problem.strerror}") from None
    first = exitcodes.OK
    rows: list[dict[str, Any]] = []
    for path, name in zip(paths, names, strict=True):
        file = os.path.join(directory, name)
        row: dict[str, Any] = {"path": path, "file": file, "bytes": None, "problem": None}
        rows.append(row)
        try:
            if not overwrite:
                _check_free(file)
            data = _read(guest, path, deadline, force=force)
            _write(file, data, overwrite=overwrite)
        except UmlctlError as problem:
            row.update(file=None, problem=str(problem))
            first = first or problem.code
            if not in_json:
                say(f"collect {guest}: {path}: {problem}", problem.code)
        else:
            row["bytes"] = len(data)
            if not in_json:
                print(f"{file}: {len(data)} bytes")
    if in_json:
        print(views.to_json(rows))
    return first


def _names(paths: Sequence[str]) -> list[str]:
    """The name of each file on this host: the last part of the path that the user gave.

    Raises: UsageError
    """
    names: list[str] = []
    for path in paths:
        name = path.rpartition("/")[2]
        if not path.startswith("/"):
            raise UsageError(f"a path in the guest begins with '/', not {path!r}")
        if name in ("", ".", ".."):
            raise UsageError(f"this is a directory and no file: {path!r}")
        if path != path.strip() or not path.isprintable():
            raise UsageError(
                "a path that ends with a blank, or has a character that cannot be printed, cannot "
                f"be collected: {path!r}; `cp` it to another name in the guest first"
            )
        if name in names:
            raise UsageError(f"two files would be {name}: collect them one by one, with --to")
        names.append(name)
    return names


def _check_supervised(guest: str) -> None:
    """Refuse a bare kernel: no supervisor would miss what it drops of an answer.

    Raises: Refused
    """
    with GuestClient(guest) as asked:
        # A guest for which no server answers may have to be adopted first.
        is_bare = asked.is_bare()
    if is_bare:
        raise Refused(
            f"{guest}: nobody supervises this guest, so nobody would see that a part of a file is "
            "missing; `umlctl proc GUEST 1/root/PATH` prints what comes"
        )


def _read(guest: str, path: str, deadline: Deadline, *, force: bool) -> bytes:
    """The content of a file of the guest.

    Raises: NoGuest, Refused, UsageError
    """
    try:
        data = request(guest, f"proc 1/root{path}", deadline)
    except Refused as problem:
        if problem.code == exitcodes.TRUNCATED:
            raise Refused(NOT_WHOLE, problem.code) from None
        if str(problem).endswith(UNREADABLE_ANSWERS):
            raise Refused(f"{problem}{NO_FILE}") from None
        raise
    data = data.removeprefix(b"\n")  # the kernel begins each file with one
    if force:
        return data
    count = _count(guest, path, deadline)
    if count is None and may_be_cut(data):
        raise Refused(PERHAPS)
    if count is not None and count != len(data):
        raise Refused(NOT_WHOLE, exitcodes.TRUNCATED)
    return data


def _count(guest: str, path: str, deadline: Deadline) -> int | None:
    """How many bytes a file has, as umlctl's init program in the guest counts them. None: the guest
    has another init, or is another user's.

    Raises: Refused: the init program does not say, or not in time
    """
    try:
        door = os.open(
            f"{guest_dir(umid_of(guest))}/agent.in", os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC
        )
    except OSError:
        return None
    try:
        # Only umlctl's init program makes this file.
        request(guest, "proc 1/root/run/shell", deadline)
        name = f"{os.getpid()}.{time.monotonic_ns()}"
        os.write(door, f"count {name} - {path}\n".encode("utf-8", "surrogateescape"))
    except Refused as problem:
        if problem.code == exitcodes.TIMED_OUT:
            raise
        return None
    except OSError:
        return None
    finally:
        os.close(door)
    end = time.monotonic() + COUNT_TIMEOUT
    while time.monotonic() < end:
        with contextlib.suppress(Refused):
            counted = request(guest, "proc 1/root/run/count", deadline)
            said, _, size = counted.partition(b" ")
            if said.strip() == name.encode():
                return int(size) if size.strip().isdigit() and len(size) < 20 else -1
        time.sleep(LOOK_INTERVAL)
        if deadline.is_over:
            why = f"{TIMED_OUT}: not done within {deadline.seconds:g} seconds"
            raise Refused(why, exitcodes.TIMED_OUT)
    raise Refused(UNCOUNTED, exitcodes.TRUNCATED)


def _check_free(file: str) -> None:
    """Raises: HostError"""
    if os.path.lexists(file):
        raise HostError(f"{file} is there already; --overwrite replaces it")


def _write(file: str, data: bytes, *, overwrite: bool) -> None:
    """Write a file whole, or not at all.

    Raises: HostError
    """
    beside = ""
    try:
        descriptor, beside = tempfile.mkstemp(prefix=".collect-", dir=os.path.dirname(file) or ".")
        with open(descriptor, "wb") as made:
            made.write(data)
            made.flush()
            os.fchmod(descriptor, 0o666 & ~_umask())
            os.fsync(descriptor)
        if overwrite:
            os.rename(beside, file)
        else:
            os.link(beside, file)  # unlike a rename, it replaces nothing
    except OSError as problem:
        raise HostError(f"{file}: {problem.strerror}") from None
    finally:
        with contextlib.suppress(OSError):
            os.unlink(beside)


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
