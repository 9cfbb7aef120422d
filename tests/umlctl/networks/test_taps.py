"""Real taps and bridges, each test in a network namespace of its own: nothing stays behind.

A test marked `alone` runs in a process of its own, which is this file as a program. Where the host
has no namespaces for us, or no tun device, the test is that umlctl says so.
"""

from __future__ import annotations

import ctypes
import fcntl
import functools
import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from struct import pack
from typing import TYPE_CHECKING

import pytest

from umlctl.errors import HostError, UsageError
from umlctl.networks import interfaces, taps

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

DEADLINE = 60.0
TAP, TUN, MULTI_QUEUE, NO_PI, VNET_HDR = 0x2, 0x1, 0x100, 0x1000, 0x4000
OTHER = 12345
"""A user who is not us."""


def is_user(uid: int) -> bool:
    """In our user namespace."""
    with open("/proc/self/uid_map") as file:
        ranges = [[int(word) for word in line.split()] for line in file]
    return any(first <= uid < first + count for first, _, count in ranges)


OWNER = OTHER if is_user(OTHER) else os.geteuid()
"""Of real taps."""


# In a namespace


def isolated() -> list[str]:
    """The command that gives another a network namespace in which it may do everything."""
    if os.geteuid() == 0:
        return ["unshare", "--net"]
    # fsmount asks for a mount namespace that is ours, too.
    return ["unshare", "--map-root-user", "--net", "--mount", "--propagation=unchanged"]


def unprivileged() -> list[str]:
    """The command that takes CAP_NET_ADMIN from another."""
    if not interfaces.may_configure():
        return ["env"]
    return ["setpriv", "--bounding-set=-net_admin", "--inh-caps=-net_admin"]


@functools.cache
def works(*command: str) -> bool:
    return subprocess.run([*command, "true"], capture_output=True, check=False).returncode == 0


