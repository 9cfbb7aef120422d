"""A guest, written down.

`umlctl run` and `umlctl start` make one from their options; it is what the supervisor starts,
what is kept on disk, and what `status` shows. Everything is checked here, so that whoever holds
a `Definition` need not.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import msgspec

from umlctl.devices import parse, ubd
from umlctl.errors import UsageError
from umlctl.guest import confinement, overlay, pinning, policy, shares, specs, words
from umlctl.guest.grants import parse_grant

if TYPE_CHECKING:
    from umlctl.guest.specs import Disk, Nic

HOST_ROOT: Final = "host"
READONLY_SUFFIX: Final = ",ro"
"""Stands behind a directory that is a root to read only."""
UNLOCKED: Final = "unlocked"
LOCKED: Final = "locked"
MODULES: Final = (UNLOCKED, LOCKED)
BASIC: Final = "basic"
INF_CPU: Final = "inf-cpu"
VIRTUAL_TIMES: Final = (BASIC, INF_CPU)
"""How a kernel's clock goes that does not wait: it jumps where nothing is to be done, or goes in
jumps alone, so that computing takes no time."""
DEFAULT_MEM_BYTES: Final = 256 << 20
MIN_MEM_BYTES: Final = 24 << 20
"""With less the kernel dies before it can say why. Measured on 6.1 without randomisation."""
MAX_NUMA_NODE: Final = 1023
DEFAULT_BOOT_TIMEOUT: Final = 60.0
DEFAULT_HANG_TIMEOUT: Final = 30.0

_SIZE: Final = re.compile(r"(\d+)([kmg]?)b?", re.IGNORECASE)
_MODULE: Final = re.compile(r"[\w-]{1,64}", re.ASCII)
_UNITS: Final = {"": 0, "k": 10, "m": 20, "g": 30}


class Definition(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True
):
    """One guest. Written down without what is not asked for: then a supervisor of another version
    understands it, unless it is asked for what only one of them has.

    Fields:
        umid: its name
        kernel: path of the UML binary
        mem: bytes of guest memory
        root: "host" (this machine's userland, read-only), a directory, or an image file with
            the options of a disk
        overlay: where what is written over the root is kept, which is the host or a directory:
            "memory", or a directory; empty: nothing is written over it
        initrd: the file of an initial RAM disk, which takes the place of a root of "host"; empty:
            none, or one of `append` or `arguments`
        init: the program that becomes pid 1; empty: our own on "host", else the root's
        disks, nics: in the words of `umlctl.guest.specs`, numbered
        append, arguments: kernel arguments, as `umlctl.guest.words.check_given` takes them
        mem_dir: where the file behind its memory is made; empty: where the kernel likes
        ncpus: processors of the guest; more than 1 takes a kernel with SMP
        cpus: host CPUs it may run on, see `umlctl.guest.pinning`; empty: any
        numa: the host's NUMA node of which it has memory and CPUs; None: any
        seccomp: the kernel watches its processes by seccomp
        virtual_time: of VIRTUAL_TIMES; empty: its clock is the host's
        aslr: leave address-space randomisation on
        single: boot into single-user mode
        verbose: every kernel message on the console
        modules: "locked": the kernel takes none once its init has begun; "unlocked"
        load: names of modules that our init program loads
        pidfile: holds the kernel's pid, locked while it runs; empty: none
        cwd: the directory that relative paths of `arguments` are taken from
        home: below it, in .uml, uml_mconsole finds the guest; empty: the supervisor's
        timeout: seconds that the boot may take
        restart: "no", "on-failure" or "always", see umlctl.guest.policy
        on_panic, on_hang, on_exit: "nothing", "restart", "kill" or "stop-others"; empty: as
            `restart` says
        hang_after: seconds without a sign of life after which it counts as hung
        after: guests that are started before it, and ended after it
        named: the umid was given, not made up
        user: whom its kernel runs as, where root starts it; empty: who starts it
        memory_limit: bytes of the host's memory that it may use; 0: no limit
        cpu_limit: percent of one processor of the host; 0: no limit
        allow_users, allow_groups: who else may use its socket, see `umlctl.guest.grants`
        confine: how far its kernel is, see `umlctl.guest.confinement`; empty: as this host can
        ro, rw: files and directories that a confined kernel reads, or writes, besides
        hide: those that it does not see, besides what is secret on any host
        shares: directories of the host that it has mounted, see `umlctl.guest.shares`
    """

    umid: str
    kernel: str
    mem: int = DEFAULT_MEM_BYTES
    root: str = HOST_ROOT
    overlay: str = ""
    initrd: str = ""
    init: str = ""
    disks: tuple[str, ...] = ()
    nics: tuple[str, ...] = ()
    append: tuple[str, ...] = ()
    arguments: tuple[str, ...] = ()
    mem_dir: str = ""
    ncpus: int = 1
    cpus: str = ""
    numa: int | None = None
    seccomp: bool = False
    virtual_time: str = ""
    aslr: bool = False
    single: bool = False
    verbose: bool = False
    modules: str = UNLOCKED
    load: tuple[str, ...] = ()
    pidfile: str = ""
    cwd: str = "/"
    home: str = ""
    timeout: float = DEFAULT_BOOT_TIMEOUT
    restart: str = policy.NO
    on_panic: str = ""
    on_hang: str = ""
    on_exit: str = ""
    hang_after: float = DEFAULT_HANG_TIMEOUT
    after: tuple[str, ...] = ()
    named: bool = True
    user: str = ""
    memory_limit: int = 0
    cpu_limit: int = 0
    allow_users: tuple[str, ...] = ()
    allow_groups: tuple[str, ...] = ()
    confine: str = ""
    ro: tuple[str, ...] = ()
    rw: tuple[str, ...] = ()
    hide: tuple[str, ...] = ()
    shares: tuple[str, ...] = ()


# Made here, by one thread: msgspec crashes where several decode into a new type at once.
_DECODER: Final = msgspec.json.Decoder(Definition)


def parse_size(text: str) -> int:
    """Bytes of `64M`, `64m`, `1G`, `65536k` or a number of bytes.

    Raises: UsageError
    """
    found = _SIZE.fullmatch(text.strip())
    if found is None:
        raise UsageError(f"a size is a number with k, M or G, such as 256M, not {text!r}")
    return int(found[1]) << _UNITS[found[2].lower()]


def check(definition: Definition) -> Definition:
    """Return the definition if it is sound; no file is looked at.

    Raises: UsageError
    """
    if definition.mem < MIN_MEM_BYTES:
        least = MIN_MEM_BYTES >> 20
        raise UsageError(f"a guest needs at least {least}M of memory, not {definition.mem} bytes")
    if definition.ncpus < 1:
        raise UsageError(f"a guest has at least one processor, not {definition.ncpus}")
    _check_limits(definition)
    pinning.check(definition.cpus)
    if not 0 <= (definition.numa or 0) <= MAX_NUMA_NODE:
        raise UsageError(
            f"a NUMA node is a number from 0 to {MAX_NUMA_NODE}, not {definition.numa}"
        )
    if definition.modules not in MODULES:
        raise UsageError(f"modules are {' or '.join(MODULES)}, not {definition.modules!r}")
    _check_load(definition)
    if not 0 < definition.timeout <= 1e9:
        raise UsageError(f"a timeout is more than 0 seconds, not {definition.timeout:g}")
    _check_virtual_time(definition)
    _check_policy(definition)
    confinement.check(definition)
    for grant in (*definition.allow_users, *definition.allow_groups):
        parse_grant(grant)
    _check_filled(definition)
    _check_words(definition)
    _check_shares(definition)
    for device in devices(definition):
        check_for_user(definition, device)
    try:
        encode(definition)
    except UnicodeEncodeError as problem:
        raise UsageError(f"names and arguments are UTF-8, not {problem.object!r}") from None
    return definition


def _check_limits(definition: Definition) -> None:
    least = MIN_MEM_BYTES
    if definition.memory_limit and definition.memory_limit < least:
        raise UsageError(
            f"a guest needs at least {least >> 20}M of the host's memory, "
            f"not {definition.memory_limit} bytes"
        )
    if not 0 <= definition.cpu_limit <= 100_000:
        raise UsageError(
            f"a limit of CPU is percent of one processor, at least 1, not {definition.cpu_limit}"
        )


def _check_virtual_time(definition: Definition) -> None:
    """Raises: UsageError"""
    if definition.virtual_time and definition.virtual_time not in VIRTUAL_TIMES:
        known = " or ".join(VIRTUAL_TIMES)
        raise UsageError(f"virtual time is {known}, not {definition.virtual_time!r}")
    if definition.virtual_time and definition.ncpus > 1:
        raise UsageError("virtual time is that of one processor: leave --ncpus out")


def _check_filled(definition: Definition) -> None:
    for what in ("umid", "kernel", "root", "cwd"):
        if not getattr(definition, what):
            raise UsageError(f"the {what} of a guest is empty")


def _check_hostfs(definition: Definition) -> None:
    """Raises: UsageError: the kernel would look for the guest's root below another directory"""
    moved = given_to_kernel(definition).get("hostfs", "").partition(",")[0]
    on_hostfs = root_directory(definition) or definition.root == HOST_ROOT
    if moved.strip("/") and on_hostfs and not chooses_root(definition):
        raise UsageError(
            f"hostfs={moved} has the kernel look for the guest's root below {moved}, and not where "
            f"it is; --root {moved} has that as the root, and --share DIR a directory in the guest"
        )


def _check_words(definition: Definition) -> None:
    told = (*definition.append, *definition.arguments)
    for word in told:
        words.check_given(word)
    _check_overlay(definition)
    _check_hostfs(definition)
    if definition.initrd and "initrd" in map(words.key, words.split(told)[0]):
        raise UsageError(
            f"the initial RAM disk is {definition.initrd}, and a kernel argument has another: give "
            "one of the two"
        )
    if root_directory(definition) and chooses_root(definition):
        given = given_to_kernel(definition).keys() & {"root", "rootfstype", "rootflags", "initrd"}
        if given:
            raise UsageError(
                f"the root is {definition.root}, and another one is asked for by "
                f"{', '.join(sorted(given))}; give one of the two"
            )
    for name in definition.after:
        if name == definition.umid:
            raise UsageError(f"{name} cannot come after itself")
        if not name or "/" in name or any(c.isspace() for c in name) or "\0" in name:
            raise UsageError(f"--after takes the name of a guest, not {name!r}")


def _check_overlay(definition: Definition) -> None:
    """Raises: UsageError"""
    if not definition.overlay:
        return
    if root_is_image(definition):
        raise UsageError(
            f"an overlay is over the host's files or a directory, and the root is an image: "
            f"{definition.root},discard forgets what is written, and ,cow=FILE keeps it apart"
        )
    if chooses_root(definition):
        raise UsageError(
            "an overlay is over the host's files or a directory, and another root is asked for"
        )
    for path in (root_directory(definition), definition.overlay):
        if "," in path:
            raise UsageError(f"the path of an overlay cannot have a comma: {path}")


def _check_load(definition: Definition) -> None:
    """Raises: UsageError"""
    for name in definition.load:
        if _MODULE.fullmatch(name) is None:
            raise UsageError(f"a module has a name as of modprobe, not {name!r}")
        if definition.modules == LOCKED:
            raise UsageError(f"module {name}: the modules of this guest are locked")


def _check_shares(definition: Definition) -> None:
    """Raises: UsageError"""
    found: dict[str, shares.Share] = {}
    for each in map(shares.parse, definition.shares):
        if each.target in found:
            raise UsageError(f"{each.target} is shared twice: {found[each.target]} and {each}")
        found[each.target] = each


def _check_policy(definition: Definition) -> None:
    """Raises: UsageError"""
    if not 1 <= definition.hang_after <= 1e9:
        raise UsageError(
            f"a guest counts as hung after a second at least, not {definition.hang_after:g}"
        )
    if definition.restart not in policy.RESTARTS:
        known = ", ".join(policy.RESTARTS)
        raise UsageError(f"restart is one of {known}, not {definition.restart!r}")
    for action in (definition.on_panic, definition.on_hang, definition.on_exit):
        if action and action not in policy.ACTIONS:
            raise UsageError(f"an action is one of {', '.join(policy.ACTIONS)}, not {action!r}")


def devices(definition: Definition) -> list[Disk | Nic]:
    """The disks and NICs on the command line, those among the user's own arguments too.

    Raises: UsageError
    """
    found: dict[str, Disk | Nic] = {}
    if root_is_image(definition):
        found["ubd0"] = root_disk(definition)
    disks: list[Disk | Nic] = [specs.parse_disk(text, definition.cwd) for text in definition.disks]
    kept = overlay.disk(definition.overlay)
    if kept is not None:
        found[name_of(kept)] = kept
    # Who wrote them down was asked whether they insist.
    for asked in disks + [specs.parse_nic(text, insist=True) for text in definition.nics]:
        name = name_of(asked)
        if name in found:
            raise UsageError(f"{name} is given twice: {found[name]} and {asked}")
        found[name] = asked
    told, _ = words.split((*definition.append, *definition.arguments))
    for word in told:
        if is_device(word):  # wins, as all that the user gives the kernel does
            device = parse.parse(word, insist=True)
            if isinstance(device, ubd.Ubd):
                found[device.name] = specs.of_device(device.absolute(definition.cwd))
            else:
                found[device.name] = specs.parse_nic(word, insist=True)
    return list(found.values())


def is_device(word: str) -> bool:
    """A kernel argument that makes a disk or a NIC."""
    number = word[3:4]
    return (word.startswith("ubd") and "=" in word and (number.isdigit() or number.isalpha())) or (
        word.startswith(("vec", "eth")) and number.isdigit()
    )


def name_of(asked: Disk | Nic) -> str:
    """The device's name; its number has been given.

    Raises: UsageError
    """
    if isinstance(asked, specs.Disk):
        if asked.slot is None:
            raise UsageError(f"the disk {asked} has no slot")
        return f"ubd{asked.slot}"
    if asked.number is None:
        raise UsageError(f"the NIC {asked} has no number")
    return f"{'eth' if asked.text.startswith('eth') else 'vec'}{asked.number}"


def root_is_image(definition: Definition) -> bool:
    """The root is a file rather than a directory: directories are written with a final '/'."""
    return definition.root != HOST_ROOT and not root_directory(definition)


def root_directory(definition: Definition) -> str:
    """The directory that is the root, with its final '/'; empty if it is none."""
    directory = definition.root.removesuffix(READONLY_SUFFIX)
    return directory if directory.endswith("/") else ""


def root_is_host(definition: Definition) -> bool:
    """This machine's own files are the root, and no kernel argument has another one."""
    return definition.root == HOST_ROOT and not chooses_root(definition)


def chooses_root(definition: Definition) -> bool:
    """The user's kernel arguments have a root of their own: a disk, an initial RAM disk or a
    directory, rather than a detail of the one that the definition has."""
    given = given_to_kernel(definition)
    root, kind = given.get("root", ""), given.get("rootfstype", "")
    elsewhere = (
        "initrd" in given
        or given.get("ubd0", ubd.NULL_FILE) != ubd.NULL_FILE
        or root not in ("", "/dev/root")
    )
    if kind == "hostfs" or not (kind or elsewhere):
        return bool(given.get("rootflags", "").strip("/"))
    return True


def given_to_kernel(definition: Definition) -> dict[str, str]:
    """The user's arguments for the kernel by what they are about; the last one counts. An initial
    RAM disk is among them, however it was asked for."""
    told, _ = words.split((*definition.append, *definition.arguments))
    found = {"initrd": definition.initrd} if definition.initrd else {}
    return found | {words.key(each): words.unquoted(each).partition("=")[2] for each in told}


def check_for_user(definition: Definition, device: Disk | Nic) -> None:
    """See that the device can be had by a kernel that runs as another user.

    Raises: UsageError
    """
    if definition.user and isinstance(device, specs.Nic) and device.kind != specs.KERNEL:
        raise UsageError(
            f"a guest that runs as {definition.user} cannot have {device}: switches and taps of "
            "root are out of its reach; start it as that user, without --user"
        )


def is_shared(definition: Definition) -> bool:
    """Others than its owner and root may use its socket."""
    return bool(definition.allow_users or definition.allow_groups)


def root_disk(definition: Definition) -> Disk:
    """The root's image as a disk.

    Raises: UsageError
    """
    return msgspec.structs.replace(specs.parse_disk(definition.root, definition.cwd), slot=0)


def encode(definition: Definition) -> bytes:
    return msgspec.json.encode(definition)


def decode(data: bytes) -> Definition:
    """Read and check what `encode` wrote.

    Raises: UsageError
    """
    try:
        definition = _DECODER.decode(data)
        empty = [name for name, value in msgspec.json.decode(data).items() if value == ""]
    except (msgspec.DecodeError, UnicodeDecodeError) as problem:
        raise UsageError(f"this is no guest definition: {problem}") from problem
    if empty:  # what is not asked for is left out
        raise UsageError(f"this is no guest definition: {empty[0]} is empty; leave it out")
    return check(definition)
