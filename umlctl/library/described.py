"""A guest as a program asks for it: by the keys of a definition, as keyword arguments."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Final, TypedDict

from umlctl.definitions import files, make
from umlctl.errors import UsageError
from umlctl.guest import written
from umlctl.guest.options import BY_NAME

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Literal

    from umlctl.guest.definition import Definition

    Path = str | os.PathLike[str]
    Action = Literal["nothing", "restart", "kill", "stop-others"]


START: Final = "umlctl.start"
"""How errors name what has no line in a file."""


class Options(TypedDict, total=False):
    """What can be asked of a guest: the keys of umlctl.toml(5), each with `_` for `-`."""

    profile: str
    kernel: Path
    mem: str
    root: Path
    overlay: Path
    initrd: Path
    init: Path
    disk: Sequence[Path]
    nic: Sequence[str]
    share: Sequence[str]
    append: Sequence[str]
    force: bool
    mem_dir: Path
    ncpus: int
    seccomp: bool
    virtual_time: Literal["basic", "inf-cpu"]
    numa: int
    memory_limit: str
    cpu_limit: int
    cpus: str
    aslr: bool
    single: bool
    verbose: bool
    modules: Literal["unlocked", "locked"]
    module: Sequence[str]
    pidfile: Path
    user: str
    confine: Literal["writes", "strict", "off"]
    rw: Sequence[Path]
    ro: Sequence[Path]
    hide: Sequence[Path]
    allow_user: Sequence[str]
    allow_group: Sequence[str]
    timeout: float
    restart: Literal["no", "on-failure", "always"]
    on_panic: Action
    on_hang: Action
    on_exit: Action
    hang_after: float
    after: Sequence[str]


def described(word: str, options: Mapping[str, Any], arguments: Sequence[str] = ()) -> Definition:
    """The guest that is asked for. What is asked for here wins over what is written.

    word: its name, or the path of a file that it is written down in
    options: see Options
    arguments: for its kernel

    Raises: UsageError, NoKernel, HostError
    """
    asked = {_key(name): _plain(value) for name, value in options.items()}
    given = written.given(
        {key: each for key, each in asked.items() if each not in (None, [])}, START
    )
    found = files.find(word)
    umid, here = word, os.getcwd()
    if found is not None:
        make.check(found)
        given = {**found.values, **written.anchored(given, here)}
        umid, here = found.umid, found.directory
    named, told, rest = make.take_name(umid, make.options_of(given), arguments)
    assert named is not None
    return make.make(named, told, rest, here)


def _key(name: str) -> str:
    """The key of a keyword.

    Raises: UsageError
    """
    key = name.replace("_", "-")
    if key not in BY_NAME:
        near = written.near(key).replace("-", "_")
        raise UsageError(f"{name}: a guest has no such option; {near}")
    return key


def _plain(value: Any) -> Any:
    """A value as TOML could have it."""
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return value
