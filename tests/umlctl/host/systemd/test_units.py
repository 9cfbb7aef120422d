from __future__ import annotations

import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from umlctl.errors import HostError
from umlctl.host.systemd import units

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def config(house: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """Where the user's units go, and the host's."""
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    monkeypatch.setattr(units, "SYSTEM_DIRECTORY", f"{house}/system")
    return f"{house}/h/.config/systemd/user"


def verify(path: str) -> str:
    """What systemd finds wrong with a unit.

    As one of the user: for a unit of the host it would want to write to /run. Systemd's
    own units are beside it, which may be in a directory that it was unpacked to; newer ones
    find fault with some of these, too.
    """
    program = shutil.which("systemd-analyze")
    assert program is not None
    top = os.path.dirname(os.path.dirname(program))
    known = f"{top}/lib/systemd/user:{top}/lib/systemd/system:{top}/../lib/systemd/system"
    done = subprocess.run(
        [program, "--user", "--man=no", "verify", path],
        env=os.environ | {"SYSTEMD_UNIT_PATH": known, "XDG_RUNTIME_DIR": os.path.dirname(path)},
        capture_output=True,
        text=True,
        check=False,
    )
    name = os.path.basename(path)
    said = [line for line in done.stderr.splitlines() if name in line]
    return "\n".join(said) or (done.stderr if done.returncode else "")


@pytest.mark.parametrize("system", [False, True])
def test_units_are_as_systemd_wants_them(config: str, system: bool) -> None:
    path = units.install(system=system)
    assert verify(path) == ""
    with open(path, "a") as file:
        file.write("[Service]\nKillMode=nobody\n")
    assert "kill mode" in verify(path)


def test_unit_of_a_user_is_where_systemd_looks(
    config: str, house: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = units.install(system=False)
    assert path == f"{config}/umlctl.service"
    assert os.stat(path).st_mode & 0o777 == 0o644
    assert os.listdir(config) == ["umlctl.service"]
    assert units.install(system=False) == path  # an upgrade
    monkeypatch.setenv("XDG_CONFIG_HOME", f"{house}/c")
    assert units.install(system=False) == f"{house}/c/systemd/user/umlctl.service"


def test_unit_of_the_host_is_a_template(config: str, house: str) -> None:
    assert units.install(system=True) == f"{house}/system/umlctl@.service"


def test_service_is_this_installation_and_finds_this_users_things(
    config: str, house: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UMLCTL_DIR", '/a b/"%h"')
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    text = units.render(system=False)
    assert f'\nExecStart="{sys.executable}" -P -m umlctl.supervisor.daemon --service\n' in text
    assert '\nEnvironment="UMLCTL_DIR=/a b/\\"%%h\\""\n' in text
    assert "XDG_CACHE_HOME" not in text
    assert "UMLCTL_DIR" not in units.render(system=True)  # it is any user's
    for each in (text, units.render(system=True)):
        assert "@PYTHON" not in each
        assert "@ENVIRONMENT" not in each


@given(st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0")))
def test_words_are_quoted_or_refused(text: str) -> None:
    try:
        quoted = units._quoted(text)
    except HostError:
        assert not text.isprintable()
        return
    assert quoted[0] == quoted[-1] == '"'
    found, inside = "", iter(quoted[1:-1])
    for letter in inside:
        assert letter != '"'
        if letter == "%":
            assert next(inside) == "%"
        found += next(inside) if letter == "\\" else letter
    assert found == text


@pytest.mark.parametrize("system", [False, True])
def test_unit_is_removed_once(config: str, system: bool) -> None:
    path = units.install(system=system)
    assert units.remove(system=system)
    assert not os.path.exists(path)
    assert not units.remove(system=system)


def test_place_that_cannot_be_written_is_an_error(config: str) -> None:
    os.makedirs(os.path.dirname(config))
    with open(config, "w"):
        pass
    with pytest.raises(HostError, match=r"cannot install .*/umlctl\.service: "):
        units.install(system=False)
    with pytest.raises(HostError, match=r"cannot remove .*/umlctl\.service: Not a directory"):
        units.remove(system=False)


def test_what_systemctl_says_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(HostError, match="cannot run `systemctl --user x`: No such file"):
        units.systemctl("x", system=False)
    script = tmp_path / "systemctl"
    script.write_text('#!/bin/sh\necho "$@ failed:" >&2\necho badly >&2\nexit 1\n')
    script.chmod(0o700)
    with pytest.raises(HostError, match="`systemctl x y`: x y failed: badly"):
        units.systemctl("x", "y", system=True)
    script.write_text("#!/bin/sh\nexit 3\n")
    with pytest.raises(HostError, match="`systemctl --user x`: exit status 3"):
        units.systemctl("x", system=False)
    script.write_text("#!/bin/sh\n")
    units.systemctl("x", system=False)
