from __future__ import annotations

import os
import socket
import stat

import pytest
from hypothesis import given
from hypothesis import strategies as st

from umlctl.host import paths
from umlctl.host.paths import BadNetwork, BadUmid, check_network, check_umid


@pytest.mark.parametrize("umid", ["a", "demo", "a.b_c+d-1", "X", "0", "n" * 63, "locks"])
def test_name_is_a_umid(house: str, umid: str) -> None:
    assert check_umid(umid) == umid


@pytest.mark.parametrize(
    ("umid", "said"),
    [
        ("", "empty"),
        (".", "begin with '.'"),
        ("..", "begin with '.'"),
        (".hidden", "begin with '.'"),
        ("-v", "begin with '-'"),
        ("a/b", "not '/'"),
        ("a b", "not ' '"),
        ("a\n", r"not '\\n'"),
        ("a\0", r"not '\\x00'"),
        ("grün", "not 'ü'"),
        ("a~", "not '~'"),
        ("a,b", "not ','"),
        ("n" * 64, "at most 63 characters, this one 64"),
        ("demo.lock", "cannot end with .lock"),
    ],
)
def test_name_that_kernel_or_socket_cannot_take_is_refused(
    house: str, umid: str, said: str
) -> None:
    with pytest.raises(BadUmid, match=said):
        check_umid(umid)


def test_name_is_refused_if_its_socket_would_have_too_long_a_path(
    house: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "/" + "h" * 60)
    fits = 107 - len(paths.public_socket(""))
    assert check_umid("n" * fits)
    with pytest.raises(BadUmid, match="1 bytes too long for a unix socket"):
        check_umid("n" * (fits + 1))


def test_length_of_a_path_is_counted_in_bytes(house: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/" + "ü" * 40)
    with pytest.raises(BadUmid, match="too long"):
        check_umid("n" * 20)


@given(st.text(max_size=70))
def test_umid_is_one_harmless_path_component(umid: str) -> None:
    try:
        check_umid(umid)
    except BadUmid:
        return
    assert os.path.basename(os.path.normpath(paths.record_dir(umid))) == umid
    assert umid.isascii()
    assert umid.isprintable()
    assert 0 < len(umid) <= 63


@pytest.mark.parametrize("name", ["a", "lan", "g1.0", "a.b_c+d-1", "n" * 32])
def test_name_is_a_networks(house: str, name: str) -> None:
    assert check_network(name) == name


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("", "a network's name cannot be empty"),
        ("..", "begin with '.'"),
        ("-v", "begin with '-'"),
        ("a/b", "not '/'"),
        ("a,b", "not ','"),
        ("a=b", "not '='"),
        ("n" * 33, "at most 32 characters, this one 33"),
    ],
)
def test_name_that_a_network_cannot_have_is_refused(house: str, name: str, said: str) -> None:
    with pytest.raises(BadNetwork, match=said):
        check_network(name)


def test_network_whose_socket_would_have_too_long_a_path_is_refused(
    short: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = f"{short}/{'ü' * 14}"
    os.mkdir(long)
    monkeypatch.setenv("XDG_RUNTIME_DIR", long)
    fits = 107 - len(os.fsencode(paths.network_control("") + "~"))
    for length in range(1, 33):
        if length <= fits:
            assert check_network("n" * length)
        else:
            with pytest.raises(BadNetwork, match="too long for a unix socket"):
                check_network("n" * length)


def test_everything_follows_from_home_and_xdg(house: str) -> None:
    assert paths.public_socket("a") == f"{house}/h/.uml/a/mconsole"
    assert paths.run_dir() == f"{house}/r/umlctl"
    assert paths.kernel_socket("a") == f"{house}/r/umlctl/k/a/mconsole"
    assert paths.guest_dir("a") == f"{house}/r/umlctl/g/a"
    assert paths.network_port("a") == f"{house}/r/umlctl/n/a/port"
    assert paths.network_control("a") == f"{house}/r/umlctl/n/a/control"
    assert paths.supervisor_socket() == f"{house}/r/umlctl/supervisor/mconsole"
    assert paths.state_dir() == f"{house}/s/umlctl"
    assert paths.record_dir("a") == f"{house}/s/umlctl/guests/a"
    assert paths.cache_dir() == f"{house}/c/umlctl"


@pytest.mark.parametrize("value", ["", "relative/dir"])
def test_xdg_variables_that_are_no_absolute_path_are_passed_over(
    house: str, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    for name in ("XDG_STATE_HOME", "XDG_CACHE_HOME", "XDG_RUNTIME_DIR"):
        monkeypatch.setenv(name, value)
    assert paths.state_dir() == f"{house}/h/.local/state/umlctl"
    assert paths.cache_dir() == f"{house}/h/.cache/umlctl"
    assert paths.run_dir() == f"/tmp/umlctl-{os.getuid()}"


def test_run_dir_without_room_for_a_socket_is_passed_over(
    house: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = f"{house}/{'l' * 30}"
    os.mkdir(long)
    for unfit in (long, f"{house}/missing"):
        monkeypatch.setenv("XDG_RUNTIME_DIR", unfit)
        assert paths.run_dir() == f"/tmp/umlctl-{os.getuid()}"


def test_home_that_is_not_set_is_the_users(house: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HOME")
    assert paths.home() == os.path.expanduser("~")
    monkeypatch.setenv("HOME", "")
    assert paths.home()


def test_run_dir_is_made_for_us_alone(house: str) -> None:
    old = os.umask(0)
    try:
        made = paths.make_run_dir()
    finally:
        os.umask(old)
    assert made == paths.run_dir() == paths.make_run_dir()
    for name in ("", "/k", "/g", "/n", "/supervisor"):
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
    os.symlink(f"{house}/mine", paths.run_dir())
    with pytest.raises(PermissionError):
        paths.make_run_dir()
    os.unlink(paths.run_dir())
    os.close(os.open(paths.run_dir(), os.O_CREAT, 0o700))
    with pytest.raises(PermissionError):
        paths.make_run_dir()
    assert not os.listdir(f"{house}/mine")


def test_run_dir_of_somebody_else_is_refused(house: str, monkeypatch: pytest.MonkeyPatch) -> None:
    paths.make_run_dir()
    uid = os.getuid() + 1
    monkeypatch.setattr(os, "getuid", lambda: uid)
    with pytest.raises(PermissionError):
        paths.make_run_dir()


# Finding a guest's socket


def listen(path: str) -> str:
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(path)
    return path


def test_umid_leads_to_its_socket(house: str) -> None:
    assert paths.find_socket("demo") == listen(paths.public_socket("demo"))


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
