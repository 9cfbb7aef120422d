"""The definition that is made of options: those of a command line, of a file, or of both."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from umlctl.errors import UmlctlError, UsageError
from umlctl.guest import cmdline, overlay, pinning, shares, specs
from umlctl.guest import definition as definitions
from umlctl.guest import profile as profiles
from umlctl.guest.definition import Definition
from umlctl.guest.options import FIELDS, OPTIONS
from umlctl.host import naming, paths
from umlctl.kernels import find, modules, requirements

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from umlctl.definitions.files import Written
    from umlctl.guest.written import Given
    from umlctl.kernels.find import ProbedKernel


def make(
    umid: str, options: Mapping[str, Any], arguments: tuple[str, ...], here: str = ""
) -> Definition:
    """Make a definition of options.

    options: of `umlctl.guest.options`, by their fields; those that are no fields of a
        definition, and are not named here, are left alone
    here: the directory that relative paths are taken from, if it is not the current one

    Raises: UsageError, NoKernel
    """
    if options["user"] and os.geteuid():
        raise UsageError("--user is for root: a guest of yours runs as you")
    options = {**options, "kernel": find.find(options["kernel"])}
    definition = assemble(umid, options, arguments, here or os.getcwd())
    _check_kernel(find.probe(definition.kernel, options["user"]), definition)
    return definition


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


def of_written(written: Written) -> Definition:
    """The guest that a file defines, by itself.

    Raises: UsageError, NoKernel, HostError
    """
    check(written)
    return make(written.umid, options_of(written.values), (), written.directory)


def options_of(values: Mapping[str, Given]) -> dict[str, Any]:
    """The options that a file comes to, with the default of each that it does not have."""
    return {
        option.field: values[option.name].value if option.name in values else option.absent
        for option in OPTIONS
    }


def check(written: Written) -> None:
    """See that what a file says can be had together. No kernel is looked for, and no file.

    Raises: UsageError: with file, line and key
    """
    if problem_of(written, written.values) is None:
        return
    atoms = [
        (name, index)
        for name, given in written.values.items()
        for index in (range(len(given.value)) if isinstance(given.value, tuple) else (None,))
    ]
    good, bad = 0, len(atoms)
    while bad - good > 1:  # how many can be had together, and with the next one cannot
        middle = (good + bad) // 2
        if problem_of(written, _some(written.values, atoms[:middle])) is None:
            good = middle
        else:
            bad = middle
    problem = problem_of(written, _some(written.values, atoms[:bad]))
    if not atoms or problem_of(written, {}) is not None:
        raise UsageError(f"{written.path}: {problem}")
    name, index = atoms[bad - 1]
    raise UsageError(f"{written.values[name].place(index)}: {name}: {problem}")


def _some(values: Mapping[str, Given], atoms: Iterable[tuple[str, int | None]]) -> dict[str, Given]:
    """A part of what a file says. atoms: keys, each with which of its texts"""
    found: dict[str, Given] = {}
    for name, index in atoms:
        given = values[name]
        if index is not None:
            given = given._replace(value=given.value[: index + 1])
        found[name] = given
    return found


def problem_of(written: Written, values: Mapping[str, Given]) -> UmlctlError | None:
    """What is wrong with what a file says; None: nothing."""
    options = options_of(values)
    options["kernel"] = options["kernel"] or "/linux"
    try:
        cmdline.check_arguments(assemble(written.umid, options, (), written.directory))
    except UmlctlError as problem:
        return problem
    return None


def assemble(
    umid: str, options: Mapping[str, Any], arguments: tuple[str, ...], here: str
) -> Definition:
    """Make a definition of options that name a kernel, which is not looked at.

    Raises: UsageError
    """
    _check_names((umid, *options["after"]))
    force = options["force"]
    root = _root(options["root"], here, insist=force)
    init = options["init"]
    if init and root == definitions.HOST_ROOT:
        init = _absolute(init, here)
    if not force:
        _refuse_danger((*options["append"], *arguments))
    options = _expanded(options, arguments)
    disks = specs.number_disks(options["disks"], here, 1)
    limit = options["memory_limit"]
    as_given = {name: options[name] for name in FIELDS & options.keys()}
    described = as_given | {
        "umid": umid,
        "mem": definitions.parse_size(_memory(options["mem"], options["append"], arguments)),
        "root": root,
        "init": init,
        "disks": tuple(map(_insisted, disks)) if force else disks,
        "nics": specs.number_nics(options["nics"], insist=force),
        "shares": tuple(str(shares.parse(text, here)) for text in options["shares"]),
        "cpus": "" if options["cpus"] == pinning.ANY else options["cpus"],
        "memory_limit": definitions.parse_size(limit) if limit else 0,
        "initrd": _absolute(options["initrd"], here),
        "overlay": (
            options["overlay"]
            if options["overlay"] == overlay.IN_MEMORY
            else _absolute(options["overlay"], here)
        ),
        "mem_dir": _absolute(options["mem_dir"], here),
        "pidfile": _absolute(options["pidfile"], here),
        **{
            name: tuple(_absolute(path, here) for path in options[name])
            for name in ("ro", "rw", "hide")
        },
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


def _check_kernel(kernel: ProbedKernel, definition: Definition) -> None:
    """See that the kernel can do what is asked of it.

    Raises: UsageError
    """
    ncpus = definition.ncpus
    if ncpus > kernel.most_cpus:
        has = "has no SMP" if kernel.most_cpus == 1 else f"can have {kernel.most_cpus}"
        raise UsageError(f"{ncpus} processors are too many: the kernel {kernel.path} {has}")
    if definition.seccomp and "seccomp" not in kernel.capabilities:
        raise UsageError(
            f"--seccomp takes Linux 6.16 or later, and {kernel.path} is {kernel.version}; "
            "`umlctl kernel list` shows others"
        )
    if definition.virtual_time and "time-travel" not in kernel.capabilities:
        raise UsageError(
            f"--virtual-time takes a kernel with CONFIG_UML_TIME_TRAVEL_SUPPORT, and {kernel.path} "
            "was built without: `umlctl kernel build --with time-travel` builds one"
        )
    if definition.initrd and "initrd" not in kernel.capabilities:
        raise UsageError(f"--initrd takes CONFIG_BLK_DEV_INITRD, and {kernel.path} has it not")
    # One that does not heed what would lock its modules would not say.
    if definition.modules == definitions.LOCKED and not kernel.locks_modules:
        raise UsageError(
            f"--modules locked takes Linux 5.8 with sysctl, and {kernel.path} is {kernel.version}"
        )
    why = modules.overlay_flaw(kernel) if definition.overlay else ""
    if why:
        raise UsageError(f"the kernel {kernel.path} has no overlay file system for it: {why}")
    if overlay.disk(definition.overlay) and kernel.config.get("EXT4_FS") != "y":
        raise UsageError(f"the kernel {kernel.path} has no ext4, which --overlay=DIR takes")
    arguments = (*definition.append, *definition.arguments)
    initrd = "initrd" in definitions.given_to_kernel(definition)
    lacking = requirements.lacking(kernel, (*definition.nics, *arguments), initrd=initrd)
    if lacking:
        raise UsageError(lacking)


def _absolute(path: str, here: str) -> str:
    return os.path.normpath(os.path.join(here, path)) if path else ""


def _insisted(text: str) -> str:
    """A disk, plugged as it stands though a guest that writes to it destroys what it is."""
    from umlctl.backends.disk import is_foreign

    disk = specs.parse_disk(text)
    if disk.readonly or disk.cow or disk.discard or not is_foreign(disk.file):
        return text
    return str(replace(disk, raw=True))


def _root(text: str, here: str, *, insist: bool) -> str:
    """The root as a definition has it: a directory ends in '/', and paths are absolute.

    Raises: UsageError
    """
    if text == definitions.HOST_ROOT:
        return text
    directory = text.removesuffix(definitions.READONLY_SUFFIX)
    for found, option in ((text, ""), (directory, definitions.READONLY_SUFFIX)):
        if os.path.isdir(os.path.join(here, found)):
            return _absolute(found, here).rstrip("/") + "/" + option
    file, comma, options = text.partition(",")
    if file and os.path.isdir(os.path.join(here, file)):
        raise UsageError(
            f"the root {file} is a directory, and {options!r} is for disks: `--root {file},ro` "
            f"only reads it; `--root {file} --overlay` forgets what is written, `--overlay=DIR` "
            "keeps it apart"
        )
    image = _absolute(file, here) + comma + options
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
