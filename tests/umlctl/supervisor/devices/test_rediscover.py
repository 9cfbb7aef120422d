"""Finding the devices of a guest again; what it answers is written down here."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, cast

import pytest

from socketproto.exchange import ANSWERED, REFUSED, Outcome
from tests.umlctl.state.test_records import record
from umlctl.host import paths
from umlctl.networks import interfaces, macs, segments
from umlctl.state.records import DeviceEntry
from umlctl.supervisor.devices.rediscover import find_again

if TYPE_CHECKING:
    from umlctl.supervisor.kernel import KernelClient


class Answers:
    """A kernel that refuses what it has no answer for."""

    def __init__(self, **answers: str) -> None:
        self.answers = {name.replace("_", " ", 1): text for name, text in answers.items()}

    def have(self, *nics: int) -> None:
        for number in nics:
            self.answers[f"proc sys/net/ipv4/conf/vec{number}/forwarding"] = "0\n"

    async def ask(self, text: str, _seconds: float = 0) -> Outcome:
        if text in self.answers:
            return Outcome(ANSWERED, data=self.answers[text].encode())
        return Outcome(REFUSED, 1)


async def search(answers: Answers, *known: str) -> tuple[dict[str, DeviceEntry], list[str]]:
    """What was found besides what was known, by name; and what was not to be traced."""
    before = [DeviceEntry(name=name, asked="x", kernel="x") for name in known]
    kept = record(devices=list(before))
    untraced = await find_again(kept, cast("KernelClient", answers))
    assert kept.devices[: len(before)] == before
    return {entry.name: entry for entry in kept.devices[len(before) :]}, untraced


@pytest.fixture
def switches(house: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, list[dict[str, Any]]]:
    """The switches that run, and their ports."""
    found: dict[str, list[dict[str, Any]]] = {}
    monkeypatch.setattr(segments, "names", lambda: sorted(found))
    monkeypatch.setattr(segments.Segment, "status", lambda segment: {"ports": found[segment.name]})
    return found


async def test_disks_and_lines_are_what_the_kernel_says(house: str) -> None:
    answers = Answers(
        config_ubd0="/dev/null",
        config_ubd1="/a",
        config_ubd3="/cow,/base\n",
        config_ubd4="",
        config_ubd5="garbage",
        config_ubd6="/a:b:c:d",
        config_con1="fd:20,fd:21",
        config_con2="none",
        config_ssl0="fd:28",
        config_ssl1="pts",
    )
    found, untraced = await search(answers, "ubd1")
    assert list(found) == ["ubd3", "con1", "ssl0"]
    assert found["ubd3"].kernel == "ubd3=/cow,/base"
    assert not found["ubd3"].boot
    assert found["con1"].kernel == "con1=fd:20,fd:21"
    assert untraced == []


async def test_nics_are_known_by_what_they_are_plugged_into(
    switches: dict[str, list[dict[str, Any]]], short: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = macs.mac_of("demo", 2)
    switches["demo..1"] = []
    switches["lan"] = [{"pid": 20, "macs": [mine]}, {"pid": 9, "macs": [macs.mac_of("demo", 3)]}]
    monkeypatch.setattr(interfaces, "SYSFS_DIRECTORY", short)
    os.mkdir(f"{short}/{interfaces.tap_name('demo', 4)}")
    answers = Answers()
    answers.have(0, 1, 2, 3, 4)
    found, untraced = await search(answers, "vec0")
    assert untraced == ["vec3"], "the port is another process's"
    assert {name: entry.asked for name, entry in found.items()} == {
        "vec1": "user,nic=1",
        "vec2": "switch=lan,nic=2",
        "vec4": "tap=auto,nic=4",
    }
    assert found["vec1"].made == {"segment": "demo..1"}
    assert f"dst={paths.network_port('lan')}" in found["vec2"].kernel
    assert found["vec2"].mac == mine
    assert found["vec4"].made == {"tap": interfaces.tap_name("demo", 4)}


async def test_guest_that_does_not_answer_has_nothing_more(house: str) -> None:
    assert await search(Answers()) == ({}, [])
