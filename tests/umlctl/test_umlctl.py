"""What `import umlctl` has, and how little it takes."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import umlctl

TYPED = Path(umlctl.__file__).with_suffix(".pyi")


def test_names_have_types_and_are_there() -> None:
    tree = ast.parse(TYPED.read_text())
    typed = {
        (node.module, alias.name)
        for node in tree.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    named = {(module, name) for module, names in vars(umlctl)["_LIBRARY"].items() for name in names}
    assert named == typed
    for _, name in named:
        assert getattr(umlctl, name).__name__ == name
        assert name in dir(umlctl)
    with pytest.raises(AttributeError, match="no_such"):
        getattr(umlctl, "no_such")  # noqa: B009


def test_package_alone_imports_nothing() -> None:
    program = (
        "import sys; before = set(sys.modules); import umlctl; umlctl.__version__;"
        "print(sorted(set(sys.modules) - before))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert done.stdout == "['umlctl']\n"
