from __future__ import annotations

import errno
import os
import socket

import pytest

from umlctl.backends.descriptors import check_descriptor
from umlctl.errors import Refusal


def test_socket_of_the_process_can_be_a_devices() -> None:
    with socket.socket() as made:
        check_descriptor(os.getpid(), str(made.fileno()), "a NIC's", socket=True)


def test_file_can_be_a_lines_and_no_nics() -> None:
    with open(os.devnull) as file:
        number = str(file.fileno())
        check_descriptor(os.getpid(), number, "con1's", socket=False)
        with pytest.raises(Refusal, match=r"is /dev/null, which cannot be a NIC's") as caught:
            check_descriptor(os.getpid(), number, "a NIC's", socket=True)
    assert caught.value.error == -errno.EBADF


def test_what_the_process_has_for_itself_or_not_at_all_is_refused() -> None:
    own = os.memfd_create("mine")
    try:
        with pytest.raises(Refusal, match="which cannot be con1's"):
            check_descriptor(os.getpid(), str(own), "con1's", socket=False)
    finally:
        os.close(own)
    with pytest.raises(Refusal, match=f"has no descriptor {own} open"):
        check_descriptor(os.getpid(), str(own), "con1's", socket=False)
