"""The `dev` script, as far as it goes without setting anything up."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

DEV = Path(__file__).parents[2] / "dev"


def dev(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [DEV, *arguments],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_is_valid_shell() -> None:
    subprocess.run(["sh", "-n", DEV], check=True)


@pytest.mark.parametrize("arguments", [[], ["help"], ["--help"]])
def test_help_names_each_verb(arguments: list[str]) -> None:
    shown = dev(*arguments)
    assert shown.returncode == 0
    for verb in ("demo", "test", "bench", "venv", "help"):
        assert f"./dev {verb}" in shown.stdout


def test_unknown_verb_is_a_usage_error() -> None:
    shown = dev("tset")
    assert (shown.returncode, shown.stdout) == (2, "")
    assert "usage: ./dev demo" in shown.stderr


def test_missing_python_is_named(tmp_path: Path) -> None:
    shown = dev("venv", PYTHON="/nowhere/python3", XDG_CACHE_HOME=str(tmp_path))
    assert shown.returncode == 1
    assert "no /nowhere/python3 here" in shown.stderr


def test_old_python_is_named(tmp_path: Path) -> None:
    old = tmp_path / "python3"
    old.write_text('#!/bin/sh\ncase $1 in -V) echo Python 3.9.2;; esac\n[ "$2" = "" ]\n')
    old.chmod(0o755)
    shown = dev("venv", PYTHON=str(old), XDG_CACHE_HOME=str(tmp_path))
    assert shown.returncode == 1
    assert "Python 3.9.2 is too old: set PYTHON to 3.11 or later" in shown.stderr
