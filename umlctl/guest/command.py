"""What process 1 of a guest of `umlctl exec` is to do before it runs its command, step by step.

A step is a letter and its texts; agent.c and exec.sh do them in their order, so what is to be done,
and why it may fail, is known here alone. Pure.
"""

from __future__ import annotations

import os.path
from errno import EIO, ENODEV, ENOENT
from typing import TYPE_CHECKING, Final, NamedTuple

from umlctl.guest.shares import Share

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

AGENT: Final = os.path.join(os.path.dirname(__file__), "agent")
SCRIPT: Final = os.path.join(os.path.dirname(__file__), "exec.sh")
"""Process 1 of such a guest: the program, and what is taken where that was not built."""
NO_REBOOT: Final = "noreboot=1"
"""Ends such a guest when it reboots: what it was to do has been done. Without a value it would be a
word for init."""
STEPS: Final = "steps"
"""The file that says what is to be done."""
PIPED: Final = "p"
TERMINAL: Final = "t"
NOTHING: Final = "n"
"""What a standard descriptor of a command is."""
OVERLAY: Final = "overlay"
READONLY: Final = "ro"
"""What a command sees of the host's files: all of them, to write on, though nothing of that gets
there; or as they are, and nothing can be written."""
_MS_RDONLY: Final = 1
_MS_NOSUID_NODEV: Final = 2 | 4
_MS_SYSTEM: Final = _MS_NOSUID_NODEV | 8
_MS_BIND: Final = 4096
_SCRATCH: Final = ("/tmp", "/run", "/var/tmp")  # noqa: S108 - the guest's
_LINKS: Final = (("fd", "fd"), ("stdin", "fd/0"), ("stdout", "fd/1"), ("stderr", "fd/2"))
NETWORK: Final = """
echo "${UMLCTL_NICS-}" | tr ';' '\\n' | while IFS=, read -r nic address gateway resolver; do
    [ -n "$nic" ] || continue
    ip link set "$nic" up && ip addr add "$address" dev "$nic" || exit
    [ -z "$gateway" ] || ip route add default via "$gateway" || exit
    [ -z "$resolver" ] || {
        file=$(readlink -m /etc/resolv.conf)
        mkdir -p "${file%/*}" &&
            (IFS=,; for each in $resolver; do echo "nameserver $each"; done) >"$file"
    }
done
"""
"""Sets up the NICs that a guest was started with, as its kernel was told them."""


class Root(NamedTuple):
    """What a command has as its files.

    Fields:
        kind: OVERLAY or READONLY
        kept: a disk with ext4 for what is written; empty: it is kept in memory
        overlay_module: the file of the kernel module that it takes; empty: it is in the kernel
        modules: the directory of all modules of the kernel; empty: it has none
        release: the kernel's, as in /lib/modules/RELEASE
        load: the files of modules that are loaded first
        shares: in the order in which they are mounted
    """

    kind: str = OVERLAY
    kept: str = ""
    overlay_module: str = ""
    modules: str = ""
    release: str = ""
    load: tuple[str, ...] = ()
    shares: tuple[Share, ...] = ()


class Command(NamedTuple):
    """A command, and how it is run.

    Fields:
        words: the command itself
        directory: where
        environment: with what
        kinds: a letter for each standard descriptor: PIPED, TERMINAL or NOTHING
        token: what ends a stream
        size: rows and columns of the terminal
        script: what a shell does before; empty: nothing
        mounts: what is mounted before, in a guest that is there anyway
        powerless: it can gain no privileges: files of the host's root are not root's in the guest
    """

    words: tuple[str, ...]
    directory: str
    environment: Mapping[str, str]
    kinds: str
    token: str
    size: tuple[int, int] = (24, 80)
    script: str = ""
    powerless: bool = False
    mounts: tuple[Share, ...] = ()


class Step(NamedTuple):
    """Something to do.

    Fields:
        letter: what, see agent.c; a capital one may fail
        texts: with what
        what: in words, for who reads that it failed
    """

    letter: str
    texts: tuple[str, ...] = ()
    what: str = ""


def steps(root: Root, command: Command) -> list[Step]:
    """All that is to be done, in its order."""
    return [Step("t", (command.token,)), *_root(root, command), *_command(command)]


def steps_in_guest(command: Command) -> list[Step]:
    """The same in a guest that is there anyway, and has its files and its network."""
    mounts = [step for each in command.mounts for step in _shared(each, f"mount {each.target}")]
    return [Step("t", (command.token,)), *mounts, *_run(command)]


def steps_to_freeze() -> list[Step]:
    """What freezes the file systems of a guest that is there anyway, in place of a command."""
    return [Step("f", (), "freeze its file systems")]


