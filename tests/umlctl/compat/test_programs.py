from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import umlctl
from tests.conftest import echo
from umlctl.compat import programs

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.conftest import Bare

ROOT = Path(umlctl.__file__).parent.parent
HEAVY = {
    *("trio", "click", "msgspec", "prompt_toolkit", "rich", "re", "socket", "json", "enum"),
    *("typing", "argparse", "pathlib", "dataclasses", "asyncio", "subprocess", "importlib"),
    *("contextlib", "functools", "collections", "logging", "readline", "shutil"),
}


def test_readme_has_each_program() -> None:
    text = (ROOT / "README.md").read_text()
    said = text[: text.index("`umlctl compat DIR`")].rpartition("\n\n")[2]
    assert [name for name in programs.PROGRAMS if f"`{name}`" not in said] == []


SCRIPT = """
import sys
sys.path.insert(0, {root!r})
before = set(sys.modules)
from umlctl.entry import main
code = main({argv!r})
print(*sorted(set(sys.modules) - before), file=sys.stderr)
sys.exit(code)
"""


def imported(*argv: str) -> tuple[int, str, set[str]]:
    """How a command line ended, what it printed, and what it imported."""
    script = SCRIPT.format(root=str(ROOT), argv=list(argv))
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", script],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stdout, set(done.stderr.splitlines()[-1].split())


@pytest.mark.parametrize("name", programs.PROGRAMS)
def test_program_is_found_by_its_name(name: str) -> None:
    found = programs.find(f"/usr/local/lib/uml/{name}")
    assert found is not None
    assert found is programs.find(name)
    assert (found.__module__, found.__name__) == (f"umlctl.compat.{name}", "main")


@pytest.mark.parametrize("path", ["umlctl", "/usr/bin/umlctl", "", "/", "uml_mconsole/", "asking"])
def test_other_names_are_no_program(path: str) -> None:
    assert programs.find(path) is None


@pytest.mark.parametrize("name", ["/usr/bin/umlctl", "umlctl", "/x/umlctl/__main__.py"])
def test_umlctl_loads_none_of_it(bare: Callable[..., Bare], name: str) -> None:
    code, out, modules = imported(name, "version", bare(echo).path)
    assert (code, out) == (0, "version\n")
    assert not {each for each in modules if each.startswith("umlctl.compat")}


@pytest.mark.parametrize(
    ("name", "words", "code", "said"),
    [
        ("uml_mconsole", [], 1, "Usage : uml_mconsole socket-name"),
        ("uml_moo", [], 1, "uml_moo usage:"),
        ("uml_mkcow", ["x"], 2, "uml_mkcow usage:"),
        ("tunctl", ["-h"], 1, "Create: tunctl"),
        ("uml_switch", ["-h"], 1, "Usage : uml_switch"),
        ("linux", ["mem=64M"], 127, "/bin/true is not a UML kernel"),
        ("xl", ["nonsense"], 1, "command not implemented"),
    ],
)
def test_each_is_called_by_its_link(
    tmp_path: Path, name: str, words: list[str], code: int, said: str
) -> None:
    link = tmp_path / name
    link.symlink_to(ROOT / "scripts" / "umlctl")
    done = subprocess.run(
        [sys.executable, link, *words],
        env={**os.environ, "UMLCTL_KERNEL": "/bin/true"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout) == (code, "")
    assert said in done.stderr


def test_each_is_called_so() -> None:
    marks = test_each_is_called_by_its_link.pytestmark  # type: ignore[attr-defined]
    assert [case[0] for case in marks[0].args[1]] == list(programs.PROGRAMS)


def test_other_names_are_umlctls_own(bare: Callable[..., Bare]) -> None:
    code, out, _ = imported("/usr/bin/uctl", "version", bare(echo).path)
    assert (code, out) == (0, "version\n")


def test_mconsole_asks_without_anything_heavy(bare: Callable[..., Bare]) -> None:
    code, out, modules = imported("/opt/uml/uml_mconsole", bare(echo).path, "version")
    assert (code, out) == (0, "OK version\n")
    assert "umlctl.compat.uml_mconsole" in modules
    assert not modules & HEAVY