def run(name: str, *command: str) -> None:
    """A test of this file, as a program of its own."""
    done = subprocess.run(
        [*command, sys.executable, "-W", "error", __file__, name],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", ""), done.stderr


def alone(test: Callable[[], None]) -> Callable[[], None]:
    """Runs the test with CAP_NET_ADMIN in a network namespace of its own."""

    @functools.wraps(test)
    def wrapper() -> None:
        if works(*isolated()):
            run(test.__name__, *isolated())
        else:
            privilege_is_asked_for()

    return wrapper


def with_tun(test: Callable[[], None]) -> Callable[[], None]:
    """For tests that open the tun device, where the host has one for us."""

    @functools.wraps(test)
    def wrapper() -> None:
        if os.access(taps.TUN_DEVICE, os.R_OK | os.W_OK):
            test()
            return
        with pytest.raises(HostError, match="cannot make the tap t0: /dev/net/tun: ") as caught:
            taps.make_tap("t0", owner=OTHER)
        advice = "sudo ip tuntap add" if os.path.exists(taps.TUN_DEVICE) else "no tun device"
        assert advice in str(caught.value)
        assert interfaces.look("t0") is None

    return wrapper


def privileged_not(test: Callable[[], None]) -> Callable[[], None]:
    """Runs the test without CAP_NET_ADMIN."""

    @functools.wraps(test)
    def wrapper() -> None:
        run(test.__name__, *unprivileged())

    return wrapper


def privilege_is_asked_for() -> None:
    """By everything that makes or removes, and before it looks at the device."""
    assert not interfaces.may_configure()
    with pytest.raises(HostError, match=r"to make the tap t0, .*CAP_NET_ADMIN") as caught:
        taps.make_tap("t0", owner=OTHER, bridge="b0")
    assert "sudo ip tuntap add dev t0 mode tap user 12345 && " in str(caught.value)
    assert "sudo ip link set t0 master b0 up" in str(caught.value)
    with pytest.raises(HostError, match=r"to make the bridge b0, .*CAP_NET_ADMIN") as caught:
        taps.make_bridge("b0", "10.9.8.7/24")
    assert "sudo ip address add 10.9.8.7/24 dev b0" in str(caught.value)


def see_this_namespace() -> None:
    """Have /sys shown as it is here, without mounting it anywhere. linux/mount.h: fsmount"""
    libc = ctypes.CDLL(None, use_errno=True)
    context = libc.syscall(430, b"sysfs", 0)
    assert context >= 0, os.strerror(ctypes.get_errno())
    assert libc.syscall(431, context, 6, None, None, 0) == 0, os.strerror(ctypes.get_errno())
    tree = libc.syscall(432, context, 0, 0)
    assert tree >= 0, os.strerror(ctypes.get_errno())
    os.close(context)
    interfaces.SYSFS_DIRECTORY = f"/proc/self/fd/{tree}/class/net"


@contextmanager
def opened(name: str, flags: int = TAP | NO_PI | VNET_HDR) -> Iterator[int]:
    """A tap as a guest has it, made if it is not there."""
    tap = os.open(taps.TUN_DEVICE, os.O_RDWR)
    try:
        fcntl.ioctl(tap, 0x400454CA, pack("16sH22x", name.encode(), flags))
        yield tap
    finally:
        os.close(tap)


def found(name: str) -> interfaces.Interface:
    link = interfaces.look(name)
    assert link is not None
    return link


def names() -> set[str]:
    return set(os.listdir(interfaces.SYSFS_DIRECTORY)) - {"bonding_masters"}


def switch(name: str, state: str) -> None:
    from pyroute2 import IPRoute  # type: ignore[import-untyped] # it ships no types

    with IPRoute() as route:
        route.link("set", index=route.link_lookup(ifname=name)[0], state=state)


def addresses(name: str) -> set[str]:
    """Of IPv4, with masks."""
    from pyroute2 import IPRoute

    with IPRoute() as route:
        index = route.link_lookup(ifname=name)[0]
        return {
            f"{each.get_attr('IFA_ADDRESS')}/{each['prefixlen']}"
            for each in route.get_addr(index=index, family=2)
        }


@pytest.mark.parametrize(
    "name",
    [
        *("", ".", "..", "a/b", "a b", "a\tb", "a\n", "a:1", "tap%d", "nul\0", "\x7f", "bücke"),
        *("sixteen_bytes_xx", "../../etc", "\udcff"),
    ],
)
def test_name_that_no_interface_can_have_is_refused_everywhere(name: str) -> None:
    for use in (
        lambda: interfaces.check_name(name),
        lambda: interfaces.look(name),
        lambda: interfaces.check_tap(name, 0),
        lambda: taps.make_tap(name, owner=0),
        lambda: taps.remove_tap(name),
        lambda: interfaces.check_bridge(name),
        lambda: taps.make_bridge(name),
        lambda: taps.remove_bridge(name),
    ):
        with pytest.raises(UsageError) as caught:
            use()
        assert repr(name)[1:-1] in str(caught.value)


def test_name_of_the_bridge_is_checked_too() -> None:
    with pytest.raises(UsageError, match="'a b'"):
        taps.make_tap("t0", owner=0, bridge="a b")


@pytest.mark.parametrize("owner", [-1, 0xFFFFFFFF, 1 << 32])
def test_tap_for_nobody_would_be_everybodys(owner: int) -> None:
    with pytest.raises(UsageError, match=str(owner)):
        taps.make_tap("t0", owner=owner)


@pytest.mark.parametrize(
    "address", ["10.0.0.1", "10.0.0.1/33", "10.0.0.0/24", "10.0.0.255/24", "x/24", "/", "1/2/3"]
)
def test_address_that_no_bridge_can_have_is_refused(address: str) -> None:
    with pytest.raises(UsageError) as caught:
        taps.make_bridge("b0", address)
    assert address.partition("/")[0] in str(caught.value)


def test_host_without_sys_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interfaces, "SYSFS_DIRECTORY", "/nonexistent/class/net")
    for use in (lambda: interfaces.look("t0"), interfaces.bridges, lambda: taps.remove_tap("t0")):
        with pytest.raises(HostError, match="there is no /nonexistent/class/net"):
            use()


