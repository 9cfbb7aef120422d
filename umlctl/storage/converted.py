"""Images in the formats of other programs, from and to which qemu-img converts.

What is read may be anybody's. A file of such a format may name others, whose bytes would be in
what is made of it: those are refused.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, Any, Final

from umlctl.errors import HostError
from umlctl.host import dependent
from umlctl.storage import images
from umlctl.storage.file_copy import copy_whole

if TYPE_CHECKING:
    from collections.abc import Callable

FORMATS: Final = {
    ".img": "raw",
    ".raw": "raw",
    ".qcow2": "qcow2",
    ".vmdk": "vmdk",
    ".vdi": "vdi",
    ".vhdx": "vhdx",
    ".vhd": "vpc",
}
"""What a file is, by the end of its name, in the words of qemu-img."""
_KNOWN: Final = {
    "a qcow2 image": "qcow2",
    "a VMDK image": "vmdk",
    "a VDI image": "vdi",
    "a VHDX image": "vhdx",
    "a VHD image": "vpc",
    "a QED image": "qed",
    "a Parallels image": "parallels",
}
_REFERENCES: Final = ("backing-filename", "full-backing-filename", "data-file")


def kind_of(path: str) -> str:
    """The format of a file, by its first bytes; "raw" of what is none that is known.

    Raises: HostError: it is one that cannot be converted; OSError
    """
    found = images.read(path)
    if found is None or found.kind not in (images.FORMAT, images.PACKED):
        return "raw"
    if found.what in _KNOWN:
        return _KNOWN[found.what]
    remedy = found.remedy(path) if found.kind == images.PACKED else ""
    raise HostError(f"{path} is {found.what}, and no image{f': `{remedy}`' if remedy else ''}")


def convert(source: str, kind: str, target: int, wanted: str, say: Callable[[int], object]) -> None:
    """Make an empty, open file what an image is, in another format or the same.

    kind, wanted: formats, in the words of qemu-img
    say: is told how many bytes more have been copied, where that is done here

    Raises: HostError, OSError
    """
    if kind == wanted == "raw":
        descriptor = os.open(source, os.O_RDONLY | os.O_CLOEXEC)
        try:
            copy_whole(descriptor, target, say)
        finally:
            os.close(descriptor)
        return
    if kind != "raw":
        _check_alone(source, kind)
    words = ["convert", "-f", kind, "-O", wanted, source, f"/proc/self/fd/{target}"]
    shows = ["-p"] if sys.stderr.isatty() else []
    _qemu_img([words[0], *shows, *words[1:]], target, stdout=sys.stderr.fileno() if shows else None)


def _check_alone(path: str, kind: str) -> None:
    """Raises: HostError: a file leads to others"""
    said = _qemu_img(["info", "--output=json", "-f", kind, path], None, stdout=subprocess.PIPE)
    try:
        found: dict[str, Any] = json.loads(said)
        data = (found.get("format-specific") or {}).get("data") or {}
        extents = data.get("extents") or []
    except (ValueError, AttributeError) as problem:
        raise HostError(f"qemu-img says of {path} what cannot be read: {problem}") from problem
    others = [str(each[name]) for each in (found, data) for name in _REFERENCES if name in each]
    others += [
        str(each.get("filename"))
        for each in extents
        if os.path.realpath(str(each.get("filename"))) != os.path.realpath(path)
    ]
    if others:
        raise HostError(
            f"{path} is over another file, {others[0]}, which would be copied with it; if that is "
            f"yours, `qemu-img convert {path} whole.qcow2` makes one of both"
        )


def _qemu_img(words: list[str], target: int | None, *, stdout: int | None) -> bytes:
    """Raises: HostError, OSError"""
    program = shutil.which("qemu-img")
    if program is None:
        raise HostError("there is no qemu-img, which knows such images: apt install qemu-utils")
    done = dependent.run(
        [program, *words],
        stdout=subprocess.DEVNULL if stdout is None else stdout,
        stderr=subprocess.PIPE,
        pass_fds=() if target is None else (target,),
    )
    if done.returncode:
        lines = done.stderr.decode("utf-8", "backslashreplace").strip().splitlines()
        said = lines[-1] if lines else f"it ended with {done.returncode}"
        place = f"/proc/self/fd/{target}"
        raise HostError(
            f"qemu-img: {said.removeprefix('qemu-img: ').replace(place, 'the new file')}"
        )
    return done.stdout or b""
