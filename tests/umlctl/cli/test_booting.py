from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from umlctl import exitcodes
from umlctl.cli import foreground
from umlctl.host import paths

if TYPE_CHECKING:
    from tests.umlctl.cli.conftest import Boot, Started


def test_options_may_stand_before_and_after_the_umid(boot: Boot) -> None:
    assert boot("--mem", "64M", "demo", "--single") == boot("demo", "--single", "--mem", "64M")


def test_words_after_two_dashes_are_the_kernels(boot: Boot) -> None:
    arguments = ("quiet", "--verbose", "-s", "--", 'x="a b"', "--list", "-h")
    definition = boot("demo", "--mem", "64M", "--", *arguments)
    assert definition.arguments == arguments
    assert not definition.verbose
    assert not definition.single
    assert boot("demo", "--").arguments == ()


@pytest.mark.parametrize("verb", ["run", "start"])
def test_programs_are_told_of_what_is_wrong_with_the_host(
    started: Started, house: str, verb: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open(f"{house}/file", "w"):
        monkeypatch.setenv("UMLCTL_DIR", f"{house}/file")
    monkeypatch.setattr(foreground, "supervise", lambda *_: paths.make_run_dir())
    assert started.main(verb, "demo", "--json") == exitcodes.FAILED
    result = json.loads(started.out)
    assert (result["umid"], result["status"]) == ("demo", exitcodes.FAILED)
    assert started.err.endswith(f"umlctl: {result['text']}\n")
    assert f"cannot make {house}/file" in result["text"]
