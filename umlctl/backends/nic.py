"""NICs: what a NIC is plugged into is made or checked before a kernel sees it.

The kernel answers OK to every transport. It opens the host's side when the guest sets the link up,
and says what went wrong in the guest's log only. Source: vector_config, vector_net_open in
arch/um/drivers/vector_kern.c
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
from typing import TYPE_CHECKING, Any, Final

from umlctl.backends import hooks, kernel_namespace, nic_address
from umlctl.backends.descriptors import check_descriptor
from umlctl.backends.interface import MAX_FACT_CHARACTERS, Backend, has_sysfs
from umlctl.devices import eth, families, needs, vec
from umlctl.devices.parse import parse
from umlctl.errors import HostError, NoKernel, Refusal, UmlctlError, UnfitHost, UsageError
from umlctl.guest.specs import (
    AUTO,
    KERNEL,
    MAX_NICS,
    SWITCH,
    TAP,
    USER,
    USER_ADDRESS,
    Nic,
)
from umlctl.host import naming, netns, paths, processes
from umlctl.kernels import find, requirements
from umlctl.networks import definitions, interfaces, macs, segments, taps
from umlctl.networks.namespaces import PORT
from umlctl.state.records import DeviceEntry

if TYPE_CHECKING:
    from collections.abc import Iterable

    from umlctl.backends.interface import GuestKernel, Owner
    from umlctl.guest.specs import Disk
    from umlctl.state.leases import Use

PRIVATE_IDLE_TIMEOUT: Final = 120.0
"""How long the switch of one NIC waits for that NIC, seconds: other NICs may have hooks."""
GUEST: Final = "guest"
"""What a NIC's entry calls the guest of its PORT."""
IPV4_CONF_PATH: Final = "sys/net/ipv4/conf"
"""Below /proc, this has a directory for each NIC, and needs nothing mounted in the guest."""


class NicBackend(Backend):
    """NICs: what they are plugged into is made or checked before a kernel sees them."""

    limit = MAX_NICS

    # The host's side

    def check(self, device: str, pid: int) -> None:
        """See that `fd=N` names a socket, and that the kernel has a transport that came later."""
        if vec.VDE in device:  # none other came late
            _check_kernel(device, pid)
        for word in device.replace(":", ",").split(","):
            key, _, value = word.partition("=")
            if key == "fd":
                check_descriptor(pid, value, "a NIC's", socket=True)

    def plan(self, asked: Disk | Nic, number: int, owner: Owner) -> DeviceEntry:
        assert isinstance(asked, Nic)
        entry = self._begin(asked, number, owner)
        if asked.kind == SWITCH and nic_address.is_planned(asked):
            entry.addr = nic_address.expected(entry, owner.umid)
        return entry

    def _begin(self, asked: Nic, number: int, owner: Owner) -> DeviceEntry:
        """The entry of a NIC that is given no address yet."""
        entry = DeviceEntry(name=f"{self.family}{number}", asked=str(asked), kernel="")
        entry.addr = "" if nic_address.is_planned(asked) else asked.addr
        derived = macs.mac_of(owner.umid, number, self.family)
        entry.mac = macs.normal(asked.mac) if asked.mac else derived
        if asked.kind == KERNEL:
            _as_told(entry, asked)
            return entry
        if asked.kind == TAP:
            auto = asked.name == AUTO
            entry.tap = interfaces.tap_name(owner.umid, number) if auto else asked.name
            words = f"transport=tap,ifname={entry.tap},mac={entry.mac},gro=1"
        else:
            own = asked.kind == USER
            entry.network = (
                private_segment(owner.umid, number) if own else definitions.check_name(asked.name)
            )
            if own:
                entry.addr = entry.addr or USER_ADDRESS
            words = f"transport=bess,dst={paths.network_port(entry.network)},mac={entry.mac}"
        entry.kernel = str(vec.parse(f"{entry.name}:{words}"))
        return entry

    def prepare(
        self,
        asked: Disk | Nic,
        number: int,
        owner: Owner,
        users: Iterable[Use],
        *,
        insist: bool = False,  # noqa: ARG002 - a NIC destroys nothing
    ) -> DeviceEntry:
        assert isinstance(asked, Nic)
        entry = self._begin(asked, number, owner)
        _check_mac(entry, users)
        if owner.namespace and kernel_namespace.needs_host(asked):
            raise HostError(f"{entry.name}: {kernel_namespace.ELSEWHERE}")
        try:
            if asked.kind == KERNEL:
                _provide_all(entry, users)
            elif asked.kind == TAP:
                _tap(entry, asked, users)
            else:
                _switch(entry, asked)
                if asked.kind == SWITCH and asked.addr:
                    nic_address.give(entry, asked, owner.umid, users)
                if owner.namespace and asked.kind == SWITCH:
                    _bridge(entry, owner)
            hooks.run("up", entry, owner.umid, owner.log)
        except BaseException:
            _undo(entry)
            raise
        return entry

    def renew(self, entry: DeviceEntry, pid: int) -> None:
        """Have the host's end ready again: a kernel that reboots does not close what the link had
        open."""
        if entry.network and PORT in entry.made:
            tap, guest = entry.made[PORT], entry.made[GUEST]
            segment = segments.Segment(entry.network)
            segment.make_tap(tap, entry.mac, guest, netns.inode_of(pid))
        elif entry.network:
            segments.Segment(entry.network).forget(pid)
        if not entry.tap:
            return
        if "tap" in entry.made:
            taps.replace_tap(
                entry.tap, owner=os.getuid(), bridge=entry.bridge, address=entry.host_addr
            )
            return
        link = interfaces.look(entry.tap)
        if link is not None and link.in_use:
            raise HostError(
                f"{entry.name}: a kernel that reboots keeps its tap {entry.tap} open and cannot "
                "open it again; shut the guest down and start it, or plug it into a switch"
            )

    def note(self, entry: DeviceEntry) -> str:
        try:
            return _note(entry)
        except HostError as problem:
            return str(problem)

    def undo(self, entry: DeviceEntry, owner: Owner) -> str:
        return self.release(entry, owner)  # the NIC's hook has run

    def release(self, entry: DeviceEntry, owner: Owner) -> str:
        said = ""
        try:
            hooks.run("down", entry, owner.umid, owner.log)
        except HostError as problem:
            said = str(problem)
        return "; ".join(filter(None, [said, _undo(entry)]))

    # The guest's side

    async def observe(self, entry: DeviceEntry, kernel: GuestKernel) -> dict[str, Any] | None:
        there = await kernel.ask(f"proc {IPV4_CONF_PATH}/{entry.name}/forwarding")
        if not there.ok:
            return None
        found: dict[str, Any] = {}
        if not await has_sysfs(kernel):
            return found  # and the kernel's log is spared a line for each file that is not there
        for fact in ("address", "operstate", "mtu"):
            answer = await kernel.ask(f"proc 1/root/sys/class/net/{entry.name}/{fact}")
            if answer.ok:  # the guest's own words
                said = answer.data.decode("utf-8", "backslashreplace").strip()
                found[fact] = said[:MAX_FACT_CHARACTERS]
        return found

    async def why_open(self, name: str, _said: str, _kernel: GuestKernel) -> str:
        return f"{name} is up in the guest; `ip link set {name} down` there first"


