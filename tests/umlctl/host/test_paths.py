from __future__ import annotations

import os
import socket
import stat

import pytest

from umlctl.host import paths
from umlctl.host.paths import BadPlace


def test_place_can_be_set(house: str) -> None:
    assert paths.run_dir() == f"{house}/u/run"
    assert paths.kernel_socket("a") == f"{house}/u/run/k/a/mconsole"
    assert paths.guest_dir("a") == f"{house}/u/run/g/a"
    assert paths.guest_socket("a") == f"{house}/u/run/g/a/mconsole"
    assert paths.network_port("a") == f"{house}/u/run/n/a/port"
    assert paths.network_control("a") == f"{house}/u/run/s/a/control"
    assert paths.supervisor_socket() == f"{house}/u/run/supervisor/mconsole"
    assert paths.state_dir() == f"{house}/u/state"
    assert paths.record_dir("a") == f"{house}/u/state/guests/a"
    assert paths.public_socket("a") == f"{house}/h/.uml/a/mconsole"
    assert paths.public_socket("a", "/home/b") == "/home/b/.uml/a/mconsole"
    assert paths.cache_dir() == f"{house}/c/umlctl"


@pytest.fixture
def anybody(short: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """Nothing is set but HOME, and the user database has another home, which is there."""
    for name in ("UMLCTL_DIR", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", "/somewhere/else")
    monkeypatch.setattr(paths, "_states", {})
    monkeypatch.setattr(paths, "_users_home", lambda: short)
    return short


@pytest.mark.parametrize(
    ("name", "value"),
    [("HOME", "/other"), ("HOME", ""), ("HOME", "relative")]
    + [(f"XDG_{name}", "/other") for name in ("RUNTIME_DIR", "STATE_HOME", "CONFIG_HOME")]
    + [("TMPDIR", "/other")],
)
def test_place_is_the_users_whatever_is_set(
    anybody: str, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    for uid, run in ((0, "/run/umlctl"), (1000, "/tmp/umlctl-1000")):
        monkeypatch.setattr(os, "getuid", lambda uid=uid: uid)
        assert paths.run_dir() == run
        assert paths.state_dir() == f"{anybody}/.local/state/umlctl"


def test_state_of_a_user_without_a_home_is_kept_all_the_same(
    anybody: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "getuid", lambda: 4294967294)
    for home in ("", f"{anybody}/missing"):
        paths._states.clear()
        monkeypatch.setattr(paths, "_users_home", lambda home=home: home)
        assert paths.state_dir() == "/var/tmp/umlctl-4294967294"


def test_state_that_is_in_the_home_is_found_though_that_is_not_to_be_written(
    anybody: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert paths.state_dir().startswith("/var/tmp/umlctl-")
    paths._states.clear()
    os.makedirs(f"{anybody}/.local/state/umlctl")
    assert paths.state_dir() == f"{anybody}/.local/state/umlctl"


def test_state_that_somebody_else_has_put_there_is_refused(
    anybody: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    uid = os.getuid() + 4294960000
    monkeypatch.setattr(os, "getuid", lambda: uid)
    monkeypatch.setattr(paths, "_users_home", lambda: "")
    assert paths.state_dir() == f"/var/tmp/umlctl-{uid}"
    os.mkdir(f"/var/tmp/umlctl-{uid}", 0o700)
    try:
        for _ in range(2):  # put there later, and found there
            with pytest.raises(BadPlace, match=r"not a private .*removed, or set UMLCTL_DIR"):
                paths.state_dir()
            paths._states.clear()
    finally:
        os.rmdir(f"/var/tmp/umlctl-{uid}")


@pytest.mark.parametrize("letter", [*" ,:;='\"\\", "\n", "\x7f", "\udcff"])
def test_place_that_the_kernel_can_take_no_path_to_is_refused(
    monkeypatch: pytest.MonkeyPatch, letter: str
) -> None:
    monkeypatch.setenv("UMLCTL_DIR", f"/a{letter}b")
    for find in (paths.run_dir, paths.state_dir, paths.make_run_dir):
        with pytest.raises(BadPlace, match=r"UMLCTL_DIR is .* can take no path with"):
            find()


def test_place_that_is_relative_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UMLCTL_DIR", "a/b")
    with pytest.raises(BadPlace, match="has to begin with /"):
        paths.find_socket("demo")


def test_place_that_cannot_be_made_is_told_with_a_way_out(
    short: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.close(os.open(f"{short}/file", os.O_CREAT))
    monkeypatch.setenv("UMLCTL_DIR", f"{short}/file/u")
    with pytest.raises(BadPlace, match=r"cannot make .*: Not a directory; set UMLCTL_DIR to"):
        paths.make_run_dir()


@pytest.mark.parametrize("value", ["", "relative/dir"])
def test_cache_that_is_no_absolute_path_is_passed_over(
    house: str, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", value)
    assert paths.cache_dir() == f"{house}/h/.cache/umlctl"


def test_home_that_is_not_set_is_the_users(house: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HOME")
    home = os.path.expanduser("~")
    assert paths.home() == home
    for value in ("", "relative"):
        monkeypatch.setenv("HOME", value)
        assert paths.home() == home


def test_run_dir_is_made_for_us_alone(house: str) -> None:
    old = os.umask(0)
    try:
        made = paths.make_run_dir()
    finally:
        os.umask(old)
    assert made == paths.run_dir() == paths.make_run_dir()
    for name in ("", "/k", "/g", "/n", "/supervisor", "-kept"):
        found = os.stat(made + name)
        assert (stat.S_IMODE(found.st_mode), found.st_uid) == (0o700, os.getuid())


@pytest.mark.parametrize("name", ["", "/k", "/g", "/n", "/supervisor"])
def test_run_dir_that_others_can_enter_is_refused(house: str, name: str) -> None:
    made = paths.make_run_dir()
    os.chmod(made + name, 0o750)
    with pytest.raises(PermissionError, match="not a private directory of yours"):
        paths.make_run_dir()


def test_run_dir_that_is_a_link_or_a_file_is_refused(house: str) -> None:
    os.mkdir(f"{house}/mine", 0o700)
    os.makedirs(f"{house}/u", exist_ok=True)
    place = paths.run_dir()
    os.symlink(f"{house}/mine", place)
    with pytest.raises(PermissionError):
        paths.make_run_dir()
    os.unlink(place)
    os.close(os.open(place, os.O_CREAT, 0o700))
    with pytest.raises(PermissionError):
        paths.make_run_dir()
    assert not os.listdir(f"{house}/mine")


def test_run_dir_of_somebody_else_is_refused(house: str, monkeypatch: pytest.MonkeyPatch) -> None:
    paths.make_run_dir()
    uid = os.getuid() + 1
    monkeypatch.setattr(os, "getuid", lambda: uid)
    with pytest.raises(PermissionError):
        paths.make_run_dir()


def test_nothing_in_a_place_of_somebody_else_is_named(
    house: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths.make_run_dir()
    uid = os.getuid() + 1
    monkeypatch.setattr(os, "getuid", lambda: uid)
    for name in (paths.guest_dir, paths.guest_socket, paths.kernel_socket, paths.network_dir):
        with pytest.raises(BadPlace, match="not a private directory of yours"):
            name("demo")
    for place in (paths.supervisor_socket, paths.supervisor_lock, paths.kept_dir):
        with pytest.raises(BadPlace, match="not a private directory of yours"):
            place()


def test_place_that_is_taken_away_while_it_is_made_is_refused(
    house: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def there(path: str, _mode: int) -> None:
        raise FileExistsError(path)

    monkeypatch.setattr(os, "mkdir", there)
    with pytest.raises(BadPlace, match="No such file or directory"):
        paths.make_run_dir()


# Finding a guest's socket


def listen(path: str) -> str:
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(path)
    return path


def test_umid_leads_to_its_socket(house: str) -> None:
    assert paths.find_socket("demo") == listen(paths.public_socket("demo"))
    paths.make_run_dir()
    own = listen(paths.guest_socket("demo"))
    assert paths.find_socket("demo") == own


def test_guest_is_not_looked_for_where_others_may_have_put_one(house: str) -> None:
    place = paths.make_run_dir()
    listen(paths.guest_socket("demo"))
    os.chmod(place, 0o755)
    with pytest.raises(BadPlace, match="others enter it"):
        paths.find_socket("demo")
    with pytest.raises(BadPlace, match="others enter it"):
        paths.guest_names()


def test_guests_are_named_whether_they_are_ours_or_started_by_hand(house: str) -> None:
    assert paths.guest_names() == []
    paths.make_run_dir()
    listen(paths.guest_socket("demo"))
    listen(paths.public_socket("hand"))
    os.close(os.open(paths.guest_dir("demo") + ".lock", os.O_CREAT))
    assert paths.guest_names() == ["demo", "hand"]


def test_path_is_taken_as_it_is(house: str) -> None:
    path = listen(f"{house}/guest/mconsole")
    assert paths.find_socket(path) == path
    assert paths.find_socket(f"{house}/guest") == path
    assert paths.find_socket(f"{house}/missing/mconsole") == f"{house}/missing/mconsole"


def test_name_of_a_socket_in_this_directory_is_found_last(
    house: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(house)
    listen(f"{house}/sock")
    assert paths.find_socket("sock") == "sock"
    assert paths.find_socket("sock") != listen(paths.public_socket("sock"))
    assert paths.find_socket("sock") == paths.public_socket("sock")


def test_directory_of_that_name_is_no_guest(house: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(house)
    os.mkdir(f"{house}/demo")
    assert paths.find_socket("demo") == paths.public_socket("demo")


@pytest.mark.parametrize(("given", "said"), [("", "is empty: unset it"), ("//", "is /: set it")])
def test_place_that_is_nothing_is_not_taken_for_none(
    monkeypatch: pytest.MonkeyPatch, given: str, said: str
) -> None:
    monkeypatch.setenv("UMLCTL_DIR", given)
    for place in (paths.run_dir, paths.state_dir):
        with pytest.raises(BadPlace, match=f"UMLCTL_DIR {said}"):
            place()


# What is written down


def test_directory_that_is_not_there_has_nothing(house: str) -> None:
    assert paths.listed(f"{house}/missing") == []


def test_directory_that_cannot_be_read_is_no_empty_one(house: str) -> None:
    os.close(os.open(f"{house}/file", os.O_CREAT))
    with pytest.raises(BadPlace, match=r"cannot read .*: Not a directory; make it yours again"):
        paths.listed(f"{house}/file")
