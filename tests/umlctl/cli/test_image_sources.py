from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

import pytest

from tests.images import oci, tar
from umlctl.cli.image_sources import gather
from umlctl.errors import UsageError
from umlctl.storage import image_setup

if TYPE_CHECKING:
    from pathlib import Path


def test_tree_is_a_users_own_and_an_archive_is_unpacked(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "x").write_text("x")
    os.utime(tree / "x", (9, 9))
    os.utime(tree, (7, 7))
    got = gather("build", str(tree), (), str(tmp_path), None)
    assert (got.is_ours, got.is_bare, got.moment) == (False, False, 9)
    assert got.tree.directory == str(tree)
    assert gather("build", str(tree), (), str(tmp_path), 5).moment == 5
    path = oci(tmp_path / "a", tar({"y": b"y"}))
    (tmp_path / "place").mkdir()
    got = gather("build", path, (), f"{tmp_path}/place", 5)
    assert (got.is_ours, got.tree.directory) == (True, f"{tmp_path}/place/tree")
    assert got.tree.read("/y") == b"y"


def test_busybox_is_bare_and_all_is_as_old_as_that(tmp_path: Path) -> None:
    got = gather("build", "host-busybox", (), str(tmp_path), None)
    assert got.is_bare
    assert {(each.uid, each.mtime) for each in got.tree.nodes} == {(0, got.moment)}
    assert stat.S_IMODE(os.stat(got.tree.directory).st_mode) == 0o755
    assert got.moment == int(os.stat(image_setup.static_busybox()).st_mtime)


@pytest.mark.parametrize(
    ("source", "packages", "said"),
    [
        ("none", (), "or a tree or archive that is there, not 'none'"),
        ("/dev/null", (), "or a tree or archive that is there"),
        ("host-busybox", ("vim",), "in another system, --run SCRIPT installs them"),
        ("debian:-x", (), "is a word such as bookworm, not '-x'"),
        ("debian", ("a b",), "is a word such as bookworm, not 'a b'"),
    ],
)
def test_what_cannot_be_gathered_is_said(
    tmp_path: Path, source: str, packages: tuple[str, ...], said: str
) -> None:
    with pytest.raises(UsageError, match=said):
        gather("build", source, packages, str(tmp_path), None)
    assert os.listdir(tmp_path) == []