class LegacyNicBackend(NicBackend):
    """NICs of kernels before Linux 6.16, one transport each."""

    spoils = True

    def explain(self, said: str, error: int) -> str:
        if said in ("", "Bad configuration option"):
            return "this kernel has no such transport; `umlctl kernel list` shows what it has"
        return super().explain(said, error)


VECTOR: Final = NicBackend(families.VEC)
LEGACY: Final = LegacyNicBackend(families.ETH)


def _undo(entry: DeviceEntry) -> str:
    """Remove what was made for a NIC; return what failed."""
    said = []
    for kind, remove in (("tap", taps.remove_tap), ("segment", _quit)):
        if kind in entry.made:
            try:
                remove(entry.made[kind])
            except UmlctlError as problem:
                said.append(f"{entry.name}: {problem}")
    if PORT in entry.made and segments.running(entry.network):
        try:
            segments.Segment(entry.network).remove_tap(entry.made[PORT])
        except HostError as problem:
            said.append(f"{entry.name}: {problem}")
    return "; ".join(said)


def _note(entry: DeviceEntry) -> str:
    """What has become of the host's end of a NIC; empty if it is as it was.

    Raises: HostError
    """
    if not entry.tap:
        return ""
    link = interfaces.look(entry.tap)
    if link is None:
        return f"the tap {entry.tap} is gone"
    if entry.bridge and link.bridge != entry.bridge:
        on = f"on {link.bridge}" if link.bridge else "on no bridge"
        return f"the tap {entry.tap} is {on}, and was on {entry.bridge}"
    return "" if link.up else f"the tap {entry.tap} is down on this host"


