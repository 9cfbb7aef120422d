from __future__ import annotations

import pytest

from umlctl.errors import UsageError
from umlctl.guest.confinement import MODES
from umlctl.guest.definition import Definition, check, decode, encode


@pytest.mark.parametrize("mode", ["", *MODES])
def test_modes_are_kept_in_a_definition(mode: str) -> None:
    definition = Definition(umid="demo", kernel="/linux", confine=mode)
    assert decode(encode(definition)).confine == mode


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"confine": "wide"}, "confine is one of writes, strict, off"),
        ({"rw": ("data",)}, "rw takes an absolute path"),
        ({"ro": ("",)}, "ro takes an absolute path"),
        ({"hide": ("/a",), "confine": "off"}, "hide is for a guest that is confined"),
    ],
)
def test_what_cannot_be_meant_is_an_error(wrong: dict[str, object], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        check(Definition(umid="demo", kernel="/linux", **wrong))  # type: ignore[arg-type]


def test_older_definitions_are_as_the_host_can() -> None:
    assert decode(b'{"umid":"demo","kernel":"/linux"}').confine == ""
