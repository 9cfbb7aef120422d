from __future__ import annotations

import pytest

from umlctl.protocol.console_socket import (
    CONSOLES,
    FIRST_DESCRIPTOR,
    config,
    console_name,
    log_name,
)


def test_each_console_has_a_pair_of_descriptors_of_its_own() -> None:
    assert config("con1") == f"con1=fd:{FIRST_DESCRIPTOR},fd:{FIRST_DESCRIPTOR + 1}"
    told = [config(name).partition("=")[2] for name in CONSOLES[1:]]
    assert len({each for pair in told for each in pair.split(",")}) == 2 * len(told)


def test_each_console_has_a_log_of_its_own() -> None:
    assert log_name("con0") == "console.log"
    assert len({log_name(name) for name in CONSOLES}) == len(CONSOLES)


def test_number_is_a_console() -> None:
    assert console_name("0") == "con0"
    assert console_name("ssl1") == "ssl1"


@pytest.mark.parametrize("text", ["9", "con9", "ttyS0", "", "../con0"])
def test_others_are_told_apart(text: str) -> None:
    with pytest.raises(ValueError, match="is no console that can be attached to; they are con0"):
        console_name(text)
