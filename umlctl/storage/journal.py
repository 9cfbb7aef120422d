"""What is written down beside a COW file before it is changed in more than one step.

    NAME.merge    {"backing": path, "mtime": seconds, "size": bytes}    see `merge`
    NAME.reset    nothing                                               see `reset`

The journal goes when the change is whole. One that is there was interrupted, and no guest may have
the COW file before it is finished, or undone.
"""

from __future__ import annotations

import os
from typing import Final

import msgspec

from umlctl.errors import HostError
from umlctl.storage import cow
from umlctl.storage.new_file import new_file

MAX_JOURNAL_BYTES: Final = 64 << 10
"""Of a journal, bytes: more is none of ours."""


class Journal(msgspec.Struct, frozen=True, kw_only=True):
    """A merge into a backing file that has begun.

    Fields:
        backing: the path that it was done by
        mtime, size: what the COW file says of its backing file as long as it is not merged
    """

    backing: str
    mtime: int
    size: int


def journal_of(path: str) -> str:
    """Where the journal of a COW file is that is merged."""
    return f"{path}.merge"


def reset_of(path: str) -> str:
    """Where the journal of a COW file is that is emptied."""
    return f"{path}.reset"


def both_of(path: str) -> tuple[str, str]:
    """Where journals of a COW file can be."""
    return journal_of(path), reset_of(path)


def interrupted(path: str) -> str:
    """What is to be said of a COW file whose merge or reset was interrupted; empty if none was."""
    if os.path.lexists(journal_of(path)):
        return (
            f"a merge of {path} into its backing file was interrupted, and nothing is lost: "
            f"`umlctl cow check {path}` finishes it"
        )
    if os.path.lexists(reset_of(path)):
        return f"a reset of {path} was interrupted: `umlctl cow check {path}` finishes it"
    return ""


def read_journal(path: str) -> Journal | None:
    """The journal of a COW file that is merged; None if there is none.

    Raises: HostError
    """
    where = journal_of(path)
    try:
        with open(os.open(where, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK), "rb") as file:
            return msgspec.json.decode(file.read(MAX_JOURNAL_BYTES), type=Journal)
    except FileNotFoundError:
        return None
    except OSError as problem:
        raise HostError(f"cannot read {where}: {problem.strerror}") from problem
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise HostError(
            f"{where} is no journal of a merge; if it is not yours, move it away: {path} has all "
            "that was ever written to it"
        ) from None


def begin_merge(path: str, header: cow.Header) -> None:
    """Write down that the backing file is no longer what the COW file was made over.

    Raises: HostError; OSError
    """
    name = header.backing
    try:
        name.encode()
    except UnicodeEncodeError:
        raise HostError(f"{path} names its backing file in no UTF-8: {name!r}") from None
    journal = Journal(backing=os.path.abspath(name), mtime=header.mtime, size=header.size)
    with new_file(journal_of(path), 0o600) as descriptor:
        cow.write(descriptor, msgspec.json.encode(journal), 0)


def forget(journal: str) -> None:
    """What a journal is of is done.

    Raises: OSError
    """
    os.unlink(journal)
    above = os.open(os.path.dirname(journal) or ".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(above)
    finally:
        os.close(above)
