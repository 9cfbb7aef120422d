from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from socketproto.wire import Reply
from umlctl import exitcodes

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.conftest import Address, Bare
    from tests.umlctl.cli.conftest import Supervisor

SIGN = Reply(0, True, b"").encode()


@pytest.mark.parametrize(
    "words",
    [
        ["disk", "add", "demo", "a.img"],
        ["disk", "rm", "demo", "1"],
        ["nic", "add", "demo", "--switch", "lan"],
        ["nic", "rm", "demo", "0"],
        ["collect", "demo", "/a"],
    ],
)
def test_signs_of_life_do_not_put_off_a_deadline(supervisor: Supervisor, words: list[str]) -> None:
    def slow(server: Bare, data: bytes, address: Address) -> Iterable[bytes]:
        if data != b"k":
            end = time.monotonic() + 1.5
            while time.monotonic() < end:
                try:
                    server.open_socket.sendto(SIGN, address)
                except OSError:
                    return []
                time.sleep(0.02)
        return [Reply(0, False, b"{}").encode()]

    supervisor.server.answer = slow
    assert supervisor.main(*words, "--timeout", "0.3") == exitcodes.TIMED_OUT
    assert "timed out: " in supervisor.err


def test_deadline_is_of_all_that_is_asked_together(supervisor: Supervisor) -> None:
    def slow(_server: Bare, data: bytes, _address: Address) -> Iterable[bytes]:
        if data != b"k":
            time.sleep(0.4)
        return [Reply(0, False, b"\ntext\n").encode()]

    supervisor.server.answer = slow
    files = ("/a1", "/a2", "/a3", "/a4")
    assert supervisor.main("collect", "demo", *files, "--timeout", "0.9") == (exitcodes.TIMED_OUT)
    assert "collect demo: /a4: proc demo: timed out: not done within 0.9 seconds" in supervisor.err
    assert b"proc 1/root/a4" not in supervisor.server.commands
