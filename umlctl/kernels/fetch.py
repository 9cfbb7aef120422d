"""Fetching the UML kernel from the distribution, as root or as any user.

Debian has it in the package `user-mode-linux`. Root installs the package. For any other user,
apt-get downloads it, which needs no privilege, and it is unpacked into the cache. apt-get uses the
package lists of the system first. Where there are none, or old ones, it uses lists of umlctl's own,
kept in the cache too. So this works on a machine where `apt-get update` was never run.

Ubuntu has no such package (none from 24.04 to 26.04), but has Debian's keys. There every user, root
too, gets Debian's package into the cache; the system's sources stay as they are.

The downloads are as safe as apt makes them: it verifies signatures and checksums, and Debian's keys
come in a package that the system's own keys vouch for.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

from umlctl.errors import HostError
from umlctl.host import paths
from umlctl.kernels import find

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["PACKAGE", "fetch"]

PACKAGE: Final = "user-mode-linux"
_KEYS: Final = "debian-archive-keyring"
_DEBIAN: Final = "http://deb.debian.org/debian trixie main"
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

_ELSE: Final = (
    f"name a kernel that you have with --kernel PATH or ${find.KERNEL_VARIABLE} "
    "(one built from source with `make ARCH=um` serves)"
)


def fetch(say: Callable[[str], None]) -> str:
    """Install the kernel, or unpack it into the cache; return its absolute path.

    `say` is told what is happening, a line at a time.

    Raises: HostError
    """
    for program in ("apt-get", "dpkg-deb"):
        if shutil.which(program) is None:
            raise HostError(
                f"cannot fetch a UML kernel: there is no {program} here, and no other way is "
                f"known than Debian's package {PACKAGE}; {_ELSE}"
            )
    installed = _install(say) if os.geteuid() == 0 else None
    return installed or _unpack(say)


def _install(say: Callable[[str], None]) -> str | None:
    """Install the package, as root; None if this system has no such package."""
    say(f"installing the package {PACKAGE}")
    install = [
        "install",
        "--yes",
        "--no-install-recommends",
        "--option=DPkg::Lock::Timeout=300",
        PACKAGE,
    ]
    if _apt(*install) is not None:
        say("reading the package lists first: apt-get update")
        _insist("read the package lists", _apt("update"))
        problem = _apt(*install)
        if problem is not None and _is_unknown(problem):
            return None
        _insist(f"install {PACKAGE}", problem)
    path = shutil.which("linux.uml")
    if path is None:
        raise HostError(f"{PACKAGE} was installed, but there is no linux.uml in PATH; {_ELSE}")
    return path


def _unpack(say: Callable[[str], None]) -> str:
    cache = Path(find.cache())
    with _alone(cache, say), tempfile.TemporaryDirectory(dir=cache, prefix=".new-") as new:
        package = _download(Path(new), say)
        home = cache / package.stem
        kernel = home / find.IN_PACKAGE
        if not kernel.exists():
            say(f"unpacking into {home}")
            tree = Path(new, "tree")
            _extract(package, tree)
            if not os.access(tree / find.IN_PACKAGE, os.X_OK):
                raise HostError(f"{package.name} has no {find.IN_PACKAGE} in it; {_ELSE}")
            # A directory there without a kernel in it was damaged by hand.
            shutil.rmtree(home, ignore_errors=True)
            tree.rename(home)
    return str(kernel)


def _download(directory: Path, say: Callable[[str], None]) -> Path:
    """Have apt put the package into `directory`."""
    say(f"downloading the package {PACKAGE}; no root needed")
    if _apt("download", PACKAGE, cwd=directory) is None:
        return _downloaded(PACKAGE, directory)
    own = _private("host")
    problem = _apt(*own, "download", PACKAGE, cwd=directory)  # with the lists of an earlier fetch
    if problem is not None:
        say("reading the package lists first: apt-get update, in the cache")
        _insist("read the package lists", _apt(*own, "update"))
        say(f"downloading the package {PACKAGE}")
        problem = _apt(*own, "download", PACKAGE, cwd=directory)
    if problem is not None and _is_unknown(problem):
        say("this system has no such package; taking Debian's")
        own = _private("debian", _keys(directory, own))
        _insist("read Debian's package lists", _apt(*own, "update"))
        problem = _apt(*own, "download", PACKAGE, cwd=directory)
    _insist(f"download {PACKAGE}", problem)
    return _downloaded(PACKAGE, directory)


def _downloaded(package: str, directory: Path) -> Path:
    found = next(directory.glob(f"{package}_*.deb"), None)
    if found is None:
        raise HostError(f"apt-get download {package} left no package; {_ELSE}")
    return found


def _extract(package: Path, tree: Path) -> None:
    problem = _run("dpkg-deb", "--extract", str(package), str(tree))
    _insist(f"unpack {package.name}", problem)


def _keys(directory: Path, own: list[str]) -> Path:
    """Debian's keys, from a package of this system."""
    _insist(f"download {_KEYS}", _apt(*own, "download", _KEYS, cwd=directory))
    tree = directory / "keys"
    _extract(_downloaded(_KEYS, directory), tree)
    found = next((tree / "usr/share/keyrings").glob(f"{_KEYS}.[gp]*"), None)
    if found is None:
        raise HostError(f"{_KEYS} has no keyring in it; {_ELSE}")
    return found


