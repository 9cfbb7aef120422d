"""`xl`: the management tool of Xen, for guests of umlctl as its domains.

What has a meaning here is done by the command of umlctl that does it, in xl's words and with its
output and exit codes: 0, or 1. The rest says what to use instead.
"""

from __future__ import annotations

import getopt
import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Final, NamedTuple

from umlctl.compat import xl_domains, xl_tables
from umlctl.errors import NoGuest, Refused, UmlctlError, UsageError
from umlctl.guest.definition import parse_size
from umlctl.guest.readers import xl_disk, xl_vif
from umlctl.host import daemonlog, paths
from umlctl.streams import PYTHON

if TYPE_CHECKING:
    from collections.abc import Callable

    from umlctl.compat.xl_domains import Domain

FAILED: Final = 1
NO_LIMIT_SECONDS: Final = "999999"
"""How long a guest may take to shut down: as long as it likes, as with xl."""
_OF_LEFT: Final = ("given", "why", "instead")
GLOBAL_OPTIONS: Final = ("-v", "-vv", "-vvv", "-f", "-t", "-T")


class Verb(NamedTuple):
    """A command of xl's.

    Fields:
        options: as getopt(3) has them
        words: what follows them, as its usage shows it
        least, most: how many of those there are
        help: what it does
        run: does it, with the options and the words; returns an exit code
    """

    options: str
    words: str
    least: int
    most: int
    help: str
    run: Callable[[dict[str, str], list[str]], int]


def main(argv: list[str]) -> int:
    """Do what `xl` would do with these words; the exit code."""
    words = argv[1:]
    while words and words[0] in GLOBAL_OPTIONS:
        words.pop(0)
    name = words[0] if words else ""
    if name in ("", "help", "-h", "--help"):
        return _help(words[1:]) if name else FAILED + 0 * _help([])
    verb = VERBS.get(name)
    if verb is None:
        hint = INSTEAD.get(name)
        return _fail(f"{name} has no meaning here: {hint}" if hint else "command not implemented")
    try:
        found, rest = getopt.gnu_getopt(words[1:], verb.options + "h", ["help"])
        options = dict(found)
        if options.keys() & {"-h", "--help"}:
            print(_usage(name))
            return 0
        if not verb.least <= len(rest) <= verb.most:
            raise UsageError(f"'xl {name}' takes {verb.words or 'no words'}")
        return verb.run(options, rest)
    except (getopt.GetoptError, UsageError) as problem:
        return _fail(f"{problem}\n\n{_usage(name)}")
    except UmlctlError as problem:
        return _fail(str(problem))


def _fail(why: str) -> int:
    sys.stdout.flush()
    sys.stderr.write(f"{why}\n")
    return FAILED


def _usage(name: str) -> str:
    verb = VERBS[name]
    options = "[options] " if verb.options else ""
    return f"Usage: xl {name} {options}{verb.words}".rstrip() + f"\n\n{verb.help}."


def _help(words: list[str]) -> int:
    if words and words[0] in VERBS:
        print(_usage(words[0]))
        return 0
    print("Usage xl [-vft] <subcommand> [args]\n\nxl full list of subcommands:\n")
    for name, verb in VERBS.items():
        print(f" {name:<19} {verb.help}")
    print("\nWhat Xen has and UML has not says what to use instead.")
    return 0


def _umlctl(*words: str) -> int:
    """Run a command of umlctl, of which xl's user hears nothing but why it has failed. Returns: 0,
    or 1."""
    done = subprocess.run(
        [*PYTHON, "umlctl", *words],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        errors="surrogateescape",
        check=False,
    )
    if done.returncode:
        lines = done.stderr.rstrip().split("\n")
        return _fail("\n".join(line.removeprefix("umlctl: ") for line in lines))
    return 0


def _become(*words: str) -> int:
    """Become a command of umlctl, which has the terminal."""
    sys.stdout.flush()
    os.execv(PYTHON[0], [*PYTHON, "umlctl", *words])  # noqa: S606


def _named(words: list[str]) -> list[Domain]:
    """The domains that somebody names, or all.

    Raises: NoGuest
    """
    return [xl_domains.find(word) for word in words] if words else xl_domains.all_domains()


