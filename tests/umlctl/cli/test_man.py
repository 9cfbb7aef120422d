from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from umlctl.cli import man
from umlctl.errors import HostError


@pytest.mark.parametrize("page", man.PAGES)
def test_each_page_is_found(page: str) -> None:
    path = man.path_of(page)
    assert path.endswith(f"/{page}.{man.PAGES[page]}")
    assert Path(path).read_text().startswith(".Dd ")


def test_every_page_of_the_manual_is_offered() -> None:
    pages = {path.name for path in (Path(__file__).parents[3] / "man").iterdir()}
    assert pages == {f"{page}.{section}" for page, section in man.PAGES.items()}


def show(*arguments: str, path: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "umlctl", "man", *arguments],
        env=os.environ | {"PATH": path},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_page_is_shown_by_whatever_reader_there_is(tmp_path: Path) -> None:
    reader = tmp_path / "mandoc"
    reader.write_text('#!/bin/sh\necho "$@"\n')
    reader.chmod(0o755)
    shown = show("mconsole", path=str(tmp_path))
    assert shown.stdout == f"-a {man.path_of('mconsole')}\n"
    assert shown.returncode == 0


def test_missing_reader_and_unknown_page_are_said(tmp_path: Path) -> None:
    shown = show(path=str(tmp_path))
    assert "apt install man-db" in shown.stderr
    assert shown.returncode == HostError.code
    assert show("ls", path=str(tmp_path)).returncode == 2
