from __future__ import annotations

import os
import socket
import stat
from typing import TYPE_CHECKING

import pytest

from umlctl.errors import HostError
from umlctl.host import paths, shared_socket

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def place(short: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setattr(paths, "shared_dir", lambda: f"{short}/shared")
    before = os.umask(0o077)
    yield f"{short}/shared"
    os.umask(before)


def mode(path: str) -> int:
    return stat.S_IMODE(os.stat(path).st_mode)


def test_others_can_pass_through_and_see_nothing(place: str) -> None:
    path = shared_socket.make("demo")
    assert path == f"{place}/demo/mconsole"
    assert (mode(place), mode(f"{place}/demo")) == (0o711, 0o711)
    assert shared_socket.make("demo") == path
    shared_socket.remove("demo")
    assert os.listdir(place) == []
    shared_socket.remove("demo")


def test_directory_that_others_could_write_is_closed(place: str) -> None:
    os.mkdir(place)
    os.chmod(place, 0o777)
    shared_socket.make("demo")
    assert mode(place) == 0o711


@pytest.mark.parametrize("what", ["link", "file"])
def test_what_is_no_directory_of_ours_is_not_used(place: str, short: str, what: str) -> None:
    os.mkdir(f"{short}/elsewhere")
    if what == "link":
        os.symlink(f"{short}/elsewhere", place)
    else:
        os.close(os.open(place, os.O_CREAT))
    with pytest.raises(HostError, match=r"is not a directory of yours"):
        shared_socket.make("demo")
    assert os.listdir(f"{short}/elsewhere") == []


def test_directory_of_somebody_else_is_not_used(
    place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared_socket.make("demo")
    monkeypatch.setattr(os, "geteuid", lambda: 4711)
    with pytest.raises(HostError, match=r"is not a directory of yours: have it removed"):
        shared_socket.make("demo")


def test_socket_of_a_live_guest_is_left_and_of_a_dead_one_is_not(place: str) -> None:
    path = shared_socket.make("demo")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other:
        other.bind(path)
        with pytest.raises(HostError, match=r"the socket of another guest of yours"):
            shared_socket.make("demo")
    assert shared_socket.make("demo") == path
