"""Files into a running guest and out of it, as they are, and whole or not at all."""

from __future__ import annotations

import os
import stat
import tempfile
from typing import TYPE_CHECKING, Final

from umlctl import streams
from umlctl.errors import HostError, Refused
from umlctl.execution import in_guest
from umlctl.execution.session import Streams

if TYPE_CHECKING:
    from umlctl.execution.running import Canceller

_PUT: Final = """
to=$1
case $to in
*/) [ -d "$to" ] || { echo "$to: no such directory" >&2; exit 1; } ;;
esac
[ ! -d "$to" ] || to=${to%/}/$2
[ ! -d "$to" ] || { echo "$to: it is a directory" >&2; exit 1; }
new=$to~$$
umask 077
trap 'rm -f "$new"; exit 1' HUP INT TERM
cat >"$new" && [ "$(wc -c <"$new")" -eq "$3" ] && chmod "$4" "$new" && mv -f "$new" "$to" && exit
rm -f "$new"
exit 1
"""
"""Makes a file of its input: PATH NAME SIZE MODE."""
_GET: Final = """
[ ! -d "$1" ] || { echo "$1: it is a directory" >&2; exit 1; }
(exec <"$1") || exit 1
exec <"$1"
stat -Lc %a /proc/self/fd/0 2>/dev/null || echo 644
exec cat
"""
"""Prints the mode of a file, and then the file: PATH. Where there is no stat(1), it is a usual
one."""
_MAX_SAID_BYTES: Final = 2000
"""The most that is shown of what a script has said of a failure, bytes."""
_UMASK: Final = b"Umask:"


class _Received:
    """A file as a guest prints it.

    Fields:
        header: the first line, without its end
    """

    def __init__(self, descriptor: int) -> None:
        self.header = b""
        self._descriptor = descriptor
        self._has_header = False

    def take(self, data: bytes) -> None:
        """Raises: OSError"""
        if not self._has_header:
            begin, newline, data = data.partition(b"\n")
            self.header += begin
            self._has_header = bool(newline)
        streams.write_all(self._descriptor, data)

    @property
    def mode(self) -> int:
        return int(self.header, 8) & 0o777 if _is_octal(self.header) else 0o644


def put(guest: str, source: str, target: str, canceller: Canceller | None = None) -> None:
    """Copy a file of this host into a guest.

    target: a path there, or that of a directory for it

    Raises: HostError, and as `in_guest.run`
    """
    try:
        file = open(source, "rb")  # noqa: SIM115
        with file:
            look = os.fstat(file.fileno())
            if not stat.S_ISREG(look.st_mode):
                raise HostError("it is no regular file")
            name = os.path.basename(source)
            words = (target, name, str(look.st_size), f"{look.st_mode & 0o777:o}")
            said = bytearray()
            own = Streams(file.fileno(), (said.extend, said.extend))
            code = in_guest.run(guest, _command(_PUT, *words), own, canceller=canceller)
    except OSError as problem:
        raise HostError(problem.strerror or str(problem)) from None
    if code:
        raise Refused(f"nothing is at {guest}:{target} of it{_why(said)}")


def get(
    guest: str,
    source: str,
    target: str,
    *,
    several: bool = False,
    canceller: Canceller | None = None,
) -> str:
    """Copy a file of a guest to this host; its path here.

    target: a path here, or that of a directory for it; several: it is a directory

    Raises: HostError, and as `in_guest.run`
    """
    path = target
    if os.path.isdir(path):
        path = os.path.join(path, os.path.basename(source.rstrip("/")))
    elif several or path.endswith("/"):
        raise HostError(f"{path}: no such directory")
    try:
        new, name = tempfile.mkstemp(prefix=".umlctl-", dir=os.path.dirname(path) or ".")
    except OSError as problem:
        raise HostError(f"{path}: {problem.strerror}") from None
    try:
        try:
            mode = _receive(guest, source, new, canceller)
            os.fchmod(new, mode & ~_umask())
            os.fsync(new)
        finally:
            os.close(new)
        os.rename(name, path)
    except OSError as problem:
        raise HostError(f"{path}: {problem.strerror}") from None
    finally:
        if os.path.lexists(name):
            os.unlink(name)
    return path


def _receive(guest: str, source: str, new: int, canceller: Canceller | None) -> int:
    """Write a file of a guest to a descriptor; its mode."""
    received, said = _Received(new), bytearray()
    own = Streams(in_guest.NO_SOURCE, (received.take, said.extend))
    if in_guest.run(guest, _command(_GET, source), own, canceller=canceller):
        raise Refused(f"it could not be had whole{_why(said)}")
    return received.mode


def _command(script: str, *words: str) -> list[str]:
    return ["/bin/sh", "-c", script, "cp", *words]


def _why(said: bytearray) -> str:
    """What a script has said of its failure."""
    text = said[-_MAX_SAID_BYTES:].decode("utf-8", "replace").strip()
    return f": {text}" if text else ""


def _is_octal(text: bytes) -> bool:
    return 0 < len(text) < 6 and not text.strip(b"01234567")


def _umask() -> int:
    """That of this process, which other threads have too: it is looked at alone."""
    with open("/proc/self/status", "rb") as file:
        return next((int(line.split()[1], 8) for line in file if line.startswith(_UMASK)), 0o077)