# Privileges


@privileged_not
def test_privilege_is_asked_for_before_anything_is_touched() -> None:
    privilege_is_asked_for()


@privileged_not
def test_privilege_that_turns_out_not_to_count_is_missed_with_the_commands() -> None:
    """CAP_NET_ADMIN of a user namespace is worth nothing for the host's network."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(interfaces, "may_configure", lambda: True)
        patch.setattr(interfaces, "look", lambda _name: None)
        with pytest.raises(HostError, match=r"cannot make the bridge umlctl-b: .*sudo ip link add"):
            taps.make_bridge("umlctl-b")
        with pytest.raises(HostError, match="cannot make the tap umlctl-t: "):
            taps.make_tap("umlctl-t", owner=OTHER)


@alone
def test_host_without_tun_device_says_so() -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(taps, "TUN_DEVICE", "/nonexistent/tun")
        with pytest.raises(HostError, match=r"tap t0: /nonexistent/tun: .*no tun device"):
            taps.make_tap("t0", owner=OTHER)
    assert names() == {"lo"}


# Real taps


@alone
@with_tun
def test_made_tap_belongs_to_its_owner_and_is_up() -> None:
    assert interfaces.look("t0") is None
    taps.make_tap("t0", owner=OWNER)
    link = found("t0")
    assert link.kind == "tap"
    assert (link.owner, link.group) == (OWNER, None)
    assert link.up
    assert link.persistent
    assert not link.in_use
    assert not link.multi_queue
    assert link.bridge == ""
    assert len(link.mac) == 17
    assert interfaces.check_tap("t0", OWNER) == link
    assert interfaces.check_tap("t0", os.geteuid()) == link, "we have CAP_NET_ADMIN"


@alone
@with_tun
def test_made_tap_joins_its_bridge() -> None:
    taps.make_bridge("b0")
    taps.make_tap("t0", owner=OWNER, bridge="b0")
    taps.make_tap("t1", owner=OWNER, bridge="b0")
    assert found("t0").bridge == "b0"
    assert interfaces.bridges() == [interfaces.Bridge("b0", ("t0", "t1"), up=True)]
    taps.remove_tap("t0")
    assert interfaces.check_bridge("b0").members == ("t1",)


@alone
@with_tun
def test_tap_is_in_use_as_long_as_somebody_has_it_open() -> None:
    """Up or down."""
    taps.make_tap("t0", owner=OWNER)
    for state in ("up", "down", "up"):
        switch("t0", state)
        assert not found("t0").in_use
        with opened("t0"):
            assert found("t0").in_use
            with pytest.raises(HostError, match="t0 is in use"):
                interfaces.check_tap("t0", OWNER)
            with pytest.raises(HostError, match=r"tap t0 is not removed: .* has it open"):
                taps.remove_tap("t0")
        interfaces.check_tap("t0", OWNER)


@alone
@with_tun
def test_tap_is_in_use_from_the_start() -> None:
    """By who made it, before it was ever closed or up."""
    with opened("t0"):
        assert found("t0").in_use
        assert not found("t0").persistent
    assert interfaces.look("t0") is None


@alone
@with_tun
def test_tap_opened_since_we_looked_is_not_removed() -> None:
    taps.make_tap("t0", owner=OWNER)
    before = found("t0")
    with opened("t0"), pytest.MonkeyPatch.context() as patch:
        patch.setattr(interfaces, "look", lambda _name: before)
        with pytest.raises(HostError, match=r"tap t0 is not removed: .* has it open"):
            taps.remove_tap("t0")
    assert found("t0") == before._replace(in_use=False)


@alone
@with_tun
def test_removing_a_tap_twice_is_removing_it() -> None:
    taps.make_tap("t0", owner=OWNER)
    taps.remove_tap("t0")
    assert interfaces.look("t0") is None
    taps.remove_tap("t0")
    assert names() == {"lo"}


@alone
@with_tun
def test_tap_of_any_kind_can_be_removed() -> None:
    with opened("t0", TAP | MULTI_QUEUE) as tap:
        fcntl.ioctl(tap, 0x400454CB, 1)
    assert found("t0").multi_queue
    taps.remove_tap("t0")
    assert names() == {"lo"}


@alone
@with_tun
def test_what_is_no_tap_is_not_removed() -> None:
    with opened("t0", TUN | NO_PI) as tun:
        fcntl.ioctl(tun, 0x400454CB, 1)
    taps.make_bridge("b0")
    for name, what in (("t0", "a tun device"), ("b0", "a bridge"), ("lo", "another kind")):
        with pytest.raises(HostError, match=f"{name} is not removed: it is not a tap but {what}"):
            taps.remove_tap(name)
    assert names() == {"lo", "t0", "b0"}


@alone
@with_tun
def test_tap_is_not_made_over_another_interface() -> None:
    taps.make_tap("t0", owner=OWNER)
    taps.make_bridge("b0")
    before = found("t0")
    with pytest.raises(HostError, match="there is a t0 already: a tap"):
        taps.make_tap("t0", owner=0)
    with pytest.raises(HostError, match="there is a b0 already: a bridge"):
        taps.make_tap("b0", owner=OWNER)
    with pytest.raises(HostError, match="there is a t0 already: a tap"):
        taps.make_bridge("t0")
    with pytest.MonkeyPatch.context() as patch:  # made since we looked
        patch.setattr(taps, "_refuse_existing", lambda _name: None)
        with pytest.raises(HostError, match=r"cannot make the tap t0: .*busy"):
            taps.make_tap("t0", owner=0)
        with pytest.raises(HostError, match=r"cannot make the bridge b0: .*exists"):
            taps.make_bridge("b0")
    assert found("t0") == before
    assert names() == {"lo", "t0", "b0"}


@alone
@with_tun
def test_tap_that_cannot_be_finished_is_not_left_behind() -> None:
    taps.make_bridge("b0")
    bridge = interfaces.check_bridge("b0")
    with pytest.raises(HostError, match="there is no bridge b1"):
        taps.make_tap("t0", owner=OWNER, bridge="b1")
    with pytest.raises(HostError, match="lo is not a bridge"):
        taps.make_tap("t0", owner=OWNER, bridge="lo")
    assert names() == {"lo", "b0"}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(interfaces, "check_bridge", lambda _name: bridge)
        for gone in ("b1", "lo"):  # since we looked
            with pytest.raises(HostError, match="cannot make the tap t0: "):
                taps.make_tap("t0", owner=OWNER, bridge=gone)
            assert names() == {"lo", "b0"}


@alone
@with_tun
def test_death_in_the_midst_leaves_no_tap() -> None:
    child = os.fork()
    if not child:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(taps, "_netlink", lambda: os.kill(os.getpid(), signal.SIGKILL))
            taps.make_tap("t0", owner=OWNER)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    assert names() == {"lo"}


@alone
@with_tun
def test_owner_of_a_high_number() -> None:
    """User namespaces give them out; one of ours has the one user that we are."""
    owner = 0xFFFFFFFE
    if is_user(owner):
        taps.make_tap("t0", owner=owner)
        assert found("t0").owner == owner
    else:
        with pytest.raises(HostError, match="cannot make the tap t0: Invalid argument"):
            taps.make_tap("t0", owner=owner)
        assert names() == {"lo"}


@alone
@with_tun
def test_taps_are_made_from_a_thread_of_trio() -> None:
    """pyroute2 refuses to work in trio's own."""
    import trio

    async def main() -> None:
        await trio.to_thread.run_sync(lambda: taps.make_bridge("b0", "10.9.8.1/24"))
        await trio.to_thread.run_sync(lambda: taps.make_tap("t0", owner=OWNER, bridge="b0"))

    trio.run(main)
    assert found("t0").bridge == "b0"


