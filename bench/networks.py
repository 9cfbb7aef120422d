"""TCP between two guests: by our switch, by its bridge, by uml_switch, and on taps of root."""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from typing import TYPE_CHECKING, Final

from bench.house import BenchError
from bench.measures import ratio

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bench.house import House
    from bench.measures import Counts, Row

MEGABYTES: Final = 64
"""Of one transfer."""
PLAIN: Final = "plain"
DEADLINE: Final = 120.0
FOUND: Final = "/tmp/found"
INIT: Final = f"""#!/bin/sh
mount -t proc proc /proc; mount -t sysfs sysfs /sys; mount -t tmpfs tmpfs /tmp
ip link set lo up
ip addr add "$ADDR/24" dev "$NIC"; ip link set "$NIC" up
exec PYTHON -I -S - <<'END'
import socket, time
if ROLE == "sink":
    listener = socket.create_server(("", 5000))
    while True:
        connection, _ = listener.accept()
        buffer = bytearray(1 << 16)
        while connection.recv_into(buffer):
            pass
        connection.send(b"k")
        connection.close()
piece = bytes(1 << 20)
number = 0
while open("/dev/tty0").readline():  # a line, a transfer
    begin = time.monotonic()
    with socket.create_connection(("10.9.0.1", 5000)) as connection:
        for _ in range({MEGABYTES}):
            connection.sendall(piece)
        connection.shutdown(socket.SHUT_WR)
        connection.recv(1)
    number += 1
    with open("{FOUND}", "w") as file:
        print(number, time.monotonic() - begin, file=file)
END
"""


def throughput(house: House, counts: Counts) -> Iterator[Row]:
    """The same bytes between two guests on each kind of network, in turn."""
    with contextlib.ExitStack() as stack:
        stack.enter_context(_plain(house))
        senders = {
            "switch": stack.enter_context(_pair(house, "s", "vec0", f"switch={PLAIN}")),
            "bridge": stack.enter_context(_pair(house, "b", "vec0", "switch=bench")),
        }
        control = str(house.top / "uml_switch")
        if "eth(" in house.output([house.umlctl, "kernel", "list"]):
            stack.enter_context(_uml_switch(control))
            nic = f"eth0=daemon,,unix,{control}"
            senders["uml_switch"] = stack.enter_context(_pair(house, "u", "eth0", nic))
        if os.geteuid() == 0 and os.access("/dev/net/tun", os.R_OK | os.W_OK):
            bridge = stack.enter_context(_bridge(house))
            nic = f"tap=auto,bridge={bridge}"
            senders["tap"] = stack.enter_context(_pair(house, "t", "vec0", nic))
        taken: dict[str, list[float]] = {name: [] for name in senders}
        for number in range(1, counts.transfers + 2):
            for name, sender in senders.items():
                seconds = _transfer(house, sender, number)
                if number > 1:  # the first warms up
                    taken[name].append(seconds)
    what = f"{MEGABYTES} MB by TCP between two guests"
    if "uml_switch" in taken:
        yield ratio(
            f"{what}: uml_switch : our switch", taken["switch"], taken["uml_switch"], least=1
        )
    yield ratio(f"{what}: our switch : its bridge", taken["switch"], taken["bridge"])
    if "tap" in taken:
        yield ratio(f"{what}: our switch : taps on a bridge", taken["switch"], taken["tap"])


@contextlib.contextmanager
def _plain(house: House) -> Iterator[None]:
    """A network whose switch moves all frames."""
    house.output([house.umlctl, "network", "create", PLAIN, "--plain"])
    try:
        yield
    finally:
        house.output([house.umlctl, "network", "rm", PLAIN])


@contextlib.contextmanager
def _pair(house: House, name: str, nic: str, words: str) -> Iterator[str]:
    """Two guests on a network; the name of the one that sends."""
    text = INIT.replace("PYTHON", os.path.realpath(house.python))
    with contextlib.ExitStack() as stack:
        for address, role in (("10.9.0.1", "sink"), ("10.9.0.2", "source")):
            init = house.top / f"init-{role}"
            init.write_text(text.replace("ROLE", repr(role)))
            init.chmod(0o755)
            guest = f"{name}-{role}"
            options = ["--mem", "128M", "--init", str(init), "--nic", words]
            options += ["--append", f"ADDR={address}", "--append", f"NIC={nic}"]
            stack.enter_context(house.guest(guest, *options))
        yield f"{name}-source"


def _transfer(house: House, sender: str, number: int) -> float:
    """Have a guest send; the seconds that it took, by the guest's clock."""
    with open(house.console(sender), "w") as console:
        console.write("\n")
    deadline = time.monotonic() + DEADLINE
    while time.monotonic() < deadline:
        with contextlib.suppress(BenchError):
            found = house.output([house.umlctl, "proc", sender, f"1/root{FOUND}"]).split()
            if found and int(found[0]) == number:
                return float(found[1])
        time.sleep(0.05)
    raise BenchError(f"{sender} did not send within {DEADLINE:g} seconds")


@contextlib.contextmanager
def _uml_switch(control: str) -> Iterator[None]:
    with subprocess.Popen(
        ["uml_switch", "-unix", control],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as switch:
        try:
            deadline = time.monotonic() + DEADLINE
            while not os.path.exists(control):
                if switch.poll() is not None or time.monotonic() > deadline:
                    raise BenchError("uml_switch did not start")
                time.sleep(0.01)
            yield
        finally:
            switch.terminate()


@contextlib.contextmanager
def _bridge(house: House) -> Iterator[str]:
    name = f"ubench{os.getpid() % 10**6}"
    house.output([house.umlctl, "network", "create", name, "--bridge"])
    try:
        yield name
    finally:
        house.output([house.umlctl, "network", "rm", name])
