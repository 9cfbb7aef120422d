"""`umlctl import`: guests of other systems, as definitions."""

from __future__ import annotations

import os
import shlex
import sys
from typing import TYPE_CHECKING, Any, Final

import click

from umlctl import exitcodes
from umlctl.cli import complete
from umlctl.definitions import files, saved
from umlctl.definitions.imported import imported
from umlctl.errors import UsageError
from umlctl.guest.readers.reading import shown
from umlctl.guest.written import MAX_TEXT_BYTES
from umlctl.host import naming
from umlctl.output import say, views

if TYPE_CHECKING:
    from collections.abc import Callable

    from umlctl.definitions.imported import Imported
    from umlctl.guest.readers.reading import Left, Reading

STANDARD_INPUT: Final = "-"
WRITTEN_ELSEWHERE: Final = "configuration of a guest"
"""What a file is called that has another form than ours."""


@click.group(
    name="import",
    epilog="""\b
Examples:
  umlctl import xl /etc/xen/web.cfg                    the definition, and what has no counterpart
  umlctl import xl /etc/xen/web.cfg --define           and from then on: umlctl start web
  umlctl import vkernel -- -m 64m -r rootimg.01 -I auto:bridge0
  umlctl import linux -- ./linux mem=256M ubd0=root_fs umid=web
  umlctl import libvirt web.xml >web.toml
""",
)
def import_guest() -> None:
    """Read another system's guest, and print the definition that umlctl starts it by.

    What could not be carried over is listed on standard error, each with its line and what to use
    instead. Nothing of what is read is run, and no guest is started.
    """


def _with_options(function: Callable[..., int]) -> Callable[..., int]:
    """Give a command what all forms have."""
    for option in (
        click.option("--json", "in_json", is_flag=True, help="Print all of it as JSON."),
        click.option(
            "--name", metavar="NAME", help="Call the guest NAME.", shell_complete=complete.defined
        ),
        click.option("--define", "defines", is_flag=True, help="Define it, as `define` does."),
    ):
        function = option(function)
    return function


@import_guest.command(
    epilog="""\b
Examples:
  umlctl import xl /usr/pkg/etc/xen/nbsd
  umlctl import xl web.cfg --define --name web2 && umlctl start web2
  umlctl import xl web.cfg --json | jq -r '.left[].at'
""",
)
@click.argument("file", metavar="FILE", type=click.Path(allow_dash=True))
@_with_options
def xl(file: str, **options: Any) -> int:
    """Read a configuration file of Xen's xl, or of xm before it.

    It looks like Python; it is parsed, and never run. `-` is standard input.
    """
    from umlctl.guest.readers import xl as reader

    text, path, base = _text(file)
    return _finish(reader.read(text, path, base), file, f"Read from {shown(path)}", **options)


@import_guest.command(
    epilog="""\b
Examples:
  umlctl import libvirt web.xml --define
  ssh old-host virsh -c uml:///system dumpxml web | umlctl import libvirt -
""",
)
@click.argument("file", metavar="FILE", type=click.Path(allow_dash=True))
@_with_options
def libvirt(file: str, **options: Any) -> int:
    """Read the XML of a domain of libvirt, of the type `uml` that it once ran.

    No entity in it is expanded, and nothing is fetched. `-` is standard input.
    """
    from umlctl.guest.readers import libvirt as reader

    text, path, base = _text(file)
    return _finish(reader.read(text, path, base), file, f"Read from {shown(path)}", **options)


@import_guest.command(
    epilog="""\b
Examples:
  umlctl import vkernel -- /var/vkernel/boot/kernel/kernel -m 1g -r rootimg.01 -I auto:bridge0
  umlctl import vkernel --define --name bsd -- -m 64m -R rootimg.01
""",
)
@click.argument("words", nargs=-1, metavar="ARGUMENT...", type=click.UNPROCESSED)
@_with_options
def vkernel(words: tuple[str, ...], **options: Any) -> int:
    """Read the command line of a vkernel of DragonFly BSD, which follows `--`.

    The options and their values are those of vkernel(7); the kernel's path may stand before them.
    """
    from umlctl.guest.readers import vkernel as reader

    return _of_words("vkernel", reader.read, words, options)


