from __future__ import annotations

import pytest

from umlctl.definitions import kernel_command
from umlctl.errors import NeverStarted, UsageError
from umlctl.guest.definition import Definition
from umlctl.host import limits, paths, programs
from umlctl.kernels import find, modules
from umlctl.protocol import command_lines
from umlctl.state.records import DeviceEntry

KERNEL = find.ProbedKernel("/linux", "6.1.176", frozenset(), {"UML": "y"})


def test_command_has_the_guests_places_and_devices(house: str) -> None:
    definition = Definition(umid="web", kernel="/linux", append=("quiet",))
    entry = DeviceEntry(name="ubd1", asked="/a,slot=1", kernel="ubd1=/a")
    directory = paths.guest_dir("web")
    words = kernel_command.of_guest(
        definition,
        KERNEL,
        directory,
        [entry],
        "vec0,10.0.0.1/24",
        lines=["ssl1=fd:3,fd:4"],
        wrapped=False,
    )
    assert words[0] == "/linux"
    assert {"umid=web", "ubd1=/a", "ssl1=fd:3,fd:4", "quiet"} <= set(words)
    assert f"uml_dir={paths.kernel_dir()}" in words
    assert f"mconsole=notify:{directory}/notify" in words
    assert words[-1] == f"{directory}/init"


def test_commands_have_lines_where_descriptors_are_ample(monkeypatch: pytest.MonkeyPatch) -> None:
    definition = Definition(umid="web", kernel="/linux")
    monkeypatch.setattr(limits, "hard_limit_of_descriptors", lambda: 4096)
    assert kernel_command.lines_of_commands(definition) == command_lines.words(has_agent=True)
    monkeypatch.setattr(limits, "hard_limit_of_descriptors", lambda: 64)
    assert kernel_command.lines_of_commands(definition) == []


def test_overlay_of_a_module_takes_a_program_to_load_it(
    house: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(modules, "overlay", lambda _kernel: ("/m/overlay.ko", ""))
    monkeypatch.setattr(programs, "INIT_PATH", house)
    definition = Definition(umid="web", kernel="/linux", overlay="memory")
    with pytest.raises(NeverStarted, match=r"takes insmod in the guest.*apt install kmod"):
        kernel_command.of_guest(definition, KERNEL, house, [], "", lines=[], wrapped=False)


def test_kernel_with_tests_of_its_own_is_told_to_leave_them(house: str) -> None:
    def words(config: dict[str, str]) -> list[str]:
        kernel = KERNEL._replace(config=config)
        definition = Definition(umid="web", kernel="/linux")
        return kernel_command.of_guest(
            definition, kernel, paths.guest_dir("web"), [], "", lines=[], wrapped=False
        )

    assert "kunit.enable=0" in words({"KUNIT": "y"})
    assert "kunit.enable=0" not in words({"KUNIT": "m"})
    assert "kunit.enable=0" not in words({})


def test_modules_are_loaded_by_our_own_init_program_alone(house: str) -> None:
    definition = Definition(umid="web", kernel="/linux", load=("vfat",), init="/sbin/other")
    with pytest.raises(UsageError, match="module vfat: umlctl's init program loads modules"):
        kernel_command.of_guest(definition, KERNEL, house, [], "", lines=[], wrapped=False)
