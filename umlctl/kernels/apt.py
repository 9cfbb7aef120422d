"""apt-get, asked by any user for packages of Debian that are not to be installed.

It uses the package lists of the system first. Where there are none, or old ones, it uses lists of
umlctl's own, kept in the cache. So this works on a machine where `apt-get update` was never run.
What another release of Debian has, or a system without the package, comes by lists of Debian's in
the cache; the system's sources stay as they are.

The downloads are as safe as apt makes them: it verifies signatures and checksums, and Debian's keys
come in a package that the system's own keys vouch for.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

from umlctl.errors import HostError, UsageError
from umlctl.host import paths

if TYPE_CHECKING:
    from collections.abc import Callable

_KEYS: Final = "debian-archive-keyring"
_KEYRINGS: Final = Path("/usr/share/keyrings")
_DEBIAN: Final = "http://deb.debian.org/debian"
_KNOWN: Final = "trixie"
"""The release that is taken where the system has no such package."""
_RELEASE: Final = re.compile(r"[a-z]+(?:-backports)?")
_PROGRAM_TIMEOUT: Final = 1800
"""How long one program may take, seconds: a download over a slow line takes its time, but nothing
waits for ever."""

# Hooks are for the system's lists and want root; translations are half of a download.
_CONFIGURATION: Final = """\
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
Acquire::Languages "none";
APT::Sandbox::User "";
"""


def check(what: str) -> None:
    """See that the programs are there.

    what: is to be fetched

    Raises: HostError
    """
    for program in ("apt-get", "dpkg-deb"):
        if shutil.which(program) is None:
            raise HostError(
                f"cannot fetch {what}: there is no {program} here, and no other way is known than "
                "Debian's package"
            )


def check_release(release: str) -> str:
    """The name of a release of Debian.

    Raises: UsageError
    """
    if not _RELEASE.fullmatch(release):
        raise UsageError(
            f"--release takes a release of Debian, such as trixie, trixie-backports or sid, and "
            f"not {release!r}"
        )
    return release


def install(package: str, say: Callable[[str], None]) -> bool:
    """Install a package, as root; False if this system has no such package.

    Raises: HostError
    """
    say(f"installing the package {package}")
    words = (
        "install",
        "--yes",
        "--no-install-recommends",
        "--option=DPkg::Lock::Timeout=300",
        package,
    )
    if run_apt(*words) is not None:
        say("reading the package lists first: apt-get update")
        insist("read the package lists", run_apt("update"))
        problem = run_apt(*words)
        if problem is not None and is_unknown(problem):
            return False
        insist(f"install {package}", problem)
    return True


def download(package: str, directory: Path, say: Callable[[str], None]) -> Path:
    """Have apt put a package into a directory; its file.

    Raises: HostError
    """
    say(f"downloading the package {package}; no root needed")
    if run_apt("download", package, cwd=directory) is None:
        return _downloaded(package, directory)
    own = _private("host")
    problem = run_apt(*own, "download", package, cwd=directory)  # by lists of an earlier fetch
    if problem is not None:
        say("reading the package lists first: apt-get update, in the cache")
        insist("read the package lists", run_apt(*own, "update"))
        say(f"downloading the package {package}")
        problem = run_apt(*own, "download", package, cwd=directory)
    if problem is not None and is_unknown(problem):
        say("this system has no such package; taking Debian's")
        own = _private("debian", _KNOWN, _keys(directory, own))
        insist("read Debian's package lists", run_apt(*own, "update"))
        problem = run_apt(*own, "download", package, cwd=directory)
    insist(f"download {package}", problem)
    return _downloaded(package, directory)


class Release:
    """The packages of a release of Debian, whatever this system is."""

    def __init__(self, name: str, directory: Path, say: Callable[[str], None]) -> None:
        """Read its lists.

        directory: for what is needed meanwhile

        Raises: UsageError, HostError
        """
        self.name = check_release(name)
        self._say = say
        here = next(_KEYRINGS.glob(f"{_KEYS}.[gp]*"), None)
        keys = here or _keys(directory, _private("host"))
        self._options = _private(name, name, keys)
        say(f"reading the package lists of {name}: apt-get update, in the cache")
        problem = run_apt(*self._options, "update")
        if problem is not None and "does not have a Release file" in problem:
            shutil.rmtree(_home(name), ignore_errors=True)
            raise UsageError(
                f"--release {name}: Debian's mirror has no such release; there are bookworm, "
                "trixie, trixie-backports, sid and others"
            )
        insist(f"read the package lists of {name}", problem)

    def needs(self, package: str) -> str:
        """What a package depends on, as its list says.

        Raises: HostError: there is no such package
        """
        words = ("apt-cache", *self._options, "show", "--no-all-versions", package)
        problem, said = run(*words)
        lines = [line for line in said if line.startswith(("Depends: ", "Package: "))]
        if problem is not None or not lines:
            raise HostError(f"{self.name} has no package {package} for this machine")
        return " ".join(line for line in lines if line.startswith("Depends: "))

    def download(self, package: str, directory: Path) -> Path:
        """Raises: HostError"""
        self._say(f"downloading the package {package} of {self.name}; no root needed")
        problem = run_apt(*self._options, "download", package, cwd=directory)
        insist(f"download {package} of {self.name}", problem)
        return _downloaded(package, directory)


def needs(package: str) -> str:
    """What a package of this system depends on; empty where its lists do not say."""
    problem, said = run("apt-cache", "show", "--no-all-versions", package)
    return "" if problem else " ".join(line for line in said if line.startswith("Depends: "))


def extract(package: Path, tree: Path) -> None:
    """Raises: HostError"""
    problem, _ = run("dpkg-deb", "--extract", str(package), str(tree))
    insist(f"unpack {package.name}", problem)


def _downloaded(package: str, directory: Path) -> Path:
    found = next(directory.glob(f"{package}_*.deb"), None)
    if found is None:
        raise HostError(f"apt-get download {package} left no package")
    return found


def _keys(directory: Path, own: list[str]) -> Path:
    """Debian's keys, from a package of this system.

    Raises: HostError
    """
    insist(f"download {_KEYS}", run_apt(*own, "download", _KEYS, cwd=directory))
    tree = directory / "keys"
    extract(_downloaded(_KEYS, directory), tree)
    found = next((tree / "usr/share/keyrings").glob(f"{_KEYS}.[gp]*"), None)
    if found is None:
        raise HostError(f"{_KEYS} has no keyring in it")
    return found


def _home(name: str) -> Path:
    """Where apt's state and lists of this name are."""
    return Path(paths.cache_dir(), "apt", name)


