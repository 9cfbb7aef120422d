"""`umlctl cp`: files into a running guest and out of it, as they are, and whole or not at all."""

from __future__ import annotations

import os
import stat
import subprocess
import tempfile
from typing import Final, NamedTuple

import click

from umlctl import exitcodes, streams
from umlctl.cli import complete
from umlctl.errors import HostError, Refused, UsageError
from umlctl.output import say

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
_BLOCK_BYTES: Final = 1 << 20
_MAX_HEADER_BYTES: Final = 16


class Place(NamedTuple):
    """A file, here or in a guest.

    Fields:
        guest: empty: it is here
        path: of the file, or a directory for it
    """

    guest: str
    path: str

    @property
    def name(self) -> str:
        """Its last part."""
        return os.path.basename(self.path.rstrip("/"))


@click.command(
    epilog="""\b
Examples:
  umlctl cp test.ko demo:/tmp              into a directory there
  umlctl cp demo:/var/log/syslog .         and out
  umlctl cp a b demo:/srv/
  tar c tree | umlctl exec demo -- tar x -C /srv    a whole directory
"""
)
@click.argument(
    "paths",
    metavar="SOURCE... TARGET",
    nargs=-1,
    required=True,
    shell_complete=complete.of_guests,
)
def cp(paths: tuple[str, ...]) -> int:
    """Copy files into a guest that runs, or out of it. GUEST:PATH is a file there.

    Bytes are copied as they are, with the mode; a file is there whole or not at all. Sources are in
    the same place: all here, or all in guests. What `exec GUEST` takes in the guest, this takes.
    """
    *sources, target = paths
    if not sources:
        raise UsageError(f"where is {target!r} to be copied? umlctl cp SOURCE... TARGET")
    places = [_place(source) for source in sources]
    to = _place(target)
    for each in places:
        if bool(each.guest) == bool(to.guest):
            where = "in a guest" if to.guest else "here"
            raise UsageError(
                f"{each.path} and {to.path} are both {where}; one of them is GUEST:PATH"
            )
    code = exitcodes.OK
    for source, each in zip(sources, places, strict=True):
        try:
            if to.guest:
                _put(each, to)
            else:
                _get(each, to, several=len(places) > 1)
        except (HostError, Refused) as problem:
            say(f"cp {source}: {problem}", problem.code)
            code = code or problem.code
    return code


def _place(text: str) -> Place:
    """What a user names. A path with a `:` begins with `/` or `.`.

    Raises: UsageError
    """
    guest, colon, path = text.partition(":")
    if not colon or "/" in guest or guest in (".", ".."):
        return Place("", text)
    if not guest or not path.startswith("/"):
        raise UsageError(
            f"{text!r}: GUEST:PATH has a path that begins with '/'; a file here whose name has a "
            "colon is ./NAME"
        )
    return Place(guest, path)


def _exec(guest: str, script: str, *words: str) -> list[str]:
    """The command that runs a script in a guest."""
    return [
        *(*streams.PYTHON, "umlctl", "exec", guest),
        *("--", "/bin/sh", "-c", script, "cp", *words),
    ]


def _put(source: Place, target: Place) -> None:
    """Copy a file of this host into a guest.

    Raises: HostError, Refused
    """
    try:
        file = open(source.path, "rb")  # noqa: SIM115
        with file:
            look = os.fstat(file.fileno())
            if not stat.S_ISREG(look.st_mode):
                raise HostError("it is no regular file")
            mode = f"{look.st_mode & 0o777:o}"
            words = (target.path, source.name, str(look.st_size), mode)
            done = subprocess.run(_exec(target.guest, _PUT, *words), stdin=file, check=False)
    except OSError as problem:
        raise HostError(problem.strerror or str(problem)) from None
    if done.returncode:
        raise Refused(f"nothing is at {target.guest}:{target.path} of it", done.returncode)


def _get(source: Place, target: Place, *, several: bool) -> None:
    """Copy a file of a guest to this host.

    several: the target is a directory

    Raises: HostError, Refused
    """
    path = target.path
    if os.path.isdir(path):
        path = os.path.join(path, source.name)
    elif several or path.endswith("/"):
        raise HostError(f"{path}: no such directory")
    try:
        new, name = tempfile.mkstemp(prefix=".umlctl-", dir=os.path.dirname(path) or ".")
    except OSError as problem:
        raise HostError(f"{path}: {problem.strerror}") from None
    try:
        try:
            mode = _receive(source, new)
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


def _receive(source: Place, new: int) -> int:
    """Write a file of a guest to a descriptor; its mode.

    Raises: Refused; OSError
    """
    command = _exec(source.guest, _GET, source.path)
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        try:
            header = process.stdout.readline(_MAX_HEADER_BYTES).strip()
            while data := process.stdout.read(_BLOCK_BYTES):
                streams.write_all(new, data)
        except BaseException:
            process.terminate()
            raise
    if process.returncode:
        raise Refused("it could not be had whole", process.returncode)
    return int(header, 8) & 0o777 if _is_octal(header) else 0o644


def _is_octal(text: bytes) -> bool:
    return 0 < len(text) < 6 and not text.strip(b"01234567")


def _umask() -> int:
    found = os.umask(0o077)
    os.umask(found)
    return found