@alone
@with_tun
def test_commands_for_an_administrator_make_the_same() -> None:
    taps.make_bridge("b0", "10.9.8.1/24")
    taps.make_tap("t0", owner=OWNER, bridge="b0")
    made = (found("t0"), found("b0"), addresses("b0"))
    taps.remove_tap("t0")
    taps.remove_bridge("b0")
    for command in (
        *interfaces.bridge_commands("b0", "10.9.8.1/24"),
        *interfaces.tap_commands("t0", OWNER, "b0"),
    ):
        subprocess.run(command.removeprefix("sudo ").split(), check=True)
    again = (found("t0"), found("b0"), addresses("b0"))
    assert again[0] == made[0]._replace(mac=again[0].mac)
    assert again[1] == made[1]._replace(mac=again[1].mac)
    assert again[2] == made[2] == {"10.9.8.1/24"}


# Real bridges


@alone
def test_made_bridge_is_up_with_its_address() -> None:
    assert interfaces.bridges() == []
    taps.make_bridge("b1", "192.168.50.1/24")
    taps.make_bridge("b0")
    assert interfaces.bridges() == [
        interfaces.Bridge("b0", (), up=True),
        interfaces.Bridge("b1", (), up=True),
    ]
    assert addresses("b1") == {"192.168.50.1/24"}
    assert addresses("b0") == set()
    assert found("b1").kind == "bridge"
    assert not found("b1").in_use
    with pytest.raises(HostError, match="b0 is not a tap but a bridge"):
        interfaces.check_tap("b0", OWNER)


