from __future__ import annotations

import os
import select
import shutil
import socket
import threading
from typing import TYPE_CHECKING

import pytest

from socketproto.wire import Reply
from umlctl.supervisor import kernel_socket as module
from umlctl.supervisor.kernel_socket import KernelSocket, is_closed, is_open

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def path(short: str) -> str:
    os.mkdir(f"{short}/demo")
    return f"{short}/demo/mconsole"


@pytest.fixture
def kernel(path: str) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as bound:
        bound.bind(path)
        yield bound


def reaches(path: str, kernel: socket.socket) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as client:
        client.connect(path)
        client.send(b"version")
    return kernel.recv(64) == b"version"


def test_socket_whose_name_was_removed_is_reached_all_the_same(
    path: str, kernel: socket.socket
) -> None:
    held = KernelSocket(path, f"{os.path.dirname(os.path.dirname(path))}/kept")
    assert not held.look()
    for _ in range(2):
        shutil.rmtree(os.path.dirname(path))
        assert held.look()
        assert not held.look()
        assert reaches(path, kernel)
    held.close()


def test_no_name_is_made_for_a_socket_that_is_closed(path: str, kernel: socket.socket) -> None:
    """A kernel that reboots could not bind the next one then."""
    held = KernelSocket(path, f"{os.path.dirname(os.path.dirname(path))}/kept")
    held.look()
    os.unlink(path)
    kernel.close()
    assert not held.look()
    assert not os.path.lexists(path)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as following:
        following.bind(path)
        assert not held.look()
        os.unlink(path)
        assert held.look()
        assert reaches(path, following)
    held.close()


def test_no_name_is_made_in_a_directory_of_somebody_else(path: str, kernel: socket.socket) -> None:
    held = KernelSocket(path, "")
    held.look()
    os.unlink(path)
    assert not held.look()
    assert not os.path.lexists(path)
    held.close()


def test_next_supervisor_finds_the_socket_by_its_second_name(
    path: str, kernel: socket.socket
) -> None:
    kept = f"{os.path.dirname(os.path.dirname(path))}/kept"
    KernelSocket(path, kept).close()
    shutil.rmtree(os.path.dirname(path))
    following = KernelSocket(path, kept)
    assert not os.path.islink(path)
    assert reaches(path, kernel)
    following.close()


def test_socket_whose_names_were_all_removed_is_reached_as_long_as_it_is_held(
    path: str, kernel: socket.socket
) -> None:
    kept = f"{os.path.dirname(os.path.dirname(path))}/kept"
    held = KernelSocket(path, kept)
    shutil.rmtree(os.path.dirname(path))
    os.unlink(kept)
    assert held.look()
    assert reaches(path, kernel)
    held.close()
    assert not KernelSocket(path, kept).is_there()
    assert not os.path.lexists(path)


def test_socket_is_known_to_be_open_though_its_name_was_removed(
    path: str, kernel: socket.socket
) -> None:
    assert is_open(os.getpid(), path)
    os.unlink(path)
    assert is_open(os.getpid(), path)
    assert not is_open(os.getpid(), path + "2")
    assert not is_open(os.getppid(), path)
    assert not is_closed(os.getpid(), path)
    kernel.close()
    assert not is_open(os.getpid(), path)
    assert is_closed(os.getpid(), path)


def test_socket_of_a_kernel_that_is_no_more_is_neither_open_nor_closed(path: str) -> None:
    assert not is_open(1 << 30, path)
    assert not is_closed(1 << 30, path)


async def test_kernel_that_answers_by_a_socket_without_a_name_is_heard(
    path: str, kernel: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = f"{os.path.dirname(os.path.dirname(path))}/kept"
    held = KernelSocket(path, kept)
    os.unlink(path)
    monkeypatch.setattr(module, "HEARS_TIMEOUT", 0.05)
    # As of a kernel that begins anew, and has its last one open.
    assert not await held.hears("k", None, "")

    while select.select([kernel], [], [], 0)[0]:
        kernel.recv(1024)

    def answer() -> None:
        for _ in range(2):
            client = None
            while not client:  # what only wakes a kernel comes from nobody
                _asked, client = kernel.recvfrom(1024)
            kernel.sendto(Reply(-22, False, b"Unknown command").encode(), client)

    monkeypatch.setattr(module, "HEARS_TIMEOUT", 30.0)
    kernel.settimeout(30.0)
    thread = threading.Thread(target=answer, daemon=True)
    thread.start()
    assert await held.hears("k", None, "")
    os.unlink(kept)
    assert await held.hears("k", None, "")  # by what this process holds
    thread.join()
    held.close()
    assert not await held.hears("k", None, "")


def test_socket_of_the_next_boot_is_another(path: str, kernel: socket.socket) -> None:
    held = KernelSocket(path, f"{os.path.dirname(os.path.dirname(path))}/kept")
    assert held.is_of_this_boot(os.getpid())
    os.unlink(path)  # as a kernel does that resets
    assert held.is_of_this_boot(os.getpid())
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as following:
        following.bind(path)
        assert not held.is_of_this_boot(os.getpid())
        kernel.close()
        assert not held.is_of_this_boot(os.getpid())
        os.unlink(path)
    assert not held.is_of_this_boot(os.getpid())
    held.close()
