"""`umlctl info`: what this host has for guests."""

from __future__ import annotations

import os
import shutil
from typing import Any

import click

from umlctl import __version__
from umlctl.cli import listing, views
from umlctl.errors import NoKernel
from umlctl.host import kernels, nics, paths


@click.command(epilog="\b\nExamples:\n  umlctl info\n  umlctl info --json | jq .memory_free\n")
@click.option("--json", "in_json", is_flag=True, help="Print an object.")
def info(in_json: bool) -> int:
    """Show what this host has for guests: its capacity, the kernel, and what you may do."""
    found = gather()
    if in_json:
        print(views.to_json(found))
        return 0
    rows = [
        ("umlctl", found["version"]),
        ("kernel", found["kernel"] or "none; `umlctl setup` fetches one"),
        ("processors", str(found["processors"])),
        ("memory", f"{views.size(found['memory_free'])} of {views.size(found['memory'])} free"),
        ("guest memory", f"in {found['memory_dir']}, {views.size(found['memory_room'])} free"),
        ("guests", ", ".join(f"{n} {state}" for state, n in found["guests"].items()) or "none"),
        ("internet, --user", "yes" if found["slirp4netns"] else "no: slirp4netns is missing"),
        ("taps", "yes" if found["taps"] else "no: it takes CAP_NET_ADMIN and /dev/net/tun"),
        ("run directory", found["run_dir"]),
        ("state directory", found["state_dir"]),
    ]
    width = max(len(name) for name, _ in rows) + 2
    for name, value in rows:
        print(f"{name:<{width}}{value}")
    return 0


def gather() -> dict[str, Any]:
    """The facts; sizes in bytes."""
    try:
        kernel = kernels.find()
    except NoKernel:
        kernel = ""
    memory = _memory()
    # As the kernel chooses. Source: arch/um/os-Linux/mem.c
    where = next(
        (os.environ[name] for name in ("TMPDIR", "TMP", "TEMP") if os.environ.get(name)),
        "/dev/shm",  # noqa: S108 - it is the kernel that makes a file there
    )
    guests: dict[str, int] = {}
    for status in listing.gather():
        guests[status["state"]] = guests.get(status["state"], 0) + 1
    return {
        "version": __version__,
        "kernel": kernel,
        "processors": len(os.sched_getaffinity(0)),
        "memory": memory.get("MemTotal"),
        "memory_free": memory.get("MemAvailable"),
        "memory_dir": where,
        "memory_room": _room(where),
        "guests": guests,
        "slirp4netns": shutil.which("slirp4netns") is not None,
        "taps": nics.has_capability("CAP_NET_ADMIN") and os.access("/dev/net/tun", os.W_OK),
        "run_dir": paths.run_dir(),
        "state_dir": paths.state_dir(),
    }


def _memory() -> dict[str, int]:
    found = {}
    with open("/proc/meminfo") as file:
        for line in file:
            name, _, value = line.partition(":")
            if value.endswith("kB\n"):
                found[name] = int(value.split()[0]) << 10
    return found


def _room(directory: str) -> int | None:
    try:
        space = os.statvfs(directory)
    except OSError:
        return None
    return space.f_bavail * space.f_frsize
