from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest

from umlctl.checks import boot_warnings, table
from umlctl.checks import guest as checks
from umlctl.checks.findings import FATAL, NOTE, WARNING
from umlctl.client import guests
from umlctl.errors import NoGuest, NoKernel
from umlctl.guest.definition import Definition
from umlctl.host import landlock, paths
from umlctl.kernels import find
from umlctl.protocol.status import Device, Ending, Status
from umlctl.recovery import discover
from umlctl.state import records
from umlctl.state.records import Record

if TYPE_CHECKING:
    from collections.abc import Callable


def status(state: Any = "running", **fields: Any) -> Status:
    return Status(umid="web", state=state, pid=7, **fields)


def record() -> Record:
    definition = Definition(umid="web", kernel="/k/linux")
    return Record(definition=definition, supervisor_pid=0, pid=7, started=1, boot_id="", since=0.0)


def test_guest_that_is_well_is_nothing_to_be_told(
    house: str, kernel: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    well = status(confined="writes", own_mounts=True)
    monkeypatch.setattr(guests, "gather", lambda: [well])
    monkeypatch.setattr(discover, "find", lambda _umid: record())
    monkeypatch.setattr(boot_warnings, "of_start", lambda *_, **__: [])
    looked = checks.checks("web")
    assert table.run(looked) == []
    assert len({check.name for check in looked}) == len(looked) > 5


def test_guest_that_nobody_knows_is_none(house: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guests, "gather", list)
    with pytest.raises(NoGuest, match="umlctl list"):
        checks.checks("web")
    directory = paths.record_dir("web")
    os.makedirs(directory)
    with open(f"{directory}/record.json", "w") as file:
        file.write("nonsense")
    (found,) = table.run(checks.checks("web"))
    assert (found.finding.severity, "cannot be read" in found.finding.what) == (WARNING, True)
    os.rename(f"{directory}/record.json", f"{directory}/{records.ASIDE_PREFIX}1")
    (found,) = table.run(checks.checks("web"))
    assert (found.finding.severity, "was set aside" in found.finding.what) == (NOTE, True)


@pytest.mark.parametrize(
    ("state", "severity", "said", "remedy"),
    [
        ("hung", FATAL, "web is hung", "umlctl kill web"),
        ("suspended", FATAL, "web is suspended", "kill -CONT 7"),
        ("silent", FATAL, "web is silent", "umlctl ps web"),
        ("stopped", WARNING, "web is paused", "umlctl go web"),
        ("unsupervised", WARNING, "web is unsupervised", "umlctl adopt web"),
    ],
)
def test_state_is_told_with_the_way_out(state: str, severity: str, said: str, remedy: str) -> None:
    (found,) = checks.of_state(status(state))
    assert (found.severity, found.what) == (severity, said)
    assert remedy in found.remedy
    assert next(checks.of_state(status(state, trouble="it is ill"))).why == "it is ill"


def test_end_is_told_by_its_cause() -> None:
    for cause, code, severity in (
        ("exited", 0, NOTE),
        ("exited", 3, FATAL),
        ("shut down", 0, NOTE),
        ("panicked", 255, FATAL),
        ("never started", 125, FATAL),
    ):
        (found,) = checks.of_state(status("dead", ending=Ending(cause=cause, code=code, text="x")))
        assert (found.severity, f"web does not run: {cause}" in found.what) == (severity, True)
        assert "umlctl logs web" in found.remedy


def test_trouble_of_a_guest_that_runs_is_told() -> None:
    (found,) = checks.of_state(status(trouble="its clock is wrong"))
    assert (found.severity, found.what) == (WARNING, "web: its clock is wrong")


def test_devices_that_are_not_there_are_told() -> None:
    devices = [
        Device(name="ubd1", asked="a.img"),
        Device(name="ubd2", asked="b.img", problem="no such file"),
        Device(name="vec0", asked="tap=t", note="the tap t is gone"),
    ]
    disk, nic = checks.of_devices(status(devices=devices))
    assert (disk.what, disk.severity) == ("ubd2 of web: no such file", WARNING)
    assert disk.remedy.startswith("umlctl disk rm web ubd2")
    assert "umlctl nic rm web vec0" in nic.remedy


def test_kernel_that_is_gone_is_told(
    kernel: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(_path: str) -> None:
        raise NoKernel(f"/k/linux is not a UML kernel: it is not there; {find.ADVICE}")

    assert [*checks.of_kernel(record()), *checks.of_kernel(None)] == []
    monkeypatch.setattr(find, "probe", gone)
    (found,) = checks.of_kernel(record())
    assert (found.severity, "when it reboots" in found.why) == (WARNING, True)


def test_how_it_is_confined_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(landlock, "unable", lambda: "")
    assert list(checks.of_confinement(status(confined="strict", own_mounts=True))) == []
    (found,) = checks.of_confinement(status(confined="off"))
    assert (found.severity, "web is not confined" in found.what) == (WARNING, True)
    assert "--confine off" in found.remedy
    monkeypatch.setattr(landlock, "unable", lambda: "it has no Landlock")
    assert "no Landlock" in next(checks.of_confinement(status(confined="off"))).remedy
    (found,) = checks.of_confinement(status(confined="writes", own_mounts=False))
    assert "secrets and sockets are not hidden" in found.why


def test_what_was_said_at_its_start_is_said_again(monkeypatch: pytest.MonkeyPatch) -> None:
    said = ["hostfs= is no jail", "root reaches all; --user NAME gives it less"]
    monkeypatch.setattr(boot_warnings, "of_start", lambda _definition, *, once: said * (not once))
    first, second = checks.of_boot(record())
    assert (first.severity, first.what) == (NOTE, "hostfs= is no jail")
    assert (second.what, second.remedy) == ("root reaches all", "--user NAME gives it less")
    assert list(checks.of_boot(None)) == []


def test_panic_of_before_is_told() -> None:
    (found,) = checks.of_panics(status(last_panic="Oops"))
    assert (found.severity, found.what) == (NOTE, "web has panicked: Oops")
    assert list(checks.of_panics(status())) == []
