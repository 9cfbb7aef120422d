from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from umlctl.errors import UsageError
from umlctl.guest.options import OPTIONS
from umlctl.host import paths
from umlctl.kernels import find
from umlctl.library.described import Options, described

if TYPE_CHECKING:
    from umlctl.guest.definition import Definition

BYTES = 1 << 20


@pytest.fixture(autouse=True)
def _kernel(house: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(house)
    monkeypatch.setattr(find, "find", lambda word=None: word or "/linux")
    monkeypatch.setattr("umlctl.definitions.make._check_kernel", lambda *_: None)
    monkeypatch.setattr(find, "probe", lambda *_: None)


def asked(**options: Any) -> Definition:
    return described("demo", options)


def test_keywords_are_the_keys_of_a_definition() -> None:
    names = {option.name.replace("-", "_"): option for option in OPTIONS}
    assert set(Options.__annotations__) == set(names)
    for name, hint in Options.__annotations__.items():
        said = hint.__forward_arg__
        if "Literal" in said:
            assert [each for each in names[name].choices if f"'{each}'" not in said] == []
    assert {name for name, hint in Options.__annotations__.items() if "Sequence" in str(hint)} == {
        name for name, option in names.items() if option.many
    }


def test_guest_is_as_it_is_asked_for(house: str) -> None:
    found = asked(mem="64M", disk=[Path("a.img"), "b.img,ro"], hang_after=20, aslr=True, nic=[])
    assert (found.umid, found.mem, found.aslr) == ("demo", 64 * BYTES, True)
    assert found.disks == (f"{house}/a.img,slot=1", f"{house}/b.img,slot=2,ro")
    assert found.hang_after == 20.0
    assert found.kernel == "/linux"
    assert asked(kernel=Path("/other"), init=None).kernel == "/other"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"memm": "1M"}, "memm: .*did you mean mem?"),
        ({"memory_limits": "1G"}, "did you mean memory_limit"),
        ({"mem": 64}, "mem: a size stands in quotes"),
        ({"disk": "a.img"}, "disk: it is a list"),
        ({"ncpus": True}, "ncpus: it is a whole number"),
        ({"restart": "perhaps"}, 'restart: it is "no" or'),
        ({"after": ["demo"]}, "cannot come after itself"),
        ({"append": ["umid=other"]}, "has another name"),
    ],
)
def test_what_cannot_be_is_said_of_the_keyword(options: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        asked(**options)


def test_what_is_asked_for_wins_over_what_is_written(house: str) -> None:
    directory = Path(paths.definitions_dir())
    directory.mkdir(parents=True)
    (directory / "demo.toml").write_text('mem = "96M"\nhang-after = 30\n')
    (directory / "other.toml").write_text('disk = ["x.img"]\n')
    found = asked(mem="64M", disk=["mine.img"])
    assert (found.mem, found.hang_after) == (64 * BYTES, 30.0)
    assert found.disks == (f"{house}/mine.img,slot=1",)
    assert described(str(directory / "other.toml"), {}).umid == "other"


def test_kernel_is_told_what_it_is_told() -> None:
    assert described("demo", {}, ["quiet"]).arguments == ("quiet",)
