from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from umlctl.backends import registry
from umlctl.backends.disk import DISK
from umlctl.backends.interface import Owner
from umlctl.backends.nic import LEGACY, VECTOR, NicBackend
from umlctl.devices.parse import parse
from umlctl.errors import HostError
from umlctl.guest.specs import parse_disk, parse_nic
from umlctl.networks import definitions, segments
from umlctl.networks.definitions import Network
from umlctl.state.leases import Use
from umlctl.state.records import DeviceEntry

if TYPE_CHECKING:
    from collections.abc import Sequence

    from umlctl.guest.specs import Disk, Nic


@pytest.fixture
def images(house: str) -> str:
    for name in ("a.img", "b.img"):
        with open(f"{house}/{name}", "wb") as file:
            file.write(bytes(4096))
    os.mkdir(f"{house}/records")
    return house


def owner(place: str) -> Owner:
    return Owner("demo", f"{place}/records", f"{place}/console.log")


def prepare(place: str, *texts: str, users: Sequence[Use] = ()) -> list[DeviceEntry]:
    asked: list[Disk | Nic] = [
        parse_nic(text) if text.startswith("vec") else parse_disk(text, place) for text in texts
    ]
    return registry.prepare_all(asked, owner(place), list(users))


def files(place: str) -> set[str]:
    return {f"{each}/{name}" for each in (place, f"{place}/records") for name in os.listdir(each)}


def test_devices_of_a_command_line_are_ready_and_come_back_by_themselves(images: str) -> None:
    entries = prepare(images, "a.img,slot=1", "vec0:transport=fd,fd=3", "b.img,slot=2,discard")
    assert [entry.name for entry in entries] == ["ubd1", "vec0", "ubd2"]
    assert all(entry.boot for entry in entries)
    for entry in entries:
        assert registry.of(entry.name).release(entry, owner(images)) == ""
    assert os.listdir(f"{images}/records") == []


def test_command_line_is_known_before_anything_is_made(images: str) -> None:
    before = files(images)
    texts = ("a.img,slot=1,cow=new.cow", "b.img,slot=2,discard", "a.img,slot=3,ro,shared")
    asked: list[Disk | Nic] = [parse_disk(text, images) for text in texts]
    planned = registry.plan_all(asked, owner(images))
    assert files(images) == before
    assert [entry.kernel for entry in planned] == [
        f"ubd1={images}/new.cow,{images}/a.img",
        f"ubd2={images}/records/ubd2.cow,{images}/b.img",
        f"ubd3rc={images}/a.img",
    ]
    assert [entry.kernel for entry in prepare(images, texts[1])] == [planned[1].kernel]


def test_one_that_fails_leaves_nothing_of_the_others(images: str) -> None:
    before = files(images)
    for last in ("none,slot=3", "a.img,slot=3,ro"):
        with pytest.raises(HostError):
            prepare(
                images, "a.img,slot=1", "b.img,slot=2,cow=new.cow", "b.img,slot=4,discard", last
            )
        assert files(images) == before


def test_devices_of_one_command_line_are_seen_by_each_other(images: str) -> None:
    with pytest.raises(HostError, match="is written by demo as its ubd1"):
        prepare(images, "a.img,slot=1", "a.img,slot=2")
    mac = "mac=02:00:00:00:00:01"
    with pytest.raises(HostError, match="is the MAC address of demo's vec0"):
        prepare(images, f"vec0:transport=fd,fd=3,{mac}", f"vec1:transport=fd,fd=4,{mac}")


def test_devices_of_other_guests_are_seen(images: str) -> None:
    (entry,) = prepare(images, "a.img,slot=5")
    with pytest.raises(HostError, match="is written by other as its ubd5"):
        prepare(images, "a.img,slot=1", users=[Use("other", entry)])


def test_init_is_told_of_nics_with_an_address() -> None:
    def nic(name: str, asked: str, addr: str = "") -> DeviceEntry:
        return DeviceEntry(name=name, asked=asked, kernel="", addr=addr)

    entries = [
        nic("vec0", "user,nic=0", "10.0.2.15/24"),
        nic("vec1", "switch=lan"),
        nic("eth0", "eth0=mcast", "10.0.0.2/8"),
        nic("ubd1", "/a"),
    ]
    assert registry.for_init(entries) == ("vec0,10.0.2.15/24,10.0.2.2,10.0.2.3;eth0,10.0.0.2/8")
    assert registry.for_init(entries[1:2]) == ""


