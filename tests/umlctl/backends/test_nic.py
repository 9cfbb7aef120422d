from __future__ import annotations

import os
import socket
from contextlib import closing
from typing import Any

import pytest

from tests.umlctl.backends.test_hooks import hooked
from umlctl.backends import hooks, nic, registry
from umlctl.backends.interface import Owner
from umlctl.backends.nic import VECTOR
from umlctl.devices import vec
from umlctl.errors import HostError, NoKernel, Refusal, UmlctlError, UsageError
from umlctl.guest.specs import parse_nic
from umlctl.host import naming, paths, processes
from umlctl.kernels import find
from umlctl.networks import definitions, interfaces, macs, segments, taps
from umlctl.networks.definitions import BRIDGE
from umlctl.networks.interfaces import Interface
from umlctl.state.leases import Use
from umlctl.state.records import DeviceEntry

DEADLINE = 30.0
MAC = "02:00:00:00:00:01"


class Host:
    """A host's switches and taps, as far as NICs see them.

    Fields:
        links: interfaces that are there, by name
        done: what was asked of the host, in order
        fails: raised by whatever starts or makes something
    """

    def __init__(self, log: str) -> None:
        self.log = log
        self.links: dict[str, Interface] = {}
        self.done: list[tuple[Any, ...]] = []
        self.fails: UmlctlError | None = None
        self.switches: set[str] = set()

    @property
    def owner(self) -> Owner:
        return Owner("demo", "", self.log)

    def add(self, name: str, kind: str = "tap", *, bridge: str = "", in_use: bool = False) -> None:
        self.links[name] = Interface(
            name=name,
            kind=kind,
            owner=None,
            group=None,
            in_use=in_use,
            bridge=bridge,
            mac="",
            up=True,
            persistent=True,
            multi_queue=False,
        )

    def start(self, name: str, **options: Any) -> segments.Segment:
        self.done.append(("start", name, options))
        self.switches.add(name)
        if self.fails is not None:
            raise self.fails
        return segments.Segment(name)

    def quit(self, name: str) -> None:
        self.done.append(("quit", name))
        self.switches.remove(name)

    def make_tap(self, name: str, *, owner: int, bridge: str = "", address: str = "") -> None:
        if self.fails is not None:
            raise self.fails
        self.done.append(("make", name, owner, bridge, *([address] if address else [])))
        self.add(name, bridge=bridge)

    def remove_tap(self, name: str) -> None:
        self.done.append(("remove", name))
        self.links.pop(name, None)

    def check_tap(self, name: str, uid: int) -> Interface:
        self.done.append(("check", name, uid))
        if name not in self.links:
            raise HostError(f"there is no tap {name}")
        return self.links[name]

    def prepare(self, text: str, number: int = 0, *users: Use, umid: str = "demo") -> DeviceEntry:
        asked = parse_nic(text, insist=True)
        number = number if asked.number is None else asked.number
        owner = Owner(umid, "", self.log)
        return registry.of_asked(asked).prepare(asked, number, owner, users)

    @property
    def said(self) -> str:
        """What is in the guest's log."""
        with open(self.log) as file:
            return file.read()


@pytest.fixture
def host(house: str, monkeypatch: pytest.MonkeyPatch) -> Host:
    with open(f"{house}/console.log", "w") as file:
        file.write("the kernel's words\n")
    made = Host(f"{house}/console.log")
    monkeypatch.setattr(segments, "start", made.start)
    monkeypatch.setattr(segments, "running", lambda name: name in made.switches)
    monkeypatch.setattr(segments.Segment, "quit", lambda segment: made.quit(segment.name))
    monkeypatch.setattr(interfaces, "look", made.links.get)
    monkeypatch.setattr(taps, "make_tap", made.make_tap)
    monkeypatch.setattr(taps, "remove_tap", made.remove_tap)
    monkeypatch.setattr(interfaces, "check_tap", made.check_tap)
    return made


def use(umid: str = "other", **fields: Any) -> Use:
    """A NIC of another guest."""
    return Use(umid, DeviceEntry(**{"name": "vec3", "asked": "", "kernel": "", **fields}))


# Switches


