from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

from umlctl import exitcodes
from umlctl.definitions import files
from umlctl.host import paths

if TYPE_CHECKING:
    import pytest

    from tests.umlctl.cli.conftest import Supervisor


def test_images_are_listed_shown_resized_and_removed(supervisor: Supervisor, house: str) -> None:
    assert supervisor.main("image", "list", "--json") == 0
    assert json.loads(supervisor.out) == []
    os.makedirs(f"{house}/tree/sbin")
    Path(f"{house}/tree/sbin/init").write_text("x")
    words = ("image", "build", "mine", "--from", f"{house}/tree", "--size", "8M", "--json")
    assert supervisor.main(*words) == 0
    made = json.loads(supervisor.out)
    assert (made["name"], made["size"]) == ("mine", 8 << 20)
    assert supervisor.main("image", "list") == 0
    assert supervisor.out.splitlines()[1].split()[:2] == ["mine", "8.0M"]
    assert supervisor.main("image", "info", "mine") == 0
    assert "an ext file system" in supervisor.out
    assert supervisor.main("image", "lint", "mine") == 0
    assert supervisor.main("image", "lint", made["path"], "--json") == 0
    assert json.loads(supervisor.out)["problems"] == []
    assert supervisor.main("image", "resize", "mine", "16M") == 0
    assert supervisor.out == "mine has 16.0M now\n"
    assert supervisor.main("image", "resize", "mine", "4k") == exitcodes.FAILED
    assert os.stat(made["path"]).st_size == 16 << 20
    files.save("web", f'root = "{made["path"]}"\n')
    assert supervisor.main("image", "rm", "mine") == exitcodes.FAILED
    assert "image rm mine: web is defined or enabled with it; `umlctl undefine`" in supervisor.err
    files.remove("web")
    assert supervisor.main("image", "rm", "mine") == 0
    assert supervisor.main("image", "info", "mine") == exitcodes.FAILED
    assert supervisor.main("image", "lint", "/none/x") == exitcodes.FAILED


def test_what_fails_leaves_nothing(
    supervisor: Supervisor, house: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from umlctl.storage import ext4

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    os.mkdir(f"{house}/tree")
    monkeypatch.setattr(ext4, "make", full)
    assert supervisor.main("image", "build", "x", "--from", f"{house}/tree") == exitcodes.FAILED
    assert "No space left on device; make room there" in supervisor.err
    assert os.listdir(paths.images_dir()) == ["lock"]
