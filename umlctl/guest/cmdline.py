"""The kernel command line of a guest.

Built from the definition alone, so that `status` can show it and a test can hold it. What the
user gives wins over every default of ours, except for the three arguments by which a guest is
found again; a root of the user's wins over all that ours consists of.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

from umlctl.devices import lines, ubd, vec
from umlctl.errors import UsageError
from umlctl.guest import overlay, specs, words
from umlctl.guest.definition import (
    BASIC,
    HOST_ROOT,
    LOCKED,
    READONLY_SUFFIX,
    Definition,
    check,
    chooses_root,
    given_to_kernel,
    is_device,
    parse_size,
    root_directory,
    root_disk,
    root_is_host,
    root_is_image,
)
from umlctl.guest.definition import (
    devices as devices_of,
)
from umlctl.guest.words import FOR_INIT, key, unquoted
from umlctl.protocol import command_lines

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

CONSOLE_IN_DESCRIPTOR: Final = 17
CONSOLE_OUT_DESCRIPTOR: Final = 18
CONSOLE_ARGUMENT: Final = f"con0=fd:{CONSOLE_IN_DESCRIPTOR},fd:{CONSOLE_OUT_DESCRIPTOR}"
"""Descriptors of the console, as the launcher opens them for the kernel: a caller's own, which it
may pass on, have lower numbers."""
AGENT_LINE: Final = "ssl63"
AGENT_DESCRIPTOR: Final = 19
"""The line on which our init program is told of window sizes, and what the kernel reads there."""
MAX_COMMAND_LINE_BYTES: Final = 4095
"""COMMAND_LINE_SIZE of arch/um, less the NUL."""

FAST_BOOT: Final = (
    # Both benchmark RAID algorithms for most of a second, which only md and btrfs RAID 5/6 use.
    "initcall_blacklist=raid6_select_algo,calibrate_xor_blocks",
    "lpj=15000000",  # calibrating takes as long as the rest of the boot
    "pty.legacy_count=0",  # 256 device nodes that nobody opens
)
RAID6_BENCHMARK_RELEASE: Final = (7, 2)
"""The release of Linux whose `raid6_init` benchmarks; in others it does nothing that takes long,
and RAID 6 works by what it sets."""
OWN_ARGUMENTS: Final = {
    "umid": "it is the guest's name: `umlctl run UMID`",
    "uml_dir": "the supervisor gives each kernel a private one; its own socket is in ~/.uml",
    "mconsole": "the supervisor listens to the kernel's notifications; `umlctl events` has them",
}
NICS_VARIABLE: Final = "UMLCTL_NICS"
MODULES_VARIABLE: Final = "UMLCTL_MODULES"
LOAD_VARIABLE: Final = "UMLCTL_LOAD"
INIT_VARIABLE: Final = "UMLCTL_INIT"
OVERLAY_VARIABLE: Final = "UMLCTL_OVERLAY"
OVERLAY_MODULE_VARIABLE: Final = "UMLCTL_OVERLAY_MODULE"
ROOT_VARIABLE: Final = "UMLCTL_ROOT"
OVERLAY_VARIABLES: Final = (OVERLAY_VARIABLE, OVERLAY_MODULE_VARIABLE, ROOT_VARIABLE)
"""Kernel arguments that are none, and become variables of init's environment."""
NO_DISK_ARGUMENT: Final = f"ubd0r={ubd.NULL_FILE}"
"""What ubd0 is of a guest without one."""
HOSTFS_ARGUMENT: Final = "hostfs="
"""An argument that is said to confine hostfs, and does not."""
SHELL: Final = "/bin/sh"
"""Which runs our init program: that stands where a host lets nobody execute files, as in /run."""
ROOT_ARGUMENTS: Final = ("root", "rootfstype", "rootflags", "initrd", "ubd0")
"""Arguments that a root of the user's own may consist of."""
FIRST_DISK_ARGUMENT: Final = "root=98:0"
"""What a kernel without root= takes; it would add it behind what is for init alone."""
LOGIN_ARGUMENT: Final = "systemd.wants=getty@tty0.service"
"""Has systemd, which knows no tty0, ask for a login on the console. Others never hear of it: the
kernel hands nothing on that has a dot."""
NO_LOGIN_ARGUMENTS: Final = frozenset(
    ("init", "rdinit", "con0", "console", "systemd.unit", "single", "s", "S", "1", "emergency")
)
"""Arguments with which that login is not what the console is for."""
TIME_TRAVEL: Final = "time-travel"
"""Has a kernel's clock be simulated. Source: arch/um/kernel/time.c"""
NO_KUNIT: Final = ("kunit.enable=0",)
"""Has a kernel leave its own tests, which take a minute, to `umlctl test --kunit`."""
MAX_INIT_WORDS: Final = 127
"""CONFIG_INIT_ENV_ARG_LIMIT of arch/um, less init itself: the kernel panics of more."""
TYPOS: Final = {"udb": "did you mean ubd?"}