# Looking


def _list(options: dict[str, str], words: list[str]) -> int:
    try:
        found = _named(words)
    except NoGuest:
        return _fail(f"Error: Domain '{words[0]}' does not exist.")
    at_length = "-l" in options
    print(xl_tables.domains_at_length(found) if at_length else xl_tables.domains(found))
    return 0


def _vcpu_list(_options: dict[str, str], words: list[str]) -> int:
    found = _named(words)
    print(
        xl_tables.processors(
            (each, xl_domains.processor(each), xl_domains.affinity(each)) for each in found
        )
    )
    return 0


def _block_list(_options: dict[str, str], words: list[str]) -> int:
    for word in words:
        print(xl_tables.disks(xl_domains.find_guest(word)))
    return 0


def _network_list(_options: dict[str, str], words: list[str]) -> int:
    for word in words:
        print(xl_tables.nics(xl_domains.find_guest(word)))
    return 0


def _uptime(options: dict[str, str], words: list[str]) -> int:
    print(xl_tables.uptimes(_named(words), short="-s" in options))
    return 0


def _info(_options: dict[str, str], _words: list[str]) -> int:
    host, system = xl_domains.host(), os.uname()
    with open("/proc/meminfo") as file:
        lines = dict(line.split(":", 1) for line in file)
    free = int(lines["MemAvailable"].split()[0]) >> 10
    print(
        xl_tables.facts(
            [
                ("host", system.nodename),
                ("release", system.release),
                ("version", system.version),
                ("machine", system.machine),
                ("nr_cpus", host.vcpus),
                ("max_cpu_id", host.vcpus - 1),
                ("total_memory", host.mem >> 20),
                ("free_memory", free),
                ("xen_caps", "uml"),
            ]
        )
    )
    return 0


def _dmesg(_options: dict[str, str], _words: list[str]) -> int:
    """The log of what runs the domains, which is the supervisor."""
    try:
        with open(daemonlog.path(), errors="replace") as file:
            sys.stdout.write(file.read())
    except FileNotFoundError:
        pass
    return 0


def _domid(_options: dict[str, str], words: list[str]) -> int:
    print(xl_domains.find(words[0]).number)
    return 0


def _domname(_options: dict[str, str], words: list[str]) -> int:
    if not words[0].isascii() or not words[0].isdigit():
        return _fail(f"Invalid domain id {words[0]}.")
    print(xl_domains.find(words[0]).name)
    return 0


# A domain's life


def _create(options: dict[str, str], words: list[str]) -> int:
    """The file with what is given besides is read as `umlctl import xl` reads it, and started."""
    file, *given = words
    quiet = "-q" in options
    try:
        with open(file, "rb") as opened:
            text = opened.read() + b"\n" + "\n".join(given).encode("utf-8", "surrogateescape")
    except OSError as problem:
        return _fail(f"Failed to read config file: {file}: {problem.strerror}")
    if not quiet:
        print(f"Parsing config from {file}", flush=True)
    read = subprocess.run(
        [*PYTHON, "umlctl", "import", "xl", "-", "--json"],
        input=text,
        stdout=subprocess.PIPE,
        check=False,
    )
    if read.returncode:
        return FAILED
    found = json.loads(read.stdout)
    for left in () if quiet else found["left"]:
        sys.stderr.write(f"{file}: {': '.join(filter(None, map(left.get, _OF_LEFT)))}\n")
    name = found["name"] or os.path.splitext(os.path.basename(file))[0]
    if "-n" in options:
        print(found["text"], end="")
        return 0
    code = _umlctl("start", _kept(name, found["text"]))
    if not code and "-p" in options:
        code = _umlctl("stop", name)
    if not code and "-c" in options:
        return _become("console", name)
    return code


def _kept(name: str, text: str) -> str:
    """The path of a domain's definition. It stays, since the guest is started again from there."""
    directory = f"{paths.state_dir()}/xl"
    os.makedirs(directory, 0o700, exist_ok=True)
    path = f"{directory}/{name}.toml"
    with open(f"{path}~{os.getpid()}", "w") as definition:
        definition.write(text)
    os.replace(definition.name, path)
    return path


