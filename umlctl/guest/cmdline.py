"""The kernel command line of a guest.

Built from the definition alone, so that `status` can show it and a test can hold it. What the
user gives wins over every default of ours, except for the three arguments by which a guest is
found again.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

from umlctl.devices import lines, ubd, vec
from umlctl.errors import UsageError
from umlctl.guest import plug
from umlctl.guest.definition import (
    HOST_ROOT,
    LOCKED,
    Definition,
    check,
    is_device,
    parse_size,
    root_disk,
    root_is_image,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

CONSOLE_IN: Final = 3
CONSOLE_OUT: Final = 4
"""Descriptors of the console, as the launcher opens them for the kernel."""
AGENT: Final = "ssl63"
AGENT_DESCRIPTOR: Final = 19
"""The line on which our init program is told of window sizes, and what the kernel reads there."""
LONGEST: Final = 4095
"""COMMAND_LINE_SIZE of arch/um, less the NUL."""

FAST_BOOT: Final = (
    # Both benchmark RAID algorithms for most of a second, which only md and btrfs RAID 5/6 use.
    "initcall_blacklist=raid6_select_algo,calibrate_xor_blocks",
    "lpj=15000000",  # calibrating takes as long as the rest of the boot
    "pty.legacy_count=0",  # 256 device nodes that nobody opens
)
RAID6_INIT: Final = (7, 2)
"""The release of Linux whose `raid6_init` benchmarks; in others it does nothing that takes long,
and RAID 6 works by what it sets."""
OURS: Final = {
    "umid": "it is the guest's name: `umlctl run UMID`",
    "uml_dir": "the supervisor gives each kernel a private one",
    "mconsole": "the supervisor listens to the kernel's notifications",
}
NICS: Final = "UMLCTL_NICS"
INIT: Final = "UMLCTL_INIT"
"""Kernel arguments that are none, and become variables of init's environment."""
NO_DISK: Final = "ubd0r=/dev/null"
"""What ubd0 is of a guest without one."""
HOSTFS: Final = "hostfs="
"""An argument that is said to confine hostfs, and does not."""
SHELL: Final = "/bin/sh"
"""Which runs our init program: that stands where a host lets nobody execute files, as in /run."""
FOR_INIT: Final = "--"
"""What follows it is not for the kernel."""
_LINE: Final = re.compile(r"(con|ssl)\d*=")
TYPOS: Final = {"udb": "did you mean ubd?"}