class Traits(NamedTuple):
    """What words a kernel needs depends on this.

    Fields:
        release: the first two numbers of its version; zeros if unknown
        seccomp: it can watch its processes by seccomp, as it must to have several processors
        modules: the directory where its modules are, by version; empty: it came with none
        load: the modules that our init program is to load, by their paths in that of this version
        overlay_module: the file of the module that an overlay takes; empty: it is built in, or none
            is wanted
        kunit: it has tests of its own, and runs them as it boots unless it is told not to
    """

    release: tuple[int, int]
    seccomp: bool
    modules: str = ""
    load: tuple[str, ...] = ()
    overlay_module: str = ""
    kunit: bool = False


UNKNOWN: Final = Traits((0, 0), seccomp=False)


def build(
    definition: Definition,
    *,
    uml_dir: str,
    notify: str,
    init: str,
    devices: Sequence[str] = (),
    nics: str = "",
    wrapped: bool = False,
    traits: Traits = UNKNOWN,
) -> list[str]:
    """The arguments of the kernel, without its own path.

    uml_dir: directory of the kernel's own socket
    notify: path of the notify socket
    init: our init program, for a root of "host"
    wrapped: ours starts the user's there, as it must for a kernel that is not root's
    devices: disks, NICs and lines in the kernel's words
    nics: what our init program is to make of the NICs: NAME,ADDRESS,GATEWAY,RESOLVER,...; more
        after a ';'
    traits: what its kernel is like

    Raises: UsageError
    """
    told, for_init = words.split((*definition.append, *definition.arguments))
    user = [word for word in told if not is_device(word)]
    names_init = any(key(word) == "init" for word in user)
    _check_from_user([*user, *for_init])  # UML's own are looked for in what is for init alone, too
    ours = [
        *_ours(definition, uml_dir, notify, _fast_boot(traits.release)),
        *(["seccomp=on"] if _by_seccomp(definition, traits) else []),
        *(NO_KUNIT if traits.kunit and not any(map(_is_of_kunit, user)) else []),
        *_root(definition, init, traits, wrapped=wrapped),
        *_with_disk(devices),
    ]
    if nics and root_is_host(definition):
        ours.append(f"{NICS_VARIABLE}={nics}")
    if traits.modules and has_agent(definition) and words.can_be_given(traits.modules):
        ours.append(f"{MODULES_VARIABLE}={traits.modules}")
        if traits.load:
            ours.append(f"{LOAD_VARIABLE}={';'.join(traits.load)}")
    if definition.overlay:
        user = [_named_init(word) if key(word) == "init" else word for word in user]
    elif wrapped and root_is_host(definition):
        user = [each for word in user for each in _wrapped(word, init)]
    line = merge(ours, user)
    if definition.overlay or (has_agent(definition) and not names_init):
        # After all others: what stands before it and is none of the kernel's is init's no more.
        line.append(f"init={SHELL}")
        for_init.insert(0, words.check(init, "the path of init"))
    if for_init:
        _check_for_init(for_init)
        line += [FOR_INIT, *for_init]
    length = sum(len(word.encode()) + 1 for word in line)
    if length > MAX_COMMAND_LINE_BYTES:
        raise UsageError(
            f"the kernel command line has {length} bytes; {MAX_COMMAND_LINE_BYTES} is the most"
        )
    return line


def _is_of_kunit(word: str) -> bool:
    """Whether an argument is about the tests that are built into a kernel."""
    return key(word).startswith("kunit")


