"""Building a UML kernel of its source, by the kernel's own make.

What is built stands in a directory of its own in the cache, by source and by what was asked for, so
that a build which was interrupted goes on where it was, and the next one of a changed tree compiles
what has changed. A tree in which its user has built stays that: there it is built in place, as it
is configured.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
import shutil
import subprocess
from typing import TYPE_CHECKING, Final, NamedTuple

from umlctl.errors import HostError, UsageError
from umlctl.host.files import write_atomically
from umlctl.kernels import configuration, source

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from umlctl.kernels.source import Source

TYPICAL_STEPS: Final = 2000
"""How many files a first build compiles and links; what it is to have changes that a little."""
_TOOLS: Final = ("make", "flex", "bison", "bc")
_COMPILER: Final = ("gcc", "ld")
_STEP: Final = re.compile(r"  [A-Z][A-Z0-9_]*(?: \[[A-Z]+\])? +(\S+)\s*")
"""A line of make's. Source: scripts/Kbuild.include, quiet_cmd"""
_ERROR: Final = re.compile(r"error|\*\*\*|undefined reference|No space left", re.IGNORECASE)
_INHERITED: Final = ("MAKEFLAGS", "MFLAGS", "MAKELEVEL", "MAKEOVERRIDES", "KBUILD_OUTPUT", "ARCH")
"""Variables of a make that umlctl runs under, and others, which change what is built where."""
_MAX_LINES: Final = 12
_CONFIG: Final = ".config"
_ASKED: Final = "umlctl-asked"
_STEPS: Final = "umlctl-steps"
LOG: Final = "umlctl-build.log"


class Build(NamedTuple):
    """What is to be built, and where.

    Fields:
        source: of what
        objects: the directory where it is built, which may be the tree
        notes: the directory of what umlctl writes down of it, which is that one but for a tree
        features: of `umlctl.kernels.configuration`
        own: settings of the user's, which win
    """

    source: Source
    objects: str
    notes: str
    features: tuple[str, ...]
    own: Mapping[str, str]

    @property
    def in_place(self) -> bool:
        return self.objects == self.source.tree


def plan(found: Source, features: tuple[str, ...], own: Mapping[str, str]) -> Build:
    """Where a source is to be built.

    Raises: UsageError, HostError
    """
    tree = found.tree
    is_configured = os.path.exists(f"{tree}/{_CONFIG}") or os.path.exists(f"{tree}/include/config")
    if is_configured:
        _check_in_place(found, features, own)
    # Other settings of a user's are the same build, of which make builds again what they change.
    asked = "\n".join((tree, *features, "own" if own else ""))
    key = hashlib.sha256(os.fsencode(asked)).hexdigest()[:12]
    title = re.sub(r"[^\w.+-]", "-", found.title)
    notes = f"{source.place()}/objects/{title}-{key}"
    return Build(found, tree if is_configured else notes, notes, features, own)


def _check_in_place(found: Source, features: Sequence[str], own: Mapping[str, str]) -> None:
    """See that a tree can be built that is configured.

    Raises: UsageError, HostError
    """
    if features or own:
        raise UsageError(
            f"{found.tree} is configured, and is built as it is: leave --with and --config out, or "
            "set it there (`make ARCH=um menuconfig`); after `make ARCH=um mrproper`, which "
            "forgets that, umlctl configures it elsewhere"
        )
    if _read_config(found.tree).get("UML") != "y":
        raise HostError(
            f"{found.tree} is configured for another architecture than um: `make mrproper` there "
            "forgets that, or take another tree, such as one of `git worktree add`"
        )


def check_tools() -> None:
    """See that the programs are there that a build takes.

    Raises: HostError
    """
    wanted = _TOOLS if os.environ.get("LLVM") else (*_TOOLS, *_COMPILER)
    lacks = [name for name in wanted if shutil.which(name) is None]
    if lacks:
        packages = " ".join(dict.fromkeys("binutils" if n == "ld" else n for n in lacks))
        raise HostError(
            f"cannot build a kernel: there is no {', '.join(lacks)} here; "
            f"`apt install {packages}`, with libc6-dev where that is not there, has them"
        )


@contextlib.contextmanager
def alone(build: Build) -> Iterator[int]:
    """Hold the lock of what is built; a descriptor that has it, for make to have it as well: it may
    outlive this process for a moment.

    Raises: HostError: somebody else builds there
    """
    try:
        os.makedirs(build.notes, exist_ok=True)
        path = f"{build.notes}/umlctl-lock"
        lock = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    except OSError as problem:
        raise HostError(f"cannot build in {build.notes}: {problem.strerror}") from problem
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield lock
    except BlockingIOError:
        raise HostError(f"another `umlctl kernel build` builds in {build.objects} now") from None
    finally:
        os.close(lock)


