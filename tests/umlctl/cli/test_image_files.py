from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from umlctl import exitcodes
from umlctl.cli import image_guest
from umlctl.state import image_store
from umlctl.storage import converted

if TYPE_CHECKING:
    from tests.umlctl.cli.conftest import Supervisor


@pytest.fixture
def image(supervisor: Supervisor, house: str) -> str:
    """The path of an image `mine`."""
    os.mkdir(f"{house}/tree")
    words = ("image", "build", "mine", "--from", f"{house}/tree", "--size", "8M")
    assert supervisor.main(*words) == 0
    return image_store.path_of("mine")


def test_what_images_take_is_shown(supervisor: Supervisor, image: str, house: str) -> None:
    assert supervisor.main("image", "du", "--json") == 0
    (row,) = json.loads(supervisor.out)
    assert (row["name"], row["size"], row["used"] + row["free"]) == ("mine", 8 << 20, 8 << 20)
    Path(f"{house}/x").write_bytes(bytes(4096))
    assert supervisor.main("image", "du", "mine", f"{house}/x") == 0
    assert supervisor.out.splitlines()[2].split()[1:] == ["4.0K", "4.0K", "-", "-"]
    assert supervisor.main("image", "du", "none") == exitcodes.FAILED


def test_copy_is_whole_or_is_not_there(
    supervisor: Supervisor, image: str, house: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert supervisor.main("image", "export", "mine", f"{house}/copy") == 0
    assert Path(f"{house}/copy").read_bytes() == Path(image).read_bytes()
    assert supervisor.main("image", "export", "mine", f"{house}/copy") == exitcodes.FAILED
    assert "File exists" in supervisor.err
    assert supervisor.main("image", "export", "mine", f"{house}/none/x") == exitcodes.FAILED

    def archive(what: str, path: str, target: str, partition: int) -> None:
        assert (path, partition) == (image, 0)
        Path(target).write_text("files")

    monkeypatch.setattr(image_guest, "archive", archive)
    assert supervisor.main("image", "export", "mine", f"{house}/mine.tar") == 0
    assert Path(f"{house}/mine.tar").read_text() == "files"
    assert sorted(os.listdir(os.path.dirname(image))) == ["lock", "mine.img", "mine.toml"]


def test_other_formats_are_made_and_read(
    supervisor: Supervisor, image: str, house: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def convert(_source: str, kind: str, target: int, wanted: str, _say: object) -> None:
        asked.append((kind, wanted))
        os.write(target, b"QFI\xfb".ljust(4096, b"\0") if wanted == "qcow2" else bytes(4096))

    monkeypatch.setattr(converted, "convert", convert)
    assert supervisor.main("image", "convert", "mine", f"{house}/a.qcow2") == 0
    assert supervisor.main("image", "convert", f"{house}/a.qcow2", "other", "--json") == 0
    assert json.loads(supervisor.out)["path"] == image_store.path_of("other")
    assert image_store.load("other").recipe["format"] == "qcow2"
    assert asked == [("raw", "qcow2"), ("qcow2", "raw")]
    assert supervisor.main("image", "convert", "mine", "other") == exitcodes.FAILED
    assert "File exists" in supervisor.err


@pytest.mark.parametrize("target", ["x.zip", "./x", "a.b"])
def test_file_of_no_known_format_is_refused(
    supervisor: Supervisor, image: str, target: str
) -> None:
    assert supervisor.main("image", "convert", "mine", target) == exitcodes.USAGE
    assert "a file ends in one of .img, .raw, .qcow2" in supervisor.err
