from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from umlctl.cli.setup import setup
from umlctl.errors import HostError, NoKernel, UsageError
from umlctl.host.systemd import units
from umlctl.kernels import fetch, find

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture(scope="module")
def real_kernel() -> str:
    return find.find()


@pytest.fixture
def fetches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, real_kernel: str) -> list[str]:
    """A machine without kernels; what was fetched is put down here."""
    done: list[str] = []

    def fake(say: Callable[[str], None]) -> str:
        say("downloading")
        done.append(real_kernel)
        return real_kernel

    monkeypatch.delenv("UMLCTL_KERNEL", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(fetch, "fetch", fake)
    return done


def test_kernel_that_is_there_is_not_fetched(fetches: list[str], real_kernel: str) -> None:
    result = CliRunner().invoke(setup, ["--kernel", real_kernel])
    assert (result.exit_code, result.stdout) == (0, f"{real_kernel}\n")
    assert f"export UMLCTL_KERNEL={real_kernel}" in result.stderr
    assert not fetches


def test_missing_kernel_is_fetched(fetches: list[str], real_kernel: str) -> None:
    result = CliRunner().invoke(setup)
    assert (result.exit_code, result.stdout) == (0, f"{real_kernel}\n")
    assert result.stderr.startswith("umlctl setup: downloading\n")
    assert fetches == [real_kernel]


def test_json_says_what_the_kernel_can_do(fetches: list[str], real_kernel: str) -> None:
    found = json.loads(CliRunner().invoke(setup, ["--json"]).stdout)
    assert found["path"] == real_kernel
    assert found["capabilities"]["hostfs"] == "yes"


def test_named_kernel_that_is_wrong_is_an_error_not_a_fetch(
    fetches: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for arguments in (["--kernel", "/nowhere"], ["--kernel", "/bin/false"]):
        assert isinstance(CliRunner().invoke(setup, arguments).exception, NoKernel)
    monkeypatch.setenv("UMLCTL_KERNEL", "/nowhere")
    assert isinstance(CliRunner().invoke(setup).exception, NoKernel)
    assert not fetches


def test_help_has_examples() -> None:
    assert "export UMLCTL_KERNEL=$(umlctl setup)" in CliRunner().invoke(setup, ["--help"]).stdout


# Units


@pytest.fixture
def systemctl(house: str, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A host that runs systemd; what it was told."""
    done: list[str] = []

    def fake(*words: str, system: bool) -> None:
        done.append(" ".join([*([] if system else ["--user"]), *words]))

    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    monkeypatch.setattr(units, "BOOTED_DIRECTORY", house)
    monkeypatch.setattr(units, "SYSTEM_DIRECTORY", f"{house}/system")
    monkeypatch.setattr(units, "systemctl", fake)
    return done


def test_unit_is_installed_and_started(systemctl: list[str], house: str) -> None:
    result = CliRunner().invoke(setup, ["--systemd"])
    path = f"{house}/h/.config/systemd/user/umlctl.service"
    assert (result.exit_code, result.stdout) == (0, f"{path}\n")
    assert os.path.exists(path)
    assert systemctl == ["--user daemon-reload", "--user enable --now umlctl.service"]
    assert "loginctl enable-linger" in result.stderr


def test_unit_of_the_host_is_installed_for_users_to_be_named(
    systemctl: list[str], house: str
) -> None:
    result = CliRunner().invoke(setup, ["--systemd", "--system"])
    assert (result.exit_code, result.stdout) == (0, f"{house}/system/umlctl@.service\n")
    assert systemctl == ["daemon-reload"]
    assert "`systemctl enable --now umlctl@UID` starts the guests" in result.stderr


def test_unit_is_removed_and_nothing_is_ended(systemctl: list[str], house: str) -> None:
    for options, unit in (([], "umlctl.service"), (["--system"], "umlctl@.service")):
        CliRunner().invoke(setup, ["--systemd", *options])
        systemctl.clear()
        result = CliRunner().invoke(setup, ["--systemd", "--remove", *options])
        assert result.exit_code == 0
        user = "" if options else "--user "
        assert systemctl == [f"{user}disable {unit}", f"{user}daemon-reload"]
        assert f"{unit} is removed; what it has started runs on" in result.stderr
        systemctl.clear()
        result = CliRunner().invoke(setup, ["--systemd", "--remove", *options])
        assert (result.exit_code, systemctl) == (0, [])
        assert f"there is no {house}" in result.stderr


def test_systemd_that_fails_is_told_with_what_to_do_then(
    systemctl: list[str], house: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_words: str, system: bool) -> None:
        raise HostError("`systemctl --user daemon-reload`: no bus")

    monkeypatch.setattr(units, "systemctl", fail)
    problem = CliRunner().invoke(setup, ["--systemd"]).exception
    assert isinstance(problem, HostError)
    assert "umlctl.service is installed, but `systemctl --user daemon-reload`: no bus" in str(
        problem
    )
    assert "`systemctl --user enable --now umlctl` starts the service" in str(problem)


def test_without_systemd_nothing_is_installed(
    systemctl: list[str], house: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(units, "BOOTED_DIRECTORY", f"{house}/nowhere")
    problem = CliRunner().invoke(setup, ["--systemd"]).exception
    assert isinstance(problem, HostError)
    assert "`@reboot umlctl autostart`" in str(problem)
    assert not os.path.exists(units.path_of(system=False))
    assert not systemctl


@pytest.mark.parametrize(
    "words", [["--system"], ["--remove"], ["--systemd", "--json"], ["--systemd", "--kernel", "/k"]]
)
def test_options_that_do_not_go_together_do_nothing(systemctl: list[str], words: list[str]) -> None:
    assert isinstance(CliRunner().invoke(setup, words).exception, UsageError)
    assert not systemctl