def _by_seccomp(definition: Definition, traits: Traits) -> bool:
    """Whether the kernel is to watch its processes by seccomp."""
    return traits.seccomp and (definition.seccomp or definition.ncpus > 1)


def check_arguments(definition: Definition) -> None:
    """See that a definition sets nothing for the kernel that is not the user's to set.

    Raises: UsageError
    """
    told, for_init = words.split((*definition.append, *definition.arguments))
    _check_from_user([*told, *for_init])


def _check_from_user(told: list[str]) -> None:
    """See that nothing is set that is not the user's to set, or mistyped.

    Raises: UsageError
    """
    for word in told:
        about = key(word)
        if about in OWN_ARGUMENTS:
            raise UsageError(f"{word}: {about}= is not yours to set: {OWN_ARGUMENTS[about]}")
        for typo, hint in TYPOS.items():
            if about.startswith(typo):
                raise UsageError(f"{word}: {hint}")


def _check_for_init(told: list[str]) -> None:
    """See that init gets all that is told it.

    Raises: UsageError
    """
    if FOR_INIT in told:
        raise UsageError(f"a second `{FOR_INIT}`: the kernel tells init nothing from there on")
    if len(told) > MAX_INIT_WORDS:
        raise UsageError(f"init can be told {MAX_INIT_WORDS} words, not {len(told)}")


def danger(word: str) -> str:
    """Why an argument is refused unless somebody insists; empty if it is not."""
    word = unquoted(word)
    about, _, value = word.partition("=")
    if about.startswith(("con", "ssl")) and about != "console":
        kinds, guarded = value.split(","), lines.GUARDED_CHANNELS
    elif word.startswith("vec"):
        options = [option.partition("=") for option in word.partition(":")[2].split(",")]
        if any(name == "vnl" and not vec.runs_nothing(given) for name, _, given in options):
            return f"vnl: {vec.GUARDED_NETWORKS}"
        kinds, guarded = [name for name, _, _ in options], vec.GUARDED_OPTIONS
    else:
        return ""
    # The kernel looks at how a channel begins.
    found = (each for kind in kinds for each in guarded if kind.startswith(each))
    return next((f"{each}: {guarded[each]}" for each in found), "")


def descriptors(definition: Definition) -> list[tuple[str, int]]:
    """The descriptors that the user's words have the kernel use, each with its word."""
    told, _ = words.split((*definition.append, *definition.arguments))
    found = []
    for word in map(unquoted, told):
        about, _, value = word.partition("=")
        if about.startswith(("con", "ssl")) and about != "console":
            channels = [each.partition(":") for each in value.split(",")]
            found += [(word, number) for kind, _, number in channels if kind == "fd"]
    nics = [each for each in devices_of(definition) if isinstance(each, specs.Nic)]
    for nic in nics:
        options = dict(each.partition("=")[::2] for each in nic.text.split(",")[1:])
        if "transport=fd" in nic.text and "fd" in options:
            found.append((f"vec{nic.number}:{nic.text.rpartition(':')[2]}", options["fd"]))
    return [(word, int(number)) for word, number in found if number.isdigit()]


def has_agent(definition: Definition) -> bool:
    """Our own init program runs in the guest, and listens on AGENT_LINE."""
    return root_is_host(definition) and not definition.init


def console_elsewhere(definition: Definition) -> str:
    """The argument that has put con0 where nobody can be attached to it; empty if none has."""
    given = [word for word in (*definition.append, *definition.arguments) if not is_device(word)]
    ours = f"con0=fd:{CONSOLE_IN_DESCRIPTOR},"
    found = [word for word in words.split(given)[0] if key(word) == "con0"]
    return found[-1] if found and not found[-1].startswith(ours) else ""


def _kept_in(command: Sequence[str]) -> str:
    """The directory where a guest keeps what it writes over other files, by its kernel's words."""
    name = f"ubd{overlay.SLOT}"
    word = next((word for word in command if is_device(word) and key(word) == name), "")
    return ubd.parse(word).files[0].rpartition("/")[0] if word else overlay.IN_MEMORY


def merge(defaults: Iterable[str], user: Iterable[str]) -> list[str]:
    """The defaults that the user did not give, then what the user gave."""
    given = list(user)
    taken = {key(word) for word in given}
    if taken & {"ro", "rw"}:
        taken |= {"ro", "rw"}
    return [word for word in defaults if key(word) not in taken] + given


