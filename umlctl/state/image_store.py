"""Images that umlctl has built: one file each, and beside it what it was built from.

images/NAME.img      the image
images/NAME.toml     what it was built from
images/.NAME~/       where one is being built
images/lock          held by who builds, changes or removes one
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import tomllib
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from umlctl.errors import HostError, UsageError
from umlctl.host import naming, paths
from umlctl.host.files import remove_tree, write_atomically
from umlctl.state import leases
from umlctl.state.file_identity import check_free, hold_of
from umlctl.state.files_in_use import over, wanted_by
from umlctl.storage.file_copy import copy_whole

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from umlctl.state.leases import Use

_SUFFIX: Final = ".img"


class Image(NamedTuple):
    """One image.

    Fields:
        name, path: of it
        size, allocated: bytes
        recipe: what it was built from; empty if that is not known
    """

    name: str
    path: str
    size: int
    allocated: int
    recipe: dict[str, Any]


def path_of(name: str) -> str:
    """Where the image of a name is.

    Raises: UsageError
    """
    try:
        return f"{paths.images_dir()}/{naming.check_snapshot(name)}{_SUFFIX}"
    except naming.BadSnapshot as problem:
        raise UsageError(str(problem).replace("a snapshot's", "an image's")) from None


@contextlib.contextmanager
def lock() -> Iterator[None]:
    """Keep all others from building, changing and removing images; what they left half built is
    removed.

    Raises: HostError
    """
    directory = paths.images_dir()
    try:
        paths.make_run_dir()
        os.makedirs(directory, 0o700, exist_ok=True)
        descriptor = os.open(f"{directory}/lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as problem:
        raise HostError(f"the images cannot be locked: {problem}") from problem
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise HostError("another image is being built or changed; try again") from None
        for name in os.listdir(directory):
            if name.startswith(".") and name.endswith("~"):
                remove_tree(f"{directory}/{name}")
        yield
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def workshop(name: str) -> Iterator[str]:
    """A directory for the building of an image, which goes with the building."""
    place = f"{paths.images_dir()}/.{name}~"
    os.mkdir(place, 0o700)
    try:
        yield place
    finally:
        remove_tree(place)


@contextlib.contextmanager
def changed(what: str, image: Image, users: Callable[[], Iterable[Use]]) -> Iterator[str]:
    """A copy of an image, to be changed; then it takes the image's place, whole and at once, unless
    somebody has the image by then: what a guest writes to one without a name is lost.

    Its blocks are shared where the file system can do that. The caller holds `lock`.

    what: the command, for messages

    Raises: HostError, OSError
    """
    with workshop(image.name) as place:
        beside = f"{place}/image"
        source = os.open(image.path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            target = os.open(beside, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            try:
                copy_whole(source, target, lambda _count: None)
                yield beside
                os.fsync(target)
            finally:
                os.close(target)
        finally:
            os.close(source)
        _check_not_under(what, image.path)
        with leases.lock():
            check_free(what, [hold_of(image.path, write=True)], users())
            os.rename(beside, image.path)


def note(name: str, recipe: dict[str, Any]) -> None:
    """Write down what an image was built from.

    Raises: OSError
    """
    lines = [f"{key} = {json.dumps(value)}\n" for key, value in recipe.items()]
    write_atomically(f"{path_of(name).removesuffix(_SUFFIX)}.toml", "".join(lines).encode())


def load(name: str) -> Image:
    """An image by its name.

    Raises: UsageError, HostError
    """
    path = path_of(name)
    try:
        status = os.stat(path)
    except FileNotFoundError:
        known = ", ".join(names())
        more = f"there are {known}" if known else "`umlctl image build` makes one"
        raise HostError(f"there is no image {name!r}; {more}") from None
    except OSError as problem:
        raise HostError(f"cannot read {path}: {problem.strerror}") from problem
    recipe: dict[str, Any] = {}
    said = f"{path.removesuffix(_SUFFIX)}.toml"
    with contextlib.suppress(OSError, ValueError), open(said, "rb") as file:
        recipe = tomllib.load(file)
    return Image(name, path, status.st_size, status.st_blocks * 512, recipe)


def names() -> list[str]:
    """All images, sorted.

    Raises: BadPlace
    """
    found = paths.listed(paths.images_dir())
    return [
        name.removesuffix(_SUFFIX)
        for name in found
        if name.endswith(_SUFFIX) and not name.startswith(".")
    ]


def check_unused(what: str, path: str, users: Callable[[], Iterable[Use]]) -> None:
    """Refuse to have an image changed that a guest has, or that known COW files are over.

    Raises: HostError; OSError
    """
    with leases.lock():
        check_free(what, [hold_of(path, write=True)], users())
    _check_not_under(what, path)


def _check_not_under(what: str, path: str) -> None:
    """Raises: HostError: known COW files are over an image"""
    if others := over(path):
        raise HostError(
            f"{what}: {', '.join(others)} are over it, and would be worth nothing; "
            "merge or remove those first"
        )


def check_unwanted(what: str, image: Image) -> None:
    """Refuse to have an image removed that guests are to have which do not run.

    Raises: HostError; OSError
    """
    if guests := wanted_by(image.path):
        are = "are defined or enabled" if len(guests) > 1 else "is defined or enabled"
        raise HostError(
            f"{what}: {', '.join(guests)} {are} with it; `umlctl undefine` or `umlctl disable` "
            "first, or `umlctl edit`"
        )


def remove(image: Image) -> None:
    """Remove one; the caller holds `lock`.

    Raises: OSError
    """
    os.unlink(image.path)
    with contextlib.suppress(FileNotFoundError):
        os.unlink(f"{image.path.removesuffix(_SUFFIX)}.toml")
