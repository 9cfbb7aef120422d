from __future__ import annotations

import gzip
import hashlib
import os
import shutil
import stat
import subprocess
import tarfile
from typing import TYPE_CHECKING

import pytest

from tests.images import Files, docker, oci, tar
from umlctl.errors import HostError
from umlctl.storage.image_tree import Node
from umlctl.storage.oci_archive import is_one, unpack

if TYPE_CHECKING:
    from pathlib import Path


def got(path: str, place: Path) -> dict[str, Node]:
    (place / "out").mkdir()
    nodes, _ = unpack(path, f"{place}/out", 100)
    return {each.path: each for each in nodes}


LOWER: Files = {
    "etc": None,
    "etc/a": b"a",
    "etc/b": b"b",
    "opaque": None,
    "opaque/old": b"1",
    "opaque/deep": None,
    "opaque/deep/x": b"1",
    "turned": None,
    "turned/x": b"1",
    "lib": "usr/lib",
    "usr/lib": None,
    "usr/lib/x": b"1",
}
UPPER: Files = {
    "opaque/new": b"2",
    "opaque/.wh..wh..opq": b"",
    "etc/.wh.a": b"",
    "etc/.wh.none": b"",
    "etc/c": b"c",
    "turned": b"now a file",
    "lib/.wh.x": b"",
    ".wh..wh.plnk": None,
}


def test_layers_lie_one_over_the_other(tmp_path: Path) -> None:
    suid = tarfile.TarInfo("usr/lib/su")
    suid.mode, suid.uid, suid.gid, suid.mtime = 0o4755, 5, 6, 7
    path = oci(tmp_path / "a", gzip.compress(tar(LOWER)), tar(UPPER | {"su": suid}))
    assert is_one(path)
    found = got(path, tmp_path)
    assert set(found) == {
        *("/", "/etc", "/etc/b", "/etc/c", "/opaque", "/opaque/new", "/turned", "/lib", "/usr"),
        *("/usr/lib", "/usr/lib/su"),
    }
    assert found["/usr/lib/su"] == Node("/usr/lib/su", stat.S_IFREG | 0o4755, 5, 6, 7)
    assert (tmp_path / "out" / "turned").read_bytes() == b"now a file"
    assert sorted(os.listdir(tmp_path)) == ["a", "out"]


def test_docker_archive_has_the_same(tmp_path: Path) -> None:
    path = docker(tmp_path / "a", tar(LOWER), tar(UPPER))
    assert is_one(path)
    found = got(path, tmp_path)  # its last layer is its first once more, by a link
    assert {"/etc/a", "/etc/c", "/opaque/new", "/turned/x"} <= set(found)


def test_what_is_taken_away_and_put_back_in_one_layer_is_there(tmp_path: Path) -> None:
    path = docker(tmp_path / "a", tar({"a/x": b"1"}), tar({"a/x": b"2", "a/.wh.x": b""}))
    with tarfile.open(path) as archive:
        assert archive.getnames()[0].endswith("layer.tar")
    (tmp_path / "out").mkdir()
    unpack(oci(tmp_path / "b", tar({"a/x": b"1"}), tar({"a/x": b"2", "a/.wh.x": b""})),
           f"{tmp_path}/out", None)  # fmt: skip
    assert (tmp_path / "out" / "a" / "x").read_bytes() == b"2"


def test_layer_compressed_with_zstd_is_read_where_that_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = tar({"x": b"1"})
    if shutil.which("zstd"):
        packed = subprocess.run(["zstd", "-qc"], input=plain, stdout=-1, check=True).stdout
        assert "/x" in got(oci(tmp_path / "a", packed), tmp_path)
    monkeypatch.setattr(shutil, "which", lambda _name: None)
    with pytest.raises(HostError, match="apt install zstd"):
        unpack(oci(tmp_path / "b", b"\x28\xb5\x2f\xfd" + plain), f"{tmp_path}/out", None)


