from __future__ import annotations

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from umlctl.protocol.starting import AutostartResult, Started, read_autostart_result, read_started
from umlctl.protocol.status import Status


@pytest.mark.parametrize(
    "answer",
    [
        Started(code=0, status=Status(umid="demo", state="running", pid=7)),
        Started(code=125, text="demo never started: it has no root"),
    ],
)
def test_answer_is_read_as_it_was_and_has_all_keys(answer: Started) -> None:
    said = msgspec.json.encode(answer)
    assert set(json.loads(said)) == {"code", "text", "status"}
    assert read_started(said) == answer


@given(st.builds(AutostartResult, text=st.text(max_size=5), pid=st.none() | st.integers(1, 9)))
def test_result_is_read_as_it_was(result: AutostartResult) -> None:
    assert read_autostart_result(msgspec.json.encode(result)) == result


@pytest.mark.parametrize("said", [b"", b"[]", b"{}", b'{"code": "0"}', b"\xff", b"[" * 100_000])
def test_what_is_no_answer_is_refused(said: bytes) -> None:
    for read in (read_started, read_autostart_result):
        with pytest.raises(msgspec.DecodeError):
            read(said)
