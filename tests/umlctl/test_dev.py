"""The `dev` script, with stand-ins for whatever sets something up."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

DEV = Path(__file__).parents[2] / "dev"
CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"
WHEELS = "/usr/share/python-wheels"
STAND_IN = """#!/bin/sh
echo "${0##*/} $*${PIP_CERT+ PIP_CERT=$PIP_CERT}" >>"$HOUSE/log"
make() {
    rm -rf "$1"
    mkdir -p "$1/bin"
    cp "$0" "$1/bin/python"
    cp "$0" "$1/bin/umlctl"
    echo "VIRTUAL_ENV='$1'" >"$1/bin/activate"
}
case $* in
-u) echo 1000 ;;
-V*) echo Python 3.13.5 ;;
'-m venv --clear --without-pip '*) make "$5" ;;
'-m venv --clear '*) [ -z "${LACKS_PIP-}" ] && make "$4" ;;
'-m zipfile -e '*)
    mkdir -p "$5/pip/_vendor/certifi"
    echo "$CERTIFICATES" >"$5/pip/_vendor/certifi/core.py"
    ;;
'-c import sysconfig'*) echo "$HOUSE/site" ;;
setup) echo /usr/bin/linux.uml ;;
esac
"""
"""Python, umlctl, apt-get and id of an ordinary user: each notes what it is told, and does what can
be seen of that."""


class Checkout:
    """A directory with the script, and what it is to have for programs of the host."""

    def __init__(self, house: Path) -> None:
        self.house = house
        self.top = house / "top"
        self.cache = house / "cache" / "umlctl" / "dev"
        (house / "bin").mkdir()
        self.top.mkdir()
        self.copy(DEV, self.top / "dev")
        for name in ("python3", "apt-get", "id"):
            self.stand_in(house / "bin" / name)

    def copy(self, old: Path, new: Path) -> None:
        """Copy the script, which finds nothing that only some hosts have."""
        text = old.read_text()
        for path in (CERTIFICATES, WHEELS):
            assert text.count(f"={path}\n") == 1
            text = text.replace(f"={path}\n", f"={self.house}{path}\n")
        new.write_text(text)
        new.chmod(0o755)

    def stand_in(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(STAND_IN)
        path.chmod(0o755)

    def dev(self, *arguments: str, **environment: str) -> str:
        """Run it to a good end; what it has printed."""
        done = self.run(*arguments, **environment)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def run(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        inherited = {name: value for name, value in os.environ.items() if name != "PIP_CERT"}
        own = {
            "HOUSE": str(self.house),
            "PATH": f"{self.house}/bin:{os.environ['PATH']}",
            "CERTIFICATES": f"{self.house}{CERTIFICATES}",
            "PYTHON": f"{self.house}/bin/python3",
            "XDG_CACHE_HOME": f"{self.house}/cache",
            "TMPDIR": str(self.house),
        }
        return subprocess.run(
            [self.top / "dev", *arguments],
            env=inherited | own | environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    def told(self, *words: str) -> list[str]:
        """What the stand-ins were told that begins so."""
        lines = (self.house / "log").read_text().splitlines()
        return [line for line in lines if line.startswith(" ".join(words))]


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path)


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


def test_demo_installs_what_umlctl_needs_and_nothing_else(checkout: Checkout) -> None:
    checkout.dev("demo")
    (installed,) = checkout.told("python", "-m pip install")
    assert installed.split()[-2:] == ["-e", "."]
    assert checkout.told("apt-get") == []
    assert checkout.told("umlctl setup") == ["umlctl setup"]
    project = tomllib.loads((DEV.parent / "pyproject.toml").read_text())["project"]
    assert len(project["dependencies"]) == 7, "as `demo` says"


@pytest.mark.parametrize("failing", ["", "ruff", "mypy", "pytest"])
def test_test_fails_if_and_only_if_one_of_its_steps_does(checkout: Checkout, failing: str) -> None:
    tools = re.search(r"^tools='(.*?)'", DEV.read_text(), re.MULTILINE | re.DOTALL)
    assert tools is not None
    names = [each.partition("=")[0] for each in tools[1].split()]
    for name in (*names, "ruff", "mypy", "pytest"):
        checkout.stand_in(checkout.house / "bin" / name)
    if failing:
        (checkout.house / "bin" / failing).write_text("#!/bin/sh\nexit 3\n")
    done = checkout.run("test")
    assert done.returncode == (1 if failing else 0), done
    assert ("dev: all passed" in done.stderr) == (not failing)
    assert checkout.told("mypy") == ([] if failing == "mypy" else ["mypy "])


def test_demo_ends_with_how_to_have_umlctl(checkout: Checkout) -> None:
    assert checkout.dev("demo").endswith(
        "\n"
        "To have umlctl in this terminal:\n"
        f"  . {checkout.top}/.venv/bin/activate\n"
        "To keep it (apt install pipx; pipx ensurepath):\n"
        f"  pipx install {checkout.top}\n"
    )


def test_environment_of_a_copied_checkout_is_made_anew(checkout: Checkout) -> None:
    checkout.dev("demo")
    assert len(checkout.told("python3", "-m venv")) == 1
    (checkout.top / "hatch_build.py").write_text("changed\n")
    checkout.dev("demo")
    assert len(checkout.told("python3", "-m venv")) == 1, "it is this one's own"
    copied = checkout.house / "copied"
    shutil.copytree(checkout.top, copied)
    checkout.top = copied
    checkout.dev("demo")
    made = checkout.told("python3", "-m venv")
    assert made[1:] == [f"python3 -m venv --clear {copied}/.venv"]
    assert (copied / ".venv/bin/activate").read_text() == f"VIRTUAL_ENV='{copied}/.venv'\n"


def test_pip_trusts_what_came_with_it_on_a_host_without_certificates(checkout: Checkout) -> None:
    """Whose Python has no pip either. A `cert` of the user's pip.conf is left alone."""
    wheel = Path(f"{checkout.cache}/pip{checkout.house}{WHEELS}/pip-25.whl")
    authority = checkout.cache / "pip/usr/share/ca-certificates/mozilla/A.crt"
    for file, text in ((wheel, ""), (authority, "authority\n")):
        file.parent.mkdir(parents=True)
        file.write_text(text)
    checkout.dev("demo", LACKS_PIP="1")
    core = (checkout.house / "site/pip/_vendor/certifi/core.py").read_text()
    assert core == f"{checkout.cache}/ca.crt\n"
    assert (checkout.cache / "ca.crt").read_text() == "authority\n"
    installed = checkout.told("python", "-m pip install")
    assert len(installed) == 2
    assert not any("PIP_CERT" in line for line in installed)
