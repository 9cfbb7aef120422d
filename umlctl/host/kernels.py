"""UML kernels: where to find one, and what a given one can do.

A kernel is probed, never assumed: distributions and versions differ in transports, consoles
and options. `find` answers "which kernel?" for every `run`, so it only looks at files;
`probe` answers "what can it do?" and runs the kernel twice, with `--help` and `--showconfig`,
which print and exit without starting a guest.

A program called `linux.uml` is taken at its word. One called just `linux` is not: that may be
anything, so it is probed before it is used. Such a program may also hang, flood us with output
or leave children behind; the probe has a deadline, a cap, and kills what it started.
"""

from __future__ import annotations

import os
import re
from typing import NamedTuple

from umlctl.errors import NoKernel
from umlctl.host import paths

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Final

__all__ = ["CAPABILITIES", "Candidate", "Kernel", "cache", "candidates", "find", "probe"]

VARIABLE: Final = "UMLCTL_KERNEL"
IN_PACKAGE: Final = "usr/bin/linux.uml"
"""The kernel's place in the Debian and Ubuntu package `user-mode-linux`."""
PROBE_SECONDS: Final = 5.0
_PROBE_BYTES: Final = 4 << 20
"""Far above the 80 KB of a real `--showconfig`."""

_ADVICE: Final = f"`umlctl setup` fetches one; --kernel PATH or ${VARIABLE} name one you have"


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
}

_TRANSPORTS: Final = ("tuntap", "daemon", "vde", "mcast", "slip", "slirp", "ethertap", "pcap")


class Candidate(NamedTuple):
    """A file that may be a kernel; `source` says where it was found."""

    source: str
    path: str


class Kernel(NamedTuple):
    """What a kernel says of itself.

    Fields:
        path: absolute
        version: its release, for example 6.1.176
        options: names of the options in `--help`, without `=` and what follows
        config: its configuration, symbol (without CONFIG_) to value; what is not set is absent
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
    def transports(self) -> tuple[str, ...]:
        """What can follow `ethN=`."""
        return tuple(t for t in _TRANSPORTS if f"UML_NET_{t.upper()}" in self.config)

    @property
    def most_cpus(self) -> int:
        """The largest N that `ncpus=N` can have."""
        return int(self.config.get("NR_CPUS", "1")) if "smp" in self.capabilities else 1

    @property
    def locks_modules(self) -> bool:
        """It can be told at boot to take no modules, or has none. Since Linux 5.8: `sysctl.`"""
        if "modules" not in self.capabilities:
            return True
        release = re.match(r"(\d+)\.(\d+)", self.version, re.ASCII)
        known = release is not None and (int(release[1]), int(release[2])) >= (5, 8)
        return known and self.config.get("PROC_SYSCTL") == "y"


def cache() -> str:
    """Where fetched kernels are unpacked, one directory a package."""
    return paths.cache_dir() + "/kernels"


def find(explicit: str | None = None) -> str:
    """The absolute path of the kernel to run.

    In this order: `explicit`, $UMLCTL_KERNEL, `linux.uml` in PATH, `linux` in PATH if it is
    UML, the newest one in the cache. A kernel that is named must be there: nothing else is
    tried instead.

    Raises: NoKernel
    """
    if explicit is not None:
        return _named(explicit, "--kernel")
    named = os.environ.get(VARIABLE)
    if named is not None:
        return _named(named, f"${VARIABLE}")
    rejected = ""
    for candidate in _unnamed():
        if os.path.basename(candidate.path) == "linux":
            try:
                probe(candidate.path)
            except NoKernel as error:
                rejected = f" (passed over: {str(error).removesuffix('; ' + _ADVICE)})"
                continue
        return candidate.path
    raise NoKernel(
        f"no UML kernel: there is no linux.uml or linux in PATH, and none in {cache()}{rejected}; "
        + _ADVICE
    )


def candidates() -> list[Candidate]:
    """Every file that `find` would consider, in its order; unprobed, each file once."""
    named = os.environ.get(VARIABLE)
    found = [Candidate(f"${VARIABLE}", os.path.abspath(_expanded(named)))] if named else []
    found += _unnamed()
    once: dict[str, Candidate] = {}
    for candidate in found:
        once.setdefault(os.path.realpath(candidate.path), candidate)
    return list(once.values())


def probe(path: str, timeout: float = PROBE_SECONDS) -> Kernel:
    """Ask a kernel what it is and what it can do.

    `timeout`: seconds, for each of its two answers.

    Raises: NoKernel
    """
    path = os.path.abspath(path)
    usage = _ask(path, "--help", timeout)
    version = _version(usage)
    if not version:
        said = next((line for line in usage.splitlines() if line.strip()), "nothing")
        raise NoKernel(
            f"{path} is not a UML kernel: asked for --help it said {said[:60]!r}; {_ADVICE}"
        )
    settings = _ask(path, "--showconfig", timeout)
    return Kernel(path, version, _options(usage), _config(settings))


def _expanded(name: str) -> str:
    """A kernel's name as a person gives it: a path, or a program in PATH."""
    path = os.path.expanduser(name)
    if "/" not in path and not os.path.exists(path):
        return _which(path) or path
    return path