def test_nic_on_a_switch_is_ready(host: Host) -> None:
    entry = host.prepare("switch=lan,addr=10.0.0.5/24", 2)
    mac = macs.mac_of("demo", 2)
    assert (entry.name, entry.mac, entry.network) == ("vec2", mac, "lan")
    assert entry.kernel == (f"vec2:transport=bess,dst={paths.network_port('lan')},mac={entry.mac}")
    assert (entry.asked, entry.addr) == ("switch=lan,addr=10.0.0.5/24", "10.0.0.5/24")
    assert entry.made == {}
    assert host.done == [("start", "lan", {})]
    nic._undo(entry)
    assert VECTOR.release(entry, host.owner) == ""
    assert len(host.done) == 1, "the switch is everybody's"


@pytest.mark.parametrize(
    "text",
    [
        "switch=lan,addr=10.0.0.5/24",
        "user",
        "tap=auto,bridge=b",
        "tap=t0",
        "vec0:transport=fd,fd=3",
    ],
)
def test_what_a_kernel_would_be_told_is_known_before(host: Host, text: str) -> None:
    host.add("t0")
    asked = parse_nic(text, insist=True)
    planned = registry.of_asked(asked).plan(asked, 0, host.owner)
    assert host.done == []
    entry = host.prepare(text)
    assert (planned.name, planned.kernel, planned.mac) == (entry.name, entry.kernel, entry.mac)
    assert (planned.addr, planned.network, planned.tap) == (entry.addr, entry.network, entry.tap)


def test_nic_of_its_own_has_a_switch_of_its_own(host: Host) -> None:
    entry = host.prepare("user,forward=8080:80", 1)
    name = nic.private_segment("demo", 1)
    assert (entry.network, entry.made) == (name, {"segment": name})
    assert entry.addr == "10.0.2.15/24"
    ((_, started, options),) = host.done
    assert started == name
    idle = options.pop("idle")
    assert idle > hooks.HOOK_TIMEOUT
    assert options == {"user": True, "forwards": ("8080:80",), "host_loopback": True}
    assert VECTOR.release(entry, host.owner) == ""
    assert host.done[1:] == [("quit", name)]


def test_switch_of_its_own_is_never_one_that_was_there(host: Host) -> None:
    """A supervisor that was killed has left it, with other options maybe."""
    name = nic.private_segment("demo", 0)
    host.switches.add(name)
    host.prepare("user,isolated")
    assert [step[:2] for step in host.done] == [("quit", name), ("start", name)]
    with pytest.raises(UsageError, match="are for switches of one NIC"):
        host.prepare(f"switch={name}", 1)


def test_what_cannot_be_removed_is_told(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_name: str) -> None:
        raise HostError("somebody has it open")

    entry = host.prepare("tap=auto")
    monkeypatch.setattr(taps, "remove_tap", fail)
    assert VECTOR.release(entry, host.owner) == "vec0: somebody has it open"


def test_nic_of_its_own_may_be_told_otherwise(host: Host) -> None:
    assert host.prepare("user,addr=10.0.2.16/24").addr == "10.0.2.16/24"
    host.done.clear()
    host.prepare("user,isolated", 1)
    assert host.done[0][2]["host_loopback"] is False


@pytest.mark.parametrize("error", [HostError("port 8080 is taken"), UsageError("no port")])
def test_switch_of_its_own_that_fails_is_not_left(host: Host, error: UmlctlError) -> None:
    host.fails = error
    with pytest.raises(type(error), match=str(error)):
        host.prepare("user,forward=8080:80")
    assert host.done[1:] == [("quit", nic.private_segment("demo", 0))]


@pytest.mark.parametrize("name", ["a/b", "-x", "n" * 40, "..", "a..b"])
def test_name_that_no_switch_can_have_is_refused(host: Host, name: str) -> None:
    with pytest.raises(UsageError, match=r"a network's name|are for switches of one NIC"):
        host.prepare(f"switch={name}")
    assert host.done == []


def test_private_segments_have_names_of_their_own(house: str) -> None:
    umids = ["demo", "demo2", "n" * 63, "n" * 62, "n" * 62 + "m"]
    names = {nic.private_segment(umid, number) for umid in umids for number in (0, 1, 63)}
    assert len(names) == 3 * len(umids)
    for name in names:
        assert naming.check_network(name) == name


# After a reboot


