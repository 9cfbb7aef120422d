from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from umlctl.errors import HostError
from umlctl.storage import journal
from umlctl.storage.cow import Header

if TYPE_CHECKING:
    from pathlib import Path


def test_merge_that_has_begun_is_written_down_with_what_the_header_said(tmp_path: Path) -> None:
    path = f"{tmp_path}/a.cow"
    assert (journal.read_journal(path), journal.interrupted(path)) == (None, "")
    journal.begin_merge(path, Header(3, "/base.img", 7, 512))
    assert journal.read_journal(path) == journal.Journal(backing="/base.img", mtime=7, size=512)
    assert journal.interrupted(path).startswith(f"a merge of {path} into its backing file was int")
    journal.forget(journal.journal_of(path))
    assert list(tmp_path.iterdir()) == []


def test_reset_that_was_interrupted_is_said(tmp_path: Path) -> None:
    path = f"{tmp_path}/a.cow"
    (tmp_path / "a.cow.reset").touch()
    said = journal.interrupted(path)
    assert said == f"a reset of {path} was interrupted: `umlctl cow check {path}` finishes it"
    assert f"{tmp_path}/a.cow.reset" in journal.both_of(path)


def test_backing_file_whose_name_no_journal_can_have_is_refused(tmp_path: Path) -> None:
    with pytest.raises(HostError, match="in no UTF-8"):
        journal.begin_merge(f"{tmp_path}/a.cow", Header(3, "/\udcff", 7, 512))
    assert list(tmp_path.iterdir()) == []
