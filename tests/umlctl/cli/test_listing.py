from __future__ import annotations

import os
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from socketproto.exchange import pieces
from tests.conftest import Bare
from umlctl import oneshot
from umlctl.cli.listing import gather

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.conftest import Address


@pytest.mark.parametrize("said", [b"what?", b"[]", b"\xff", b""])
def test_answer_that_is_no_status_does_not_break_the_list(house: str, said: bytes) -> None:
    def answer(_server: Bare, _data: bytes, _address: Address) -> Iterable[bytes]:
        return [reply.encode() for reply in pieces(said)]

    os.makedirs(f"{house}/h/.uml/odd")
    with closing(Bare(f"{house}/h/.uml/odd/mconsole", answer, 0o600)) as server:
        server.start()
        (status,) = gather()
    assert (status.umid, status.state) == ("odd", "silent")
    assert "not a status" in (status.trouble or "")


@pytest.mark.parametrize(
    "words", [["list"], ["list", "--enabled"], ["events", "--all"], ["adopt"], ["network", "list"]]
)
def test_records_that_cannot_be_read_are_no_empty_list(
    house: str, capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    os.makedirs(f"{house}/u/state")
    for name in ("guests", "enabled", "networks"):
        os.close(os.open(f"{house}/u/state/{name}", os.O_CREAT))
    assert oneshot.main(["umlctl", *words]) == 7
    said = capsys.readouterr()
    assert said.out == ""
    assert "umlctl: cannot read " in said.err
    assert "make it yours again, or set UMLCTL_DIR" in said.err