@pytest.mark.parametrize(
    ("upper", "said"),
    [
        ({"../.wh.x": b""}, "leads out of it"),
        ({"../../.wh..wh..opq": b""}, "leads out of it"),
        ({"a/.wh...": b""}, "takes no file away"),
        ({"a/.wh.": b""}, "takes no file away"),
        ({"../x": b""}, "leads out of it"),
    ],
)
def test_layer_that_leads_elsewhere_is_refused(tmp_path: Path, upper: Files, said: str) -> None:
    (tmp_path / "x").write_text("x")
    (tmp_path / "out").mkdir()
    with pytest.raises(HostError, match=said):
        unpack(oci(tmp_path / "a", tar(LOWER), tar(upper)), f"{tmp_path}/out", None)
    assert (tmp_path / "x").read_text() == "x"


def test_layer_takes_nothing_away_outside_by_a_link(tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "x").write_text("x")
    lower: Files = {"l": str(tmp_path / "kept")}
    upper: Files = {"l/.wh.x": b"", "l/.wh..wh..opq": b""}
    got(oci(tmp_path / "a", tar(lower), tar(upper)), tmp_path)
    assert (tmp_path / "kept" / "x").read_text() == "x"


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"index.json": b"{"}, "cannot be unpacked"),
        ({"index.json": b"[]"}, "cannot be unpacked"),
        ({"index.json": b'{"manifests": []}'}, "no image for"),
        ({"index.json": b'{"manifests": [{"digest": "md5:../x"}]}'}, "is no digest"),
        ({"index.json": b'{"manifests": [{"digest": "sha256:00"}]}'}, "lacks 'blobs/sha256/00'"),
        ({"index.json": b'{"manifests": [{"digest": "sha256:../../x"}]}'}, "is no digest"),
        ({"index.json": b'{"manifests": [{}]}'}, "lacks 'digest'"),
        ({"index.json": b'{"manifests": [{"digest": "sha256:1"}, {"digest": "sha256:2"}]}'},
         "several images"),
        ({"index.json": b'{"manifests": ["x"]}'}, "is none of an image"),
        ({"index.json": b'{"manifests": [{"platform": "x"}, {"platform": "y"}]}'},
         "is none of an image"),
        ({"index.json": b"[" * 200_000}, "is none of an image"),
        ({"index.json": b" " * (5 << 20)}, "has 5242880 bytes"),
    ],
)  # fmt: skip
def test_what_is_no_image_is_said(tmp_path: Path, changed: Files, said: str) -> None:
    (tmp_path / "out").mkdir()
    with pytest.raises(HostError, match=said):
        unpack(oci(tmp_path / "a", tar(LOWER), **changed), f"{tmp_path}/out", None)


def test_docker_archive_of_several_images_is_refused(tmp_path: Path) -> None:
    described = {"manifest.json": b'[{"Layers": []}, {"Layers": []}]'}
    with pytest.raises(HostError, match="there are 2 images in it"):
        unpack(docker(tmp_path / "b", b"", **described), f"{tmp_path}/out", None)


def test_layer_that_is_not_what_its_name_says_is_refused(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    layer = tar({"x": b"1"})
    name = f"blobs/sha256/{hashlib.sha256(layer).hexdigest()}"
    path = oci(tmp_path / "a", layer, **{name: tar({"x": b"2"})})
    with pytest.raises(HostError, match="is not what its name says"):
        unpack(path, f"{tmp_path}/out", None)
    assert os.listdir(tmp_path / "out") == []


def test_archive_of_a_tree_is_none(tmp_path: Path) -> None:
    trees: list[Files] = [{"etc": None, "manifest.json": b""}, {"./": None, "./bin": ""}]
    for number, files in enumerate(trees):
        (tmp_path / str(number)).write_bytes(tar(files))
        assert not is_one(f"{tmp_path}/{number}")
    (tmp_path / "x").write_bytes(b"nothing")
    assert not is_one(f"{tmp_path}/x")
