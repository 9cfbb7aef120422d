from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import pytest
from click.shell_completion import ShellComplete
from click.testing import CliRunner, Result

from tests import fake_kernel
from umlctl.cli.kernel import kernel
from umlctl.errors import HostError, UsageError
from umlctl.guest.definition import Definition
from umlctl.host import paths
from umlctl.kernels import find, registered
from umlctl.state import enabled

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def real_kernel() -> str:
    return find.find()


@pytest.fixture(autouse=True)
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("UMLCTL_KERNEL", raising=False)
    monkeypatch.setenv("UMLCTL_DIR", f"{tmp_path}/u")  # where no kernel was added
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


def test_list_shows_each_kernel_with_what_it_can_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, real_kernel: str
) -> None:
    (tmp_path / "linux").write_text("#!/bin/sh\necho nothing like it\n")
    (tmp_path / "linux").chmod(0o755)
    monkeypatch.setenv("UMLCTL_KERNEL", real_kernel)
    release = find.probe(real_kernel).version

    result = CliRunner().invoke(kernel, ["list", "--json"])
    assert result.exit_code == 0
    real, other = json.loads(result.stdout)
    assert (real["path"], real["source"]) == (real_kernel, "$UMLCTL_KERNEL")
    assert real["version"] == release
    assert real["capabilities"]["mconsole"] == "yes"
    assert (other["path"], other["source"]) == (f"{tmp_path}/linux", "PATH")
    assert "not a UML kernel: it is a script" in other["error"]

    result = CliRunner().invoke(kernel, ["list"])
    heading, first, second = result.stdout.splitlines()
    assert heading.split() == ["KERNEL", "VERSION", "SOURCE", "CAN", "CANNOT"]
    path, version, source, can, _cannot = first.split()
    assert (path, version, source) == (real_kernel, release, "$UMLCTL_KERNEL")
    assert {"mconsole", "ubd", "vec", "hostfs"} < set(can.split(","))
    assert second.split()[:2] == [f"{tmp_path}/linux", "-"]
    assert "it is a script, and" in second, "its blanks are those of a sentence"
    assert second.endswith("name one you have"), "the reason is not cut"


def invoke(*words: str) -> str:
    result = CliRunner().invoke(kernel, words, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_kernel_is_added_shown_rolled_back_and_removed(
    house: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = fake_kernel.write(str(tmp_path / "built"), "")
    monkeypatch.setenv("PATH", os.defpath)
    assert invoke("add", source, "--name", "mine") == (
        f"mine is Linux 6.1.0, {paths.state_dir()}/kernels/mine/1/linux\n"
    )
    second = json.loads(invoke("add", source, "--name", "mine", "--default", "--json"))
    assert second["path"] == f"{paths.state_dir()}/kernels/mine/2/linux"
    assert (second["number"], second["before"], second["is_default"]) == (2, [1], True)
    shown = invoke("show", "mine").splitlines()
    assert shown[0].split() == ["kernel", second["path"]]
    assert shown[5:7] == ["name      mine, the default", f"from      {source}"]
    assert json.loads(invoke("show", "--json"))["registered"]["name"] == "mine"
    assert invoke("default") == "mine is taken where no kernel is named\n"
    monkeypatch.chdir(tmp_path)  # with a file that is the name of no kernel that was added
    for verb, files in (("rm", False), ("rollback", False), ("default", False), ("show", True)):
        found = ShellComplete(kernel, {}, "kernel", "_X").get_completions([verb], "")
        assert found[0].value == "mine", verb
        assert ("built" in [item.value for item in found]) is files, verb
    assert "mine/1/linux" in invoke("rollback", "mine")
    assert invoke("default", "--none") == "no added kernel is taken\n"
    assert (
        invoke("add", source)
        == f"6.1.0 is Linux 6.1.0, {paths.state_dir()}/kernels/6.1.0/1/linux\n"
    )
    assert invoke("rm", "mine", "6.1.0") == (
        "the kernel mine is removed\nthe kernel 6.1.0 is removed\n"
    )
    assert os.listdir(f"{paths.state_dir()}/kernels") == [".lock"]


def test_kernel_that_a_guest_is_to_be_started_with_stays(
    tmp_path: Path, house: str, real_kernel: str
) -> None:
    def invoke(*words: str) -> Result:
        return CliRunner().invoke(kernel, words)

    for name in ("defined", "enabled"):
        invoke("add", real_kernel, "--name", name)
    definition = Definition(umid="two", kernel=registered.path_of("enabled"), mem=64 << 20)
    enabled.enable(definition)
    guests = paths.definitions_dir()
    os.makedirs(guests)
    with open(f"{guests}/one.toml", "w") as file:
        file.write('kernel = "defined"\n')
    with open(f"{guests}/bad.toml", "w") as file:
        file.write("kernel = \n")
    for name in ("defined", "enabled"):
        assert isinstance(invoke("rm", name).exception, HostError)
    os.unlink(f"{guests}/one.toml")
    enabled.disable("two")
    assert invoke("rm", "defined", "enabled").exit_code == 0


def test_name_and_no_name_are_a_usage_error(house: str) -> None:
    result = CliRunner().invoke(kernel, ["default", "mine", "--none"])
    assert isinstance(result.exception, UsageError)


def test_empty_list_names_setup() -> None:
    result = CliRunner().invoke(kernel, ["list"])
    assert (result.exit_code, result.stdout) == (0, "")
    assert "umlctl setup" in result.stderr
    assert json.loads(CliRunner().invoke(kernel, ["list", "--json"]).stdout) == []


def test_help_has_examples() -> None:
    assert (
        "Examples:\n    umlctl kernel list\n"
        in CliRunner().invoke(kernel, ["list", "--help"]).stdout
    )
