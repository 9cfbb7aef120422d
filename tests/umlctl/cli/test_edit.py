from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from umlctl import exitcodes
from umlctl.definitions import files

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.umlctl.cli.conftest import Started

    Edits = Callable[[str], None]


@pytest.fixture
def edits(started: Started, house: str, monkeypatch: pytest.MonkeyPatch) -> Edits:
    """Has the editor do what a shell's commands do to $1."""
    monkeypatch.delenv("VISUAL", raising=False)
    files.save("web", 'mem = "1G"\n')

    def edits(commands: str) -> None:
        monkeypatch.setenv("EDITOR", f"sh -c {shlex.quote(commands)} editor")

    return edits


def text() -> str:
    return Path(files.own_path("web")).read_text()


def draft() -> Path:
    return Path(files.own_path("web")).parent / ".web.draft.toml"


def test_what_is_sound_replaces_the_definition(started: Started, edits: Edits) -> None:
    edits('echo "ncpus = 2" >>"$1"')
    assert started.main("edit", "web") == 0
    assert started.out == f"web is defined anew in {files.own_path('web')}\n"
    assert text() == 'mem = "1G"\nncpus = 2\n'
    assert os.listdir(draft().parent) == ["web.toml"]


def test_what_is_left_as_it_was_is_not_written(started: Started, edits: Edits) -> None:
    before = os.stat(files.own_path("web"))
    edits("true")
    assert started.main("edit", "web") == 0
    assert started.out == "web is as it was\n"
    assert os.stat(files.own_path("web")) == before
    assert not draft().exists()


def test_what_is_wrong_is_kept_and_can_be_edited_again(started: Started, edits: Edits) -> None:
    edits('echo "ncpus = two" >>"$1"')
    assert started.main("edit", "web") == exitcodes.USAGE
    assert f"{draft()}:2: ncpus: " in started.err
    assert "`umlctl edit web` goes on with the draft" in started.err
    assert text() == 'mem = "1G"\n'
    edits('sed -i s/two/2/ "$1"')
    assert started.main("edit", "web") == 0
    assert f"going on with {draft()}" in started.err
    assert text() == 'mem = "1G"\nncpus = 2\n'
    assert not draft().exists()


def test_editor_that_fails_changes_nothing(started: Started, edits: Edits) -> None:
    edits('echo >>"$1"; exit 3')
    assert started.main("edit", "web") == exitcodes.FAILED
    assert f"ended with 3: nothing is changed; the draft is in {draft()}" in started.err
    assert text() == 'mem = "1G"\n'


def test_change_of_another_is_not_lost(started: Started, edits: Edits) -> None:
    edits(f'echo "ncpus = 2" >>"$1"; echo "ncpus = 3" >{files.own_path("web")}')
    assert started.main("edit", "web") == exitcodes.USAGE
    assert f"was changed meanwhile, and is left as it is; what you wrote is in {draft()}" in (
        started.err
    )
    assert text() == "ncpus = 3\n"
    assert "ncpus = 2" in draft().read_text()


def test_editor_is_the_users(
    started: Started, edits: Edits, monkeypatch: pytest.MonkeyPatch
) -> None:
    edits("exit 9")
    monkeypatch.setenv("VISUAL", "true")
    assert started.main("edit", "web") == 0
    monkeypatch.setenv("VISUAL", "/nowhere/editor")
    assert started.main("edit", "web") == exitcodes.FAILED
    assert "cannot run the editor /nowhere/editor" in started.err


def test_guest_must_be_defined(started: Started, edits: Edits) -> None:
    edits("true")
    assert started.main("edit", "db") == exitcodes.NO_GUEST
    assert "`umlctl define FILE db` defines it" in started.err
    assert started.main("edit", "./web.toml") == exitcodes.USAGE
