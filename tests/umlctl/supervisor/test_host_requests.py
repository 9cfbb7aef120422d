from __future__ import annotations

import errno

import pytest

from socketproto.client import Client
from socketproto.exchange import REFUSED
from tests.umlctl.supervisor.serving import DEADLINE, adopt, define, serving, start
from umlctl import exitcodes

__all__ = ["define"]


@pytest.mark.parametrize(
    ("text", "error", "said"),
    [
        ("version", -errno.EINVAL, "`version` is for a guest's socket; this is the supervisor's"),
        ("nonsense", 1, "nonsense"),
        ("quit now", -errno.EINVAL, "`quit` takes `leave` or nothing, not 'now'"),
    ],
)
async def test_what_a_supervisor_does_not_do_is_refused(
    house: str, text: str, error: int, said: str
) -> None:
    async with serving() as path:
        with Client(path) as client:
            outcome = await client.request(text, DEADLINE)
    assert (outcome.kind, outcome.error) == (REFUSED, error)
    assert said in outcome.text


async def test_supervisor_without_guests_has_none_to_list_or_to_adopt(house: str) -> None:
    async with serving() as path:
        await adopt(path)
        with Client(path) as client:
            assert (await client.request("list", DEADLINE)).data == b"[]"
        answer = await start(path, f"{house}/nothing")
    assert answer["code"] == exitcodes.FAILED
    assert "/nothing: No such file or directory" in answer["text"]
