from __future__ import annotations

from pathlib import Path

from umlctl.cli import man, migrating
from umlctl.cli.migration_rows import SECTIONS

ROWS = [row for section in SECTIONS for row in section.rows]


def test_text_has_each_row_on_lines_that_fit() -> None:
    text = migrating.text()
    assert all(len(line) <= 80 for line in text.splitlines())
    plain = " ".join(text.split())
    for row in ROWS:
        assert f"{row.theirs} {row.here}" in plain


def test_manual_page_is_made_of_the_rows() -> None:
    page = Path(man.path_of("umlctl-migrating"))
    assert page.read_text() == migrating.page(), migrating.__doc__


def test_page_has_each_row_once() -> None:
    page = migrating.page()
    assert page.count('\n.It "') == len(ROWS)
    for section in SECTIONS:
        assert f"\n.Sh {section.title.upper()}\n" in page
