from __future__ import annotations

import msgspec
import pytest

from socketproto.exchange import ANSWERED, GONE, REFUSED, Outcome
from umlctl import exitcodes
from umlctl.client import request as module
from umlctl.errors import HostError, InDoubt, NotOnBareKernel, Refusal, Refused, UsageError


@pytest.mark.parametrize(
    ("outcome", "code", "said"),
    [
        (Outcome(REFUSED, -1, b"no"), exitcodes.REFUSED, "demo: no"),
        (Outcome(REFUSED, -5, b""), exitcodes.REFUSED, "demo: error -5"),
        (Outcome(REFUSED, exitcodes.ENODATA, b""), exitcodes.TRUNCATED, "plug demo: truncated"),
        (Outcome(GONE, reason="it ended"), exitcodes.GONE, "plug demo: guest gone"),
    ],
)
def test_what_is_no_answer_is_an_error_with_its_code(
    outcome: Outcome, code: int, said: str
) -> None:
    with pytest.raises(Refused, match=said) as caught:
        module.answered("demo", "plug disk x", outcome)
    assert caught.value.code == code


def test_answer_is_its_bytes() -> None:
    assert module.answered("demo", "version", Outcome(ANSWERED, data=b"Linux")) == b"Linux"
    with pytest.raises(HostError, match="none that umlctl knows"):
        module.decoded("demo", msgspec.json.decode, b"{")


@pytest.mark.parametrize(
    ("problem", "error"),
    [
        (InDoubt("who knows"), Refused),
        (NotOnBareKernel("bare"), Refused),
        (Refusal("danger", -1), Refused),
        (UsageError("too long"), UsageError),
    ],
)
def test_error_says_of_which_guest_it_is(problem: Exception, error: type[Exception]) -> None:
    with pytest.raises(error, match="demo"), module.explained("demo", "plug disk x"):
        raise problem
