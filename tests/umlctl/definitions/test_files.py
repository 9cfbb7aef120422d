from __future__ import annotations

import os
from pathlib import Path

import pytest

from umlctl.definitions import files
from umlctl.errors import HostError, NoGuest, UsageError
from umlctl.host import paths


@pytest.fixture
def guests(house: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The directory of a user's definitions."""
    monkeypatch.chdir(house)
    place = Path(house) / "u" / "config" / "guests"
    place.mkdir(parents=True, mode=0o700)
    return place


@pytest.fixture
def system(house: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The directory of the host's."""
    place = Path(house) / "etc"
    place.mkdir(mode=0o755)
    monkeypatch.setattr(paths, "system_definitions_dir", lambda: str(place))
    monkeypatch.setattr(files, "ROOT", os.getuid())
    return place


def values(found: files.Written | None) -> dict[str, object]:
    assert found is not None
    return {name: given.value for name, given in found.values.items()}


def test_name_and_path_are_told_apart(guests: Path) -> None:
    (guests / "web.toml").write_text('mem = "1G"')
    Path("web.toml").write_text('mem = "2G"')
    Path("plain").write_text('mem = "3G"')
    by_name, by_path = files.needed("web"), files.needed("web.toml")
    assert (by_name.umid, by_name.path) == ("web", f"{guests}/web.toml")
    assert values(by_name) == {"mem": "1G"}
    assert (by_path.umid, by_path.path) == ("web", "web.toml")
    assert values(by_path) == {"mem": "2G"}
    assert values(files.find("./plain")) == {"mem": "3G"}
    assert files.find("plain") is None
    assert [files.is_path(word) for word in ("web", "./web", "web.toml")] == [False, True, True]


def test_users_own_come_before_the_hosts(guests: Path, system: Path) -> None:
    (system / "web.toml").write_text('mem = "1G"')
    (system / "db.toml").write_text('mem = "1G"')
    (guests / "web.toml").write_text('mem = "2G"')
    (guests / ".web.draft.toml").write_text("")
    (guests / "bad name.toml").write_text("")
    assert values(files.find("web")) == {"mem": "2G"}
    assert values(files.find("db")) == {"mem": "1G"}
    assert files.names() == ["db", "web"]
    files.remove("web")
    assert values(files.find("web")) == {"mem": "1G"}
    with pytest.raises(NoGuest, match=f"{system}/web.toml is the system's, and root removes it"):
        files.remove("web")


def test_guest_that_is_not_defined_is_none(guests: Path) -> None:
    assert files.find("web") is None
    with pytest.raises(NoGuest, match=r"no guest web is defined: .*umlctl define FILE web"):
        files.needed("web")
    with pytest.raises(NoGuest, match="no guest web is defined"):
        files.remove("web")
    with pytest.raises(UsageError, match=r"there is no file web\.toml"):
        files.find("web.toml")


def test_places_are_the_users_and_the_hosts(monkeypatch: pytest.MonkeyPatch, house: str) -> None:
    assert paths.definitions_dir() == f"{house}/u/config/guests"
    assert paths.system_definitions_dir() == ""
    monkeypatch.delenv("UMLCTL_DIR")
    monkeypatch.setenv("XDG_CONFIG_HOME", "/c")
    assert paths.definitions_dir() == "/c/umlctl/guests"
    assert paths.system_definitions_dir() == "/etc/umlctl/guests"
    monkeypatch.setenv("XDG_CONFIG_HOME", "not/absolute")
    assert paths.definitions_dir().endswith("/.config/umlctl/guests")
    assert paths.definitions_dir().startswith("/")


def test_one_extends_another_whose_lists_it_replaces(guests: Path) -> None:
    (guests / "base.toml").write_text('mem = "1G"\nnic = ["user"]\nkernel = "./linux"\nsingle=true')
    (guests / "more.toml").write_text('extends = "base.toml"\nncpus = 2\nsingle = false')
    Path("web.toml").write_text('extends = "more"\nnic = ["switch=a"]\nroot = "a.img"')
    found = files.needed("web.toml")
    assert values(found) == {
        "mem": "1G",
        "kernel": f"{guests}/linux",
        "single": False,
        "ncpus": 2,
        "nic": ("switch=a",),
        "root": f"{os.getcwd()}/a.img",
    }
    assert found.extends == (f"{guests}/more.toml", f"{guests}/base.toml")
    assert found.values["mem"].place() == f"{guests}/base.toml:1"


def test_file_beside_one_is_extended_before_a_guest(guests: Path) -> None:
    (guests / "base.toml").write_text('mem = "1G"')
    Path("base.toml").write_text('mem = "2G"')
    Path("web.toml").write_text('extends = "base"')
    assert values(files.find("web.toml")) == {"mem": "2G"}
    Path("web.toml").write_text(f'extends = "{guests}/base.toml"')
    assert values(files.find("web.toml")) == {"mem": "1G"}


def test_circle_has_an_end(guests: Path) -> None:
    for name, other in ("ab", "bc", "ca"):
        (guests / f"{name}.toml").write_text(f'\nextends = "{other}"')
    with pytest.raises(UsageError, match=rf"^{guests}/c.toml:2: extends: a extends itself"):
        files.find("a")


def test_depth_has_an_end(guests: Path) -> None:
    for depth in range(20):
        (guests / f"g{depth}.toml").write_text(f'extends = "g{depth + 1}"')
    (guests / f"g{20}.toml").write_text("")
    with pytest.raises(UsageError, match=rf"g8\.toml:1: extends: more than {files.MAX_EXTENDED}"):
        files.find("g0")
    assert len(files.needed("g12").extends) == files.MAX_EXTENDED


def test_what_is_extended_must_be_there_and_sound(guests: Path) -> None:
    (guests / "web.toml").write_text('\nextends = "base"')
    with pytest.raises(UsageError, match=rf"^{guests}/web.toml:2: extends: there is no definition"):
        files.find("web")
    (guests / "base.toml").write_text("mem = 1")
    with pytest.raises(UsageError, match=rf"^{guests}/base.toml:1: mem: "):
        files.find("web")
    with pytest.raises(UsageError, match=r"^f:1: extends: \./b .*write the whole path"):
        files.of_text("web", "f", 'extends = "./b"', "")


def test_what_is_no_text_is_refused(guests: Path) -> None:
    path = guests / "web.toml"
    path.write_bytes(b'mem = "1G"\n# \xff\n')
    with pytest.raises(UsageError, match=r"web\.toml:2: a byte that is no UTF-8, 0xff"):
        files.find("web")
    path.write_bytes(b"#" * 70000)
    with pytest.raises(UsageError, match="more than 65536 bytes"):
        files.find("web")
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(UsageError, match="is no file"):
        files.find("web")
    path.unlink()
    path.mkdir()
    with pytest.raises(UsageError, match="is no file"):
        files.find("web")


def test_lines_may_end_as_those_of_windows(guests: Path) -> None:
    (guests / "web.toml").write_bytes(b'# a\r\nmem = "1G"\r\nncpus = 0\r\n')
    with pytest.raises(UsageError, match=r"web\.toml:3: ncpus"):
        files.find("web")


@pytest.mark.parametrize("mode", [0o664, 0o646])
def test_hosts_definition_that_others_may_write_is_refused(
    guests: Path, system: Path, mode: int
) -> None:
    path = system / "web.toml"
    path.write_text("")
    path.chmod(mode)
    with pytest.raises(HostError, match=rf"others than root may write it.*chmod go-w {path}"):
        files.find("web")
    path.chmod(0o644)
    assert files.find("web") is not None
    system.chmod(0o777)
    with pytest.raises(HostError, match=rf"others than root may write it.*chmod go-w {system}`"):
        files.find("web")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_definition_of_another_user_is_refused(guests: Path, system: Path) -> None:
    for place in (guests, system):
        path = place / "web.toml"
        path.write_text("")
        os.chown(path, 65534, 65534)
        with pytest.raises(HostError, match="others than"):
            files.find("web")
        path.unlink()


def test_users_own_may_be_its_groups(guests: Path) -> None:
    path = guests / "web.toml"
    path.write_text("")
    path.chmod(0o664)
    assert files.find("web") is not None
    path.chmod(0o666)
    with pytest.raises(HostError, match=rf"others than you may write it.*chmod o-w {path}"):
        files.find("web")


def test_file_that_is_named_by_its_path_is_taken_as_it_is(guests: Path) -> None:
    Path("web.toml").write_text("")
    Path("web.toml").chmod(0o666)
    assert files.find("./web.toml") is not None


def test_what_is_saved_is_found(house: str) -> None:
    path = files.save("web", 'mem = "1G"\n')
    assert path == files.own_path("web") == files.path_of("web")
    assert os.stat(path).st_mode & 0o777 == 0o600
    assert os.listdir(os.path.dirname(path)) == ["web.toml"]
    assert files.read(path) == 'mem = "1G"\n'
    assert files.remove("web") == path
    assert files.names() == []


def test_file_has_the_name_of_a_guest(guests: Path) -> None:
    Path("bad name.toml").write_text("")
    with pytest.raises(UsageError, match="the file's name is the guest's"):
        files.find("./bad name.toml")
