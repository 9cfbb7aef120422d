"""The commands that a network's definition has run when a NIC joins it and when it leaves."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from typing import TYPE_CHECKING, Final

from umlctl.errors import HostError
from umlctl.networks import definitions, switch_client

if TYPE_CHECKING:
    from umlctl.state.records import DeviceEntry

HOOK_TIMEOUT: Final = 10.0
"""How long a hook may take, seconds."""
MAX_OUTPUT_BYTES: Final = 1 << 16
"""How much of a hook's output is kept, bytes."""
OUTPUT_INTERVAL: Final = 0.02
"""The time between two looks at whether a hook has ended, seconds."""


def run(which: str, entry: DeviceEntry, umid: str, log: str) -> None:
    """Run a network's hook, with the facts of the NIC in its environment.

    Raises: HostError
    """
    network = entry.network or entry.bridge
    definition = definitions.load(network) if network else None
    command = getattr(definition, which) if definition else ""
    if not command:
        return
    facts = {
        "UMLCTL_GUEST": umid,
        "UMLCTL_NIC": entry.name,
        "UMLCTL_MAC": entry.mac,
        "UMLCTL_ADDR": entry.addr,
        "UMLCTL_NETWORK": network,
        "UMLCTL_TAP": entry.tap,
        "UMLCTL_BRIDGE": entry.bridge,
    }
    what = f"{entry.name}: the `{which}` hook of {network}"
    try:
        code = _run(command, os.environ | facts, log)
    except subprocess.TimeoutExpired:
        raise HostError(f"{what} took more than {HOOK_TIMEOUT:g} seconds") from None
    except (OSError, ValueError) as problem:
        raise HostError(f"{what} cannot be run: {problem}") from problem
    if code:
        raise HostError(f"{what} ended with {code}; `umlctl logs {umid}` has what it said")


def _run(command: str, environment: dict[str, str], log: str) -> int:
    """Run a shell command in a session of its own, which is killed with it if it takes too long.

    Raises: TimeoutExpired; OSError, ValueError
    """
    said = b""
    deadline = time.monotonic() + HOOK_TIMEOUT
    with subprocess.Popen(  # noqa: S602 - the user's own words
        command,
        shell=True,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    ) as shell:
        assert shell.stdout is not None
        output = shell.stdout.fileno()
        try:
            while True:
                ended = shell.poll() is not None  # before it is read: then nothing follows
                readable = switch_client.readable(output, time.monotonic() + OUTPUT_INTERVAL)
                data = os.read(output, 1 << 16) if readable else b""
                said = (said + data)[:MAX_OUTPUT_BYTES]
                # A process that the command leaves in the background may keep the pipe open.
                if not data and ended:
                    break
                if time.monotonic() > deadline:
                    raise subprocess.TimeoutExpired(command, HOOK_TIMEOUT)
                if readable and not data:
                    time.sleep(OUTPUT_INTERVAL)  # the command has closed its output, and goes on
        except BaseException:
            os.killpg(shell.pid, signal.SIGKILL)
            raise
        finally:
            with open(log, "ab") as file:
                file.write(said)
    return shell.returncode