def _private(name: str, keys: Path | None = None) -> list[str]:
    """Options that give apt state and lists of umlctl's own.

    With `keys` they are Debian's lists, else those of the system's sources.
    """
    home = Path(paths.cache_dir(), "apt")
    state = home / name
    for directory in ("state/lists/partial", "cache/archives/partial"):
        (state / directory).mkdir(parents=True, exist_ok=True)
    configuration = home / "apt.conf"
    configuration.write_text(_CONFIGURATION)
    options = [
        f"--config-file={configuration}",
        f"--option=Dir::State={state}/state",
        f"--option=Dir::Cache={state}/cache",
        "--option=Dir::State::status=/var/lib/dpkg/status",
    ]
    if keys is not None:
        sources = state / "sources.list"
        sources.write_text(f"deb [signed-by={keys}] {_DEBIAN}\n")
        options += [
            f"--option=Dir::Etc::sourcelist={sources}",
            "--option=Dir::Etc::sourceparts=-",
            "--option=Dir::Etc::preferences=-",
            "--option=Dir::Etc::preferencesparts=-",
        ]
    return options


@contextlib.contextmanager
def _alone(cache: Path, say: Callable[[str], None]) -> Iterator[None]:
    """Hold the cache's lock, and remove what fetches that were killed have left."""
    try:
        cache.mkdir(parents=True, exist_ok=True)
        lock = os.open(cache / ".lock", os.O_CREAT | os.O_RDWR, 0o600)
    except OSError as error:
        raise HostError(
            f"cannot write to {cache}: {error.strerror}; set XDG_CACHE_HOME to a directory of yours"
        ) from error
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("waiting for another `umlctl setup` to end")
            fcntl.flock(lock, fcntl.LOCK_EX)
        for left in cache.glob(".new-*"):
            shutil.rmtree(left, ignore_errors=True)
        yield
    finally:
        os.close(lock)


def _apt(*arguments: str, cwd: Path | None = None) -> str | None:
    return _run("apt-get", "--quiet", *arguments, cwd=cwd)


def _run(*command: str, cwd: Path | None = None) -> str | None:
    """Run a program; None if it succeeded, else why it did not."""
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
            return f"it did not end within {_PROGRAM_TIMEOUT // 60} minutes"
        except OSError as error:
            return error.strerror or str(error)
        output.seek(0)
        lines = output.read().decode(errors="replace").split("\n")
    if status == 0:
        return None
    complaints = [line[3:] for line in lines if line.startswith(("E: ", "W: "))]
    said = complaints or [line for line in lines if line.strip()]
    return "; ".join(said[-3:]) or f"exit status {status}"


def _is_unknown(problem: str) -> bool:
    """Whether apt says that no source has the package."""
    return any(
        words in problem
        for words in ("Unable to locate", "no installation candidate", "has no candidate")
    )


def _insist(what: str, problem: str | None) -> None:
    if problem is None:
        return
    hint = " (Debian has it for amd64 and i386)" if _is_unknown(problem) else ""
    raise HostError(f"cannot {what}{hint}: {problem}; {_ELSE}")
