"""UML kernels: where to find one, and what a given one can do.

A kernel is probed, never assumed: distributions and versions differ in transports, consoles and
options. `find` answers "which kernel?" and only looks at files. `probe` answers "is it one, and
what can it do?" before anything is run as a kernel. It looks at the file first, and does not run a
file that cannot be a kernel. Then it runs the file twice, with `--help` and `--showconfig`, which
print and exit without starting a guest. The answers are kept as long as the file is the same.
"""

from __future__ import annotations

import itertools
import os
import re
from contextlib import suppress
from typing import NamedTuple

from umlctl.errors import NoKernel
from umlctl.host import paths
from umlctl.kernels import kernel_file, probes, registered

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Final

__all__ = ["CAPABILITIES", "Candidate", "ProbedKernel", "cache", "candidates", "find", "probe"]

KERNEL_VARIABLE: Final = "UMLCTL_KERNEL"
IN_PACKAGE: Final = "usr/bin/linux.uml"
"""The kernel's place in the Debian and Ubuntu package `user-mode-linux`."""
IN_TREE: Final = "linux"
"""The kernel's place in the tree where it was built."""
PROBE_TIMEOUT: Final = 5.0
_SYMBOL: Final = "CONFIG_"
_SCRIPT: Final = "umlctl"

ADVICE: Final = f"`umlctl setup` fetches one; --kernel PATH or ${KERNEL_VARIABLE} name one you have"
"""What to do where no kernel is found, or none that runs."""


class _Capability(NamedTuple):
    """How to see that a kernel can do something: a config symbol or an option of `--help`."""

    help: str
    symbol: str = ""
    option: str = ""


CAPABILITIES: Final[Mapping[str, _Capability]] = {
    "mconsole": _Capability("the management console", "MCONSOLE"),
    "ubd": _Capability("disks", "BLK_DEV_UBD"),
    "vec": _Capability("vector network devices", "UML_NET_VECTOR"),
    "eth": _Capability("legacy network devices, gone since Linux 6.16", option="eth"),
    "hostfs": _Capability("directories of the host", "HOSTFS"),
    "virtio": _Capability("vhost-user devices", "VIRTIO_UML"),
    "vfio": _Capability("PCI devices of the host, since Linux 6.16", "UML_PCI_OVER_VFIO"),
    "initrd": _Capability("initial RAM disks", "BLK_DEV_INITRD"),
    "modules": _Capability("loadable modules", "MODULES"),
    "sysrq": _Capability("the sysrq command", "MAGIC_SYSRQ"),
    "watchdog": _Capability("the hang watchdog", "UML_WATCHDOG"),
    "random": _Capability("the host's randomness", "UML_RANDOM"),
    "noreboot": _Capability("exit instead of reboot, since Linux 6.0", option="noreboot"),
    "smp": _Capability("several processors, ncpus=N", "SMP"),
    "seccomp": _Capability("system calls by seccomp, since Linux 6.16", option="seccomp"),
    "time-travel": _Capability("simulated time", "UML_TIME_TRAVEL_SUPPORT"),
    "kunit": _Capability("tests that are built in", "KUNIT"),
}

_TRANSPORTS: Final = ("tuntap", "daemon", "vde", "mcast", "slip", "slirp", "ethertap", "pcap")


class Candidate(NamedTuple):
    """A file that may be a kernel; `source` says where it was found."""

    source: str
    path: str


class ProbedKernel(NamedTuple):
    """What a kernel says of itself.

    Fields:
        path: absolute
        version: its release, for example 6.1.176
        options: names of the options in `--help`, without `=` and what follows
        config: its configuration, symbol (without CONFIG_) to value; unset symbols are absent
    """

    path: str
    version: str
    options: frozenset[str]
    config: Mapping[str, str]

    @property
    def capabilities(self) -> dict[str, str]:
        """Each name of CAPABILITIES that this kernel has, with "yes" or "module"."""
        found = {}
        for name, capability in CAPABILITIES.items():
            value = self.config.get(capability.symbol)
            if capability.option in self.options or value == "y":
                found[name] = "yes"
            elif value == "m":
                found[name] = "module"
        return found

    @property
    def missing(self) -> tuple[str, ...]:
        return tuple(name for name in CAPABILITIES if name not in self.capabilities)

    @property
    def release(self) -> tuple[int, int]:
        """The first two numbers of the kernel's version; zeros if it has none."""
        return release_of(self.version)

    @property
    def transports(self) -> tuple[str, ...]:
        """The transports that can follow `ethN=`."""
        return tuple(t for t in _TRANSPORTS if f"UML_NET_{t.upper()}" in self.config)

    @property
    def most_cpus(self) -> int:
        """The largest N that `ncpus=N` can have."""
        return int(self.config.get("NR_CPUS", "1")) if "smp" in self.capabilities else 1

    @property
    def locks_modules(self) -> bool:
        """Whether the kernel can be told at boot to take no modules, or has none. Since Linux 5.8:
        `sysctl.`"""
        if "modules" not in self.capabilities:
            return True
        # Linux 7.3 has the second symbol only; earlier kernels have that with the first.
        return self.release >= (5, 8) and "y" in (
            self.config.get("PROC_SYSCTL"),
            self.config.get("SYSCTL"),
        )


