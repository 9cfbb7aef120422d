"""`uml_moo`: merge a COW file and its backing file, into a new file or in place.

    uml_moo [-b BACKING] COW NEW
    uml_moo [-b BACKING] -d COW

The original cuts the disk to whole sectors; empties NEW before it looks at COW, though NEW be the
backing file; takes files that a guest has open, and a backing file that other COW files need; and
leaves COW as it was after `-d`, so that no kernel takes it any more. Here the disk is whole, NEW
is there when it is whole, those are refused, and COW is empty then. It also knows no `-d` behind
`-b`, though it says so. Source: uml_moo of uml-utilities 20070815.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Final

from umlctl.compat.cow_files import Failed, ended, replacing, users
from umlctl.errors import HostError, UmlctlError
from umlctl.state.files_in_use import check_lone, taken
from umlctl.storage import cow, journal, merge
from umlctl.storage.cow_file import check_fits

if TYPE_CHECKING:
    from umlctl.storage.cow import Header

NAME: Final = "uml_moo"
USAGE: Final = (
    "{0} usage:\n"
    "\t{0} [ -b <actual backing file> ] <COW file> <new backing file>\n"
    "\t{0} [ -b <actual backing file> ] -d <COW file>\n"
    "Creates a new filesystem image from the COW file and its backing file.\n"
    "Specifying -d will cause a destructive, in-place merge of the COW file into\n"
    "its current backing file\n"
    "Specifying -b overrides the backing_file specified in the COW file.  This is\n"
    "needed when dealing with a COW file that was created inside a chroot jail.\n"
    "{0} supports version 1,2 and 3 COW files.\n"
)


def main(argv: list[str]) -> int:
    """Run `uml_moo` with these arguments; the exit code."""
    words = argv[1:]
    in_place, backing = False, ""
    while words[:1] in (["-d"], ["-b"]):
        if words.pop(0) == "-d":
            in_place = True
        else:
            backing = words.pop(0) if words else ""
            if not backing:
                words.clear()
    if len(words) != (1 if in_place else 2):
        sys.stderr.write(USAGE.format(NAME))
        return 1
    try:
        if in_place:
            _merge_in_place(words[0], backing)
        else:
            _merge(words[0], backing, words[1])
    except (UmlctlError, OSError, Failed) as problem:
        return ended(NAME, problem)
    return 0


def _merge(path: str, backing: str, new: str) -> None:
    """Raises: Failed, HostError; OSError"""
    look(path, backing)
    with taken(NAME, path, users, write=False, backing=backing) as pair:
        if said := journal.interrupted(path):
            raise HostError(said)
        check_fits(pair.of, pair.backing, pair.name)
        if not os.path.isdir(os.path.dirname(os.path.realpath(new))):
            raise Failed(f"Output file open: {os.path.dirname(new)} is no directory")
        with replacing(NAME, new, path, pair.name) as descriptor:
            merge.into_open(pair.of, pair.backing, descriptor, lambda _count: None)


def _merge_in_place(path: str, backing: str) -> None:
    """Raises: Failed, HostError; OSError"""
    if not journal.interrupted(path):
        look(path, backing)
    access = taken(NAME, path, users, write=True, write_backing=True, backing=backing)
    with access as pair:
        if not journal.interrupted(path):
            check_lone(NAME, path, pair.name)
        merge.into_backing(pair.of, pair.backing, lambda _count: None)


def look(path: str, backing: str) -> None:
    """See what the original would see, and say it in its words.

    backing: where the backing file is; otherwise where the COW file says

    Raises: Failed, HostError; OSError
    """
    if not os.path.exists(path):
        raise Failed("COW file open: No such file or directory")
    header = _header(path)
    backing = backing or header.backing
    if not os.path.exists(backing):
        raise Failed(
            f"Stating backing file: No such file or directory\n{NAME}: {path} is over {backing}; "
            "-b says where that is now"
        )
    now = cow.describe(backing)
    for what, then, found in (
        ("Size", header.size, now.size),
        ("mtime", header.mtime, now.mtime),
    ):
        if then != found:
            raise Failed(
                f'{what} mismatch ({then} vs {found}) of COW header vs backing file "{backing}"\n'
                f"{NAME}: `umlctl cow rebase {path}` shows what differs"
            )


def _header(path: str) -> Header:
    """Raises: Failed; OSError"""
    try:
        header = cow.read(path)
    except cow.BadCow as problem:
        raise Failed(f"{problem}\nReading COW header failed") from None
    if header is None:
        raise Failed("Reading COW header failed")
    return header
