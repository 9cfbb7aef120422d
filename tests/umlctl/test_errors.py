from __future__ import annotations

import inspect

import pytest

from umlctl import errors, exitcodes
from umlctl.errors import Refusal, Refused, UmlctlError

TREE = [found for _, found in inspect.getmembers(errors, inspect.isclass)]


def test_errors_are_one_tree_as_it_is_drawn() -> None:
    drawn = [line.split()[0] for line in (errors.__doc__ or "").splitlines() if "    " in line]
    assert all(issubclass(each, UmlctlError) for each in TREE)
    assert sorted(drawn) == sorted(each.__name__ for each in TREE)


def test_host_that_is_unfit_is_for_the_doctor() -> None:
    problem = errors.UnfitHost("there is no tun")
    assert problem.problem == "there is no tun"
    assert str(problem) == f"there is no tun; {errors.SEE_DOCTOR}"
    assert isinstance(errors.NoKernel("none"), errors.UnfitHost)


@pytest.mark.parametrize("error", TREE)
def test_each_has_an_exit_code_that_is_no_success(error: type[UmlctlError]) -> None:
    assert error.code != exitcodes.OK


def test_refusal_is_an_answer_with_its_number() -> None:
    problem = Refusal("it would panic", -1)
    assert (str(problem), problem.error, problem.code) == ("it would panic", -1, exitcodes.REFUSED)


def test_refused_ends_with_the_code_of_what_was_said() -> None:
    assert Refused("no").code == exitcodes.REFUSED
    assert Refused("no answer", exitcodes.TIMED_OUT).code == exitcodes.TIMED_OUT
    assert Refused.code == exitcodes.FAILED, "of one, not of all"
