"""A background supervisor in the tests' own process, and guests whose kernel does nothing."""

from __future__ import annotations

import os
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
import trio
import trio.testing

from socketproto.client import Client
from tests import fake_kernel
from umlctl.guest import definition as definitions
from umlctl.host import paths, processes
from umlctl.state.umid_lock import claim
from umlctl.supervisor import daemon
from umlctl.supervisor.door import Door
from umlctl.supervisor.launch.launch import launch

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from umlctl.supervisor.launch.launched import Launched

DEADLINE = 30.0


@pytest.fixture
def define(house: str, tmp_path: Path) -> Callable[[str], str]:
    """Write down a guest whose kernel does nothing; the file's path."""
    kernel = fake_kernel.write(f"{tmp_path}/linux", "exec sleep 600\n")

    def write(umid: str) -> str:
        path = f"{house}/{umid}.json"
        definition = definitions.Definition(umid=umid, kernel=kernel, timeout=DEADLINE)
        with open(path, "wb") as file:
            file.write(definitions.encode(definition))
        return path

    return write


@asynccontextmanager
async def serving() -> AsyncIterator[str]:
    """A background supervisor; the path of its socket."""
    paths.make_run_dir()
    listener = Door(paths.supervisor_socket())
    with trio.fail_after(DEADLINE):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(daemon.Daemon(listener).run)
            yield listener.path
            with Client(listener.path) as client:
                assert (await client.request("quit", DEADLINE)).ok
    listener.close()


async def start(path: str, file: str) -> dict[str, Any]:
    with Client(path) as client:
        outcome = await client.request(f"start {file}", DEADLINE)
    assert outcome.ok, outcome
    answer: dict[str, Any] = msgspec.json.decode(outcome.data)
    return answer


def leave(file: str) -> Launched:
    """A guest that runs and whose supervisor was killed."""
    with open(file, "rb") as written:
        definition = definitions.decode(written.read())
    launched = launch(definition, claim(definition.umid))
    launched.notify.close()
    os.close(launched.claim.owner)
    os.close(launched.claim.lock)
    return launched


async def adopt(path: str, *umids: str) -> None:
    with Client(path) as client:
        assert (await client.request(" ".join(["adopt", *umids]), DEADLINE)).ok


def kill(left: Launched) -> None:
    """Have the kernel of a guest killed, and its tiny parent yet to hear of it."""
    processes.kill_guest(left.pid, left.started, [])
    while processes.alive(left.pid, left.started):
        time.sleep(0.001)