def test_reboot_breaks_the_old_connection_to_a_switch(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    forgotten = []
    monkeypatch.setattr(
        segments.Segment, "forget", lambda segment, pid: forgotten.append((segment.name, pid))
    )
    VECTOR.renew(host.prepare("switch=lan"), 4711)
    assert forgotten == [("lan", 4711)]


def test_tap_of_ours_is_made_anew_and_the_administrators_is_left(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[tuple[str, int, str]] = []
    monkeypatch.setattr(
        taps,
        "replace_tap",
        lambda name, *, owner, bridge, address: made.append((name, owner, bridge + address)),
    )
    ours = host.prepare("tap=auto,bridge=br0")
    VECTOR.renew(ours, 4711)
    assert made == [(ours.tap, os.getuid(), "br0")]
    host.add("t0")
    theirs = host.prepare("tap=t0", 1)
    VECTOR.renew(theirs, 4711)
    host.add("t0", in_use=True)
    with pytest.raises(HostError, match="vec1: a kernel that reboots keeps its tap t0 open"):
        VECTOR.renew(theirs, 4711)
    assert len(made) == 1


def test_tap_of_its_own_has_an_address_of_the_host_again_after_a_reboot(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = host.prepare("tap=auto,host=10.1.0.1/24,addr=10.1.0.2/24")
    assert entry.host_addr == "10.1.0.1/24"
    assert host.done[-1] == ("make", entry.tap, os.getuid(), "", "10.1.0.1/24")
    again: list[str] = []
    monkeypatch.setattr(taps, "replace_tap", lambda _name, **facts: again.append(facts["address"]))
    VECTOR.renew(entry, 4711)
    assert again == ["10.1.0.1/24"]
    for text in ("tap=t0,host=10.1.0.1/24", "switch=lan,host=10.1.0.1/24", "tap=auto,host=x"):
        with pytest.raises(UsageError):
            host.prepare(text, 1)


# MAC addresses


def test_mac_is_the_one_asked_for(host: Host) -> None:
    entry = host.prepare("switch=lan,mac=02:AB:00:00:00:01")
    assert entry.mac == "02:ab:00:00:00:01"
    assert entry.kernel.endswith(",mac=02:ab:00:00:00:01")


def test_mac_is_the_same_at_every_start_and_another_for_each_nic(host: Host) -> None:
    found = [
        host.prepare(text, number, umid=umid).mac
        for umid in ("demo", "other")
        for text, number in (
            ("switch=lan", 0),
            ("switch=lan", 1),
            ("eth0=mcast", 0),
            ("eth1=mcast", 1),
        )
    ]
    assert len(set(found)) == len(found)
    assert host.prepare("switch=lan").mac == host.prepare("user").mac == found[0]


@pytest.mark.parametrize(
    "text", [f"switch=lan,mac={MAC}", f"vec0:transport=fd,fd=3,mac={MAC}", f"eth0=mcast,{MAC}"]
)
def test_mac_of_another_nic_is_refused(host: Host, text: str) -> None:
    with pytest.raises(HostError, match=f"{MAC} is the MAC address of other's vec3; .* mac="):
        host.prepare(text, 0, use(mac=MAC))
    assert host.done == []
    assert host.prepare(text, 0, use(mac="02:00:00:00:00:02"), use(mac="")).mac == MAC


# Taps


def test_tap_is_made_and_goes_with_the_nic(host: Host) -> None:
    entry = host.prepare("tap=auto,bridge=br0")
    name = interfaces.tap_name("demo", 0)
    assert (entry.tap, entry.bridge, entry.made) == (name, "br0", {"tap": name})
    assert entry.kernel.startswith(f"vec0:transport=tap,ifname={name},mac={entry.mac}")
    assert host.done == [("make", name, os.getuid(), "br0")]
    assert VECTOR.release(entry, host.owner) == ""
    assert host.done[1:] == [("remove", name)]


def test_tap_that_a_dead_supervisor_left_is_made_anew(host: Host) -> None:
    name = interfaces.tap_name("demo", 0)
    host.add(name, bridge="br9")
    entry = host.prepare("tap=auto")
    assert host.done == [("remove", name), ("make", name, os.getuid(), "")]
    assert entry.bridge == ""


def test_tap_of_the_user_is_checked_and_stays(host: Host) -> None:
    host.add("tap0", bridge="br0")
    entry = host.prepare("tap=tap0")
    assert (entry.tap, entry.bridge, entry.made) == ("tap0", "br0", {})
    VECTOR.release(entry, host.owner)
    assert host.done == [("check", "tap0", os.getuid())]
    assert "tap0" in host.links


def test_tap_of_a_given_name_is_made_if_its_bridge_is_known(host: Host) -> None:
    entry = host.prepare("tap=mine,bridge=br0")
    assert entry.made == {"tap": "mine"}
    with pytest.raises(HostError, match="there is no tap other"):
        host.prepare("tap=other")


def test_what_has_become_of_a_tap_is_noted(host: Host) -> None:
    entry = host.prepare("tap=auto,bridge=br0")
    assert VECTOR.note(entry) == ""
    host.add(entry.tap)
    assert VECTOR.note(entry) == f"the tap {entry.tap} is on no bridge, and was on br0"
    host.add(entry.tap, bridge="br1")
    assert "is on br1, and was on br0" in VECTOR.note(entry)
    host.links[entry.tap] = host.links[entry.tap]._replace(bridge="br0", up=False)
    assert VECTOR.note(entry) == f"the tap {entry.tap} is down on this host"
    del host.links[entry.tap]
    assert VECTOR.note(entry) == f"the tap {entry.tap} is gone"


def test_nic_without_a_tap_and_a_tap_that_was_on_no_bridge_need_no_note(host: Host) -> None:
    assert VECTOR.note(host.prepare("switch=lan")) == ""
    host.add("tap0", bridge="br0")
    assert VECTOR.note(host.prepare("vec1:transport=tap,ifname=tap0")) == ""


@pytest.mark.parametrize(("bridge", "where"), [("br1", "on br1"), ("", "on no bridge")])
def test_tap_on_another_bridge_is_refused(host: Host, bridge: str, where: str) -> None:
    host.add("tap0", bridge=bridge)
    with pytest.raises(HostError, match=f"the tap tap0 is {where}, not on br0"):
        host.prepare("tap=tap0,bridge=br0")
    assert "tap0" in host.links


@pytest.mark.parametrize("text", ["tap=tap0", "vec0:transport=tap,ifname=tap0", "eth0=tuntap,tap0"])
def test_tap_of_another_guest_is_refused(host: Host, text: str) -> None:
    host.add("tap0")
    with pytest.raises(HostError, match="the tap tap0 belongs to other's vec3"):
        host.prepare(text, 0, use(tap="tap0"))
    assert host.prepare(text, 0, use(tap="tap1")).tap == "tap0"


def test_tap_that_cannot_be_made_leaves_nothing(host: Host) -> None:
    host.fails = HostError("this process needs CAP_NET_ADMIN")
    with pytest.raises(HostError, match="CAP_NET_ADMIN"):
        host.prepare("tap=auto")
    assert host.done == []


# In the kernel's words


def test_device_in_the_kernels_words_gets_a_mac_and_its_number(host: Host) -> None:
    entry = host.prepare("transport=fd,fd=3,mtu=900", 4)
    assert entry.kernel == f"vec4:transport=fd,fd=3,mtu=900,mac={macs.mac_of('demo', 4)}"
    entry = host.prepare(f"transport=fd,nic=5,fd=3,mac={MAC}")
    assert (entry.name, entry.kernel) == ("vec5", f"vec5:transport=fd,fd=3,mac={MAC}")
    entry = host.prepare("vec7:transport=fd,fd=3")
    assert (entry.name, entry.mac) == ("vec7", macs.mac_of("demo", 7))
    entry = host.prepare("eth1=mcast")
    assert (entry.name, entry.kernel) == ("eth1", f"eth1=mcast,{entry.mac}")


def test_transport_without_a_mac_has_none(host: Host) -> None:
    entry = host.prepare("eth0=pcap,e0")
    assert (entry.kernel, entry.mac) == ("eth0=pcap,e0", "")


def test_interface_that_is_not_there_is_refused(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nic, "_check_capability", lambda *_: None)
    with pytest.raises(HostError, match="vec0: this host has no interface e0"):
        host.prepare("vec0:transport=raw,ifname=e0")
    host.add("e0", "other")
    assert host.prepare("vec0:transport=raw,ifname=e0").tap == ""


def test_switch_of_others_has_to_listen(host: Host, short: str) -> None:
    text = f"vec0:transport=bess,dst={short}/switch"
    with pytest.raises(HostError, match=f"there is no socket {short}/switch; start its switch"):
        host.prepare(text)
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)) as listener:
        listener.bind(f"{short}/switch")
        with pytest.raises(HostError, match=r"nobody listens on .*/switch; its switch has ended"):
            host.prepare(text)
        listener.listen()
        assert host.prepare(text).kernel.startswith(text)
    with pytest.raises(HostError, match="nobody listens"):
        host.prepare(text)


def test_directory_of_a_vde_switch_holds_its_socket(
    host: Host, short: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", short)
    os.mkdir(f"{short}/vde")
    text = f"eth0=vde,{short}/vde"
    os.symlink("vde", f"{short}/link")
    with pytest.raises(HostError, match=f"there is no socket {short}/vde/ctl"):
        host.prepare(text)
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)) as listener:
        listener.bind(f"{short}/vde/ctl")
        listener.listen()
        with pytest.raises(HostError, match=r"needs the program vde_plug, .*; apt install vde2"):
            host.prepare(text)
        with open(f"{short}/vde_plug", "w") as file:
            os.chmod(file.fileno(), 0o700)
        assert host.prepare(text).name == "eth0"
        for name in ("vde", "link"):
            assert host.prepare(f"transport=vde,vnl=vde://{short}/{name}").name == "vec0"


