"""Kernels that are kept by name: copies, with their modules, that stay as they are whatever becomes
of the trees that they were built in. See `umlctl.kernels.registered` for where they are."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import shutil
import time
from typing import TYPE_CHECKING, Final, NamedTuple

from umlctl.errors import HostError, UsageError
from umlctl.host.files import remove_tree, write_atomically
from umlctl.kernels import modules, registered
from umlctl.kernels.registered import CURRENT, DEFAULT, FILE
from umlctl.storage.file_copy import copy_whole

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterator

    from umlctl.kernels.find import ProbedKernel

_ORIGIN: Final = "origin.json"
_LINKS_OF_BUILD: Final = ("build", "source")
"""Links in a directory of modules that lead to where they were built."""


class Registered(NamedTuple):
    """A kernel that is kept by name.

    Fields:
        path: of the kernel
        number: which of this name it is
        origin: where it was copied from; empty if nobody knows
        added: when, seconds since 1970
        before: those of this name that can be rolled back to, the newest last
        is_default: it is taken where no kernel is named
    """

    name: str
    path: str
    number: int
    origin: str
    added: float
    before: tuple[int, ...]
    is_default: bool


def load(name: str) -> Registered:
    """One by its name.

    Raises: HostError: there is none
    """
    path = registered.path_of(name)
    if not path:
        known = ", ".join(registered.names())
        more = f"there are {known}" if known else "`umlctl kernel add FILE --name NAME` adds one"
        raise HostError(f"no kernel is registered as {name!r}; {more}")
    above = os.path.dirname(path)
    number = int(os.path.basename(above))
    said = _said(above)
    added = said.get("added")
    return Registered(
        name,
        path,
        number,
        str(said.get("origin", "")),
        float(added) if isinstance(added, (int, float)) else os.stat(path).st_mtime,
        tuple(each for each in _numbers(name) if each < number),
        registered.default() == name,
    )


def origin_of(path: str) -> str:
    """What a kernel by this path is a copy of; empty: nobody says."""
    return str(_said(os.path.dirname(path)).get("origin", ""))


def _said(directory: str) -> dict[str, object]:
    """What was written down of the kernel in a directory."""
    with contextlib.suppress(OSError, ValueError), open(f"{directory}/{_ORIGIN}", "rb") as file:
        found = json.load(file)
        return found if isinstance(found, dict) else {}
    return {}


def load_all() -> list[Registered]:
    """All, by name.

    Raises: BadPlace
    """
    return [load(name) for name in registered.names()]


def name_for(kernel: ProbedKernel) -> str:
    """The name that a kernel gets if nobody says one: its version."""
    name = "".join(c if registered.is_name(f"x{c}") else "-" for c in kernel.version)[:64]
    return name if registered.is_name(name) else f"linux-{name}"


def size_of(kernel: ProbedKernel) -> int:
    """How much there is to copy of a kernel and its modules, bytes."""
    found = os.stat(kernel.path).st_size
    for above, directories, files in os.walk(modules.of_release(kernel) or "/none"):
        directories[:] = [name for name in directories if name not in _LINKS_OF_BUILD]
        for name in files:
            with contextlib.suppress(OSError):
                found += os.stat(f"{above}/{name}").st_size
    return found


def add(
    kernel: ProbedKernel,
    name: str,
    in_use: Container[str],
    say: Callable[[int], object],
    origin: str = "",
) -> Registered:
    """Keep a copy of a kernel and its modules; the one that had the name stays as the one before.

    in_use: kernels that guests have, which stay
    say: is told how many bytes more have been copied
    origin: where it comes from, where its path does not say it

    Raises: UsageError, HostError
    """
    if not registered.is_name(name):
        raise UsageError(
            f"no name for a kernel: {name!r}; letters, digits and . _ + - make one, 64 at most"
        )
    above = registered.directory(name)
    with _alone():
        try:
            os.makedirs(above, 0o700, exist_ok=True)
            number = max(_numbers(name), default=0) + 1
            new = f"{above}/.new~"
            os.mkdir(new, 0o755)
            try:
                _fill(new, kernel, say, origin or os.path.realpath(kernel.path))
                os.rename(new, f"{above}/{number}")
            finally:
                remove_tree(new)
            was = registered.path_of(name)
            _point(name, number)
            _prune(name, {f"{above}/{number}/{FILE}", was}, in_use)
        except OSError as problem:
            raise HostError(f"{kernel.path} cannot be kept as {name}: {problem}") from problem
        finally:
            with contextlib.suppress(OSError):
                os.rmdir(above)  # of a name that has no kernel
    return load(name)


def roll_back(name: str) -> Registered:
    """Turn to the kernel that a name had before; a second time, to the one before that.

    Raises: HostError: there is none
    """
    with _alone():
        found = load(name)
        if not found.before:
            raise HostError(f"there is no kernel before the one that {name} is now")
        try:
            _point(name, found.before[-1])
        except OSError as problem:
            raise HostError(f"{name} cannot be rolled back: {problem}") from problem
    return load(name)


def remove(name: str, in_use: Container[str]) -> None:
    """Remove all that is kept of a name.

    in_use: kernels that guests have

    Raises: HostError: there is none, or a guest has it
    """
    with _alone():
        load(name)
        above = registered.directory(name)
        for number in _numbers(name):
            if f"{above}/{number}/{FILE}" in in_use:
                raise HostError(
                    f"a guest has the kernel {name}, or is to have it: end that guest, and take "
                    "it away by `umlctl rm`, `umlctl disable` and `umlctl undefine`"
                )
        try:
            if registered.default() == name:
                os.unlink(registered.directory(DEFAULT))
            os.unlink(f"{above}/{CURRENT}")  # from here on it is none
            remove_tree(above)
        except OSError as problem:
            raise HostError(f"the kernel {name} cannot be removed: {problem}") from problem


def set_default(name: str) -> None:
    """Have a kernel be taken where none is named; empty: none is.

    Raises: HostError
    """
    with _alone():
        try:
            if name:
                load(name)
                _link(name, registered.directory(DEFAULT))
            else:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(registered.directory(DEFAULT))
        except OSError as problem:
            raise HostError(f"the kernel that is usual cannot be set: {problem}") from problem


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    """Keep all others from changing what is registered; what they left half done is removed.

    Raises: HostError
    """
    above = registered.directory()
    try:
        os.makedirs(above, 0o700, exist_ok=True)
        descriptor = os.open(f"{above}/.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as problem:
        raise HostError(f"kernels cannot be kept: {problem}") from problem
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise HostError("kernels are added or removed just now; try again") from None
        for name in os.listdir(above):
            if registered.is_name(name):
                remove_tree(f"{above}/{name}/.new~")
        yield
    finally:
        os.close(descriptor)


def _numbers(name: str) -> list[int]:
    """Which are kept of a name, the oldest first."""
    try:
        found = os.listdir(registered.directory(name))
    except OSError:
        return []
    return sorted(int(each) for each in found if each.isascii() and each.isdigit())


def _fill(new: str, kernel: ProbedKernel, say: Callable[[int], object], origin: str) -> None:
    """Copy a kernel and its modules into a directory.

    Raises: OSError, HostError
    """

    def copy(source: str, target: str) -> str:
        if not os.path.isfile(source):  # to open a FIFO would take for ever
            raise OSError(errno.EINVAL, "it is no file", source)
        with open(source, "rb") as reader, open(target, "xb") as writer:
            copy_whole(reader.fileno(), writer.fileno(), say)
            os.fsync(writer.fileno())
        shutil.copystat(source, target)
        return target

    os.chmod(copy(kernel.path, f"{new}/{FILE}"), 0o755)  # noqa: S103 - others may execute it
    there = modules.of_release(kernel)
    if there:
        shutil.copytree(
            there,
            f"{new}/lib/modules/{kernel.version}",
            ignore=shutil.ignore_patterns(*_LINKS_OF_BUILD),
            copy_function=copy,
            ignore_dangling_symlinks=True,
        )
    said = {"origin": origin, "added": time.time()}
    write_atomically(f"{new}/{_ORIGIN}", json.dumps(said).encode())


def _point(name: str, number: int) -> None:
    """Have one of a name be the current one."""
    _link(str(number), f"{registered.directory(name)}/{CURRENT}")


def _link(target: str, path: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(f"{path}~")
    os.symlink(target, f"{path}~")
    os.rename(f"{path}~", path)


def _prune(name: str, kept: Container[str], in_use: Container[str]) -> None:
    """Remove those of a name that are neither kept nor any guest's."""
    above = registered.directory(name)
    for number in _numbers(name):
        path = f"{above}/{number}/{FILE}"
        if path not in kept and path not in in_use:
            remove_tree(f"{above}/{number}")
