"""Archives of container images, as tests make them."""

from __future__ import annotations

import hashlib
import io
import json
import platform
import tarfile
from typing import TYPE_CHECKING, Any

from umlctl.storage.oci_archive import _MACHINES

if TYPE_CHECKING:
    from pathlib import Path

Files = dict[str, Any]
HERE = _MACHINES.get(platform.machine(), platform.machine())


def tar(files: Files) -> bytes:
    """An archive: bytes make a file, None a directory, text a link, and a TarInfo itself."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as archive:
        for name, what in files.items():
            info = what if isinstance(what, tarfile.TarInfo) else tarfile.TarInfo(name)
            if what is None:
                info.type, info.mode = tarfile.DIRTYPE, 0o755
            elif isinstance(what, str):
                info.type, info.linkname = tarfile.SYMTYPE, what
            elif isinstance(what, bytes):
                info.size = len(what)
            archive.addfile(info, io.BytesIO(what if isinstance(what, bytes) else b""))
    return made.getvalue()


def oci(path: Path, *layers: bytes, **changed: Any) -> str:
    blobs = {hashlib.sha256(each).hexdigest(): each for each in layers}

    def put(what: object) -> str:
        data = json.dumps(what).encode()
        blobs[hashlib.sha256(data).hexdigest()] = data
        return f"sha256:{hashlib.sha256(data).hexdigest()}"

    described = [{"digest": f"sha256:{hashlib.sha256(each).hexdigest()}"} for each in layers]
    manifest = {"digest": put({"layers": described}), "platform": {"architecture": HERE}}
    other = {"digest": put({"layers": []}), "platform": {"architecture": "pdp11"}}
    inner = {"digest": put({"manifests": [other, manifest]}),
             "mediaType": "application/vnd.oci.image.index.v1+json"}  # fmt: skip
    index: object = {"manifests": [inner]}
    files: Files = {f"blobs/sha256/{number}": data for number, data in blobs.items()}
    files |= {"oci-layout": b"{}", "index.json": json.dumps(index).encode(), **changed}
    path.write_bytes(tar(files))
    return str(path)


def docker(path: Path, *layers: bytes, **changed: Any) -> str:
    files: Files = {f"{index:064x}/layer.tar": each for index, each in enumerate(layers)}
    names = [*files]
    files["f" * 64 + "/layer.tar"] = f"../{names[0]}"
    names.append("f" * 64 + "/layer.tar")
    files["manifest.json"] = json.dumps([{"Layers": names}]).encode()
    path.write_bytes(tar(files | changed))
    return str(path)
