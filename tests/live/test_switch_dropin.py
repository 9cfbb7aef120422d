"""Guests with `eth0=daemon` on our `uml_switch`, and one on a network of umlctl that it joins."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.live.conftest import DEADLINE, unless_strict, wait_for
from tests.program import SCRIPT

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.live.conftest import House


@pytest.fixture
def control(house: House) -> Iterator[str]:
    """Our switch, which has joined the network `old-and-new`; its control socket."""
    link = f"{house.path}/bin/uml_switch"
    os.makedirs(os.path.dirname(link), exist_ok=True)
    os.symlink(SCRIPT, link)
    path = f"{house.path}/ctl"
    with subprocess.Popen(
        [sys.executable, link, "-unix", path, "-network", "old-and-new"],
        env=house.env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    ) as process:
        wait_for(lambda: os.path.exists(path) or process.poll() is not None, "it listens")
        yield path
        process.terminate()
        process.wait(DEADLINE)
    house.umlctl("network", "rm", "old-and-new")
    os.unlink(link)


@unless_strict("these guests have their programs from this host")
def test_guests_of_both_kinds_reach_each_other(house: House, umid: str, control: str) -> None:
    names = [umid, f"{umid}b", f"{umid}c"]
    nic = {
        names[0]: ("eth0", ("--", f"eth0=daemon,,unix,{control}")),
        names[1]: ("eth0", ("--", f"eth0=daemon,,unix,{control}")),
        names[2]: ("vec0", ("--nic", "switch=old-and-new")),
    }
    try:
        for number, name in enumerate(names, 1):
            device, words = nic[name]
            house.start(name, *words)
            house.shell(name, f"ip addr add 10.9.0.{number}/24 dev {device}")
            house.shell(name, f"ip link set {device} up && ip link set lo up")
            house.shell(
                name,
                'echo \'import socket;s=socket.create_server(("",7));\n'
                "while 1: c,_=s.accept();c.sendall(b\"'{0}'\")' >/tmp/server;"
                " (python3 /tmp/server >/dev/null 2>&1 &)".replace("{0}", str(number)),
            )
        for name in names:
            for number in (1, 2, 3):
                said = house.shell(
                    name,
                    "for i in 1 2 3 4 5 6 7 8 9; do python3 -c 'import socket;"
                    f'print(socket.create_connection(("10.9.0.{number}",7),9).recv(9))\''
                    " && break; sleep 1; done",
                )
                assert f"b'{number}'" in said
    finally:
        for name in names[1:]:
            house.umlctl("kill", name)
        wait_for(lambda: not any(map(house.leftovers, names[1:])), "nothing is left of them")