def _fast_boot(release: tuple[int, int]) -> list[str]:
    blacklist, *rest = FAST_BOOT
    return [f"{blacklist},raid6_init" if release == RAID6_BENCHMARK_RELEASE else blacklist, *rest]


def _ours(definition: Definition, uml_dir: str, notify: str, fast_boot: Sequence[str]) -> list[str]:
    ours = [
        f"mem={definition.mem >> 10}K",
        f"umid={definition.umid}",
        f"uml_dir={uml_dir}",
        f"mconsole=notify:{notify}",
        f"hostname={definition.umid}",
        *fast_boot,
        "con=none",
        "ssl=none",
        CONSOLE_ARGUMENT,
        "console=tty0",  # the kernel adds it to a line without, behind what is for init alone
        "printk.time=1",  # tells the kernel's lines from others on a console
    ]
    if has_agent(definition):
        ours.append(f"{AGENT_LINE}=fd:{AGENT_DESCRIPTOR},null")
    if definition.ncpus > 1:
        ours.append(f"ncpus={definition.ncpus}")
    if definition.virtual_time:
        mode = "" if definition.virtual_time == BASIC else f"={definition.virtual_time}"
        ours.append(f"{TIME_TRAVEL}{mode}")
    if definition.single:
        ours.append("single")
    if definition.verbose:
        ours.append("ignore_loglevel")
    if definition.modules == LOCKED:
        ours.append("sysctl.kernel.modules_disabled=1")  # set before init; nothing unsets it
    return [words.check(word) for word in ours]


def _overlay(definition: Definition, traits: Traits) -> list[str]:
    """What our init program, which stands among the host's files, is told of an overlay."""
    directory = root_directory(definition).rstrip("/")
    where = overlay.DEVICE if overlay.disk(definition.overlay) else overlay.IN_MEMORY
    found = {
        OVERLAY_VARIABLE: where,
        OVERLAY_MODULE_VARIABLE: traits.overlay_module,
        ROOT_VARIABLE: directory,
        INIT_VARIABLE: definition.init,
    }
    return [f"{name}={value}" for name, value in found.items() if value]


def _named_init(word: str) -> str:
    """The user's word for an init program, as ours takes it, which comes before."""
    return f"{INIT_VARIABLE}={word.partition('=')[2]}"


def _root(definition: Definition, init: str, traits: Traits, *, wrapped: bool) -> list[str]:
    given = given_to_kernel(definition)
    directory = root_directory(definition)
    if root_is_image(definition):
        ours = ["root=/dev/ubda", "ro" if root_disk(definition).readonly else "rw"]
    elif definition.overlay:
        ours = ["root=/dev/root", "rootfstype=hostfs", "rootflags=/", "ro"]
        ours += _overlay(definition, traits)
    elif directory:
        access = "ro" if definition.root.endswith(READONLY_SUFFIX) else "rw"
        flags = directory.rstrip("/") or "/"
        ours = ["root=/dev/root", "rootfstype=hostfs", f"rootflags={flags}", access]
    elif not chooses_root(definition):
        ours = ["root=/dev/root", "rootfstype=hostfs", "rootflags=/", "ro"]
    elif "rootflags" in given and given.get("rootfstype", "hostfs") == "hostfs":
        ours = ["root=/dev/root", "rootfstype=hostfs"]
    else:
        ours = [FIRST_DISK_ARGUMENT]
    if definition.initrd:
        ours.append(f"initrd={definition.initrd}")
    if definition.init and not definition.overlay:
        named = f"init={definition.init}"
        ours += _wrapped(named, init) if wrapped and root_is_host(definition) else [named]
    elif not (root_is_host(definition) or definition.single or given.keys() & NO_LOGIN_ARGUMENTS):
        ours.append(LOGIN_ARGUMENT)
    return [words.check(word, "the kernel argument of the root") for word in ours]


def _wrapped(word: str, init: str) -> list[str]:
    """An argument of the kernel; where it names init, those by which our init program starts
    that."""
    program = word.partition("=")[2]
    if not program or key(word) != "init":
        return [word]
    return [f"init={init}", f"{INIT_VARIABLE}={program}"]


