"""Output of a guest: through `umlctl console`, and to a bare reader of the console's file."""

from __future__ import annotations

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

GUEST: Final = "console"
MEGABYTES: Final = 50
DEADLINE: Final = 120.0
MARK: Final = b"the output ends"
INIT: Final = f"""#!/bin/sh
mount -t proc proc /proc
stty -F /dev/tty0 -echo -onlcr
while read -r line; do # a line, a burst
    dd if=/dev/zero bs=64k count={MEGABYTES * 16} 2>/dev/null | tr '\\0' x
    echo "{MARK.decode()} $line"
done </dev/tty0
"""


def throughput(house: House, counts: Counts) -> Iterator[Row]:
    """The same burst to each kind of reader, in turn."""
    init = house.top / "init-console"
    init.write_text(INIT)
    init.chmod(0o755)
    taken: dict[str, list[float]] = {"viewer": [], "reader": []}
    with house.guest(GUEST, "--mem", "128M", "--init", str(init)):
        for number in range(counts.transfers + 1):
            for name, measure in (("viewer", _viewer), ("reader", _reader)):
                seconds = measure(house, f"{name}{number}")
                if number:  # the first warms up
                    taken[name].append(seconds)
    yield ratio(
        f"{MEGABYTES} MB from a guest: bare reader of the file : `umlctl console`",
        taken["viewer"],
        taken["reader"],
        least=0.5,
    )


def _viewer(house: House, mark: str) -> float:
    """Until `umlctl console` has printed it all, seconds."""
    viewer = subprocess.Popen(
        [house.umlctl, "console", GUEST, "--read-only"],
        env=house.environment,
        stdin=subprocess.PIPE,  # which never ends
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    assert viewer.stdout is not None
    try:
        _wait_for_viewer(house)
        begin = time.perf_counter()
        _trigger(house, mark)
        _read_to(viewer.stdout.fileno(), mark)
        return time.perf_counter() - begin
    finally:
        viewer.terminate()
        viewer.communicate()


def _reader(house: House, mark: str) -> float:
    """Until somebody who reads the file has read it all, seconds."""
    log = house.top / "h/.local/state/umlctl/guests" / GUEST / "console.log"
    with open(log, "rb", buffering=0) as file:
        file.seek(0, os.SEEK_END)
        begin = time.perf_counter()
        _trigger(house, mark)
        _read_to(file.fileno(), mark)
        return time.perf_counter() - begin


def _trigger(house: House, mark: str) -> None:
    with open(house.console(GUEST), "w") as console:
        console.write(f"{mark}\n")


def _read_to(descriptor: int, mark: str) -> None:
    """Read until the end of a burst, and see that all of it was there.

    Raises: BenchError
    """
    wanted = MARK + b" " + mark.encode()
    count, tail = 0, b""
    deadline = time.monotonic() + DEADLINE
    while wanted not in tail:
        data = os.read(descriptor, 1 << 16)
        if not data:
            time.sleep(0.001)
        count += data.count(b"x")
        tail = (tail + data)[-2 * len(wanted) - 2 :]
        if time.monotonic() > deadline:
            raise BenchError(f"a burst did not end within {DEADLINE:g} seconds")
    if count < MEGABYTES << 20:
        raise BenchError(f"of {MEGABYTES << 20} bytes of a burst came {count}")


def _wait_for_viewer(house: House) -> None:
    deadline = time.monotonic() + DEADLINE
    while '"viewers": []' in house.output([house.umlctl, "status", GUEST, "--json"]):
        if time.monotonic() > deadline:
            raise BenchError("the viewer did not attach")
        time.sleep(0.01)
