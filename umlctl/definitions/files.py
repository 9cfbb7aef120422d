"""The files that guests are written down in: where they are, which is meant, and what they extend.

~/.config/umlctl/guests/NAME.toml    a user's
/etc/umlctl/guests/NAME.toml         for all users
any other file                       by its path
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from typing import TYPE_CHECKING, Final, NamedTuple

from umlctl.errors import HostError, NoGuest, UsageError
from umlctl.guest import written
from umlctl.guest.written import EXTENDS, MAX_TEXT_BYTES
from umlctl.host import naming, paths
from umlctl.host.files import write_atomically

if TYPE_CHECKING:
    from collections.abc import Mapping

    from umlctl.guest.written import Given

SUFFIX: Final = paths.DEFINITION_SUFFIX
MAX_EXTENDED: Final = 8
"""How many definitions one may begin with, each with another."""
DEFINITION: Final = "definition"
"""What a file is that says what a guest is."""
ROOT: Final = 0
"""Whose the system's definitions are, as a uid."""


class Written(NamedTuple):
    """A guest as it is written down.

    Fields:
        umid: its name
        path: the file, as the user named it
        text: what it says
        values: by key, with those of what it extends; paths begin with '/'
        extends: the files that it begins with, the nearest first
    """

    umid: str
    path: str
    text: str
    values: Mapping[str, Given]
    extends: tuple[str, ...] = ()

    @property
    def directory(self) -> str:
        return os.path.dirname(os.path.abspath(self.path))


def is_path(word: str) -> bool:
    """Whether a word names a file, rather than a guest."""
    return "/" in word or word.endswith(SUFFIX)


def find(word: str) -> Written | None:
    """The definition that a user means, by the name of a guest or by a path; None: no guest of
    that name is defined.

    Raises: UsageError, HostError
    """
    path = word if is_path(word) else path_of(word)
    if not path:
        return None
    umid = os.path.basename(path).removesuffix(SUFFIX)
    try:
        naming.check_umid(umid)
    except naming.BadUmid as problem:
        raise UsageError(f"{path}: the file's name is the guest's: {problem}") from None
    return load(umid, path)


def needed(word: str) -> Written:
    """The same of one that must be there.

    Raises: UsageError, HostError, NoGuest
    """
    found = find(word)
    if found is None:
        raise undefined(word)
    return found


def undefined(umid: str) -> NoGuest:
    """The error that a guest is not defined."""
    return NoGuest(
        f"no guest {umid} is defined: there is no {own_path(umid)}; `umlctl define FILE {umid}` "
        "defines it, and `umlctl examples` has some to begin with"
    )


def path_of(umid: str) -> str:
    """The file that a guest is defined in: the user's own before the host's; empty: it is not.

    Raises: BadPlace
    """
    found = (f"{directory}/{umid}{SUFFIX}" for directory in _directories())
    return next((path for path in found if os.path.lexists(path)), "")


def own_path(umid: str) -> str:
    """Where the user's own definition of a guest is, or would be.

    Raises: BadPlace
    """
    return f"{paths.definitions_dir()}/{umid}{SUFFIX}"


def names() -> list[str]:
    """The guests that are defined, sorted.

    Raises: BadPlace
    """
    found = set()
    for directory in _directories():
        with suppress(OSError):
            found.update(os.listdir(directory))
    stems = (name.removesuffix(SUFFIX) for name in found if name.endswith(SUFFIX))
    return sorted(name for name in stems if _is_umid(name))


def _is_umid(name: str) -> bool:
    try:
        naming.check_umid(name)
    except naming.BadUmid:
        return False
    return True


def _directories() -> list[str]:
    return [each for each in (paths.definitions_dir(), paths.system_definitions_dir()) if each]


def load(umid: str, path: str) -> Written:
    """Read a definition, and what it extends; relative paths are taken from its directory.

    Raises: UsageError, HostError
    """
    return of_text(umid, path, read(path), os.path.dirname(os.path.abspath(path)))


def of_text(umid: str, path: str, text: str, base: str, *, kept: str = "") -> Written:
    """A definition by its text.

    path: what the file is called in messages
    base: the directory that relative paths are taken from; empty: there may be none
    kept: where it is to be kept, in the place of what is there

    Raises: UsageError, HostError
    """
    values = written.anchored(written.read(text, path), base)
    extended: list[str] = []
    merged = dict(values)
    nearest, at = values.get(EXTENDS), base
    while nearest is not None:
        file = _extended(nearest, at)
        seen = [os.path.realpath(each) for each in (path, *filter(None, [kept]), *extended)]
        where = f"{nearest.place()}: {EXTENDS}"
        if os.path.realpath(file) in seen:
            raise UsageError(f"{where}: {nearest.value} extends itself in the end; leave it out")
        if len(extended) == MAX_EXTENDED:
            raise UsageError(f"{where}: more than {MAX_EXTENDED} in a row; write them in one")
        extended.append(file)
        at = os.path.dirname(os.path.abspath(file))
        more = written.anchored(written.read(read(file), file), at)
        merged = more | merged
        nearest = more.get(EXTENDS)
    merged.pop(EXTENDS, None)
    return Written(umid, path, text, merged, tuple(extended))


