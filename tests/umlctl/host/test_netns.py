"""Network namespaces: made, found again, and used from outside."""

from __future__ import annotations

import errno
import os
import socket

import pytest

from umlctl.errors import UnfitHost
from umlctl.host import netns
from umlctl.networks.bridge import unable

here = pytest.mark.skipif(bool(unable()), reason="this host has no such namespace")


def test_what_a_child_opens_is_here() -> None:
    (found,) = netns.in_child(lambda: [os.open("/dev/null", os.O_RDONLY)])
    try:
        assert os.readlink(f"/proc/self/fd/{found}") == "/dev/null"
        assert not os.get_inheritable(found)
    finally:
        os.close(found)


def test_what_goes_wrong_in_a_child_is_said_here() -> None:
    def work() -> list[int]:
        raise OSError(errno.EPERM, "", "cannot")

    with pytest.raises(PermissionError) as caught:
        netns.in_child(work)
    assert caught.value.filename == "cannot"


@here
def test_it_is_found_by_who_has_it_and_used_from_outside() -> None:
    with netns.make() as made:
        assert made.inode != os.stat("/proc/self/ns/net").st_ino
        found = netns.held_by(os.getpid())
        assert found is not None
        with found:
            assert found.inode == made.inode
            assert (found.user < 0) == (os.geteuid() == 0)
        (number,) = found_there = made.opened(
            lambda: [socket.socket(socket.AF_INET, socket.SOCK_DGRAM).detach()]
        )
        assert found_there
        with socket.socket(fileno=number) as there, pytest.raises(OSError, match="unreachable"):
            there.connect(("192.0.2.1", 9))  # there is no way to anywhere


@here
def test_process_in_it_shows_which_it_is_in() -> None:
    with netns.make() as made:
        ours, its = socket.socketpair()
        with ours, its:

            def stay() -> list[int]:
                pid = os.fork()
                if not pid:
                    its.recv(1)
                    os._exit(0)
                its.send(pid.to_bytes(4, "big"))
                return []

            made.opened(stay)
            pid = int.from_bytes(ours.recv(4), "big")
            assert netns.inode_of(pid) == made.inode
            found = netns.of_process(pid)
            assert found is not None
            with found:
                assert found.inode == made.inode
            ours.send(b"x")


def test_our_own_is_none() -> None:
    assert netns.of_process(os.getpid()) is None
    assert netns.inode_of(os.getpid()) == 0
    assert netns.held_by(os.getpid()) is None


def test_process_that_is_gone_has_none() -> None:
    pid = os.fork()
    if not pid:
        os._exit(0)
    os.waitpid(pid, 0)
    assert netns.of_process(pid) is None
    assert netns.held_by(pid) is None
    assert netns.inode_of(pid) == 0


def test_why_none_can_be_made_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(_work: object) -> list[int]:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "no user namespace can be made")

    monkeypatch.setattr(netns, "in_child", refused)
    with pytest.raises(UnfitHost, match="no user namespace can be made: No space left"):
        netns.make()