def _root(root: Root, command: Command) -> Iterator[Step]:
    for path in root.load:  # as the host has them: nothing covers any of them yet
        yield Step("m", (path,), f"load {path}")
    if root.kind == OVERLAY:
        if root.overlay_module:
            yield Step("m", (root.overlay_module,), f"load {root.overlay_module}")
        yield Step("o", (root.kept,), "mount an overlay over the host's files")
    else:
        yield Step("v", (), "mount the host's files")
    yield _mount("", "/dev", "/dev", _MS_BIND)
    yield Step("r", (), "change the root")
    yield _mount("proc", "proc", "/proc", _MS_SYSTEM)
    yield _mount("sysfs", "sysfs", "/sys", _MS_SYSTEM)
    yield _may(_mount("cgroup2", "cgroup2", "/sys/fs/cgroup", _MS_SYSTEM))
    yield Step("D", ("/dev/pts",))
    yield _may(_mount("devpts", "devpts", "/dev/pts", 0, "mode=620,ptmxmode=666"))
    yield Step("D", ("/dev/shm",))  # noqa: S108 - the guest's
    yield _may(_mount("tmpfs", "tmpfs", "/dev/shm", _MS_NOSUID_NODEV, "mode=1777"))  # noqa: S108
    for name, target in _LINKS:
        yield Step("L", (f"/proc/self/{target}", f"/dev/{name}"))
    if root.kind == READONLY:
        for path in _SCRATCH:
            if not _has(path, command.directory, *(share.target for share in root.shares)):
                yield _may(_mount("tmpfs", "tmpfs", path, _MS_NOSUID_NODEV, "mode=1777"))
    if root.modules:
        yield from _shared(Share(root.modules, f"/lib/modules/{root.release}", readonly=True), "")
    for share in root.shares:
        yield from _shared(share, f"share {share.source}")


def _shared(share: Share, what: str) -> Iterator[Step]:
    flags = _MS_RDONLY if share.readonly else 0
    yield Step("D", (share.target,))
    step = _mount("hostfs", "none", share.target, flags, share.source)
    yield step._replace(what=what) if what else _may(step)


def _command(command: Command) -> Iterator[Step]:
    yield Step("n")
    if command.powerless:
        yield Step("q")
    if command.script:
        yield Step("s", (command.script,))
    yield from _run(command)


def _run(command: Command) -> Iterator[Step]:
    yield Step("k", (command.kinds,))
    yield Step("w", (f"{command.size[0]} {command.size[1]}",))
    yield Step("c", (command.directory,))
    for name, value in command.environment.items():
        yield Step("e", (f"{name}={value}",))
    for word in command.words:
        yield Step("a", (word,))


def _mount(kind: str, source: str, target: str, flags: int, options: str = "") -> Step:
    texts = (kind, source, target, str(flags), options)
    return Step("p", texts, f"mount {kind or source} on {target}")


def _may(step: Step) -> Step:
    return step._replace(letter=step.letter.upper())


def _has(directory: str, *paths: str) -> bool:
    """Whether one of the paths is in a directory, or is it."""
    return any(os.path.commonpath([directory, path]) == directory for path in paths)


def encode(todo: Sequence[Step]) -> bytes:
    """Steps as agent.c reads them: each is its letter, and behind it its texts, each with a NUL."""
    return b"".join(
        step.letter.encode() + b"".join(_bytes(text) + b"\0" for text in step.texts)
        for step in todo
    )


def encode_for_shell(todo: Sequence[Step]) -> bytes:
    """Steps as exec.sh reads them: a line each, which calls a function of the letter's name."""
    return _bytes("".join(_line(index, step) + "\n" for index, step in enumerate(todo)))


def _line(index: int, step: Step) -> str:
    texts = " ".join(map(_quoted, step.texts))
    if step.letter in ("e", "a"):
        return f'set -- "$@" {texts}'
    otherwise = ":" if step.letter.isupper() else f"failed {index}"
    return f"step_{step.letter.lower()} {texts} || {otherwise}"


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def explain(todo: Sequence[Step], index: int, problem: int, said: str) -> str:
    """Why there is no guest to run a command in: a step that failed, and what to do.

    problem: its errno; said: what that means
    """
    step = todo[index] if index < len(todo) else Step("", (), "read what is to be done")
    text = f"the guest could not {step.what or step.letter}"
    ways = "`--ro` does without, and `--kernel FILE` takes another kernel"
    if step.letter == "o" and problem == ENODEV:
        return f"{text}: its kernel has no overlay file system; {ways}"
    if step.letter == "m" and problem == ENOENT:
        return f"{text}: the module, or what it needs, is not there; {ways}"
    return f"{text}: {said}" if problem != EIO else text
