from __future__ import annotations

from typing import TYPE_CHECKING

from tests import fake_kernel
from umlctl.cli import kernel_kept
from umlctl.guest.definition import Definition
from umlctl.kernels import find, registry
from umlctl.state import enabled

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def test_kernel_is_kept_with_where_it_comes_from(
    house: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    probed = find.probe(fake_kernel.write(str(tmp_path / "linux"), ""))
    assert kernel_kept.keep(probed, None, usual=True, in_json=False, origin="a source") == 0
    found = registry.load("6.1.0")
    assert (found.origin, found.is_default) == ("a source", True)
    said = capsys.readouterr().out
    assert said == f"6.1.0 is Linux 6.1.0, {found.path}; taken where none is named\n"


def test_kernels_of_guests_that_are_enabled_are_in_use(house: str) -> None:
    assert kernel_kept.in_use() == set()
    enabled.enable(Definition(umid="demo", kernel="/a/linux"))
    assert kernel_kept.in_use() == {"/a/linux"}