def entry_of(umid: str, device: vec.Vec | eth.Eth) -> DeviceEntry:
    """The entry of a NIC that its kernel was told of."""
    words = str(device)
    entry = DeviceEntry(name=device.name, asked=words, kernel=words)
    entry.mac = device.mac or macs.mac_of(umid, device.number, device.name[:3])
    if not isinstance(device, vec.Vec):
        return entry
    port = device.get("dst")
    if device.transport == "bess" and port == paths.network_port(network := _network_of(port)):
        entry.network = network
        if network == private_segment(umid, device.number):
            entry.made["segment"] = network
            entry.asked = f"user,nic={device.number}"
        else:
            entry.asked = f"switch={network},nic={device.number}"
    elif device.transport == "tap":
        entry.tap = device.get("ifname")
        if entry.tap == interfaces.tap_name(umid, device.number):
            entry.made["tap"] = entry.tap
        try:
            link = interfaces.look(entry.tap)
        except UmlctlError:
            link = None
        entry.bridge = link.bridge if link and link.bridge else ""
        entry.asked = f"tap={'auto' if entry.made else entry.tap},nic={device.number}"
        entry.asked += f",bridge={entry.bridge}" if entry.bridge else ""
    return entry


def _network_of(port: str) -> str:
    return os.path.basename(os.path.dirname(port))


def _quit(name: str) -> None:
    if segments.running(name):
        segments.Segment(name).quit()


def private_segment(umid: str, number: int) -> str:
    """The name of the switch that one NIC of kind user has for itself; no other NIC can have it."""
    name = f"{umid}{naming.PRIVATE_MARK}{number}"
    if len(name) <= naming.MAX_NETWORK_CHARACTERS:
        return name
    digest = hashlib.sha256(umid.encode()).hexdigest()[:8]
    return f"{umid[: naming.MAX_NETWORK_CHARACTERS - 13]}-{digest}{naming.PRIVATE_MARK}{number}"


def _check_mac(entry: DeviceEntry, users: Iterable[Use]) -> None:
    for umid, other in users:
        if other.mac and other.mac == entry.mac:
            raise HostError(
                f"{entry.name}: {entry.mac} is the MAC address of {umid}'s {other.name}; "
                "take another with mac="
            )


def _switch(entry: DeviceEntry, asked: Nic) -> None:
    if asked.kind != USER:
        definitions.start_switch(entry.network)
        return
    _quit(entry.network)  # left by a supervisor that was killed
    entry.made["segment"] = entry.network  # also if it starts: its uplink or a forward may fail
    segments.start(
        entry.network,
        user=True,
        forwards=asked.forwards,
        host_loopback=not asked.isolated,
        idle=PRIVATE_IDLE_TIMEOUT,
    )


def _bridge(entry: DeviceEntry, owner: Owner) -> None:
    """Have a NIC be on its network's bridge instead of its switch, if both are to be had."""
    tap = interfaces.tap_name(owner.umid, int(entry.name.removeprefix(families.VEC)))
    if definitions.is_plain(entry.network):
        return
    try:
        segment = segments.Segment(entry.network)
        segment.make_tap(tap, entry.mac, owner.umid, owner.namespace)
    except HostError:
        return  # the switch does, and is on the bridge
    put_on_bridge(entry, owner.umid)
    entry.made |= {PORT: tap, GUEST: owner.umid}


def put_on_bridge(entry: DeviceEntry, umid: str) -> None:
    """Have a planned NIC be a tap on its network's bridge."""
    number = int(entry.name.removeprefix(families.VEC))
    words = bridge_words(number, interfaces.tap_name(umid, number), entry.mac)
    entry.kernel = str(vec.parse(words))


def bridge_words(number: int, tap: str, mac: str) -> str:
    """A NIC on a network's bridge, in the kernel's words."""
    return f"{families.VEC}{number}:transport=tap,ifname={tap},mac={mac},depth=128,gro=1"


def bridge_of(tap: str) -> str:
    """The network on whose bridge a tap is; empty if on none."""
    for name in segments.names():
        try:
            ports = segments.Segment(name).status()["ports"]
        except HostError:
            continue
        if any(port.get("tap") == tap for port in ports):
            return name
    return ""


def on_bridge(entry: DeviceEntry, network: str, tap: str, umid: str) -> DeviceEntry:
    """The entry of a NIC whose record was lost, and that is on a network's bridge."""
    number = int(entry.name.removeprefix(families.VEC))
    entry.network, entry.tap, entry.bridge = network, "", ""
    entry.asked = f"switch={network},nic={number}"
    entry.made = {PORT: tap, GUEST: umid}
    return entry


def _tap(entry: DeviceEntry, asked: Nic, users: Iterable[Use]) -> None:
    name = entry.tap
    there = interfaces.look(name)
    if asked.name == AUTO or (there is None and asked.bridge):
        if there is not None:
            taps.remove_tap(name)  # left by a supervisor that was killed
            there = None
        taps.make_tap(name, owner=os.getuid(), bridge=asked.bridge, address=asked.host)
        entry.host_addr = asked.host
        entry.made["tap"] = name
    else:
        _take_tap(entry, name, users)
        if asked.bridge and there is not None and there.bridge != asked.bridge:
            on = f"on {there.bridge}" if there.bridge else "on no bridge"
            raise HostError(f"{entry.name}: the tap {name} is {on}, not on {asked.bridge}")
    entry.bridge = asked.bridge or (there.bridge if there else "")


