"""The kernel's own commands, as clients may give them: guarded, held until the guest is ready, and
with what the supervisor has to do beside them.
"""

from __future__ import annotations

import errno
import re
from typing import TYPE_CHECKING, Final

import trio

from socketproto.exchange import ANSWERED, GONE, TIMED_OUT, Outcome
from socketproto.wire import MAX_TEXT_BYTES
from umlctl.errors import HostError, Refusal
from umlctl.guest.cmdline import CONSOLE_ARGUMENT
from umlctl.guest.command import NO_REBOOT
from umlctl.protocol.commands import COMMANDS, GUEST, OUTPUT
from umlctl.protocol.console_socket import config
from umlctl.protocol.guard import CommandLine, check, is_guest_file, is_query, seconds_of
from umlctl.supervisor.devices import bringing, plugging
from umlctl.supervisor.history import by
from umlctl.supervisor.kernel import ASK_TIMEOUT, PIECE_TIMEOUT, Unsent
from umlctl.supervisor.kernel_socket import is_closed
from umlctl.supervisor.launch.preflight import check_reboot
from umlctl.supervisor.lifecycle import RUNNING, STOPPED

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from socketproto.listener import Call
    from umlctl.supervisor.history import By
    from umlctl.supervisor.life import Life
    from umlctl.supervisor.readiness import Readiness

POWER_OFF_LETTER: Final = "o"
"""The SysRq that ends the kernel as `halt` does."""
RESET_LETTER: Final = "b"
"""The SysRq that resets the kernel, in the middle of an interrupt. Interrupts that come meanwhile
are still blocked and pending when the kernel begins anew; they then come too early, and it faults
for ever. Of 12 guests on a busy host, 10 never came up. After `reboot`, which does the same in
process context, 152 of 152 did. Seen on 6.1.176"""
RESET_TIMEOUT: Final = 2.0
"""How long `reboot` may take before its worker counts as stuck, and an interrupt is the only way,
seconds."""
_STAMP: Final = re.compile(rb"^\[ *\d+\.\d{6}\] ", re.MULTILINE)
LOG_PIECE_BYTES: Final = MAX_TEXT_BYTES - len("log ") - len("\n")


