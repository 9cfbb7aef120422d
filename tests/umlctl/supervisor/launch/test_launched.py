from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

from umlctl.host import processes
from umlctl.state.umid_lock import has_owner
from umlctl.supervisor.launch.place import notify_path

if TYPE_CHECKING:
    from umlctl.supervisor.launch.launched import Launched


def test_kernel_that_is_let_go_of_lives_and_another_may_have_it(launched: Launched) -> None:
    assert has_owner("demo")
    launched.close()
    assert processes.alive(launched.pid, launched.started)
    assert not has_owner("demo")
    assert os.path.exists(launched.claim.directory)


def test_kernel_whose_notify_socket_was_removed_is_heard_at_a_new_one(launched: Launched) -> None:
    path = notify_path(launched.definition, launched.claim.directory)
    assert not launched.is_deaf()
    os.unlink(path)
    assert launched.is_deaf()
    with launched.listen_again() as old:
        assert old is not launched.notify
    assert not launched.is_deaf()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as kernel:
        kernel.sendto(b"hello", path)
    assert launched.notify.recv(100) == b"hello"
