from __future__ import annotations

import os

import pytest

from umlctl.definitions import files, make, saved
from umlctl.errors import UsageError
from umlctl.guest import written
from umlctl.guest.definition import Definition
from umlctl.kernels import find


@pytest.fixture(autouse=True)
def _kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(find, "find", lambda name=None: name or "/linux")


def test_options_are_written_with_whole_paths(house: str) -> None:
    values = {"mem": "1G", "disk": ("a.img,ro", "/b"), "root": "c,cow=d", "append": ("quiet",)}
    assert saved.text_of(values, ("initrd=i",), house) == (
        f'mem = "1G"\nroot = "{house}/c,cow={house}/d"\n'
        f'disk = [\n    "{house}/a.img,ro",\n    "/b",\n]\n'
        f'append = [\n    "quiet",\n    "initrd={house}/i",\n]\n'
    )
    assert saved.text_of({"append": ()}, (), house) == ""


def test_definition_is_written_and_made_again(house: str) -> None:
    definition = Definition(
        umid="web",
        kernel="/other",
        mem=77 << 20,
        memory_limit=(1 << 30) + 1,
        disks=("/a.img,slot=1,ro",),
        nics=("user,nic=0,forward=8080:80",),
        append=("a=b",),
        after=("db",),
        aslr=True,
        timeout=7.5,
        restart="always",
        confine="strict",
        ro=("/x",),
        cwd="/d",
        home=f"{house}/h",
    )
    text = written.write(saved.values_of(definition))
    found = files.of_text("web", "f", text, "/d")
    again = make.assemble("web", make.options_of(found.values), (), "/d")
    assert again == definition
    assert 'mem = "77M"\n' in text
    assert 'memory-limit = "1073741825"\n' in text


def test_default_is_not_written(house: str) -> None:
    assert saved.values_of(Definition(umid="web", kernel="/linux")) == {}
    assert saved.values_of(Definition(umid="web", kernel="/k", arguments=("a",))) == {
        "kernel": "/k",
        "append": ("a",),
    }


def test_definition_is_not_replaced(house: str) -> None:
    saved.check_new("web")
    path = files.save("web", "")
    with pytest.raises(UsageError, match=f"web is defined already, in {path}: `umlctl edit web`"):
        saved.check_new("web")
    assert os.path.exists(path)
