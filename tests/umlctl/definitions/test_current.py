from __future__ import annotations

from typing import TYPE_CHECKING

from umlctl.definitions import current, files
from umlctl.guest.definition import Definition
from umlctl.kernels import find
from umlctl.state import enabled

if TYPE_CHECKING:
    import pytest


def test_enabled_guest_is_as_it_is_defined_now(house: str, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = find.ProbedKernel("/linux", "6.1.176", frozenset(), {"UML": "y"})
    monkeypatch.setattr(find, "find", lambda name=None: name or "/linux")
    monkeypatch.setattr(find, "probe", lambda _path, _user="": plain)
    for name in ("a", "b", "c"):
        enabled.enable(Definition(umid=name, kernel="/old", mem=64 << 20))
    files.save("a", 'mem = "1G"')
    path = files.save("c", "\nmem = 1")
    found = {each.umid: each for each in current.enabled_guests()}
    assert list(found) == ["a", "b", "c"]
    assert found["a"].definition is not None
    assert found["b"].definition is not None
    assert (found["a"].definition.mem, found["a"].definition.kernel) == (1 << 30, "/linux")
    assert (found["b"].definition.mem, found["b"].definition.kernel) == (64 << 20, "/old")
    assert found["c"].definition is None
    assert found["c"].problem.startswith(f"{path}:2: mem: ")