def test_kernel_that_runs_is_asked_whether_it_has_a_transport(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kernel = find.ProbedKernel("/linux", "6.1.176", frozenset(), {"UML": "y"})
    monkeypatch.setattr(find, "probe", lambda _path: kernel)
    VECTOR.check("transport=bess,dst=/vde", os.getpid())
    with pytest.raises(Refusal, match=r"takes Linux 6\.12"):
        VECTOR.check("transport=vde,vnl=vde:///sw", os.getpid())
    kernel = kernel._replace(version="6.12.1")
    VECTOR.check("transport=vde,vnl=vde:///sw", os.getpid())

    def fail(_path: str) -> None:
        raise NoKernel("it is gone")

    monkeypatch.setattr(find, "probe", fail)
    VECTOR.check("transport=vde,vnl=vde:///sw", os.getpid())


def test_program_that_the_kernel_would_run_is_looked_for(host: Host) -> None:
    with pytest.raises(HostError, match="eth0: the kernel needs the program /none, which is not"):
        host.prepare("eth0=slirp,,/none")
    assert host.prepare("eth0=slirp,,/bin/sh").name == "eth0"


def test_tunnel_is_of_one_guest(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nic, "_check_capability", lambda *_: None)
    entry = host.prepare("transport=gre,src=10.0.0.1,dst=10.0.0.2")
    assert entry.address == "gre 10.0.0.1 10.0.0.2"
    with pytest.raises(HostError, match=r"other's vec3 has the tunnel gre 10.0.0.1 10.0.0.2"):
        host.prepare(
            "transport=gre,src=10.0.0.1,dst=10.0.0.2,rx_key=1,tx_key=1",
            1,
            use(address=entry.address),
        )
    host.prepare("transport=gre,src=10.0.0.1,dst=10.0.0.3", 1, use(address=entry.address))


@pytest.mark.parametrize(("effective", "refused"), [("0", True), ("2000", False), ("1000", True)])
def test_capability_is_looked_for(
    host: Host, house: str, monkeypatch: pytest.MonkeyPatch, effective: str, refused: bool
) -> None:
    with open(f"{house}/status", "w") as file:
        file.write(f"Name:\tx\nCapEff:\t{effective.zfill(16)}\n")

    def opened(path: str, *arguments: Any) -> Any:
        return open(f"{house}/status" if path == "/proc/self/status" else path, *arguments)

    monkeypatch.setattr(processes, "open", opened, raising=False)
    text = "transport=gre,src=10.0.0.1,dst=10.0.0.2"
    if refused:
        with pytest.raises(HostError, match="needs CAP_NET_RAW, which you do not have"):
            host.prepare(text)
    else:
        host.prepare(text)


# Hooks


def test_hooks_of_a_bridge_know_the_tap(host: Host, house: str) -> None:
    hooked(f"echo $UMLCTL_BRIDGE $UMLCTL_TAP >{house}/up", name="br0", kind=BRIDGE)
    host.prepare("tap=auto,bridge=br0")
    with open(f"{house}/up") as file:
        assert file.read() == f"br0 {interfaces.tap_name('demo', 0)}\n"


def test_hook_may_refuse_a_nic(host: Host) -> None:
    hooked("echo not you; exit 3", name="br0", kind=BRIDGE)
    with pytest.raises(
        HostError, match="the `up` hook of br0 ended with 3; `umlctl logs demo` has what it said"
    ):
        host.prepare("tap=auto,bridge=br0")
    assert host.said.endswith("not you\n")
    assert host.done[-1] == ("remove", interfaces.tap_name("demo", 0))
    assert host.links == {}


def test_hook_that_fails_at_the_end_is_told_and_all_is_let_go(host: Host) -> None:
    hooked(down="exit 4", name="br0", kind=BRIDGE)
    entry = host.prepare("tap=auto,bridge=br0")
    assert "the `down` hook of br0 ended with 4" in VECTOR.release(entry, host.owner)
    assert host.links == {}


def test_hook_whose_log_cannot_be_written_is_told(host: Host, house: str) -> None:
    hooked("true", "true")
    entry = host.prepare("switch=lan")
    host.log = f"{house}/none/console.log"
    assert "the `down` hook of lan cannot be run: " in VECTOR.release(entry, host.owner)
    with pytest.raises(HostError, match=r"hook of lan cannot be run: .*No such file"):
        host.prepare("switch=lan")


def test_nic_of_no_network_has_no_hooks(host: Host) -> None:
    hooked("exit 1", "exit 1")
    entry = host.prepare("vec0:transport=fd,fd=3")
    assert VECTOR.release(entry, host.owner) == ""


# Bridges of the host's kernel


def bridged(host: Host, text: str) -> DeviceEntry:
    """A NIC for a kernel in a namespace."""
    asked = parse_nic(text, insist=True)
    owner = Owner("demo", "", host.log, namespace=7)
    return registry.of_asked(asked).prepare(asked, 2, owner, ())


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[tuple[object, ...]]:
    """What is asked of switches."""
    found: list[tuple[object, ...]] = []
    monkeypatch.setattr(segments.Segment, "make_tap", lambda _self, *asked: found.append(asked))
    monkeypatch.setattr(segments.Segment, "remove_tap", lambda _self, name: found.append((name,)))
    return found


def test_kernel_in_a_namespace_has_a_tap_on_the_bridge(
    host: Host, made: list[tuple[object, ...]]
) -> None:
    entry = bridged(host, "switch=lan")
    assert made == [("uml-demo-2", entry.mac, "demo", 7)]
    assert entry.kernel == f"vec2:transport=tap,ifname=uml-demo-2,mac={entry.mac},depth=128,gro=1"
    assert (entry.network, entry.tap, entry.bridge) == ("lan", "", "")
    registry.of("vec2").renew(entry, os.getpid())
    assert made[1:] == [("uml-demo-2", entry.mac, "demo", 0)]
    assert registry.of("vec2").release(entry, Owner("demo", "", host.log)) == ""
    assert made[2:] == [("uml-demo-2",)]


def test_kernel_in_a_namespace_is_on_the_switch_where_there_is_no_bridge(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> None:
        raise HostError("its kernel is in another namespace")

    monkeypatch.setattr(segments.Segment, "make_tap", refused)
    entry = bridged(host, "switch=lan")
    assert "transport=bess" in entry.kernel
    assert entry.made == {}


def test_network_that_is_plain_has_no_taps(host: Host, made: list[tuple[object, ...]]) -> None:
    definitions.create(definitions.Network(name="slow", plain=True))
    assert "transport=bess" in bridged(host, "switch=slow").kernel
    assert made == []


@pytest.mark.parametrize("text", ["tap=auto", "transport=raw,ifname=eth0"])
def test_kernel_in_a_namespace_has_nothing_of_the_hosts(host: Host, text: str) -> None:
    with pytest.raises(HostError, match="start it with this NIC"):
        bridged(host, text)
    assert host.done == []


def test_nic_whose_record_is_lost_is_known_by_its_tap(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    status = {"ports": [{"tap": "uml-demo-2"}]}
    monkeypatch.setattr(segments, "names", lambda: ["dead", "lan"])

    def asked(segment: segments.Segment) -> object:
        if segment.name == "dead":
            raise HostError("it does not answer")
        return status

    monkeypatch.setattr(segments.Segment, "status", asked)
    assert nic.bridge_of("uml-demo-2") == "lan"
    assert nic.bridge_of("uml-demo-3") == ""
    told = vec.parse(nic.bridge_words(2, "uml-demo-2", "02:00:00:00:00:01"))
    entry = nic.on_bridge(nic.entry_of("demo", told), "lan", "uml-demo-2", "demo")
    assert (entry.network, entry.tap, entry.asked) == ("lan", "", "switch=lan,nic=2")
    assert entry.made == {"port": "uml-demo-2", "guest": "demo"}