def _named(name: str, source: str) -> str:
    path = os.path.abspath(_expanded(name))
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
    raise NoKernel(f"{source} {name}: {problem}; {_ADVICE}")


def _unnamed() -> Iterator[Candidate]:
    for name in ("linux.uml", "linux"):
        path = _which(name)
        if path:
            yield Candidate("PATH", path)
    for path in _cached():
        yield Candidate("cache", path)


def _which(name: str) -> str | None:
    """`shutil.which`, without its import and never from the current directory unasked."""
    for directory in os.environ.get("PATH", os.defpath).split(os.pathsep):
        path = os.path.join(directory, name)
        if directory and os.path.isfile(path) and os.access(path, os.X_OK):
            return os.path.abspath(path)
    return None


def _cached() -> list[str]:
    """The kernels in the cache, newest version first."""
    try:
        names = os.listdir(cache())
    except OSError:
        return []
    # A dot begins what is being unpacked just now.
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


def _config(text: str) -> dict[str, str]:
    found = {}
    for line in text.splitlines():
        if line.startswith("CONFIG_"):
            name, _, value = line.removeprefix("CONFIG_").partition("=")
            found[name] = value.strip('"')
    return found


def _ask(path: str, argument: str, timeout: float) -> str:
    """What a program prints, in a session of its own that does not outlive the call."""
    import select
    import signal
    import subprocess
    import time

    deadline = time.monotonic() + timeout
    try:
        process = subprocess.Popen(
            [path, argument],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    except OSError as error:
        reason = error.strerror or str(error)
        raise NoKernel(f"cannot run {path} {argument}: {reason}; {_ADVICE}") from error
    assert process.stdout is not None
    output = process.stdout.fileno()
    said = bytearray()
    problem = ""
    exited = os.pidfd_open(process.pid)
    try:
        while not problem:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([output], [], [], left)[0]:
                problem = f"it did not end within {timeout:g} s"
            elif not (piece := os.read(output, 1 << 16)):
                break
            elif len(said) + len(piece) > _PROBE_BYTES:
                problem = f"it printed more than {_PROBE_BYTES >> 20} MiB"
            else:
                said += piece
        if not problem:
            select.select([exited], [], [], max(0.0, deadline - time.monotonic()))
    finally:
        # Before the wait: until then its number cannot be another's.
        os.killpg(process.pid, signal.SIGKILL)
        os.close(exited)
        process.stdout.close()
        process.wait()
    if problem:
        raise NoKernel(f"{path} is not a UML kernel: asked for {argument}, {problem}; {_ADVICE}")
    return said.decode(errors="replace")