def configure(build: Build, lock: int) -> list[str]:
    """Configure what is to be built, unless it is; the user's own settings that it did not take.

    Raises: HostError
    """
    if build.in_place:
        _make(build, ["olddefconfig"], lock)
        return []
    asked = configuration.settings(build.features, build.own)
    text = configuration.write(asked)
    has_config = os.path.exists(f"{build.objects}/{_CONFIG}")
    if not has_config or _text_of(f"{build.notes}/{_ASKED}") != text:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(f"{build.notes}/{_ASKED}")
        _make(build, ["defconfig"], lock)
        with open(f"{build.objects}/{_CONFIG}", "a", encoding="utf-8") as file:
            file.write(text)  # of a symbol that is there twice, the last counts
    _make(build, ["olddefconfig"], lock)
    got = _read_config(build.objects)
    lacks = configuration.lacking({**configuration.required(build.features), **build.own}, got)
    for feature in build.features:
        needed = configuration.FEATURES[feature].settings.keys() - build.own.keys()
        if missing := [symbol for symbol in lacks if symbol in needed]:
            raise HostError(_why_not(build, feature, missing[0]))
    write_atomically(f"{build.notes}/{_ASKED}", text.encode())
    return [symbol for symbol in lacks if symbol in build.own]


def _why_not(build: Build, feature: str, symbol: str) -> str:
    """Why a source cannot have a feature."""
    about = configuration.FEATURES[feature].help
    said = f"{build.source.title} cannot be built with {feature} ({about})"
    if not _knows(build.source.tree, symbol):
        return f"{said}: it has no CONFIG_{symbol}; take another source, as by --release"
    return (
        f"{said}: CONFIG_{symbol} is not as it must be, since something else that was asked for "
        "excludes it, or what it depends on cannot be had here"
    )


def _knows(tree: str, symbol: str) -> bool:
    """Whether a source has a symbol."""
    wanted = re.compile(rb"^(?:menu)?config %s\s*$" % symbol.encode(), re.MULTILINE)
    for above, directories, files in os.walk(tree):
        directories[:] = [name for name in directories if name not in (".git", "Documentation")]
        for name in files:
            if name.startswith("Kconfig"):
                with contextlib.suppress(OSError), open(f"{above}/{name}", "rb") as file:
                    if wanted.search(file.read()):
                        return True
    return False


def compile_all(build: Build, jobs: int, lock: int, say: Callable[[int, str], None]) -> str:
    """Build the kernel and its modules; the kernel's file.

    say: is told how many steps are done, those of builds that were interrupted too, and of what
        file the last was

    Raises: HostError
    """
    path = f"{build.notes}/{_STEPS}"
    text = _text_of(path)
    done = int(text) if text.isascii() and text.isdigit() else 0
    started = done

    def hear(line: str) -> None:
        nonlocal done
        if match := _STEP.fullmatch(line.rstrip("\n")):
            done += 1
            say(done, match[1])

    try:
        _make(build, [f"-j{jobs}", "all"], lock, hear)
    except BaseException:
        with contextlib.suppress(OSError):
            write_atomically(path, str(done).encode(), sync=False)
        raise
    if done != started:
        write_atomically(path, b"0", sync=False)
    kernel = f"{build.objects}/linux"
    if not os.path.exists(kernel):
        raise HostError(f"make has built no {kernel}; see {build.notes}/{LOG}")
    return kernel


def is_first(build: Build) -> bool:
    """Whether nothing was built to its end there, so that all is to be compiled."""
    return not os.path.exists(f"{build.objects}/linux")


def _make(
    build: Build, words: list[str], lock: int, hear: Callable[[str], None] | None = None
) -> None:
    """Run the kernel's make, with a log of what it says.

    Raises: HostError
    """
    where = [] if build.in_place else [f"O={build.objects}"]
    command = ["make", "-C", build.source.tree, *where, "ARCH=um", *words]
    environment = {k: v for k, v in os.environ.items() if k not in _INHERITED} | {"LC_ALL": "C"}
    log = f"{build.notes}/{LOG}"
    try:
        with (
            open(log, "w", 1, encoding="utf-8", errors="replace") as kept,
            subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env=environment,
                pass_fds=(lock,),
                encoding="utf-8",
                errors="replace",
            ) as make,
        ):
            assert make.stdout is not None
            for line in make.stdout:
                kept.write(line)
                if hear is not None:
                    hear(line)
    except OSError as problem:
        raise HostError(f"cannot build in {build.objects}: {problem}") from problem
    if make.returncode:
        said = "\n".join(_errors(_text_of(log)))
        raise HostError(
            f"{' '.join(command)} has failed, with status {make.returncode}; all that it said is "
            f"in {log}:\n{said}"
        )


def _errors(log: str) -> list[str]:
    """The lines of a log that say why make has failed."""
    lines = [line for line in log.splitlines() if line.strip() and not _STEP.fullmatch(line)]
    return ([line for line in lines if _ERROR.search(line)] or lines[-_MAX_LINES:])[:_MAX_LINES]


def _read_config(directory: str) -> dict[str, str]:
    path = f"{directory}/{_CONFIG}"
    return configuration.read(_text_of(path), path)


def _text_of(path: str) -> str:
    """What is in a file; empty if there is none."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""
