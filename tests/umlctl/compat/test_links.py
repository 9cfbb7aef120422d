from __future__ import annotations

import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from umlctl.compat import links
from umlctl.compat.programs import PROGRAMS
from umlctl.errors import HostError

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An installation of umlctl, by which the program is called."""
    path = tmp_path / "venv" / "umlctl"
    path.parent.mkdir()
    path.write_text(
        f"#!{sys.executable}\nimport sys\nfrom umlctl.entry import main\nsys.exit(main(sys.argv))\n"
    )
    path.chmod(0o755)
    monkeypatch.setattr(sys, "argv", [str(path), "compat"])
    return path


def test_links_are_made_and_lead_to_the_program(script: Path, tmp_path: Path) -> None:
    directory = tmp_path / "new" / "bin"
    made = links.make(str(directory))
    assert [(each.name, each.target, each.done) for each in made] == [
        (name, str(script), "made") for name in PROGRAMS
    ]
    assert sorted(os.listdir(directory)) == sorted(PROGRAMS)
    done = subprocess.run(
        [directory / "uml_mconsole"], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (1, "Usage : uml_mconsole socket-name [command]\n")


def test_links_lead_through_a_link_that_stays(
    script: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As pipx has one in ~/.local/bin, whatever becomes of what is behind it."""
    front = tmp_path / "umlctl"
    front.symlink_to(script)
    monkeypatch.setattr(sys, "argv", [str(front), "compat"])
    assert {each.target for each in links.make(str(tmp_path / "bin"))} == {str(front)}


def test_program_that_is_run_as_a_module_is_found_beside_the_interpreter(
    script: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", [str(tmp_path / "umlctl" / "__main__.py"), "compat"])
    monkeypatch.setattr(sys, "executable", str(script.parent / "python"))
    assert links.script() == str(script)
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    monkeypatch.setenv("PATH", f"/usr/nowhere:{script.parent}")
    assert links.script() == str(script)
    monkeypatch.setenv("PATH", "/usr/nowhere")
    with pytest.raises(HostError, match="no installed program 'umlctl'"):
        links.script()


def test_links_that_are_there_stay(script: Path, tmp_path: Path) -> None:
    links.make(str(tmp_path))
    before = {name: os.lstat(tmp_path / name).st_ino for name in PROGRAMS}
    assert {each.done for each in links.make(str(tmp_path))} == {"there"}
    assert {name: os.lstat(tmp_path / name).st_ino for name in PROGRAMS} == before


@pytest.mark.usefixtures("script")
def test_links_of_an_installation_that_is_gone_are_replaced(tmp_path: Path) -> None:
    (tmp_path / "uml_mconsole").symlink_to("/gone/bin/umlctl")
    assert links.make(str(tmp_path))[0].done == "made"
    assert (tmp_path / "uml_mconsole").exists()


@pytest.mark.usefixtures("script")
@pytest.mark.parametrize("kind", ["file", "link", "directory"])
def test_what_is_not_ours_is_left_and_nothing_is_made(tmp_path: Path, kind: str) -> None:
    directory = tmp_path / "bin"
    directory.mkdir()
    path = directory / list(PROGRAMS)[-1]
    if kind == "file":
        path.write_text("mine")
    elif kind == "link":
        path.symlink_to("/usr/bin/uml_mconsole")
    else:
        path.mkdir()
    before = os.lstat(path)
    with pytest.raises(HostError, match=f"{path}: there already, and no link to 'umlctl'|remove"):
        links.make(str(directory))
    assert os.listdir(directory) == [path.name]
    assert links.remove(str(directory)) == []
    assert os.lstat(path).st_ino == before.st_ino


@pytest.mark.usefixtures("script")
def test_only_links_of_ours_are_removed(tmp_path: Path) -> None:
    links.make(str(tmp_path / "bin"))
    (tmp_path / "bin" / "mine").symlink_to("/x/umlctl")
    assert [each.done for each in links.remove(str(tmp_path / "bin"))] == ["removed"] * len(
        PROGRAMS
    )
    assert os.listdir(tmp_path / "bin") == ["mine"]
    assert links.remove(str(tmp_path / "nix")) == []


@pytest.mark.usefixtures("script")
def test_directory_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(HostError, match=r"cannot make .*/file/bin: Not a directory"):
        links.make(str(tmp_path / "file" / "bin"))
    shutil.rmtree(tmp_path)
