from __future__ import annotations

import io
import sys
from typing import TYPE_CHECKING

from umlctl import exitcodes

if TYPE_CHECKING:
    import pytest

    from tests.umlctl.cli.conftest import Supervisor


def test_commands_are_done_one_after_the_other_until_one_fails(supervisor: Supervisor) -> None:
    supervisor.answers["version"] = (b"Linux\n", 0)
    supervisor.refuse("remove ubd7", "no such device", -19)
    words = ("shell", "demo", "-c", "version; remove ubd7; version")
    assert supervisor.main(*words) == exitcodes.of_error(-19)
    assert supervisor.out == "Linux\n"
    assert "no such device" in supervisor.err
    assert supervisor.main(*words, "--keep-going") != exitcodes.OK
    assert supervisor.out == "Linux\nLinux\n"


def test_commands_are_read_where_there_is_no_terminal(
    supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    supervisor.answers["version"] = (b"Linux\n", 0)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"version\n\nversion\n")))
    assert supervisor.main("shell", "demo") == exitcodes.OK
    assert supervisor.out == "Linux\nLinux\n"
