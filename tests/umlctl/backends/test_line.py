from __future__ import annotations

import errno
import os

import pytest

from umlctl.backends.line import CONSOLE, SERIAL
from umlctl.errors import Refusal


def test_terminal_of_the_host_is_one() -> None:
    ours, theirs = os.openpty()
    try:
        SERIAL.check(f"ssl0=tty:{os.ttyname(theirs)}", os.getpid())
    finally:
        os.close(ours)
        os.close(theirs)


@pytest.mark.parametrize("path", ["/nonexistent", "/dev/null", "/tmp"])
def test_what_is_no_terminal_is_refused(path: str) -> None:
    with pytest.raises(Refusal, match=f"con2: {path} is no terminal of this host") as caught:
        CONSOLE.check(f"con2=tty:{path}", os.getpid())
    assert caught.value.error == -errno.ENODEV


def test_each_descriptor_of_a_line_is_looked_at() -> None:
    reader, writer = os.pipe()
    try:
        CONSOLE.check(f"con1=fd:{reader},fd:{writer}", os.getpid())
    finally:
        os.close(reader)
        os.close(writer)
    with pytest.raises(Refusal, match=f"has no descriptor {writer} open"):
        CONSOLE.check(f"con1=null,fd:{writer}", os.getpid())


@pytest.mark.parametrize("channel", ["null", "pts", "none", "port:9000"])
def test_other_channels_need_nothing(channel: str) -> None:
    CONSOLE.check(f"con1={channel}", os.getpid())