def _private(name: str, release: str = "", keys: Path | None = None) -> list[str]:
    """Options that give apt state and lists of umlctl's own.

    With `release` and `keys` they are that one's of Debian, else those of the system's sources.
    """
    state = _home(name)
    for directory in ("state/lists/partial", "cache/archives/partial"):
        (state / directory).mkdir(parents=True, exist_ok=True)
    configuration = state.parent / "apt.conf"
    configuration.write_text(_CONFIGURATION)
    options = [
        f"--config-file={configuration}",
        f"--option=Dir::State={state}/state",
        f"--option=Dir::Cache={state}/cache",
        "--option=Dir::State::status=/var/lib/dpkg/status",
    ]
    if keys is not None:
        sources = state / "sources.list"
        sources.write_text(f"deb [signed-by={keys}] {_DEBIAN} {release} main\n")
        options += [
            f"--option=Dir::Etc::sourcelist={sources}",
            "--option=Dir::Etc::sourceparts=-",
            "--option=Dir::Etc::preferences=-",
            "--option=Dir::Etc::preferencesparts=-",
        ]
    return options


def run_apt(*arguments: str, cwd: Path | None = None) -> str | None:
    """Run apt-get; None if it succeeded, else why it did not."""
    return run("apt-get", "--quiet", *arguments, cwd=cwd)[0]


def run(*command: str, cwd: Path | None = None) -> tuple[str | None, list[str]]:
    """Run a program: None if it succeeded, else why it did not; and the lines that it said."""
    environment = os.environ | {"LC_ALL": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive"}
    # Into a file: a process that the program leaves behind would hold a pipe open.
    with tempfile.TemporaryFile() as output:
        try:
            status = subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=cwd,
                env=environment,
                timeout=_PROGRAM_TIMEOUT,
                check=False,
            ).returncode
        except subprocess.TimeoutExpired:
            return f"it did not end within {_PROGRAM_TIMEOUT // 60} minutes", []
        except OSError as error:
            return error.strerror or str(error), []
        output.seek(0)
        lines = output.read().decode(errors="replace").split("\n")
    if status == 0:
        return None, lines
    complaints = [line[3:] for line in lines if line.startswith(("E: ", "W: "))]
    said = complaints or [line for line in lines if line.strip()]
    return "; ".join(said[-3:]) or f"exit status {status}", lines


def is_unknown(problem: str) -> bool:
    """Whether apt says that no source has the package."""
    return any(
        words in problem
        for words in ("Unable to locate", "no installation candidate", "has no candidate")
    )


def insist(what: str, problem: str | None) -> None:
    """Raises: HostError: there is a problem"""
    if problem is None:
        return
    hint = " (Debian has it for amd64 and i386)" if is_unknown(problem) else ""
    raise HostError(f"cannot {what}{hint}: {problem}")
