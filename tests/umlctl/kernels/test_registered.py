"""Where registered kernels are found."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from umlctl.kernels import registered


def put(name: str, number: int) -> str:
    path = f"{registered.directory(name)}/{number}/linux"
    os.makedirs(os.path.dirname(path))
    open(path, "w").close()
    return path


def test_current_one_of_a_name_is_found(house: str) -> None:
    assert registered.path_of("mine") == ""
    one, two = put("mine", 1), put("mine", 2)
    os.symlink("2", f"{registered.directory('mine')}/current")
    assert registered.path_of("mine") == two
    os.unlink(two)
    assert registered.path_of("mine") == ""
    assert one


def test_default_is_one_that_is_there(house: str) -> None:
    assert registered.default() == ""
    put("mine", 1)
    os.symlink("mine", registered.directory(registered.DEFAULT))
    assert registered.default() == ""
    os.symlink("1", f"{registered.directory('mine')}/current")
    assert registered.default() == "mine"
    assert registered.names() == ["mine"]


@pytest.mark.parametrize("name", ["", ".default", "..", "a/b", "-x", "a b", "x" * 65, "ä"])
def test_name_is_none(house: str, name: str) -> None:
    assert not registered.is_name(name)
    assert registered.path_of(name) == ""


@given(st.text(max_size=5))
def test_no_name_leads_elsewhere(name: str) -> None:
    if registered.is_name(name):
        assert "/" not in name
        assert name not in (".", "..")