def _console(options: dict[str, str], words: list[str]) -> int:
    return _become("console", xl_domains.find_guest(words[0]).name, options.get("-n", "0"))


def _each(options: dict[str, str], words: list[str], verb: str) -> list[Domain]:
    """The domains that a verb is for.

    Raises: UsageError, NoGuest
    """
    if ("-a" in options) == bool(words):
        raise UsageError(f"'xl {verb}' takes a Domain, or -a for all")
    return [xl_domains.find_guest(word) for word in words] or xl_domains.own_guests()


def _shutdown(options: dict[str, str], words: list[str]) -> int:
    """Without -w, the request stands until the guest has done it."""
    found = _each(options, words, "shutdown")
    begun = []
    for each in found:
        print(f"Shutting down domain {each.number}", flush=True)
        begun.append(
            subprocess.Popen(
                [*PYTHON, "umlctl", "shutdown", each.name, NO_LIMIT_SECONDS],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=None if "-w" in options else subprocess.DEVNULL,
                start_new_session="-w" not in options,
            )
        )
    if "-w" not in options:
        for process in begun:
            process.returncode = 0  # nobody waits for it
        return 0
    return min(FAILED, max((process.wait() for process in begun), default=0))


def _reboot(options: dict[str, str], words: list[str]) -> int:
    """As with Xen, what comes back is another domain of that name."""
    code = 0
    for each in _each(options, words, "reboot"):
        print(f"Rebooting domain {each.number}", flush=True)
        code = max(code, _umlctl("restart", each.name, NO_LIMIT_SECONDS))
    return code


def _simple(verb: str, *more: str) -> Callable[[dict[str, str], list[str]], int]:
    """What a command of umlctl does to a domain."""

    def run(_options: dict[str, str], words: list[str]) -> int:
        return _umlctl(verb, xl_domains.find_guest(words[0]).name, *words[1:], *more)

    return run


def _mem_set(_options: dict[str, str], words: list[str]) -> int:
    """xl says how much is to be left, umlctl how much is to be taken or given back."""
    name, size = xl_domains.find_guest(words[0]), words[1]
    wanted = parse_size(f"{size}m" if size.isdigit() else size)
    command = [*PYTHON, "umlctl", "mem", name.name, "--json"]
    asked = subprocess.run(command, stdout=subprocess.PIPE, check=False)
    if asked.returncode:
        return FAILED
    change = wanted - (name.mem - json.loads(asked.stdout)["taken"])
    if not change:
        return 0
    return _umlctl("mem", name.name, f"{'+' if change > 0 else '-'}{abs(change) >> 10}k")


def _sysrq(_options: dict[str, str], words: list[str]) -> int:
    if len(words[1]) != 1:
        raise UsageError("'xl sysrq' takes one letter")
    return _umlctl("sysrq", xl_domains.find_guest(words[0]).name, words[1])


def _rename(_options: dict[str, str], words: list[str]) -> int:
    name = xl_domains.find_guest(words[0]).name
    raise Refused(
        f"{name} has its name as long as it runs: shut it down, and start it as {words[1]}: "
        f"`umlctl show {name} >{words[1]}.toml`, `umlctl start ./{words[1]}.toml`"
    )


# Devices


def _block_attach(_options: dict[str, str], words: list[str]) -> int:
    name = xl_domains.find_guest(words[0]).name
    try:
        disk = xl_disk.parse(",".join(words[1:]))
    except ValueError as problem:
        return _fail(f"{','.join(words[1:])}: {problem}")
    slot = xl_tables.slot_of(disk.vdev)
    if slot is None:
        return _fail(f"{disk.vdev} is no whole disk of a guest, which has xvda to xvdp")
    options = ["--ro"] * disk.readonly + ["--no-trim"] * (not disk.trim)
    if slot >= 0:
        options += ["--slot", str(slot)]
    return _umlctl("disk", "add", name, *options, "--", disk.target)


def _network_attach(_options: dict[str, str], words: list[str]) -> int:
    name = xl_domains.find_guest(words[0]).name
    found = xl_vif.parse(",".join(words[1:]))
    for given, *why in found.left:
        sys.stderr.write(f"{given}: {': '.join(filter(None, why))}\n")
    return _umlctl("plug", name, "nic", str(found.nic))


