from __future__ import annotations

import os
import shutil
import time
from typing import TYPE_CHECKING

import pytest

from tests.umlctl.supervisor.launch.test_jail import running
from umlctl.guest.definition import Definition
from umlctl.host import landlock, paths
from umlctl.supervisor.launch import hiding

if TYPE_CHECKING:
    from pathlib import Path

    from umlctl.supervisor.launch.launched import Launched

pytestmark = pytest.mark.skipif(bool(landlock.unable()), reason="this host confines no kernel")
SECRETS = (".ssh/id", ".netrc", ".aws/credentials")


@pytest.fixture(autouse=True)
def home(house: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home with some secrets, and with room for another."""
    assert house
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    for secret in SECRETS[:2]:
        put(home, secret)
    return home


def put(home: Path, secret: str) -> None:
    """Put a secret where another may be, as programs do."""
    path = home / secret
    path.parent.mkdir(exist_ok=True)
    (path.parent / "new").write_text("hush")
    (path.parent / "new").rename(path)


def sees(launched: Launched, path: object) -> bool:
    """The kernel sees what is there."""
    try:
        return os.path.samefile(f"/proc/{launched.pid}/root{path}", str(path))
    except OSError:
        return False


def has_mounts(launched: Launched) -> None:
    if not launched.record.binds:
        pytest.skip("this host gives no mounts of its own to a kernel")


def test_secret_that_comes_or_takes_the_place_of_another_is_covered(
    house: str, tmp_path: Path, home: Path
) -> None:
    with running(tmp_path, "") as (launched, _):
        has_mounts(launched)
        assert not any(sees(launched, home / secret) for secret in SECRETS)
        assert hiding.hide_again(launched.record, launched.command) == []
        (home / ".ssh").rename(home / "old")
        for secret in SECRETS:
            put(home, secret)
        assert all(sees(launched, home / secret) for secret in SECRETS)
        covered = hiding.hide_again(launched.record, launched.command)
        assert covered == [f"{home}/{name}" for name in (".aws", ".netrc", ".ssh")]
        assert not any(sees(launched, home / secret) for secret in SECRETS)
        assert hiding.hide_again(launched.record, launched.command) == []
    assert house


def test_run_directory_that_is_made_anew_is_covered_but_for_what_is_the_kernels(
    house: str, tmp_path: Path
) -> None:
    with running(tmp_path, "") as (launched, _):
        has_mounts(launched)
        shutil.rmtree(paths.run_dir())
        paths.make_run_dir()
        os.makedirs(paths.guest_dir("other"))
        os.makedirs(paths.guest_dir("demo"))
        assert sees(launched, paths.guest_dir("other"))
        assert hiding.hide_again(launched.record, launched.command) == [paths.run_dir()]
        seen = f"/proc/{launched.pid}/root"
        assert os.listdir(seen + paths.guests_dir()) == ["demo"]
        assert sees(launched, paths.networks_dir())
        own = f"{paths.own_dir('demo')}/k"
        assert os.path.samefile(seen + paths.kernel_dir(), own)
        for path, flag in ((paths.kernel_dir(), 0), (paths.run_dir(), os.ST_RDONLY)):
            assert os.statvfs(seen + path).f_flag & os.ST_RDONLY == flag
    assert house


def test_sight_changes_when_something_comes(house: str, home: Path) -> None:
    definition = Definition(umid="demo", kernel="/linux", hide=(f"{home}/more/file",))

    def sight() -> tuple[object, ...]:
        """Once nothing has changed for a moment."""
        end = time.monotonic() + 30
        while not (found := hiding.sight(definition)):
            assert time.monotonic() < end
            time.sleep(0.02)
        return found

    before = sight()
    assert before == sight()
    (home / ".aws").mkdir()
    assert hiding.sight(definition) in ((), sight())
    assert sight() != before
    before = sight()
    (home / "more").mkdir()
    assert sight() != before
    assert house
