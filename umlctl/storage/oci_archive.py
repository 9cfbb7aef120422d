"""Archives of container images: those of the OCI, and those that `docker save` writes.

Both are tar archives of layers, which are archives of trees themselves, and say which files of the
layers below they take away. Layers are unpacked one over the other, as an ordinary user.

Source: https://github.com/opencontainers/image-spec, image-layout.md and layer.md
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import posixpath
import shutil
import subprocess
import tarfile
import tempfile
from typing import IO, TYPE_CHECKING, Any, Final, NamedTuple

from umlctl.errors import HostError
from umlctl.storage.image_archive import DAMAGED, Unpacking

if TYPE_CHECKING:
    from collections.abc import Callable

    from umlctl.storage.image_tree import Node

MAX_JSON_BYTES: Final = 4 << 20
"""The largest description that is read, bytes."""
MAX_LAYERS: Final = 512
MAX_NESTED: Final = 4
"""How deep a list of images may be in others."""
WHITEOUT: Final = ".wh."
"""Stands before the name of a file that a layer takes away."""
OPAQUE: Final = ".wh..wh..opq"
"""Says that a layer takes away all that the ones below have in a directory."""
_TOP: Final = (".", "blobs", "repositories")
"""What may stand in such an archive before its descriptions."""
_ZSTD: Final = b"\x28\xb5\x2f\xfd"
_MACHINES: Final = {"x86_64": "amd64", "aarch64": "arm64", "i686": "386"}
"""What an image calls a machine."""


class _Layer(NamedTuple):
    """One layer.

    Fields:
        name: in the archive
        digest: of its bytes, with its kind before it; empty: not said
    """

    name: str
    digest: str


def is_one(path: str) -> bool:
    """Whether an archive is one of a container image.

    Raises: HostError, OSError
    """
    try:
        with tarfile.open(path) as archive:
            for member in archive:
                if posixpath.normpath(member.name) in ("oci-layout", "index.json", "manifest.json"):
                    return member.isreg()
                if not _may_precede(member.name):
                    return False
    except DAMAGED:
        pass
    return False


def _may_precede(name: str) -> bool:
    """A file may stand before the descriptions: layers and configurations, by their digests."""
    first = posixpath.normpath(name).split("/")[0]
    number = first.removesuffix(".json")
    return first in _TOP or (len(number) == 64 and not set(number) - set("0123456789abcdef"))


def unpack(
    path: str, tree: str, epoch: int | None, say: Callable[[int], object] = lambda _count: None
) -> tuple[list[Node], int]:
    """Unpack the layers of a container image into an empty directory.

    epoch: what nothing is newer than; None: no bound
    say: is told how many bytes more of files have been written

    Returns: what is in it, and how many devices were left out
    Raises: HostError, OSError
    """
    unpacking = Unpacking(tree, say)
    try:
        with tarfile.open(path) as archive:
            for layer in _layers(archive):
                place = os.path.dirname(tree)
                with (
                    tempfile.TemporaryFile(dir=place) as packed,
                    tempfile.TemporaryFile(dir=place) as plain,
                ):
                    _copy(archive, layer, packed)
                    with tarfile.open(fileobj=_unzstd(packed, plain)) as one:
                        _lay(one, unpacking)
    except (AttributeError, TypeError, RecursionError) as problem:
        raise HostError(
            f"{path} cannot be unpacked: what it says of its layers is none of an image ({problem})"
        ) from problem
    except DAMAGED as problem:
        said = problem if not isinstance(problem, KeyError) else f"it lacks {problem}"
        raise HostError(f"{path} cannot be unpacked: {said}") from problem
    return unpacking.nodes(epoch), unpacking.devices


def _lay(layer: tarfile.TarFile, unpacking: Unpacking) -> None:
    """Unpack a layer. What it takes away is of those below, wherever it says so."""
    for member in layer:
        above, name = posixpath.split(posixpath.normpath(member.name))
        if name == OPAQUE:
            unpacking.empty(above)
        elif name.startswith(WHITEOUT) and not name.startswith(WHITEOUT * 2):
            if name.removeprefix(WHITEOUT) in ("", ".", ".."):
                raise ValueError(f"{member.name!r} takes no file away")
            unpacking.remove(f"{above}/{name.removeprefix(WHITEOUT)}")
    unpacking.add(layer, skip=lambda name: posixpath.basename(name).startswith(WHITEOUT))


def _layers(archive: tarfile.TarFile) -> list[_Layer]:
    """Raises: HostError, ValueError, KeyError"""
    names = {posixpath.normpath(name) for name in archive.getnames()}
    if "index.json" in names:
        index = _json(archive, _Layer("index.json", ""))
        manifest = _json(archive, _chosen(archive, index, 0))
        layers = [_blob(each) for each in manifest["layers"]]
    elif "manifest.json" in names:
        found = _json(archive, _Layer("manifest.json", ""))
        if len(found) != 1:
            tags = ", ".join(str(each.get("RepoTags")) for each in found)
            raise HostError(f"there are {len(found)} images in it ({tags}); save one alone")
        layers = [_Layer(str(name), "") for name in found[0]["Layers"]]
    else:
        raise ValueError("it has neither index.json nor manifest.json")
    if len(layers) > MAX_LAYERS:
        raise ValueError(f"it has {len(layers)} layers")
    return layers


def _blob(described: dict[str, Any]) -> _Layer:
    """What an image names by its digest.

    Raises: ValueError
    """
    kind, _, number = str(described["digest"]).partition(":")
    if kind not in ("sha256", "sha512") or not number.isalnum():
        raise ValueError(f"{described['digest']!r} is no digest")
    return _Layer(f"blobs/{kind}/{number}", f"{kind}:{number}")


def _chosen(archive: tarfile.TarFile, index: dict[str, Any], depth: int) -> _Layer:
    """The image for this machine in a list of them.

    Raises: HostError, ValueError, KeyError
    """
    if depth > MAX_NESTED:
        raise ValueError("its lists of images are too deep")
    found = [
        each for each in index["manifests"] if "attestation" not in str(each.get("annotations"))
    ]
    machine = _MACHINES.get(platform.machine(), platform.machine())
    if len(found) > 1:
        found = [each for each in found if _platform(each) in ("", machine)]
    if len(found) != 1:
        many = "several images" if found else "no image"
        raise HostError(f"there is {many} for {machine} in it; save one alone")
    one = _blob(found[0])
    kind = str(found[0].get("mediaType", ""))
    if kind.endswith(("image.index.v1+json", "manifest.list.v2+json")):
        return _chosen(archive, _json(archive, one), depth + 1)
    return one


def _platform(described: dict[str, Any]) -> str:
    return str((described.get("platform") or {}).get("architecture", ""))


def _json(archive: tarfile.TarFile, file: _Layer) -> Any:
    """Raises: ValueError, KeyError"""
    member = _member(archive, file.name)
    if member.size > MAX_JSON_BYTES:
        raise ValueError(f"its {file.name} has {member.size} bytes")
    reader = archive.extractfile(member)
    assert reader is not None
    data = reader.read()
    if file.digest:
        kind, _, number = file.digest.partition(":")
        if hashlib.new(kind, data).hexdigest() != number:
            raise ValueError(f"its {file.name} is not what its name says")
    return json.loads(data)


def _member(archive: tarfile.TarFile, name: str) -> tarfile.TarInfo:
    """A file of an archive; `docker save` has links to layers that occur twice.

    Raises: KeyError, ValueError
    """
    wanted = posixpath.normpath(name)
    for _ in range(MAX_NESTED):
        found = next((each for each in archive if posixpath.normpath(each.name) == wanted), None)
        if found is None:
            raise KeyError(wanted)
        if found.isreg():
            return found
        if not found.issym() and not found.islnk():
            break
        above = posixpath.dirname(wanted) if found.issym() else ""
        wanted = posixpath.normpath(posixpath.join(above, found.linkname))
    raise ValueError(f"its {name} is no file")


def _copy(archive: tarfile.TarFile, layer: _Layer, file: IO[bytes]) -> None:
    """Raises: ValueError, KeyError, OSError"""
    reader = archive.extractfile(_member(archive, layer.name))
    assert reader is not None
    kind, _, number = layer.digest.partition(":")
    digest = hashlib.new(kind or "sha256")
    while piece := reader.read(1 << 20):
        digest.update(piece)
        file.write(piece)
    if number and digest.hexdigest() != number:
        raise ValueError(f"its {layer.name} is not what its name says")
    file.seek(0)


def _unzstd(packed: IO[bytes], plain: IO[bytes]) -> IO[bytes]:
    """A layer without zstd, which Python cannot read yet.

    plain: an empty file, for that

    Raises: HostError, ValueError, OSError
    """
    begin = packed.read(len(_ZSTD))
    packed.seek(0)
    if begin != _ZSTD:
        return packed
    program = shutil.which("zstd")
    if program is None:
        raise HostError("a layer is compressed with zstd, which is not here: apt install zstd")
    os.lseek(packed.fileno(), 0, os.SEEK_SET)  # where zstd begins to read
    words = [program, "-dcq"]
    done = subprocess.run(words, stdin=packed, stdout=plain, stderr=subprocess.DEVNULL, check=False)
    if done.returncode:
        raise ValueError("a layer that zstd cannot read")
    plain.seek(0)
    return plain