def _take_tap(entry: DeviceEntry, name: str, users: Iterable[Use]) -> None:
    """Take a tap that is there for this guest; no other guest has it."""
    for umid, other in users:
        if other.tap == name:
            raise HostError(f"{entry.name}: the tap {name} belongs to {umid}'s {other.name}")
    interfaces.check_tap(name, os.getuid())
    entry.tap = name


def _as_told(entry: DeviceEntry, asked: Nic) -> None:
    """Have an entry of a device in the kernel's own words; it gets a MAC address of umlctl's if it
    names none.

    Raises: UsageError
    """
    text = asked.text
    if text.startswith("transport="):
        text = f"{entry.name}:{text}"
    device = parse(text, insist=True)
    if not isinstance(device, (vec.Vec, eth.Eth)):
        raise UsageError(f"a NIC is vecN:... or ethN=..., not {text!r}")
    entry.name = device.name
    if device.mac:
        entry.mac = device.mac
    else:
        device = device.with_mac(entry.mac)
        entry.mac = device.mac  # some of the old transports take none
    entry.kernel = str(device)


def _provide_all(entry: DeviceEntry, users: Iterable[Use]) -> None:
    """See that the host has all that a device in the kernel's own words needs of it.

    Raises: HostError
    """
    device = parse(entry.kernel, insist=True)
    assert isinstance(device, (vec.Vec, eth.Eth))
    for need in device.needs():
        _provide(entry, need, users)


def _provide(entry: DeviceEntry, need: needs.Need, users: Iterable[Use]) -> None:
    """See that the host has what a device needs of it.

    Raises: HostError
    """
    name, value = entry.name, need.value
    if need.kind == needs.TAP:
        _take_tap(entry, value, users)
    elif need.kind == needs.INTERFACE:
        if interfaces.look(value) is None:
            raise HostError(f"{name}: this host has no interface {value}")
    elif need.kind in (needs.SEQPACKET, needs.CONTROL):
        _check_listens(name, value)
    elif need.kind == needs.PROGRAM:
        _check_program(name, value)
    elif need.kind == needs.CAPABILITY:
        _check_capability(name, value)
    elif need.kind == needs.ADDRESS:
        entry.address = value
        for umid, other in users:
            if other.address == value:
                raise HostError(
                    f"{name}: {umid}'s {other.name} has the tunnel {value} already, and one host "
                    "can have one between the same addresses; the keys do not tell them apart"
                )


def _check_kernel(device: str, pid: int) -> None:
    """Raises: Refusal: a kernel that runs has no such NIC"""
    try:
        kernel = find.probe(os.readlink(f"/proc/{pid}/exe"))
    except (OSError, NoKernel):
        return  # it was replaced, say; the guest's log has what is amiss
    lacking = requirements.lacking(kernel, (device,), initrd=False)
    if lacking:
        raise Refusal(lacking, -errno.EINVAL)


def _check_listens(name: str, path: str) -> None:
    """See that a program listens on a unix socket, without connecting: slirp4netns takes one guest.

    Raises: HostError
    """
    path = os.path.realpath(f"{path}/ctl" if os.path.isdir(path) else path)
    if not os.path.exists(path):
        raise HostError(f"{name}: there is no socket {path}; start its switch first")
    with open("/proc/net/unix", "rb") as file:
        next(file)
        for line in file:
            fields = line.split(maxsplit=7)
            listens = len(fields) == 8 and int(fields[3], 16) & 0x10000
            if listens and _is_at(os.fsdecode(fields[7].rstrip(b"\n")), path):
                return
    raise HostError(f"{name}: nobody listens on {path}; its switch has ended")


def _is_at(bound: str, path: str) -> bool:
    """Whether a socket that was bound to a path is the one at another, which has no links."""
    same = os.path.basename(bound) == os.path.basename(path)
    return bound == path or (same and os.path.realpath(bound) == path)


def _check_program(name: str, program: str) -> None:
    """See that the kernel can run a program. If it cannot, the attempt damages it, and it panics
    later.

    Raises: HostError
    """
    path = f"{os.environ.get('PATH', os.defpath)}:/usr/lib/uml"
    if shutil.which(program, path=path) is None:
        package = "; apt install vde2" if program == eth.VDE_PLUG else ""
        raise HostError(
            f"{name}: the kernel needs the program {program}, which is not here{package}"
        )


def _check_capability(name: str, capability: str) -> None:
    if not processes.has_capability(capability):
        raise UnfitHost(
            f"{name}: this transport needs {capability}, which you do not have; run umlctl as "
            "root, or take --user, --switch or a tap that an administrator has made for you"
        )
