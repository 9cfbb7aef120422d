from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from umlctl.cli.setup import setup
from umlctl.errors import NoKernel
from umlctl.host import fetch, kernels

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture(scope="module")
def real_kernel() -> str:
    return kernels.find()


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
