from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from umlctl.errors import HostError, UsageError
from umlctl.guest.definition import Definition
from umlctl.host import paths
from umlctl.state import enabled

WEB = Definition(umid="web", kernel="/linux", after=("db",), mem=64 << 20)


def directory() -> str:
    return f"{paths.state_dir()}/enabled"


def test_what_is_enabled_is_found_by_name(house: str) -> None:
    assert enabled.load_all() == []
    enabled.enable(WEB)
    enabled.enable(Definition(umid="db", kernel="/linux"))
    assert [each.umid for each in enabled.load_all()] == ["db", "web"]
    assert enabled.load_all()[1] == enabled.Enabled("web", WEB)
    assert sorted(os.listdir(directory())) == ["db.json", "web.json"]
    assert os.stat(directory()).st_mode & 0o777 == 0o700


def test_to_enable_again_is_to_define_anew(house: str) -> None:
    enabled.enable(WEB)
    other = Definition(umid="web", kernel="/other", named=False)
    enabled.enable(other)
    (found,) = enabled.load_all()
    assert found.definition is not None
    assert (found.definition.kernel, found.definition.named) == ("/other", True)


def test_what_is_disabled_is_gone(house: str) -> None:
    enabled.enable(WEB)
    assert enabled.disable("web")
    assert not enabled.disable("web")
    assert enabled.load_all() == []


@pytest.mark.parametrize("name", ["../guests/web/record", "", ".", "a/b"])
def test_what_is_no_name_disables_nothing(house: str, name: str) -> None:
    with pytest.raises(UsageError, match="a umid"):
        enabled.disable(name)


def test_place_that_cannot_be_written_is_an_error(house: str) -> None:
    os.makedirs(paths.state_dir())
    with open(directory(), "w"):
        pass
    with pytest.raises(HostError, match="web cannot be enabled"):
        enabled.enable(WEB)
    with pytest.raises(HostError, match="web cannot be disabled"):
        enabled.disable("web")
    with pytest.raises(paths.BadPlace, match="cannot read"):
        enabled.load_all()


def test_definition_of_another_guest_is_a_problem(house: str) -> None:
    enabled.enable(WEB)
    os.rename(f"{directory()}/web.json", f"{directory()}/db.json")
    (found,) = enabled.load_all()
    assert (found.umid, found.definition) == ("db", None)
    assert found.problem == f"{directory()}/db.json: it defines 'web'"


def test_file_that_cannot_be_opened_is_a_problem(house: str) -> None:
    enabled.enable(WEB)
    os.mkdir(f"{directory()}/db.json")
    db, web = enabled.load_all()
    assert db.problem == f"{directory()}/db.json: Is a directory"
    assert web.definition == WEB


def test_file_under_no_name_is_a_problem_that_can_be_printed(house: str) -> None:
    enabled.enable(WEB)
    os.rename(f"{directory()}/web.json", os.fsencode(directory()) + b"/w\xff.json")
    (found,) = enabled.load_all()
    assert found.umid == r"w\udcff"
    assert r"/w\udcff.json: a umid is made of letters" in found.problem
    (found.umid + found.problem).encode()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=200))
def test_whatever_a_file_holds_the_others_are_read(house: str, data: bytes) -> None:
    enabled.enable(WEB)
    with open(f"{directory()}/bad.json", "wb") as file:
        file.write(data)
    bad, web = enabled.load_all()
    assert bad.definition is None
    assert f"{directory()}/bad.json" in bad.problem
    assert web.definition == WEB