def _block_detach(_options: dict[str, str], words: list[str]) -> int:
    domain = xl_domains.find_guest(words[0])
    name = xl_tables.disk_name(domain, words[1])
    if not name:
        return _fail(f"Error: Device {words[1]} not connected.")
    return _umlctl("disk", "rm", domain.name, name)


def _network_detach(_options: dict[str, str], words: list[str]) -> int:
    domain = xl_domains.find_guest(words[0])
    name = xl_tables.nic_name(domain, words[1])
    if not name:
        return _fail(f"Error: Device {words[1]} not connected.")
    return _umlctl("nic", "rm", domain.name, name)


MANY: Final = 10_000
VERBS: Final = {
    "list": Verb("lvZcn", "[Domain...]", 0, MANY, "List information about domains", _list),
    "create": Verb(
        "cpqn", "<ConfigFile> [key=value...]", 1, MANY, "Create a domain from a file", _create
    ),
    "console": Verb("n:t:", "<Domain>", 1, 1, "Attach to domain's console", _console),
    "shutdown": Verb("waF", "<-a|Domain...>", 0, MANY, "Shut domains down", _shutdown),
    "destroy": Verb("f", "<Domain>", 1, 1, "Terminate a domain immediately", _simple("kill")),
    "reboot": Verb(
        "waF", "<-a|Domain...>", 0, MANY, "Shut domains down, start them again", _reboot
    ),
    "pause": Verb("", "<Domain>", 1, 1, "Pause execution of a domain", _simple("stop")),
    "unpause": Verb("", "<Domain>", 1, 1, "Unpause a paused domain", _simple("go")),
    "block-list": Verb("", "<Domain...>", 1, MANY, "List disks of a domain", _block_list),
    "block-attach": Verb("", "<Domain> <disk...>", 2, MANY, "Give a domain a disk", _block_attach),
    "block-detach": Verb(
        "", "<Domain> <Vdev> [--force]", 2, 2, "Take a disk from a domain", _block_detach
    ),
    "network-list": Verb("", "<Domain...>", 1, MANY, "List NICs of a domain", _network_list),
    "network-attach": Verb(
        "", "<Domain> [vif...]", 1, MANY, "Give a domain a NIC", _network_attach
    ),
    "network-detach": Verb(
        "", "<Domain> <devid|mac>", 2, 2, "Take a NIC from a domain", _network_detach
    ),
    "mem-set": Verb("", "<Domain> <Mem['b'[...]]>", 2, 2, "Set a domain's memory", _mem_set),
    "vcpu-list": Verb("", "[Domain...]", 0, MANY, "List the VCPUs of domains", _vcpu_list),
    "uptime": Verb("s", "[Domain...]", 0, MANY, "Print uptime of domains", _uptime),
    "info": Verb("n", "", 0, 0, "Get information about the host", _info),
    "dmesg": Verb("c", "", 0, 0, "Print the log of the supervisor", _dmesg),
    "sysrq": Verb("", "<Domain> <letter>", 2, 2, "Send a sysrq to a domain", _sysrq),
    "domid": Verb("", "<Domain>", 1, 1, "Convert a domain name to domain id", _domid),
    "domname": Verb("", "<DomainId>", 1, 1, "Convert a domain id to domain name", _domname),
    "rename": Verb("", "<Domain> <NewDomain>", 2, 2, "Says how to rename a domain", _rename),
}
INSTEAD: Final = {
    "config-update": "`umlctl edit NAME`, `umlctl restart --reload NAME`",
    "vncviewer": "a guest has no screen; `umlctl console DOMAIN`",
    "trigger": "`umlctl cad DOMAIN`, `umlctl sysrq DOMAIN LETTER`",
    "button-press": "`umlctl cad DOMAIN`",
    "save": "a guest's memory cannot be saved; `umlctl snapshot create DOMAIN` keeps its disks",
    "restore": "`umlctl snapshot revert DOMAIN` has its disks as they were",
    "migrate": "`umlctl snapshot export` takes its disks to another host",
    "dump-core": "`gdb -p $(xl domid DOMAIN)` looks at a kernel that runs",
    "mem-max": "a guest never gets more than it was started with: `umlctl start --mem`",
    "vcpu-set": "`umlctl start --ncpus N`, with a kernel that has SMP",
    "vcpu-pin": "`umlctl start --cpus LIST`, or taskset(1) on the pid that `xl domid` prints",
    "sched-credit": "`umlctl start --cpu-limit PERCENT`",
    "sched-credit2": "`umlctl start --cpu-limit PERCENT`",
    "top": "`umlctl top`",
    "cd-insert": "`umlctl disk add DOMAIN FILE --ro`",
    "cd-eject": "`umlctl disk rm DOMAIN DISK`",
    "pci-attach": "`umlctl start -- vfio_uml.device=ADDRESS`, with a kernel that has it",
    "debug-keys": "`umlctl sysrq DOMAIN LETTER`",
    "pci-detach": "what was lent is the guest's until it ends",
    "pci-list": "`umlctl devices DOMAIN`",
    "pci-assignable-add": "driverctl(8) gives a device to vfio-pci",
    "pci-assignable-remove": "driverctl(8) takes a device from vfio-pci",
    "pci-assignable-list": "`lspci -k` shows what vfio-pci has",
    "usbdev-attach": "UML has no USB controller to give",
    "usbctrl-attach": "UML has no USB controller to give",
    "usb-list": "UML has no USB controller to give",
    "vm-list": "`umlctl list`",
    "sched-rtds": "`umlctl start --cpu-limit PERCENT`, or chrt(1) on the pid of `xl domid`",
    "set-parameters": "sysctl(8) on this host: there is no hypervisor",
    "channel-list": "`umlctl devices DOMAIN`: consoles and serial lines",
    "sharing": "guests share no memory",
    "claims": "memory is given as it is used; max_total_mem of umlctl.toml(5) bounds it",
    "cpupool-list": "`umlctl start --cpus LIST`, or cpuset cgroups",
    "cpupool-create": "`umlctl start --cpus LIST`, or cpuset cgroups",
    "cpupool-migrate": "`umlctl start --cpus LIST`, or cpuset cgroups",
    "cpupool-destroy": "`umlctl start --cpus LIST`, or cpuset cgroups",
    "cpupool-rename": "`umlctl start --cpus LIST`, or cpuset cgroups",
    "cpupool-cpu-add": "`umlctl start --cpus LIST`, or cpuset cgroups",
    "cpupool-cpu-remove": "`umlctl start --cpus LIST`, or cpuset cgroups",
    "cpupool-numa-split": "`umlctl start --numa NODE`",
    "getenforce": "`umlctl status DOMAIN` says how a guest is confined",
    "setenforce": "`umlctl start --confine writes|strict|off`",
    "loadpolicy": "`umlctl start --confine writes|strict|off`",
    "remus": "`umlctl snapshot create` keeps its disks, `export` takes them to another host",
    "migrate-receive": "`umlctl snapshot import`, if that was exported elsewhere",
    "fork-vm": "`umlctl snapshot clone`",
    "psr-hwinfo": "resctrl of this host's kernel does that for any process",
    "psr-cmt-attach": "resctrl of this host's kernel does that for any process",
    "psr-cmt-show": "resctrl of this host's kernel does that for any process",
    "psr-cat-set": "resctrl of this host's kernel does that for any process",
    "psr-cat-show": "resctrl of this host's kernel does that for any process",
    "qemu-monitor-command": "there is no QEMU: `umlctl mconsole DOMAIN` asks the kernel",
    "vtpm-attach": "UML has no TPM",
    "vtpm-list": "UML has no TPM",
    "vkb-attach": "a guest has no keyboard but its consoles: `umlctl console DOMAIN`",
    "vkb-list": "a guest has no keyboard but its consoles: `umlctl console DOMAIN`",
    "vdispl-attach": "a guest has no screen; `umlctl console DOMAIN`",
    "vdispl-list": "a guest has no screen; `umlctl console DOMAIN`",
    "vsnd-list": "a guest has this host's sound by its hostaudio driver alone",
    "tmem-list": "there is no transcendent memory",
    "devd": "`umlctl setup --systemd` has the supervisor as a service",
}


if __name__ == "__main__":
    sys.exit(main(sys.argv))
