"""The definition of a guest that is described by options of the command line."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Final

from msgspec.structs import replace

from umlctl.errors import UsageError
from umlctl.guest import cmdline, specs
from umlctl.guest import definition as definitions
from umlctl.guest import profile as profiles
from umlctl.guest.definition import Definition
from umlctl.host import naming, paths
from umlctl.kernels import find

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from umlctl.kernels.find import ProbedKernel

FIELDS: Final = frozenset(Definition.__struct_fields__)


def take_name(
    umid: str | None, options: Mapping[str, Any], arguments: Iterable[str]
) -> tuple[str | None, dict[str, Any], tuple[str, ...]]:
    """The guest's name, which may stand among its kernel arguments; the options and the arguments
    without it.

    Raises: UsageError
    """
    left: list[tuple[str, ...]] = []
    for words in (options["append"], arguments):
        for name in (word.removeprefix("umid=") for word in words if word.startswith("umid=")):
            if name != (umid or name):
                raise UsageError(f"the guest is {umid}, and umid={name} has another name")
            umid = name
        left.append(tuple(word for word in words if not word.startswith("umid=")))
    append, others = left
    return umid, {**options, "append": append}, others


def define(umid: str, options: Mapping[str, Any], arguments: tuple[str, ...]) -> Definition:
    """Make a definition of command-line options.

    options: of `umlctl.cli.booting`, by their names; those that are no fields of a
        definition, and are not named here, are left alone

    Raises: UsageError, NoKernel
    """
    here = os.getcwd()
    _check_names((umid, *options["after"]))
    if options["user"] and os.geteuid():
        raise UsageError("--user is for root: a guest of yours runs as you")
    force = options["force"]
    root = _root(options["root"], insist=force)
    init = options["init"]
    if init and root == definitions.HOST_ROOT:
        init = os.path.abspath(init)
    if not force:
        _refuse_danger((*options["append"], *arguments))
    options = _expanded(options, arguments)
    kernel = find.find(options["kernel"])
    _check_kernel(find.probe(kernel, options["user"]), options)
    disks = specs.number_disks(options["disks"], here, 1)
    limit = options["memory_limit"]
    as_given = {name: options[name] for name in FIELDS & options.keys()}
    described = as_given | {
        "umid": umid,
        "kernel": kernel,
        "mem": definitions.parse_size(_memory(options["mem"], options["append"], arguments)),
        "root": root,
        "init": init,
        "disks": tuple(map(_insisted, disks)) if force else disks,
        "nics": specs.number_nics(options["nics"], insist=force),
        "memory_limit": definitions.parse_size(limit) if limit else 0,
        "mem_dir": _absolute(options["mem_dir"]),
        "pidfile": _absolute(options["pidfile"]),
        **{name: tuple(map(_absolute, options[name])) for name in ("ro", "rw", "hide")},
        "arguments": arguments,
        "cwd": here,
        "home": paths.home(),
    }
    return definitions.check(
        Definition(**{name: value for name, value in described.items() if value is not None})
    )


def _check_names(names: Iterable[str]) -> None:
    """Raises: UsageError"""
    try:
        for name in names:
            naming.check_umid(name)
    except naming.BadUmid as problem:
        raise UsageError(str(problem)) from None


def _refuse_danger(words: Iterable[str]) -> None:
    """Raises: UsageError: a kernel argument is dangerous to the host"""
    for word in words:
        danger = cmdline.danger(word)
        if danger:
            raise UsageError(f"{word}: refused unless you insist with --force: {danger}")


def _check_kernel(kernel: ProbedKernel, options: Mapping[str, Any]) -> None:
    """See that the kernel can do what is asked of it.

    Raises: UsageError
    """
    ncpus = options["ncpus"]
    if ncpus > kernel.most_cpus:
        has = "has no SMP" if kernel.most_cpus == 1 else f"can have {kernel.most_cpus}"
        raise UsageError(f"{ncpus} processors are too many: the kernel {kernel.path} {has}")
    # One that does not heed what would lock its modules would not say.
    if options["modules"] == definitions.LOCKED and not kernel.locks_modules:
        raise UsageError(
            f"--modules locked takes Linux 5.8 with sysctl, and {kernel.path} is {kernel.version}"
        )


def _absolute(path: str) -> str:
    return os.path.abspath(path) if path else ""


def _insisted(text: str) -> str:
    """A disk, plugged as it stands though a guest that writes to it destroys what it is."""
    from umlctl.backends.disk import is_foreign

    disk = specs.parse_disk(text)
    if disk.readonly or disk.cow or disk.discard or not is_foreign(disk.file):
        return text
    return str(replace(disk, raw=True))


def _root(text: str, *, insist: bool) -> str:
    """The root as a definition has it: a directory ends in '/', and paths are absolute."""
    if text == definitions.HOST_ROOT:
        return text
    directory = text.removesuffix(definitions.READONLY_SUFFIX)
    for found, option in ((text, ""), (directory, definitions.READONLY_SUFFIX)):
        if os.path.isdir(found):
            return os.path.abspath(found).rstrip("/") + "/" + option
    file, comma, options = text.partition(",")
    image = os.path.abspath(file) + comma + options
    return _insisted(image) if insist else image


def _memory(option: str, *given: Sequence[str]) -> str:
    """The guest's memory: a kernel argument wins, wherever it stands."""
    told = (word for words in given for word in words if word.startswith("mem="))
    return [option, *told][-1].removeprefix("mem=")


def _expanded(options: Mapping[str, Any], arguments: tuple[str, ...]) -> Mapping[str, Any]:
    """The options with what a profile stands for, where that was not given.

    Raises: UsageError
    """
    if options["profile"] is None:
        return options
    meant = profiles.parse(options["profile"])
    has_nic = options["nics"] or profiles.has_nic((*options["append"], *arguments))
    return {
        **options,
        "restart": options["restart"] or meant.restart,
        "nics": options["nics"] if has_nic else meant.nics,
    }


def check_console(definition: Definition) -> None:
    """See that con0 is where a terminal can be attached to it.

    Raises: UsageError
    """
    elsewhere = definitions.given_to_kernel(definition).get("con0", "")
    if elsewhere:
        raise UsageError(
            f"--console is con0, and a kernel argument has it elsewhere: con0={elsewhere}; "
            "leave one of them out"
        )
