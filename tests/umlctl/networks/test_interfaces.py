from __future__ import annotations

import os
import random
import string
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from umlctl.errors import HostError, UsageError
from umlctl.networks import interfaces

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

DEADLINE = 60.0
OTHER = 12345
"""A user who is not us."""


@pytest.mark.parametrize("name", ["a", "tap0", "uml-web-0", "br0.5", "a=b,c", "exactly15bytes_"])
def test_names_of_interfaces(name: str) -> None:
    assert interfaces.check_name(name) == name


def test_tap_is_named_for_its_guest() -> None:
    assert interfaces.tap_name("web", 0) == "uml-web-0"
    assert interfaces.tap_name("ninechars", 1) == "uml-ninechars-1"
    assert interfaces.tap_name("eightchr", 10) == "uml-eightchr-10"


def test_long_guest_keeps_its_beginning() -> None:
    assert interfaces.tap_name("production-web-1", 0) == "uml-pro~bmn4w-0"


def test_taps_of_different_guests_never_meet() -> None:
    chance = random.Random(7)
    letters = string.ascii_letters + string.digits + "._+-"
    umids = {"".join(chance.choices(letters, k=chance.randint(1, 63))) for _ in range(500)}
    umids |= {f"production-web-{n}" for n in range(300)} | {"a-1", "a", "a-1-1", "uml-a-1"}
    taken: dict[str, tuple[str, int]] = {}
    for umid in umids:
        for index in (0, 1, 11, 111, 9999):
            name = interfaces.tap_name(umid, index)
            assert interfaces.check_name(name) == name
            assert name.startswith("uml-")
            assert name.endswith(f"-{index}")
            assert taken.setdefault(name, (umid, index)) == (umid, index)


@pytest.mark.parametrize(
    ("umid", "index"), [("a", -1), ("a", 10_000), ("", 0), ("x" * 30 + "/", 0)]
)
def test_guest_for_which_there_is_no_name(umid: str, index: int) -> None:
    with pytest.raises(UsageError):
        interfaces.tap_name(umid, index)