@alone
def test_bridge_that_cannot_be_finished_is_not_left_behind() -> None:
    taps.make_bridge("b0", "10.9.8.1/24")

    class Wrong:
        ip = "10.9.7.1"
        network = type("Network", (), {"prefixlen": 77})

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(taps, "_host_address", lambda _text: Wrong)
        with pytest.raises(HostError, match="cannot make the bridge b1: "):
            taps.make_bridge("b1", "10.9.7.1/77")
    assert names() == {"lo", "b0"}


@alone
def test_bridge_with_members_is_not_removed() -> None:
    from pyroute2 import IPRoute

    taps.make_bridge("b0")
    with IPRoute() as route:
        index = route.link_lookup(ifname="b0")[0]
        route.link("add", ifname="v0", kind="veth", peer="v1")
        for name in ("v0", "v1"):
            route.link("set", index=route.link_lookup(ifname=name)[0], master=index)
    with pytest.raises(HostError, match="bridge b0 is not removed: it has members: v0, v1"):
        taps.remove_bridge("b0")
    with IPRoute() as route:
        route.link("del", index=route.link_lookup(ifname="v0")[0])
    taps.remove_bridge("b0")
    taps.remove_bridge("b0")
    assert names() == {"lo"}


@alone
def test_what_is_no_bridge_is_not_removed() -> None:
    with pytest.raises(HostError, match="lo is not a bridge"):
        taps.remove_bridge("lo")


@alone
def test_bridge_removed_since_we_looked_is_removed() -> None:
    taps.make_bridge("b0")
    bridge, link = interfaces.check_bridge("b0"), found("b0")
    taps.remove_bridge("b0")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(interfaces, "look", lambda _name: link)
        patch.setattr(interfaces, "check_bridge", lambda _name: bridge)
        taps.remove_bridge("b0")


if __name__ == "__main__":
    asked = globals()[sys.argv[1]]
    if not hasattr(asked, "__wrapped__"):
        sys.exit(f"{sys.argv[1]} is not a test that runs alone")
    if interfaces.may_configure():
        see_this_namespace()
    asked.__wrapped__()