def release_of(version: str) -> tuple[int, int]:
    """The first two numbers of a version; zeros if it has none."""
    found = re.match(r"(\d{1,9})\.(\d{1,9})", version, re.ASCII)
    return (int(found[1]), int(found[2])) if found else (0, 0)


def cache() -> str:
    """The directory where fetched kernels are unpacked, one directory a package."""
    return paths.cache_dir() + "/kernels"


def find(explicit: str | None = None) -> str:
    """The absolute path of the kernel to run.

    explicit, $UMLCTL_KERNEL: a name that a kernel is registered by, a file, or the directory where
    a kernel was built

    In this order: `explicit`, $UMLCTL_KERNEL, the registered one that is the default, `linux.uml`
    in PATH, `linux` in PATH if it looks like UML, the newest one in the cache. A kernel that is
    named must be there: nothing else is tried instead.

    Raises: NoKernel
    """
    if explicit is not None:
        return _named(explicit, "--kernel")
    named = os.environ.get(KERNEL_VARIABLE)
    if named is not None:
        return _named(named, f"${KERNEL_VARIABLE}")
    rejected = ""
    for candidate in _unnamed():
        if os.path.basename(candidate.path) == "linux":
            flaw = kernel_file.flaw(candidate.path)
            if flaw:
                rejected = f" (passed over: {candidate.path} is not a UML kernel: {flaw})"
                continue
        return candidate.path
    raise NoKernel(
        f"no UML kernel: there is no linux.uml or linux in PATH, and none in {cache()}{rejected}; "
        + ADVICE
    )


def candidates() -> list[Candidate]:
    """Every file that `find` would consider, in its order, and then the others that are registered;
    unprobed, each file once."""
    named = os.environ.get(KERNEL_VARIABLE)
    found = []
    if named:
        path = registered.path_of(named) or os.path.abspath(_expanded(named))
        found.append(
            Candidate(f"${KERNEL_VARIABLE}", f"{path}/{IN_TREE}" if os.path.isdir(path) else path)
        )
    found += _unnamed()
    found += [Candidate(f"registered:{n}", registered.path_of(n)) for n in registered.names()]
    once: dict[str, Candidate] = {}
    for candidate in found:
        once.setdefault(os.path.realpath(candidate.path), candidate)
    return list(once.values())


def probe(path: str, user: str = "", timeout: float = PROBE_TIMEOUT) -> ProbedKernel:
    """See whether a file is a kernel, what it is and what it can do.

    user: the user that it is to run as, for root; it must not run as root before that
    timeout: for each of its two answers, seconds

    Raises: NoKernel, HostError
    """
    path = os.path.abspath(path)
    try:
        identity = probes.identity(path)
        lines = probes.kept(path, identity)
    except OSError:
        identity, lines = "", []  # the error is told below
    if len(lines) > 1 and lines[0]:
        return ProbedKernel(path, lines[0], frozenset(lines[1].split()), _config(lines[2:]))
    flaw = kernel_file.flaw(path)
    if flaw:
        raise NoKernel(f"{path} is not a UML kernel: {flaw}; {ADVICE}")
    if user:
        from umlctl.host import users

        users.check_reach(users.find(user), [("x", path), ("r", path)])
    usage = _ask(path, "--help", timeout, user)
    version = _version(usage)
    if not version:
        raise NoKernel(f"{_unable(path, usage)}; {ADVICE}")
    settings = _ask(path, "--showconfig", timeout, user).splitlines()
    kernel = ProbedKernel(path, version, _options(usage), _config(settings))
    with suppress(OSError):
        if probes.identity(path) == identity:
            symbols = [line for line in settings if line.startswith(_SYMBOL)]
            probes.keep(path, identity, [version, " ".join(sorted(kernel.options)), *symbols])
    return kernel


