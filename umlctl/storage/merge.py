"""Merging a COW file and its backing file: into a new file, or into the backing file.

A merge into the backing file copies there what the COW file has, which holds all of it until every
byte has arrived and is safe. So one that was interrupted is finished by doing it again. That it was
begun is written down beside the COW file before, in its journal, and there the header is too which
the COW file had: as long as it has that, it is not merged. When it is, its bitmap is cleared, it
gets the backing file's new time of change in its header, and the journal goes.

One that is not to be finished is given up: the header gets the backing file's new time of change,
and the journal goes. What the guest reads stays the same, as the COW file has all of it.
"""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, Final

from umlctl.errors import HostError
from umlctl.storage import cow
from umlctl.storage.cow_file import CowFile, check_fits
from umlctl.storage.extents import clear, copy, extents
from umlctl.storage.journal import begin_merge, forget, interrupted, journal_of, read_journal
from umlctl.storage.new_file import new_file

if TYPE_CHECKING:
    from collections.abc import Callable

    Say = Callable[[int], object]

_MODE: Final = 0o666


def backing_of(of: CowFile) -> str:
    """The path of the backing file, by which a merge that was interrupted had it too.

    Raises: HostError
    """
    journal = read_journal(of.path)
    return journal.backing if journal else of.header.backing


def into_new(of: CowFile, backing: int, target: str, say: Say) -> int:
    """Merge a COW file and its backing file into a new file, which is whole or is not there.

    say: is told how many bytes of the disk are done more

    Returns: its size, bytes
    Raises: HostError; OSError
    """
    if said := interrupted(of.path):
        raise HostError(said)
    check_fits(of, backing, of.header.backing)
    mode = os.fstat(of.descriptor).st_mode & _MODE
    with new_file(target, mode) as descriptor:
        return into_open(of, backing, descriptor, say)


def into_open(of: CowFile, backing: int, descriptor: int, say: Say) -> int:
    """The same into an empty file that is open; the COW file fits its backing file.

    Raises: OSError
    """
    size = _size(of)
    os.ftruncate(descriptor, size)
    done = 0
    for start, end in of.runs():
        _copy_data(backing, done, start, descriptor, say)
        _overlay(of, start, end, descriptor, say)
        done = end
    _copy_data(backing, done, of.header.size, descriptor, say)
    return size


def _size(of: CowFile) -> int:
    """Of what comes out, bytes: a last sector that is not whole in the backing file and was
    written by the guest is whole then."""
    final = 0
    for _, final in of.runs():  # noqa: B007 - the last one is wanted
        pass
    return max(of.header.size, final)


def _copy_data(source: int, start: int, end: int, target: int, say: Say) -> None:
    """Copy a part of a file to the same place of a file that reads as zeros there."""
    for first, last in extents(source, start, end):
        say(first - start)
        copy(source, first, last, target, first, say)
        start = last
    say(max(0, end - start))


def _overlay(of: CowFile, start: int, end: int, target: int, say: Say) -> None:
    """The same of a part of the disk that is in the COW file."""
    for first, last in of.data(start, end):
        say(first - start)
        copy(of.descriptor, of.layout.data + first, of.layout.data + last, target, first, say)
        start = last
    say(end - start)


def into_backing(of: CowFile, backing: int, say: Say) -> int:
    """Merge a COW file into its backing file, and leave it empty over that. One that was
    interrupted is finished. Nobody else may have either of them.

    say: is told how many bytes of the COW file are done more

    Returns: how much was merged, bytes
    Raises: HostError; OSError
    """
    journal = read_journal(of.path)
    if journal is None:
        if said := interrupted(of.path):
            raise HostError(said)
        check_fits(of, backing, of.header.backing)
        if not of.written():
            return 0
        begin_merge(of.path, of.header)
    elif (of.header.mtime, of.header.size) != (journal.mtime, journal.size):
        check_fits(of, backing, journal.backing)  # it was done, but for the journal
        forget(journal_of(of.path))
        return 0
    merged = _merge(of, backing, say)
    _empty(of, backing)
    forget(journal_of(of.path))
    return merged


def _merge(of: CowFile, backing: int, say: Say) -> int:
    """Copy what the COW file has to the backing file, and see it safe there; how much it was."""
    merged = 0
    for start, end in of.runs():
        if end > of.header.size:
            os.ftruncate(backing, end)
        done = start
        for first, last in of.data(start, end):
            if first > done:
                clear(backing, done, first)
            say(first - done)
            copy(of.descriptor, of.layout.data + first, of.layout.data + last, backing, first, say)
            done = last
        if end > done:
            clear(backing, done, end)
            say(end - done)
        merged += end - start
    os.fsync(backing)
    return merged


def _empty(of: CowFile, backing: int) -> None:
    """Leave nothing in the COW file, over the backing file as it is now.

    Raises: OSError
    """
    clear(of.descriptor, of.layout.bitmap, of.layout.bitmap + of.layout.bitmap_length)
    os.fsync(of.descriptor)
    size = _fit(of, backing)
    if stat.S_ISREG(os.fstat(of.descriptor).st_mode):
        os.ftruncate(of.descriptor, of.layout.data)
        os.ftruncate(of.descriptor, of.layout.data + size)


def _fit(of: CowFile, backing: int) -> int:
    """Have the COW file fit the backing file as it is now; the size of that.

    The backing file has another time of change than before, even within one second: a COW file that
    nobody knew of does not fit it any more.

    Raises: OSError
    """
    found = os.fstat(backing)
    if found.st_mtime_ns // 10**9 & 0xFFFFFFFF == of.header.mtime:
        os.utime(backing, ns=(found.st_atime_ns, found.st_mtime_ns + 10**9))
    os.fsync(backing)
    now = cow.described(backing, of.header.backing)
    header = of.header._replace(mtime=now.mtime, size=now.size)
    cow.write(of.descriptor, cow.encode(header), 0)
    os.fsync(of.descriptor)
    return now.size


def give_up(of: CowFile, backing: int) -> bool:
    """Undo a merge into the backing file that has begun, as far as a guest can tell: it reads what
    it read before. Of the backing file only those sectors have changed that the COW file has too.
    Nobody else may have either of them.

    Returns: whether one had begun
    Raises: HostError; OSError
    """
    journal = read_journal(of.path)
    if journal is None:
        return False
    if (of.header.mtime, of.header.size) == (journal.mtime, journal.size):
        _fit(of, backing)
    else:
        check_fits(of, backing, journal.backing)  # it was done, but for the journal
    forget(journal_of(of.path))
    return True
