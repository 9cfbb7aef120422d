from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.cows import make
from umlctl.errors import HostError, UsageError
from umlctl.host import paths
from umlctl.state import image_store
from umlctl.state.file_identity import hold_of
from umlctl.state.leases import Use
from umlctl.state.records import DeviceEntry


def put(name: str) -> image_store.Image:
    with image_store.lock():
        Path(image_store.path_of(name)).write_bytes(bytes(8192))
        image_store.note(name, {"from": 'a "tree"', "size": 8192})
    return image_store.load(name)


def test_image_is_found_with_what_it_was_built_from(house: str) -> None:
    one = put("small")
    assert (one.size, one.recipe) == (8192, {"from": 'a "tree"', "size": 8192})
    assert image_store.names() == ["small"]
    Path(one.path.replace(".img", ".toml")).write_bytes(b"\xff = [")
    assert image_store.load("small").recipe == {}
    with image_store.lock():
        image_store.remove(one)
    assert os.listdir(paths.images_dir()) == ["lock"]
    with pytest.raises(HostError, match=r"there is no image 'small'; `umlctl image build`"):
        image_store.load("small")
    with pytest.raises(UsageError, match="an image's name"):
        image_store.load("../x")


def test_what_a_killed_builder_left_is_removed_and_one_builds_at_a_time(house: str) -> None:
    with image_store.lock():
        with image_store.workshop("x") as place:
            Path(f"{place}/file").touch()
        assert not os.path.exists(place)
        os.makedirs(f"{paths.images_dir()}/.y~/tree")
        with pytest.raises(HostError, match="another image is being built"), image_store.lock():
            pass
    with image_store.lock():
        assert os.listdir(paths.images_dir()) == ["lock"]


def test_image_in_use_is_refused(house: str) -> None:
    one = put("small")
    image_store.check_unused("image rm", one.path, list)
    entry = DeviceEntry(
        name="ubd0", asked="x", kernel="ubd0=x", holds=[hold_of(one.path, write=False)]
    )
    with pytest.raises(HostError, match="is read by demo as its ubd0"):
        image_store.check_unused("image rm", one.path, lambda: [Use("demo", entry)])
    over = make(paths.images_dir(), 16, [1], name="o", over=one.path)
    with pytest.raises(HostError, match=f"{over.cow} are over it"):
        image_store.check_unused("image rm", one.path, list)


def test_changed_image_replaces_none_that_a_guest_has_by_then(house: str) -> None:
    one = put("small")
    number = os.stat(one.path).st_ino
    entry = DeviceEntry(
        name="ubd0", asked="x", kernel="ubd0=x", holds=[hold_of(one.path, write=True)]
    )
    uses: list[Use] = []
    with (
        pytest.raises(HostError, match="is written by demo as its ubd0"),
        image_store.lock(),
        image_store.changed("image passwd small", one, lambda: uses),
    ):
        uses.append(Use("demo", entry))
    assert os.stat(one.path).st_ino == number
    uses.clear()
    with image_store.lock(), image_store.changed("image passwd small", one, lambda: uses):
        pass
    assert os.stat(one.path).st_ino != number
    assert sorted(os.listdir(paths.images_dir())) == ["lock", "small.img", "small.toml"]
