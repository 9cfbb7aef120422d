"""Modules that were built in a tree and not installed: a directory of links to them, as modprobe(8)
wants it."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from umlctl.errors import HostError
from umlctl.host import paths

if TYPE_CHECKING:
    from collections.abc import Iterator

_STAMP: Final = "made"
_COPIED: Final = ("modules.order", "modules.builtin", "modules.builtin.modinfo")
"""What depmod(8) reads beside the modules."""
_DEPMOD_PATH: Final = ":/usr/sbin:/sbin"
"""Where depmod is; a user's PATH may lack it."""


def prepare(tree: str, release: str) -> str:
    """The directory of such modules by version, made anew if others were built since.

    Without depmod(8), which is in kmod, it has no index: modprobe finds nothing then, and insmod
    works.

    tree: where the kernel was built, with modules.order; release: its version

    Raises: HostError
    """
    key = hashlib.sha256(os.fsencode(tree)).hexdigest()[:16]
    place = f"{paths.cache_dir()}/modules/{key}"
    found = f"{place}/lib/modules"
    depmod = shutil.which("depmod", path=os.environ.get("PATH", "") + _DEPMOD_PATH)
    state = f"{_state(tree, release)}{depmod}\n"
    with suppress(OSError), open(f"{place}/{_STAMP}", encoding="utf-8") as file:
        if file.read() == state:
            return found
    new = f"{place}.{os.getpid()}"
    try:
        _make(tree, f"{new}/lib/modules/{release}")
        if depmod is not None:
            _index([depmod, "-b", new, release])
        with open(f"{new}/{_STAMP}", "w", encoding="utf-8") as file:
            file.write(state)
        shutil.rmtree(place, ignore_errors=True)
        os.rename(new, place)
    except OSError as problem:
        raise HostError(f"the modules of {tree} cannot be gathered: {problem}") from problem
    finally:
        shutil.rmtree(new, ignore_errors=True)
    return found


def _state(tree: str, release: str) -> str:
    """What changes when other modules are built.

    Raises: HostError
    """
    try:
        look = os.stat(f"{tree}/modules.order")
    except OSError as problem:
        raise HostError(f"{tree}/modules.order: {problem.strerror}") from None
    return f"{tree}\n{release}\n{look.st_mtime_ns} {look.st_size}\n"


def _make(tree: str, target: str) -> None:
    os.makedirs(target)
    os.symlink(tree, f"{target}/build")
    for name in _COPIED:
        with suppress(FileNotFoundError):
            shutil.copyfile(f"{tree}/{name}", f"{target}/{name}")
    for name in _built(tree):
        link = f"{target}/kernel/{name}"
        os.makedirs(os.path.dirname(link), exist_ok=True)
        os.symlink(f"{tree}/{name}", link)


def _built(tree: str) -> Iterator[str]:
    """The files of the modules, by their paths in the tree. Source: scripts/Makefile.modinst"""
    with open(f"{tree}/modules.order", encoding="utf-8", errors="surrogateescape") as file:
        for line in file:
            # Earlier kernels put a directory before, later ones name what a module is made of.
            name = line.strip().removeprefix("kernel/")
            name = f"{name.removesuffix('.o')}.ko" if name.endswith(".o") else name
            inside = not name.startswith("/") and ".." not in name.split("/")
            if name.endswith(".ko") and inside and os.path.isfile(f"{tree}/{name}"):
                yield name


def _index(command: list[str]) -> None:
    """Raises: HostError"""
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    if done.returncode:
        said = os.fsdecode(done.stderr).strip().splitlines()
        raise HostError(f"depmod: {said[-1] if said else done.returncode}")
