"""docs/library.md, as its reader tries it: from top to bottom, each example as it stands."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.live.conftest import DEADLINE, House

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
DOCUMENT = ROOT / "docs" / "library.md"


def blocks(text: str) -> Iterator[tuple[str, str]]:
    """The examples of a text, each with the file that it is, or nothing."""
    yield from re.findall(r"```python(?: file=(\S+))?\n(.*?)```", text, re.DOTALL)


def run(house: House, directory: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", *words],
        cwd=directory,
        env={**house.env, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=4 * DEADLINE,
        check=False,
    )


@pytest.mark.timeout(300)
def test_examples_run_one_after_the_other(empty_house: House, tmp_path: Path) -> None:
    code = "".join(code for name, code in blocks(DOCUMENT.read_text()) if not name)
    (tmp_path / "examples.py").write_text(code)
    done = run(empty_house, tmp_path, "examples.py")
    assert (done.returncode, done.stderr) == (0, ""), (done.stdout, done.stderr)
    assert [name for name, row in empty_house.rows().items() if row["state"] != "dead"] == []
    assert "plain passed \nboots passed \nflies failed \n" in done.stdout, done.stdout
    assert done.stdout.endswith("0\n1\n2\n\n"), done.stdout


def test_example_of_the_readme_runs(empty_house: House, tmp_path: Path) -> None:
    ((_, code),) = blocks((ROOT / "README.md").read_text())
    (tmp_path / "disk.img").write_text("here\n")
    done = run(empty_house, tmp_path, "-c", code)
    assert "disk.img" in done.stdout, done
    assert (done.returncode, done.stderr) == (0, "")


def test_examples_of_tests_pass(empty_house: House, tmp_path: Path) -> None:
    for name, code in blocks(DOCUMENT.read_text()):
        if name:
            (tmp_path / name).write_text(code)
    plugin = ("-p", "umlctl.pytest_plugin", "-p", "no:cacheprovider")
    done = run(empty_house, tmp_path, "-m", "pytest", *plugin, "--rootdir", str(tmp_path))
    assert "2 passed" in done.stdout, done.stdout


def test_examples_have_types(tmp_path: Path) -> None:
    code = "".join(code for name, code in blocks(DOCUMENT.read_text()) if not name)
    (tmp_path / "examples.py").write_text(code)
    command = ["-m", "mypy", "--strict", "--cache-dir", str(tmp_path / "cache"), "examples.py"]
    done = subprocess.run(
        [sys.executable, *command],
        cwd=tmp_path,
        env={"MYPYPATH": str(ROOT), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
