"""The command line of a kernel that somebody starts by itself, as `linux umid=a mem=128M ...`.

It stays as it was given. What a supervisor needs stands where the kernel takes it and no word of
the user's is changed by it. Source: arch/um/os-Linux/umid.c (of two `umid=` the first counts, of
two `uml_dir=` the last), arch/um/drivers/mconsole_kern.c (of two `mconsole=` the last).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from umlctl.devices import parse
from umlctl.errors import UsageError
from umlctl.guest import confinement, words
from umlctl.guest.cmdline import OWN_ARGUMENTS
from umlctl.guest.definition import Definition, is_device, parse_size

if TYPE_CHECKING:
    from collections.abc import Sequence

    from umlctl.devices.parse import Device

DEFAULT_MEM_BYTES: Final = 64 << 20
"""The memory of a guest whose kernel is not told. Source: arch/um/kernel/um_arch.c"""
DEFAULT_CONSOLE: Final = "con0=fd:0,fd:1"
"""The system console of a kernel that is not told. Source: arch/um/drivers/stdio_console.c"""
DEFAULT_DISK: Final = "ubd0=root_fs"
"""The disk of a kernel that has no ubd0. Source: arch/um/drivers/ubd_kern.c"""
DEFAULT_INIT: Final = "/sbin/init"
_NOTIFY: Final = "mconsole=notify:"


class Told(NamedTuple):
    """What a kernel's command line says of how the guest is found; empty where it says nothing.

    Fields:
        umid: its name
        uml_dir: the directory below which its socket is to be
        notify: the socket that hears its notifications
    """

    umid: str
    uml_dir: str
    notify: str


def read(line: Sequence[str]) -> Told:
    """What a command line says of how the guest is found."""
    for_kernel, _ = words.split(line)
    umids = [word[5:] for word in line if word.startswith("umid=")]
    places = [word[8:] for word in line if word.startswith("uml_dir=")]
    sockets = [word[len(_NOTIFY) :] for word in for_kernel if word.startswith(_NOTIFY)]
    return Told(
        umid=next(filter(None, umids), ""),
        uml_dir=places[-1] if places else "",
        notify=sockets[-1] if sockets else "",
    )


def supervised(line: Sequence[str], umid: str, uml_dir: str, notify: str) -> list[str]:
    """The command line with what a supervisor needs.

    umid: the guest's name, which counts if the line has none
    uml_dir: the directory of the kernel's own socket
    notify: the path of the notify socket

    Raises: UsageError: what is for init alone would win over it
    """
    for_init = words.split(line)[1]
    hidden = [word for word in for_init if word.startswith(("umid=", "uml_dir="))]
    if hidden:
        raise UsageError(f"{hidden[0]} is for init, and the kernel takes it all the same")
    where = line.index(words.FOR_INIT) if words.FOR_INIT in line else len(line)
    named = [] if read(line).umid else [f"umid={umid}"]
    ours = [*named, f"uml_dir={uml_dir}", _NOTIFY + notify]
    return [*line[:where], *ours, *line[where:]]


def definition(line: Sequence[str], umid: str, kernel: str, cwd: str, home: str) -> Definition:
    """The guest as far as its command line tells. What umlctl could not start it with is left out.

    umid: its name, which the line need not have
    """
    for_kernel, for_init = words.split(line)
    given = {words.key(word): word.partition("=")[2] for word in for_kernel}
    kept = [word for word in for_kernel if _is_known(word)]
    if not given.keys() & {"con0", "con"}:
        kept.append(DEFAULT_CONSOLE)
    if for_init and all(map(words.can_be_given, for_init)):
        kept += [words.FOR_INIT, *for_init]
    try:
        mem = parse_size(given["mem"])
    except (KeyError, UsageError):
        mem = DEFAULT_MEM_BYTES
    return Definition(
        umid=umid,
        kernel=kernel,
        mem=mem,
        init=given.get("init") or DEFAULT_INIT,  # which is never ours
        arguments=tuple(kept),
        cwd=cwd,
        home=home,
        named=bool(read(line).umid),
        confine=confinement.OFF,
    )


def devices(line: Sequence[str]) -> list[Device]:
    """The disks and NICs of a command line that umlctl understands, as it has them; DEFAULT_DISK is
    among them where it has no other ubd0."""
    for_kernel, _ = words.split(line)
    given = [word for word in for_kernel if is_device(word)]
    if not any(words.key(word) == "ubd0" for word in given):
        given.append(DEFAULT_DISK)
    found: list[Device] = []
    for word in given:
        try:
            found.append(parse.parse(word, insist=True))
        except UsageError:
            continue
    return found


def descriptors(line: Sequence[str]) -> list[int]:
    """The descriptors that the lines of a guest are to be, by their kernel's words."""
    found = set()
    for word in words.split(line)[0]:
        about, _, value = word.partition("=")
        if about.startswith(("con", "ssl")) and about != "console":
            channels = [each.partition(":") for each in value.split(",")]
            found |= {number for kind, _, number in channels if kind == "fd"}
    return sorted(int(number) for number in found if number.isascii() and number.isdigit())


def _is_known(word: str) -> bool:
    """Whether a word is kept of which the guest was made, and umlctl could read it there."""
    if words.key(word) in OWN_ARGUMENTS or not words.can_be_given(word):
        return False
    if not is_device(word):
        return True
    try:
        parse.parse(word, insist=True)
    except UsageError:
        return False
    return True
