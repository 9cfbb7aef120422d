"""A session before a supervisor that answers what it is told to."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest
import trio

from tests.umlctl.cli.conftest import supervisor
from umlctl.shell.session import Session

if TYPE_CHECKING:
    from tests.umlctl.cli.conftest import Supervisor

__all__ = ["supervisor"]

DEADLINE = 30.0
MEMINFO = b"\nMemTotal:       1024 kB\nMemFree:         512 kB\n"


class At:
    """A session, and what is printed in it."""

    def __init__(self, supervisor: Supervisor, capfd: pytest.CaptureFixture[str]) -> None:
        self.supervisor = supervisor
        self.session = Session("demo", fancy=False)
        self.asked: list[str] = []
        self.says = False
        self.out = self.err = ""
        self._capfd = capfd

    async def confirm(self, question: str) -> bool:
        self.asked.append(question)
        return self.says

    async def obey(self, line: str) -> int:
        with trio.fail_after(DEADLINE):
            code = await self.session.obey(line)
        sys.stdout.flush()
        self.out, self.err = self._capfd.readouterr()
        return code


@pytest.fixture
def at(supervisor: Supervisor, capfd: pytest.CaptureFixture[str]) -> At:
    supervisor.answers["version"] = (b"Linux demo", 0)
    supervisor.answers["proc meminfo"] = (MEMINFO, 0)
    supervisor.refuse("remove ubd7", "Device doesn't exist", -19)
    return At(supervisor, capfd)
