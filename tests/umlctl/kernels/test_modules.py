from __future__ import annotations

from typing import TYPE_CHECKING

from umlctl.kernels import modules
from umlctl.kernels.find import ProbedKernel

if TYPE_CHECKING:
    from pathlib import Path


def test_modules_of_a_package_are_beside_its_kernel(tmp_path: Path) -> None:
    kernel = tmp_path / "bin" / "linux.uml"
    assert modules.directory(str(kernel)) == ""
    place = tmp_path / "lib" / "uml" / "modules"
    (place / "6.1.176").mkdir(parents=True)
    assert modules.directory(str(kernel)) == str(place)
    known = ProbedKernel(str(kernel), "6.1.176", frozenset(), {})
    assert modules.of_release(known) == f"{place}/6.1.176"
    assert modules.of_release(known._replace(version="7.2.7")) == ""