@import_guest.command(
    epilog="""\b
Examples:
  umlctl import linux -- ./linux mem=256M ubd0=root_fs root=/dev/ubda umid=web
  umlctl import linux --define -- $(tr '\\0' ' ' </proc/4711/cmdline)
""",
)
@click.argument("words", nargs=-1, metavar="ARGUMENT...", type=click.UNPROCESSED)
@_with_options
def linux(words: tuple[str, ...], **options: Any) -> int:
    """Read the command line of a UML kernel that was started by hand, which follows `--`.

    What umlctl has an option for becomes that; the rest stays an argument of the kernel.
    """
    from umlctl.guest.readers import linux as reader

    return _of_words("linux", reader.read, words, options)


def _of_words(
    form: str,
    read: Callable[[tuple[str, ...], str], Reading],
    words: tuple[str, ...],
    options: dict[str, Any],
) -> int:
    if not words:
        raise UsageError(f"there is nothing to read: umlctl import {form} -- ARGUMENT...")
    if "" in words:
        number = words.index("") + 1
        raise UsageError(f"argument {number} is empty: give a value, or leave it out")
    said = shown(shlex.join(words))
    return _finish(read(words, os.getcwd()), "", f"Read from {said}", **options)


def _text(file: str) -> tuple[str, str, str]:
    """The text of a file, what it is called, and the directory of its relative paths.

    Raises: UsageError, HostError
    """
    if file == STANDARD_INPUT:
        path = "standard input"
        data = sys.stdin.buffer.read(MAX_TEXT_BYTES + 1)
        return files.decoded(path, data, WRITTEN_ELSEWHERE), path, os.getcwd()
    if not os.path.lexists(file):
        raise UsageError(f"there is no file {file}")
    return files.read(file, WRITTEN_ELSEWHERE), file, os.path.dirname(os.path.abspath(file))


def _finish(
    reading: Reading,
    file: str,
    source: str,
    *,
    defines: bool,
    name: str | None,
    in_json: bool,
) -> int:
    """Print what was read, or define it; return the exit code."""
    found = imported(reading, source)
    umid = _named(found, name, file)
    if defines:
        if not umid:
            raise UsageError("it has no name: --name NAME gives it one")
        saved.check_new(umid)
    path = files.save(umid, found.text) if defines else None
    if in_json:
        print(views.to_json(_as_json(found, umid, path)))
        return exitcodes.OK
    for left in found.left:
        say(str(left), exitcodes.OK)
    if path is not None:
        print(f"{umid} is defined in {path}")
    else:
        print(found.text, end="")
    return exitcodes.OK


def _named(found: Imported, name: str | None, file: str) -> str:
    """The name of the guest: the one that is asked for, its own, or that of its file.

    Raises: UsageError
    """
    if name is not None:
        try:
            return naming.check_umid(name)
        except naming.BadUmid as problem:
            raise UsageError(f"{problem}; give another --name") from None
    if found.name or file in ("", STANDARD_INPUT):
        return found.name
    stem = os.path.splitext(os.path.basename(file))[0]
    try:
        return naming.check_umid(stem)
    except naming.BadUmid:
        return ""


def _as_json(found: Imported, umid: str, path: str | None) -> dict[str, Any]:
    return {
        "name": umid or None,
        "file": path,
        "values": found.values,
        "text": found.text,
        "left": [_left_as_json(left) for left in found.left],
    }


def _left_as_json(left: Left) -> dict[str, Any]:
    return {
        "at": left.at,
        "given": left.given,
        "why": left.why,
        "instead": left.instead or None,
        "changed": left.changed,
    }
