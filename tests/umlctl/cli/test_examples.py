from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from umlctl import exitcodes
from umlctl.cli import examples
from umlctl.definitions import files, make

if TYPE_CHECKING:
    from tests.umlctl.cli.conftest import Started

NAMES = [
    *("diskless", "installer", "kernel-test", "lab-router", "lan-a", "lan-b", "lan-c"),
    *("server", "throw-away"),
]


def test_examples_are_listed(started: Started) -> None:
    assert examples.names() == NAMES
    assert started.main("examples") == 0
    for name in NAMES:
        assert name in started.out
    assert started.main("examples", "--json") == 0
    assert [each["name"] for each in json.loads(started.out)] == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_example_is_sound_and_says_what_it_is(started: Started, name: str) -> None:
    for each in NAMES:
        Path(f"{each}.toml").write_text(examples.text_of(each))
    written = files.needed(f"{name}.toml")
    make.check(written)
    assert written.text.startswith("# ")
    assert written.text.partition("\n")[0].endswith((".", "root."))
    assert started.main("examples", name) == 0
    assert started.out == written.text
    assert started.main("examples", name, "--json") == 0
    assert json.loads(started.out) == {"name": name, "text": written.text}


def test_lan_is_defined_as_its_example_says(started: Started) -> None:
    for name in ("lan-a", "lan-b", "lan-c"):
        Path("new.toml").write_text(examples.text_of(name))
        assert started.main("define", "new.toml", name) == 0, started.err
    os.unlink("new.toml")
    for name in ("lan-a", "lan-b", "lan-c"):
        assert started.main("start", name) == 0, started.err
    assert [each.mem >> 20 for each in started.definitions] == [64, 64, 64]
    assert [each.after for each in started.definitions] == [(), ("lan-a",), ("lan-a",)]
    assert started.definitions[2].nics == ("switch=lan,nic=0,addr=10.0.0.3/24", "user,nic=1")


def test_example_that_is_none_is_told(started: Started) -> None:
    assert started.main("examples", "web") == exitcodes.USAGE
    assert "there is no example 'web'; there are diskless, installer" in started.err