class Traits(NamedTuple):
    """What words a kernel needs depends on this.

    Fields:
        release: the first two numbers of its version; zeros if unknown
        seccomp: it can watch its processes by seccomp, as it must to have several processors
    """

    release: tuple[int, int]
    seccomp: bool


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
    devices: disks and NICs in the kernel's words
    nics: what our init program is to make of the NICs: NAME,ADDRESS,GATEWAY,RESOLVER; more
        after a ';'
    traits: what its kernel is like

    Raises: UsageError
    """
    given = [word for word in (*definition.append, *definition.arguments) if not is_device(word)]
    user, for_init = _split(given)
    for word in given:  # UML's own are looked for in what is for init alone, too
        key = _key(word)
        if key in OURS:
            raise UsageError(f"{word}: {key}= is not yours to set: {OURS[key]}")
        for typo, hint in TYPOS.items():
            if key.startswith(typo):
                raise UsageError(f"{word}: {hint}")
    ours = [
        *_ours(definition, uml_dir, notify, _fast_boot(traits.release)),
        *(["seccomp=on"] if traits.seccomp and definition.ncpus > 1 else []),
        *_root(definition, init, wrapped=wrapped),
        *_with_disk(devices),
    ]
    if nics and definition.root == HOST_ROOT:
        ours.append(f"{NICS}={nics}")
    line = merge(ours, user)
    if has_agent(definition) and not any(_key(word) == "init" for word in user):
        # After all others: what stands before it and is none of the kernel's is init's no more.
        line.append(f"init={SHELL}")
        for_init.insert(0, init)
    if for_init:
        line += [FOR_INIT, *for_init]
    length = sum(len(word.encode()) + 1 for word in line)
    if length > LONGEST:
        raise UsageError(f"the kernel command line has {length} bytes; {LONGEST} is the most")
    return line


def danger(word: str) -> str:
    """Why an argument is refused unless somebody insists; empty if it is not."""
    line = _LINE.match(word)
    if line is not None:
        kinds = [channel.partition(":")[0] for channel in word[line.end() :].split(",")]
        guarded = lines.GUARDED
    elif word.startswith("vec"):
        kinds = [option.partition("=")[0] for option in word.partition(":")[2].split(",")]
        guarded = vec.GUARDED
    else:
        return ""
    return next((f"{kind}: {guarded[kind]}" for kind in kinds if kind in guarded), "")


def has_agent(definition: Definition) -> bool:
    """Our own init program runs in the guest, and listens on AGENT."""
    return definition.root == HOST_ROOT and not definition.init


def merge(defaults: Iterable[str], user: Iterable[str]) -> list[str]:
    """The defaults that the user did not give, then what the user gave."""
    given = list(user)
    taken = {_key(word) for word in given}
    if taken & {"ro", "rw"}:
        taken |= {"ro", "rw"}
    return [word for word in defaults if _key(word) not in taken] + given


def _key(word: str) -> str:
    """What an argument is about: `ubd0` for `ubd0r=file` and `ubda=file`, `vec0` for `vec0:...`."""
    key = word.partition("=")[0].partition(":")[0]
    slot = key[3:4]
    if not key.startswith("ubd") or not slot:
        return key
    if "a" <= slot <= "p":
        return f"ubd{ord(slot) - ord('a')}"
    return key.rstrip("rsdct")


def _fast_boot(release: tuple[int, int]) -> list[str]:
    blacklist, *rest = FAST_BOOT
    return [f"{blacklist},raid6_init" if release == RAID6_INIT else blacklist, *rest]


def _ours(definition: Definition, uml_dir: str, notify: str, fast_boot: Sequence[str]) -> list[str]:
    words = [
        f"mem={definition.mem >> 10}K",
        f"umid={definition.umid}",
        f"uml_dir={uml_dir}",
        f"mconsole=notify:{notify}",
        f"hostname={definition.umid}",
        *fast_boot,
        "con=none",
        "ssl=none",
        f"con0=fd:{CONSOLE_IN},fd:{CONSOLE_OUT}",
        "console=tty0",  # the kernel adds it to a line without, behind what is for init alone
        "printk.time=1",  # tells the kernel's lines from others on a console
    ]
    if has_agent(definition):
        words.append(f"{AGENT}=fd:{AGENT_DESCRIPTOR},null")
    if definition.ncpus > 1:
        words.append(f"ncpus={definition.ncpus}")
    if definition.single:
        words.append("single")
    if definition.verbose:
        words.append("ignore_loglevel")
    if definition.modules == LOCKED:
        words.append("sysctl.kernel.modules_disabled=1")  # set before init; nothing unsets it
    return words


def _root(definition: Definition, init: str, *, wrapped: bool) -> list[str]:
    words = []
    if root_is_image(definition):
        words += ["root=/dev/ubda", "ro" if root_disk(definition).readonly else "rw"]
    elif definition.root == HOST_ROOT:
        words += ["root=/dev/root", "rootfstype=hostfs", "rootflags=/", "ro"]
    else:
        directory = definition.root.rstrip("/") or "/"
        if any(c.isspace() for c in directory):
            raise UsageError(f"the kernel takes no blank in the root's path: {directory!r}")
        words += ["root=/dev/root", "rootfstype=hostfs", f"rootflags={directory}", "rw"]
    program = definition.init
    if any(c.isspace() for c in program or init):
        raise UsageError(f"the kernel takes no blank in the path of init: {program or init!r}")
    if program and definition.root == HOST_ROOT and wrapped:
        words += [f"init={init}", f"{INIT}={program}"]
    elif program:
        words.append(f"init={program}")
    return words


def _split(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """The arguments for the kernel, and those for init alone."""
    where = words.index(FOR_INIT) if FOR_INIT in words else len(words)
    return list(words[:where]), list(words[where + 1 :])


def _with_disk(devices: Sequence[str]) -> list[str]:
    """The devices, and always a ubd0.

    Without one the kernel makes a device that cannot be used, and panics when it is removed. It is
    read-only: later kernels (6.12) lock the file as long as the device is there, and a second
    guest that cannot have its lock panics.
    """
    words = list(devices)
    if not any(_key(word) == "ubd0" for word in words):
        words.insert(0, NO_DISK)
    for word in words:
        if any(c.isspace() for c in word):
            raise UsageError(
                f"the kernel takes no blank in a disk's path at boot: {word!r}; "
                "add it with `umlctl disk add` once the guest runs"
            )
    return words


def recover(words: Sequence[str], cwd: str) -> Definition:
    """The definition that a running kernel was started with, as far as its words tell.

    words: the kernel and its arguments, as `build` made them; cwd: its directory

    Raises: UsageError: they are no such words
    """
    told, for_init = _split(words[1:])
    found = {_key(word): word.partition("=")[2] for word in reversed(told)}
    if not OURS.keys() <= found.keys():
        raise UsageError(f"no kernel that was started here: {words!r}")
    root, init = HOST_ROOT, found.get("init", "")
    if found.get("root") == "/dev/ubda":
        disk = next((word for word in words if is_device(word) and _key(word) == "ubd0"), "")
        root = str(msgspec.structs.replace(plug.of_device(ubd.parse(disk)), slot=None))
    elif found.get("rootflags", "/") != "/":
        root = found["rootflags"] + "/"
    if root == HOST_ROOT:
        init = "" if AGENT in found else found.get(INIT, init)
    known = Definition(
        umid=found["umid"],
        kernel=words[0],
        mem=parse_size(found.get("mem", "256M")),
        root=root,
        init=init,
        cwd=cwd,
    )
    program = found.get("init", "")
    is_ours = program == SHELL and for_init and for_init[0].endswith(f"/{known.umid}/init")
    if is_ours:
        program = for_init.pop(0)
    ours = build(known, uml_dir="", notify="", init=program, wrapped=INIT in found)
    if has_agent(known) and not is_ours:
        ours.remove(f"init={SHELL}")
    arguments = [
        word
        for word in told
        if word
        and word not in ours
        and not word.startswith(FAST_BOOT[0])
        and _key(word) not in OURS
        and not word.startswith(f"{NICS}=")
        and not (root_is_image(known) and _key(word) == "ubd0")
    ]
    if for_init:
        arguments += [FOR_INIT, *for_init]
    return check(msgspec.structs.replace(known, arguments=tuple(arguments)))