@pytest.mark.parametrize(
    ("addr", "told"),
    [
        ("10.0.2.50/24", "vec0,10.0.2.50/24,10.0.2.2,10.0.2.1,10.0.2.3"),
        ("10.0.3.50/16", "vec0,10.0.3.50/16,10.0.2.2,10.0.2.3"),
        ("10.0.2.50", "vec0,10.0.2.50"),
        ("10.9.9.9/24", "vec0,10.9.9.9/24"),
        ("fd00::2/64", "vec0,fd00::2/64"),
        ("", ""),
    ],
)
def test_init_is_told_the_way_out_of_a_switch_with_an_uplink(
    house: str, addr: str, told: str
) -> None:
    """If the address that it is to take is of the uplink's network."""
    definitions.create(Network(name="out", user=True))
    definitions.create(Network(name="lan"))
    for name in ("out", "lan", "undefined"):
        nic = DeviceEntry(name="vec0", asked=f"switch={name}", kernel="", network=name, addr=addr)
        plain = f"vec0,{addr}" if addr else ""
        assert registry.for_init([nic]) == (told if name == "out" else plain)


def test_every_family_is_found_by_the_names_of_its_devices() -> None:
    names = ("ubd15", "vec0", "eth3", "con1", "ssl63", "mem", "virtio2", "vfio0", "share0")
    found = [registry.of(name) for name in names]
    assert found == list(registry.BACKENDS)
    assert [each.family for each in found] == [name.rstrip("0123456789") for name in names]


def test_device_of_a_family_that_is_not_known_is_let_go_without_a_word(images: str) -> None:
    """Its record is of a newer umlctl."""
    new = DeviceEntry(name="new0", asked="new0=x", kernel="new0=x")
    assert registry.release_all([new], owner(images)) == []
    assert registry.of("new0").note(new) == ""


@pytest.mark.parametrize(
    ("text", "backend"),
    [("switch=lan", VECTOR), ("vec3:transport=fd,fd=3", VECTOR), ("eth0=mcast", LEGACY)],
)
def test_what_is_asked_for_has_a_backend_before_it_has_a_number(
    text: str, backend: NicBackend
) -> None:
    assert registry.of_asked(parse_nic(text)) is backend
    assert registry.of_asked(parse_disk("/a.img")) is DISK


@pytest.mark.parametrize("name", ["con1", "ssl0", "mem", "virtio0", "vfio0"])
def test_lines_memory_and_what_is_lent_take_nothing_of_the_host(name: str) -> None:
    entry, nobody = DeviceEntry(name=name, asked="", kernel=""), Owner("demo", "/none", "/none")
    backend = registry.of(name)
    backend.renew(entry, 4711)
    assert (
        backend.undo(entry, nobody) == backend.release(entry, nobody) == backend.note(entry) == ""
    )


def test_nics_need_the_host_again_after_a_reboot(monkeypatch: pytest.MonkeyPatch) -> None:
    forgotten = []
    monkeypatch.setattr(segments.Segment, "forget", lambda _switch, pid: forgotten.append(pid))
    for name in ("vec0", "eth3", "con1", "mem"):
        entry = DeviceEntry(name=name, asked="", kernel="", network="lan")
        registry.of(name).renew(entry, 4711)
    assert forgotten == [4711, 4711]


def test_one_that_cannot_be_let_go_keeps_no_other(images: str) -> None:
    entries = prepare(images, "a.img,slot=1,discard", "b.img,slot=2,discard")
    (first, second) = (entry.made["discard"] for entry in entries)
    os.unlink(second)
    os.mkdir(second)
    entries[1].made["discard"] = second + "/\0"  # raises what nobody expects
    said = registry.release_all(entries, owner(images))
    assert len(said) == 1
    assert said[0].startswith("ubd2: ")
    assert not os.path.exists(first)


@pytest.mark.parametrize("letter", [" ", ",", ":", '"', "\t"])
def test_home_that_the_kernel_cannot_read_is_said_before_a_boot(images: str, letter: str) -> None:
    os.rename(f"{images}/records", f"{images}/rec{letter}ords")
    asked = [parse_disk("a.img,slot=1,discard", images)]
    with pytest.raises(HostError, match=f"ubd1: .*rec{letter}ords.*set UMLCTL_DIR to a directory"):
        registry.prepare_all(asked, Owner("demo", f"{images}/rec{letter}ords", "/none"), [])
    assert os.listdir(f"{images}/rec{letter}ords") == []


def test_devices_are_what_their_kernel_was_told(house: str) -> None:
    for words in ("ubd1rsc=/none", "ubd2=/none,/none2,S"):
        entry = registry.entry_of("demo", parse(words))
        assert entry is not None
        assert (entry.kernel, entry.holds) == (words, [])
        assert entry.shared == ("c" in words.partition("=")[0])
    entry = registry.entry_of("demo", parse("vec7:transport=fd,fd=3"))
    assert entry is not None
    assert entry.asked == "vec7:transport=fd,fd=3"
    assert entry.mac.count(":") == 5
    assert registry.entry_of("demo", parse("con1=null")) is None
