"""`umlctl run`: one guest, supervised by this very process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Final

from umlctl import exitcodes
from umlctl.host.claim import claim
from umlctl.supervisor.launch import launch

if TYPE_CHECKING:
    from collections.abc import Callable

    from umlctl.guest.definition import Definition
    from umlctl.host.eventlog import Event
    from umlctl.host.records import Ending
    from umlctl.supervisor.launch import Launched

ENDING: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
"""Signals that shut the guest down in order."""
SHUTDOWN: Final = 30.0
"""What the guest gets for its own shutdown after a signal, seconds."""
TOLD: Final = ("ready", "panicked", "rebooting", "wedged", "recovered", "hang", "shutdown")


def supervise(definition: Definition, *, console: bool = False) -> int:
    """Boot the guest and stay with it to its end; the exit code.

    console: have the terminal on its console meanwhile
    """
    viewer, alive = _attach(definition.umid) if console else (None, -1)

    def tell(event: Event) -> None:
        if viewer is None or viewer.poll() is not None:  # else the screen is the guest's
            _tell(definition.umid, event)

    # What nohup(1), or a shell for a job in the background, has had ignored is left ignored.
    heeded = [number for number in ENDING if signal.getsignal(number) != signal.SIG_IGN]
    # Held back until there is somebody to heed them: a kernel would be left behind.
    signal.pthread_sigmask(signal.SIG_BLOCK, heeded)
    try:
        ending = _boot(definition, heeded, tell)
    finally:
        if viewer is not None:
            os.close(alive)
            viewer.wait()  # it shows the last words, and puts the terminal right
        signal.pthread_sigmask(signal.SIG_UNBLOCK, heeded)
    _say(definition.umid, _describe(ending))
    return ending.code


def _attach(umid: str) -> tuple[subprocess.Popen[bytes], int]:
    """Start a process that attaches this terminal to the console, as soon as there is one.

    It gives up if there is none by the time the descriptor is closed that is returned.
    """
    alive, ours = os.pipe()
    try:
        command = [sys.executable, "-P", "-m", "umlctl.cli.console", umid, str(alive)]
        return subprocess.Popen(command, pass_fds=[alive]), ours
    except BaseException:
        os.close(ours)
        raise
    finally:
        os.close(alive)


def _boot(
    definition: Definition, heeded: list[signal.Signals], tell: Callable[[Event], None]
) -> Ending:
    held = claim(definition.umid)
    try:
        launched = launch(definition, held)
    except BaseException:
        held.release()
        raise
    # The kernel boots while this process imports what supervises it.
    import trio

    try:
        return trio.run(_run, launched, heeded, tell)
    except ExceptionGroup as group:
        raise group.exceptions[0] from None  # what went wrong, not how trio wraps it


async def _run(
    launched: Launched, heeded: list[signal.Signals], tell: Callable[[Event], None]
) -> Ending:
    import trio

    from umlctl.supervisor.run import run_guest

    caught = 0
    async with trio.open_nursery() as nursery:

        async def on_signals() -> None:
            nonlocal caught
            with trio.open_signal_receiver(*heeded) as signals:
                signal.pthread_sigmask(signal.SIG_UNBLOCK, heeded)
                async for number in signals:
                    if caught:
                        guest.kill("killed by a second signal")
                    else:
                        caught = number
                        name = signal.Signals(number).name
                        nursery.start_soon(guest.shut_down, SHUTDOWN, f"{name} to the supervisor")

        result: list[Ending] = []
        over = trio.Event()

        async def live(task_status: trio.TaskStatus[object]) -> None:
            result.append(await run_guest(launched, tell, task_status=task_status))
            over.set()

        guest = await nursery.start(live)
        if heeded:
            nursery.start_soon(on_signals)
        await over.wait()
        nursery.cancel_scope.cancel()
    if caught and result[0].code == exitcodes.OK:
        import msgspec

        return msgspec.structs.replace(result[0], code=exitcodes.SIGNALLED + caught)
    return result[0]


def _tell(umid: str, event: Event) -> None:
    name = event["event"]
    if name not in TOLD:
        return
    text = str(event.get("text", ""))
    if name == "ready" and "after" in event:
        text = f"after {event['after']:.2f}s, kernel pid {event['pid']}"
    _say(umid, f"{name}: {text}" if text else name)


def _describe(ending: Ending) -> str:
    from umlctl.supervisor.endings import describe

    return describe(ending)


def _say(umid: str, text: str) -> None:
    try:
        os.write(sys.stderr.fileno(), f"umlctl: {umid}: {text}\n".encode())
    except OSError:
        pass  # standard error is gone; the guest is not
