from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from umlctl.storage.root_paths import resolve

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("path", "leads"),
    [
        ("/usr/lib/x", "/usr/lib/x"),
        ("lib/x", "/usr/lib/x"),
        ("/absolute/x", "/usr/lib/x"),
        ("/up/x", "/etc/x"),
        ("//usr/./lib/../lib//x", "/usr/lib/x"),
        ("/../../etc", "/etc"),
        ("/lib", "/usr/lib"),
        ("/lib/", "/usr/lib"),
        ("", "/"),
        ("/none/at/all", "/none/at/all"),
    ],
)
def test_links_lead_where_they_lead_in_the_guest(tmp_path: Path, path: str, leads: str) -> None:
    os.makedirs(tmp_path / "usr" / "lib")
    (tmp_path / "lib").symlink_to("usr/lib")
    (tmp_path / "absolute").symlink_to("/lib")
    (tmp_path / "up").symlink_to("../../../../etc")
    assert resolve(str(tmp_path), path) == leads


def test_the_last_part_may_stay_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "lib").symlink_to("/usr/lib")
    for path in ("/lib", "/lib/", "lib/."):
        assert resolve(str(tmp_path), path, last=False) == "/lib"
    assert resolve(str(tmp_path), "/lib/lib", last=False) == "/usr/lib/lib"


def test_circle_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("/a")
    with pytest.raises(ValueError, match="in a circle"):
        resolve(str(tmp_path), "/a/x")


@given(
    links=st.lists(st.text("/.ab", min_size=1, max_size=8), min_size=2, max_size=2),
    path=st.text("/.ab", max_size=12),
    last=st.booleans(),
)
def test_nothing_leads_out(
    tmp_path_factory: pytest.TempPathFactory, links: list[str], path: str, *, last: bool
) -> None:
    tree = tmp_path_factory.mktemp("tree")
    for name, target in zip("ab", links, strict=True):
        (tree / name).symlink_to(target)
    try:
        found = resolve(str(tree), path, last=last)
    except ValueError as problem:
        assert "circle" in str(problem)  # noqa: PT017 - it may also be right
    else:
        assert found.startswith("/")
        assert ".." not in found.split("/")
        if last and not os.path.lexists(f"{tree}{found}"):
            return
        assert not os.path.islink(f"{tree}{found}") or not last