class KernelRequests:
    """What clients ask of the kernel of one guest."""

    def __init__(
        self,
        life: Callable[[], Life],
        reboot: Callable[[float], Awaitable[Outcome]],
        readiness: Readiness,
    ) -> None:
        """life: the life that the guest is in

        reboot: has the kernel reset, which may take so many seconds to answer
        readiness: holds requests until the guest is ready
        """
        self._life = life
        self._reboot = reboot
        self._readiness = readiness

    def is_plain(self, line: CommandLine) -> bool:
        """Whether a line is a question that may be asked again, should it not be answered at once.

        No such question is put to a stopped guest. Should the first one have to wait in the kernel,
        its interrupt handler takes the second, and keeps it until `go`.

        Raises: Refusal
        """
        if self._life().lifecycle.state == STOPPED or not is_query(line):
            return False
        if line.command.name == "proc" and is_guest_file(line.argument):
            return False  # only `read_file` sees whether such a file is whole
        check(line)
        return True

    def ask_at_once(self, line: CommandLine) -> Outcome | None:
        """Ask a plain question of a kernel that has nothing else to do; None if it has."""
        return self._life().kernel.ask_at_once(line.text)

    async def check(self, line: CommandLine) -> None:
        """See whether the kernel can take a line without harm, and whether it would come back from
        a reboot.

        Raises: Refusal
        """
        life = self._life()
        check(line, stopped=life.lifecycle.state == STOPPED, release=life.release)
        name, argument = line.command.name, line.argument
        reboots = name in ("reboot", "cad") or (
            name == "sysrq" and argument.startswith(RESET_LETTER)
        )
        if not reboots or line.forced or "noreboot" in life.launched.command:
            return
        if NO_REBOOT in life.launched.command:
            raise Refusal(
                "refused: it would not come back: it was started for a command of `umlctl exec`, "
                "and kept; insist with --force, or a leading '!'",
                -errno.EPERM,
            )
        try:
            await trio.to_thread.run_sync(check_reboot, life.launched)
        except HostError as problem:
            raise Refusal(
                f"refused: it would not come back: {problem}; "
                "insist with --force, or a leading '!'",
                -errno.EPERM,
            ) from None

    async def ask(self, call: Call, line: CommandLine) -> Outcome:
        """Ask the kernel when the guest is ready, and again if it rebooted meanwhile.

        Raises: ClientGone, Refusal
        """
        deadline = trio.current_time() + self._readiness.patience
        while True:
            if not ends(line) and not await self._readiness.wait(call, deadline):
                why = f"the guest is {self._life().lifecycle.state}, and was not ready within "
                return Outcome(TIMED_OUT, reason=f"{why}{self._readiness.patience:g} seconds")
            outcome = await self._ask_kernel(line, by(call))
            lost = outcome.kind == GONE and (isinstance(outcome, Unsent) or is_query(line))
            if not lost or ends(line) or not await self._readiness.comes_again(self._boots):
                return outcome

    def _boots(self) -> bool:
        """Its kernel lives and has no socket, as between two boots."""
        life = self._life()
        return is_closed(life.process.pid, life.kernel.path)

    async def _ask_kernel(self, line: CommandLine, by: By) -> Outcome:
        life, name = self._life(), line.command.name
        if name == "config" and "=" in line.argument:
            outcome = await plugging.config(life.devices, line.argument, by, force=line.forced)
            life.process.find_helpers()
            life.consoles.sync(life.devices.entries)
            return outcome
        if name == "remove":
            outcome = await plugging.remove(life.devices, line.argument, by)
            life.consoles.sync(life.devices.entries)
            return outcome
        if name == "stop":
            seconds = seconds_of(line)
            if life.devices.away:
                raise Refusal(
                    f"{life.devices.away} is out of the guest while its COW file is merged or "
                    "emptied; stop the guest when it is in again",
                    -errno.EBUSY,
                )
            async with life.devices.talk:
                outcome = await life.kernel.ask(name)
            if outcome.ok:
                life.pauses.note_stopped(seconds, **by)
            return outcome
        if name == "go":
            return await life.pauses.resume(**by)
        if name == "reboot":
            return await self._reboot(ASK_TIMEOUT)
        if name in ("halt", "sysrq"):
            return await self._act_at_once(line)
        return await self._ask_plainly(line)

    async def _ask_plainly(self, line: CommandLine) -> Outcome:
        kernel, name = self._life().kernel, line.command.name
        if name == "log":
            return await self._log(line.argument)
        if name == "proc":
            running = self._life().lifecycle.state == RUNNING
            return await kernel.read_file(line.text, may_stop=running)
        return await kernel.ask(line.text)

    async def _act_at_once(self, line: CommandLine) -> Outcome:
        """Send `halt`, or a SysRq, which may end or reset the kernel too."""
        life = self._life()
        if ends(line):
            return await life.shutdown.halt(line.text)
        resets = line.argument.startswith(RESET_LETTER) and not line.forced
        if resets and life.lifecycle.state == RUNNING and not life.kernel.trouble:
            outcome = await self._reboot(RESET_TIMEOUT)
            if outcome.kind != TIMED_OUT:
                return outcome
        return await life.kernel.ask(line.text, renew=PIECE_TIMEOUT)

    async def _log(self, text: str) -> Outcome:
        """Have the kernel print a text. It prints a line when that ends, so each piece is sent as a
        line.

        uml_mconsole sends the end of a line by itself; it has been sent by then.
        """
        outcome = Outcome(ANSWERED)
        data = text.rstrip("\n").encode("utf-8", "surrogateescape")
        for start in range(0, len(data), LOG_PIECE_BYTES):
            piece = data[start : start + LOG_PIECE_BYTES].decode("utf-8", "surrogateescape")
            outcome = await self._life().kernel.ask(f"log {piece}\n")
            if not outcome.ok:
                break
        return outcome

    def shown(self, line: CommandLine, outcome: Outcome) -> Outcome:
        """What the kernel answers, as clients get it. The kernel names the supervisor's descriptors
        for a console, which no client has: clients get the console's socket in their place."""
        if line.command.name == "help":
            return _with_our_help(outcome)
        name, consoles = line.argument, self._life().consoles
        if line.command.name == "config" and name in consoles.by_name:
            ours = (CONSOLE_ARGUMENT if name == "con0" else config(name)).partition("=")[2]
            said = outcome.text.strip()
            if outcome.ok and said and f"{ours},".startswith(f"{said},"):
                data = f"unix:{consoles.socket_of(name)}".encode()
                return Outcome(ANSWERED, 0, data, "", outcome.pieces)
        if line.command.name == "config" and outcome.ok:
            table = self._life().devices
            entry = None if table.record.own_line else table.find(name)
            if entry is not None and entry.told:
                data = bringing.as_given(entry, outcome.text).encode("utf-8", "surrogateescape")
                return Outcome(ANSWERED, 0, data, "", outcome.pieces)
        return _unstamped(line, outcome)


def ends(line: CommandLine) -> bool:
    """Whether a line ends the kernel at once, in whatever state."""
    name = line.command.name
    return name == "halt" or (name == "sysrq" and line.argument.startswith(POWER_OFF_LETTER))


def _unstamped(line: CommandLine, outcome: Outcome) -> Outcome:
    """The outcome without the times before the kernel's lines, which are for the console."""
    if line.command.prints != OUTPUT:
        return outcome
    data = _STAMP.sub(b"", outcome.data)
    return Outcome(outcome.kind, outcome.error, data, outcome.reason, outcome.pieces)


def _with_our_help(outcome: Outcome) -> Outcome:
    """The kernel's list, and the supervisor's commands after it."""
    if not outcome.ok:
        return outcome
    ours = [
        f"    {command.name} {command.args} - {command.help}".replace("  -", " -")
        for command in COMMANDS
        if command.served == GUEST
    ]
    text = outcome.data.rstrip(b"\n") + b"\nFrom the supervisor: \n" + "\n".join(ours).encode()
    return Outcome(ANSWERED, 0, text + b"\n", "", outcome.pieces)