def _ask(path: str, argument: str, timeout: float, user: str) -> str:
    try:
        return probes.ask(path, argument, timeout, user)
    except NoKernel as problem:
        raise NoKernel(
            f"{path} is not a UML kernel: asked for {argument}, {problem.problem}; {ADVICE}"
        ) from problem


def _unable(path: str, said: str) -> str:
    """What a kernel lacks that does not say what it is."""
    newer = re.search(r"version `(GLIBC_[\d.]+)' not found", said)
    if newer is not None:
        return (
            f"{path} does not run on this host: it needs a newer C library ({newer[1]}); "
            "take the kernel of this host's release, or one that was built here"
        )
    line = next((line for line in said.splitlines() if line.strip()), "nothing")
    return f"{path} does not say that it is a UML kernel: asked for --help it said {line[:300]!r}"


def _expanded(name: str) -> str:
    """The path of a kernel that a user names by a path, or as a program in PATH."""
    path = os.path.expanduser(name)
    if "/" not in path and not os.path.exists(path):
        return _which(path) or path
    return path


def _named(name: str, source: str) -> str:
    kept = registered.path_of(name)
    if kept:
        return kept
    path = os.path.abspath(_expanded(name))
    if name and os.path.isdir(path):
        path = f"{path}/{IN_TREE}"
        if not os.path.exists(path):
            raise NoKernel(
                f"{source} {name}: the directory has no kernel, `{IN_TREE}`; build it there: "
                "make ARCH=um"
            )
    if not name:
        problem = "it is empty, and names no kernel"
    elif not os.path.exists(path):
        problem = "no such file"
    elif not os.path.isfile(path):
        problem = "not a file"
    elif not os.access(path, os.X_OK):
        problem = f"not executable; is `chmod +x {path}` missing?"
    else:
        return path
    raise NoKernel(f"{source} {name}: {problem}; {ADVICE}")


def _unnamed() -> Iterator[Candidate]:
    usual = registered.default()
    if usual:
        yield Candidate(f"default:{usual}", registered.path_of(usual))
    for name in ("linux.uml", IN_TREE):
        found = _all_which(name)
        # A program of that name may stand before a kernel; so may umlctl itself, by `compat`.
        for path in found if name == IN_TREE else itertools.islice(found, 1):
            if os.path.basename(os.path.realpath(path)) != _SCRIPT:
                yield Candidate("PATH", path)
    for path in _cached():
        yield Candidate("cache", path)


def _which(name: str) -> str | None:
    """`shutil.which`, without its import and never from the current directory unasked."""
    return next(_all_which(name), None)


def _all_which(name: str) -> Iterator[str]:
    for directory in os.environ.get("PATH", os.defpath).split(os.pathsep):
        path = os.path.join(directory, name)
        if directory and os.path.isfile(path) and os.access(path, os.X_OK):
            yield os.path.abspath(path)


def _cached() -> list[str]:
    """The kernels in the cache, newest version first."""
    try:
        names = os.listdir(cache())
    except OSError:
        return []
    # A name with a dot is of a kernel that is being unpacked just now.
    found = [
        name
        for name in names
        if not name.startswith(".") and os.access(f"{cache()}/{name}/{IN_PACKAGE}", os.X_OK)
    ]
    return [f"{cache()}/{n}/{IN_PACKAGE}" for n in sorted(found, key=_by_version, reverse=True)]


def _by_version(name: str) -> tuple[list[int], str]:
    digits = "".join(c if c.isdigit() else " " for c in name)
    return [int(number) for number in digits.split()], name


def _version(usage: str) -> str:
    """The release in the first line of `--help`. Source: arch/um/kernel/um_arch.c:usage_string"""
    for line in usage.splitlines():
        if line.startswith("User Mode Linux v"):
            return line.removeprefix("User Mode Linux v").strip()
        if line.strip():
            break
    return ""


def _options(usage: str) -> frozenset[str]:
    """The option names in `--help`.

    Explanations are indented, but not all of them: an option's line also has no blank
    between its name and `=`, `<`, `[`, `:` or the end.
    """
    found = set()
    for line in usage.splitlines():
        name = line
        for mark in "=<[:":
            name = name.partition(mark)[0]
        if name.strip("abcdefghijklmnopqrstuvwxyz0123456789_.-") == "" and name:
            found.add(name)
    return frozenset(found)


def _config(lines: list[str]) -> dict[str, str]:
    found = {}
    for line in lines:
        if line.startswith(_SYMBOL):
            name, _, value = line.removeprefix(_SYMBOL).partition("=")
            found[name] = value.strip('"')
    return found