def _unwrapped(told: list[str]) -> list[str]:
    """The arguments of a kernel as the user gave them; `--init` stays as it is."""
    found = {key(word): word.partition("=")[2] for word in reversed(told)}
    if not {AGENT_LINE, INIT_VARIABLE} <= found.keys():
        return told
    named = f"init={found[INIT_VARIABLE]}"
    return [named if key(word) == "init" else word for word in told if key(word) != INIT_VARIABLE]


def _with_disk(devices: Sequence[str]) -> list[str]:
    """The devices, and always a ubd0.

    Without one the kernel makes a device that cannot be used, and panics when it is removed. It is
    read-only: later kernels (6.12) lock the file as long as the device is there, and a second
    guest that cannot have its lock panics.
    """
    made = list(devices)
    if not any(key(word) == "ubd0" for word in made):
        made.insert(0, NO_DISK_ARGUMENT)
    try:
        return [words.check(word, "a device's argument") for word in made]
    except UsageError as problem:
        raise UsageError(
            f"{problem}; add it with `umlctl disk add` or `nic add` once the guest runs"
        ) from None


def recover(command: Sequence[str], cwd: str) -> Definition:
    """The definition that a running kernel was started with, as far as its words tell.

    command: the kernel and its arguments, as `build` made them; cwd: its directory

    Raises: UsageError: they are no such words
    """
    told, for_init = words.split(command[1:])
    wrapped = any(key(word) == INIT_VARIABLE for word in told)
    told = _unwrapped(told)
    found = {key(word): word.partition("=")[2] for word in reversed(told)}
    if not OWN_ARGUMENTS.keys() <= found.keys():
        raise UsageError(f"no kernel that was started here: {command!r}")
    root, init = HOST_ROOT, found.get("init", "")
    if found.get("root") == "/dev/ubda":
        disk = next((word for word in command if is_device(word) and key(word) == "ubd0"), "")
        root = str(msgspec.structs.replace(specs.of_device(ubd.parse(disk)), slot=None))
    elif found.get("rootflags", "/") != "/":
        root = found["rootflags"] + "/" + (READONLY_SUFFIX if "ro" in told else "")
    if root == HOST_ROOT:
        init = "" if AGENT_LINE in found else found.get(INIT_VARIABLE, init)
    laid_over = found.get(OVERLAY_VARIABLE, "")
    if laid_over:
        root = f"{found[ROOT_VARIABLE]}/" if ROOT_VARIABLE in found else HOST_ROOT
        init = found.get(INIT_VARIABLE, "")
    known = Definition(
        umid=found["umid"],
        kernel=command[0],
        mem=parse_size(found.get("mem", "256M")),
        root=root,
        init=init,
        overlay=_kept_in(command) if laid_over == overlay.DEVICE else laid_over,
        cwd=cwd,
    )
    if root == HOST_ROOT and chooses_root(msgspec.structs.replace(known, arguments=tuple(told))):
        chosen = [word for word in told if key(word) in ROOT_ARGUMENTS]
        known = msgspec.structs.replace(known, arguments=tuple(chosen))
    program = found.get("init", "")
    is_ours = program == SHELL and for_init and for_init[0].endswith(f"/{known.umid}/init")
    if is_ours:
        program = for_init.pop(0)
    ours = build(known, uml_dir="", notify="", init=program, wrapped=wrapped)
    ours += command_lines.words(has_agent=has_agent(known))
    if has_agent(known) and not is_ours:
        ours.remove(f"init={SHELL}")
    arguments = [
        word
        for word in told
        if word
        and (word not in ours or word in known.arguments)
        and not word.startswith(FAST_BOOT[0])
        and key(word) not in OWN_ARGUMENTS
        and key(word) not in (NICS_VARIABLE, MODULES_VARIABLE, LOAD_VARIABLE, *OVERLAY_VARIABLES)
        and not (root_is_image(known) and key(word) == "ubd0")
        and not (overlay.disk(known.overlay) and key(word) == f"ubd{overlay.SLOT}")
    ]
    if for_init:
        arguments += [FOR_INIT, *for_init]
    arguments = [word for word in arguments if words.can_be_given(word)]
    return check(msgspec.structs.replace(known, arguments=tuple(arguments)))
