from __future__ import annotations

import errno

import pytest

from socketproto.exchange import ANSWERED, GONE, REFUSED, TIMED_OUT, TRUNCATED
from umlctl import errors, exitcodes


def test_table_has_every_code_once_in_order() -> None:
    codes = [code for code, _ in exitcodes.TABLE]
    constants = {
        value
        for name, value in vars(exitcodes).items()
        if name.isupper() and isinstance(value, int) and not name.startswith("E")
    }
    assert codes == sorted(constants)
    assert all(0 <= code <= 255 for code in codes)
    assert all(meaning for _, meaning in exitcodes.TABLE)


def test_every_outcome_has_its_code() -> None:
    kinds = (ANSWERED, REFUSED, TIMED_OUT, GONE, TRUNCATED)
    assert [exitcodes.of(kind) for kind in kinds] == [0, 1, 4, 5, 6]


def test_outcome_that_a_supervisor_passes_on_as_an_error_keeps_its_code() -> None:
    assert exitcodes.of_error(exitcodes.ECONNRESET) == exitcodes.of(GONE)
    assert exitcodes.of_error(exitcodes.ETIMEDOUT) == exitcodes.of(TIMED_OUT)
    for error in (1, -1, -22, 104, 110):
        assert exitcodes.of_error(error) == exitcodes.REFUSED


def test_error_numbers_are_those_of_this_host() -> None:
    assert (exitcodes.ECONNRESET, exitcodes.ETIMEDOUT) == (-errno.ECONNRESET, -errno.ETIMEDOUT)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.UmlctlError, 7),
        (errors.UsageError, 2),
        (errors.NoGuest, 3),
        (errors.GuestInUse, 1),
        (errors.NeverStarted, 125),
        (errors.HostError, 7),
        (errors.NoKernel, 7),
    ],
)
def test_every_error_has_its_code(error: type[errors.UmlctlError], code: int) -> None:
    assert error("what happened").code == code
    assert issubclass(error, errors.UmlctlError)
