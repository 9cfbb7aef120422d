"""What a process does that may open no more files: in one of its own, whose limit is real."""

from __future__ import annotations

import subprocess
import sys
from textwrap import dedent
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

HEAD = """
import contextlib, errno, os, resource, socket, sys, threading
import trio
from socketproto import blocking
from socketproto.blocking import Connection, Link, Unreachable
from socketproto.client import Client
from socketproto.listener import Listener
path = sys.argv[1]

@contextlib.contextmanager
def exhausted(left=0):
    "No more than so many descriptors are left."
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard))
    taken = []
    try:
        with contextlib.suppress(OSError):
            while True:
                taken.append(os.open("/dev/null", os.O_RDONLY))
        for descriptor in taken[len(taken) - left:]:
            os.close(descriptor)
            taken.remove(descriptor)
        yield
    finally:
        for descriptor in taken:
            os.close(descriptor)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

async def echo(call):
    await call.answer(call.data)
"""


def at_the_limit(tmp_path: Path, program: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", HEAD + dedent(program), str(tmp_path / "s")],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done
    return done.stdout


def test_who_has_no_descriptor_does_not_say_that_the_server_is_gone(tmp_path: Path) -> None:
    said = at_the_limit(
        tmp_path,
        """
        server = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        server.bind(path)
        for owner in (None, os.getuid()):
            link = Link(path, owner)
            with exhausted():
                try:
                    link.open()
                except Unreachable as problem:
                    print("unreachable", problem)
                except OSError as problem:
                    print(errno.errorcode[problem.errno])
            link.open()
            with exhausted():
                print(repr(link.kick()))
            link.close()
        """,
    )
    assert said.split() == ["EMFILE", "''"] * 2


def test_link_that_cannot_be_opened_holds_nothing_open(tmp_path: Path) -> None:
    said = at_the_limit(
        tmp_path,
        """
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
            server.bind(path)  # and nobody listens there any more
        before = os.listdir("/proc/self/fd")
        link = Link(path, os.getuid())
        try:
            link.open()
        except Unreachable:
            print(os.listdir("/proc/self/fd") == before)
        """,
    )
    assert said == "True\n"


def test_command_line_says_what_is_lacking(tmp_path: Path) -> None:
    said = at_the_limit(
        tmp_path,
        """
        from socketproto.__main__ import main
        server = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        server.bind(path)
        with exhausted():
            sys.stderr = sys.stdout
            print(main([path, "version"]))
        """,
    )
    assert "Too many open files" in said
    assert said.endswith("7\n")


def test_client_that_waits_for_room_does_so_without_a_descriptor(tmp_path: Path) -> None:
    said = at_the_limit(
        tmp_path,
        """
        server = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        server.bind(path)
        filler = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        with contextlib.suppress(BlockingIOError):
            while True:
                filler.sendto(b"x", path)

        async def main():
            with Client(path) as client:
                client.link.open()
                with exhausted():
                    print(await client.request("version", 0.3))

        trio.run(main)
        """,
    )
    assert said.startswith("timed out: the request could not be sent")


def test_listener_answers_without_a_descriptor(tmp_path: Path) -> None:
    """As many clients as like, of both kinds, and what is kept for others stays free."""
    said = at_the_limit(
        tmp_path,
        """
        async def main():
            listener = Listener.bind(path)
            listener.most = 30
            async with trio.open_nursery() as nursery:
                nursery.start_soon(listener.serve, echo)
                clients = [Client(path) for _ in range(3)]
                for client in clients:
                    client.link.open()
                bound = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
                bound.bind(b"")
                bound.connect(path)
                for left in (0, 40):
                    with exhausted(left):
                        for client in clients:
                            print((await client.request("a" * 400, 5)).text == "a" * 400)
                        bound.send(blocking.encode("hello"))
                        await trio.lowlevel.wait_readable(bound)
                        print(b"hello" in bound.recv(600))
                nursery.cancel_scope.cancel()
            listener.close()

        trio.run(main)
        """,
    )
    assert said.split() == ["True"] * 8