@pytest.fixture
def sysfs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Puts interfaces in a /sys/class/net of our own: `sysfs("t0", tun_flags="0x1802")`."""
    monkeypatch.setattr(interfaces, "SYSFS_DIRECTORY", str(tmp_path))
    (tmp_path / "bonding_masters").touch()

    def put(name: str, **attributes: str) -> None:
        (tmp_path / name).mkdir()
        values = {"flags": "0x1003", "address": "02:00:00:00:00:01"} | attributes
        if "tun_flags" in values:
            values = {"owner": "-1", "group": "-1", "carrier": "0"} | values
        for attribute, value in values.items():
            (tmp_path / name / attribute).write_text(value + "\n")

    return put


def refused(name: str, uid: int = OTHER) -> str:
    with pytest.raises(HostError) as caught:
        interfaces.check_tap(name, uid)
    return str(caught.value)


def test_tap_of_this_user_is_taken(sysfs: Callable[..., None]) -> None:
    sysfs("t0", tun_flags="0x5802", owner=str(OTHER))
    assert interfaces.check_tap("t0", OTHER).owner == OTHER


def test_tap_without_owner_is_everybodys(sysfs: Callable[..., None]) -> None:
    sysfs("t0", tun_flags="0x5802")
    assert interfaces.check_tap("t0", OTHER).owner is None


def test_absent_tap_is_missed_with_the_way_to_make_it(sysfs: Callable[..., None]) -> None:
    said = refused("t0")
    assert "there is no tap t0" in said
    assert "sudo ip tuntap add dev t0 mode tap user 12345 && sudo ip link set t0 up" in said
    sysfs("t1", tun_flags="0x1802", owner="0")
    assert "no tap bonding_masters" in refused("bonding_masters")


def test_tap_of_somebody_else_is_refused(sysfs: Callable[..., None]) -> None:
    sysfs("t0", tun_flags="0x1802", owner="54321")
    said = refused("t0")
    assert "t0 is the tap of 54321, and 12345 cannot open it" in said
    assert "sudo ip link delete t0 && sudo ip tuntap add dev t0 mode tap user 12345" in said


def test_tap_of_a_group_is_for_its_members(sysfs: Callable[..., None]) -> None:
    sysfs("t0", tun_flags="0x1802", group="54321")
    assert "t0 is a tap for group 54321" in refused("t0")


def test_owner_of_a_tap_must_be_in_its_group_too(sysfs: Callable[..., None]) -> None:
    sysfs("t0", tun_flags="0x1802", owner=str(OTHER), group="54321")
    assert "group 54321" in refused("t0")


def test_root_may_open_every_tap(sysfs: Callable[..., None]) -> None:
    sysfs("t0", tun_flags="0x1802", owner="54321", group="54321")
    if os.geteuid() == 0 and not interfaces.may_configure():
        assert "54321" in refused("t0", 0)
    else:
        assert interfaces.check_tap("t0", 0)


def test_our_own_groups_count(sysfs: Callable[..., None]) -> None:
    sysfs("t0", tun_flags="0x1802", owner=str(os.geteuid()), group=str(os.getegid()))
    assert interfaces.check_tap("t0", os.geteuid())


def test_tap_in_use_is_refused(sysfs: Callable[..., None]) -> None:
    sysfs("t0", tun_flags="0x1802", owner=str(OTHER), carrier="1")
    assert "the tap t0 is in use" in refused("t0")


def test_tun_of_packets_is_no_tap(sysfs: Callable[..., None]) -> None:
    sysfs("t0", tun_flags="0x1801", owner=str(OTHER))
    assert "t0 is not a tap but a tun device" in refused("t0")


def test_other_interface_is_no_tap(sysfs: Callable[..., None]) -> None:
    sysfs("eth0")
    assert "eth0 is not a tap but another kind" in refused("eth0")
    with pytest.raises(HostError, match="eth0 is not a bridge but another kind"):
        interfaces.check_bridge("eth0")


def test_tap_of_several_queues_is_refused(sysfs: Callable[..., None]) -> None:
    sysfs("t0", tun_flags="0x1902", owner=str(OTHER))
    assert "t0 is a tap of several queues" in refused("t0")


def test_missing_bridge_is_missed_with_the_way_to_make_it(
    sysfs: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    sysfs("t0", tun_flags="0x1802")
    create = "there is no bridge b0; `umlctl network create b0 --bridge` makes it"
    monkeypatch.setattr(interfaces, "may_configure", lambda: False)
    with pytest.raises(HostError, match=f"{create} for root, or .*sudo ip link add b0 type bridge"):
        interfaces.check_bridge("b0")
    monkeypatch.setattr(interfaces, "may_configure", lambda: True)
    with pytest.raises(HostError, match=f"{create}$"):
        interfaces.check_bridge("b0")


def test_looking_needs_no_pyroute2(sysfs: Callable[..., None]) -> None:
    script = (
        "import sys\nfrom umlctl.networks import interfaces, macs\n"
        "interfaces.tap_name('a' * 40, 0), macs.mac_of('a', 0), interfaces.may_configure()\n"
        f"interfaces.SYSFS_DIRECTORY = {interfaces.SYSFS_DIRECTORY!r}\n"
        "interfaces.check_tap('t0', 1), interfaces.bridges()\n"
        "assert not {'pyroute2', 'asyncio', 'socket', 'trio'} & set(sys.modules)"
    )
    sysfs("t0", tun_flags="0x1802")
    subprocess.run([sys.executable, "-c", script], check=True, timeout=DEADLINE)


def test_what_is_required_is_what_there_is() -> None:
    if interfaces.may_configure():
        interfaces.require_net_admin("to do x", "sudo y")
    else:
        with pytest.raises(HostError, match=r"^to do x, .* CAP_NET_ADMIN, .*: sudo y;"):
            interfaces.require_net_admin("to do x", "sudo y")


def test_traffic_of_a_tap_is_the_guests(sysfs: Callable[..., None], tmp_path: Path) -> None:
    statistics = tmp_path / "t0" / "statistics"
    statistics.mkdir(parents=True)
    for name, count in (("rx_packets", 1), ("rx_bytes", 2), ("tx_packets", 3), ("tx_bytes", 4)):
        (statistics / name).write_text(f"{count}\n")
    assert interfaces.traffic("t0") == {
        "sent_frames": 1,
        "sent_bytes": 2,
        "received_frames": 3,
        "received_bytes": 4,
    }
    assert interfaces.traffic("t1") == {}