def _extended(given: Given, base: str) -> str:
    """The file that a definition extends: beside it, or among those of guests.

    Raises: UsageError
    """
    word = given.value
    where = f"{given.place()}: {EXTENDS}"
    if "/" in word:
        if not base and not word.startswith("/"):
            raise UsageError(f"{where}: {word} begins with no '/': write the whole path")
        path = os.path.join(base, word)
    else:
        word = word.removesuffix(SUFFIX)
        beside = f"{base}/{word}{SUFFIX}" if base else ""
        path = beside if beside and os.path.lexists(beside) else path_of(word)
    if not path or not os.path.lexists(path):
        raise UsageError(
            f"{where}: there is no definition {given.value}; `umlctl define FILE {word}` makes one"
        )
    return path


def read(path: str, what: str = DEFINITION) -> str:
    """The text of a definition, or of another file that a guest is written down in.

    what: what it is, for messages

    Raises: UsageError: it is none; HostError: it cannot be read
    """
    try:
        # A device may do something when it is opened: no more than a look, to begin with.
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise UsageError(f"{path} is no file, and a {what} is one")
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        other = f"; a guest is named without '/' and {SUFFIX}" if what == DEFINITION else ""
        raise UsageError(f"there is no file {path}{other}") from None
    except OSError as problem:
        raise HostError(f"cannot read {path}: {problem.strerror}") from problem
    try:
        _check_trusted(path, os.fstat(descriptor))
        return decoded(path, os.read(descriptor, MAX_TEXT_BYTES + 1), what)
    except OSError as problem:
        raise HostError(f"cannot read {path}: {problem.strerror}") from problem
    finally:
        os.close(descriptor)


def decoded(path: str, data: bytes, what: str = DEFINITION) -> str:
    """The text of such a file by its bytes.

    Raises: UsageError
    """
    if len(data) > MAX_TEXT_BYTES:
        raise UsageError(f"{path}: it has more than {MAX_TEXT_BYTES} bytes: that is no {what}")
    try:
        return data.decode().replace("\r\n", "\n")
    except UnicodeDecodeError as problem:
        line = data.count(b"\n", 0, problem.start) + 1
        raise UsageError(
            f"{path}:{line}: a byte that is no UTF-8, {data[problem.start]:#x}; save it as UTF-8"
        ) from None


def _check_trusted(path: str, status: os.stat_result) -> None:
    """See that nobody else has had a hand in a file that is found without being named.

    Raises: HostError
    """
    directory = os.path.dirname(path)
    of_system = paths.system_definitions_dir()
    system = bool(of_system) and directory in (of_system, os.path.dirname(of_system))
    own = paths.definitions_dir()
    if not system and directory not in (own, os.path.dirname(own)):
        return  # who names a path means that file
    owners = {ROOT} if system else {ROOT, os.getuid()}
    others = stat.S_IWGRP | stat.S_IWOTH if system else stat.S_IWOTH
    try:
        above = os.stat(directory)
    except OSError as problem:
        raise HostError(f"cannot look at {directory}: {problem.strerror}") from problem
    for what, found in ((path, status), (directory, above)):
        if found.st_uid not in owners or found.st_mode & others:
            whose = "root" if system else "you"
            mode = "go-w" if system else "o-w"
            raise HostError(
                f"{what}: refused, as others than {whose} may write it: have it belong to {whose}, "
                f"and `chmod {mode} {what}`"
            )


def save(umid: str, text: str) -> str:
    """Write a user's own definition of a guest; return its path.

    Raises: HostError
    """
    path = own_path(umid)
    try:
        os.makedirs(os.path.dirname(path), 0o700, exist_ok=True)
        write_atomically(path, text.encode())
    except OSError as problem:
        raise HostError(f"cannot write {path}: {problem.strerror}") from problem
    return path


def remove(umid: str) -> str:
    """Remove a user's own definition of a guest; return the path that it had.

    Raises: NoGuest, HostError
    """
    path = own_path(umid)
    try:
        os.unlink(path)
    except FileNotFoundError:
        system = path_of(umid)
        more = f"; {system} is the system's, and root removes it" if system else ""
        raise NoGuest(f"no guest {umid} is defined: there is no {path}{more}") from None
    except OSError as problem:
        raise HostError(f"cannot remove {path}: {problem.strerror}") from problem
    return path
