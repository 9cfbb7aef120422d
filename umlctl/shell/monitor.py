"""What is known of the guest while the prompt waits: its state, its events, its devices.

It is kept by connections of its own, so that typing never waits for a guest. A guest that is slow
or gone is shown as it was last seen, and as gone.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

import msgspec
import trio

from socketproto.exchange import TIMED_OUT
from umlctl.client.ask import Deadline, is_bare
from umlctl.client.asynchronous import AsyncGuestClient
from umlctl.client.unsupervised import unsupervised_status
from umlctl.errors import NoGuest, UmlctlError
from umlctl.guest.definition import HOST_ROOT, READONLY_SUFFIX
from umlctl.host import naming, paths
from umlctl.host.limits import explained, is_lacking
from umlctl.networks import definitions, interfaces, segments
from umlctl.protocol import events
from umlctl.protocol.status import DEAD
from umlctl.recovery import discover
from umlctl.shell.completion import Facts

if TYPE_CHECKING:
    from collections.abc import Callable, Container

    from umlctl.protocol.status import State, Status
LOOK_INTERVAL: Final = 2.0
"""The time between two looks at the guest's status, seconds."""
RETRY_INTERVAL: Final = 1.0
"""The time between two looks at whether a guest that is gone is back, seconds."""
ANSWER_TIMEOUT: Final = 5.0
"""How long an answer may take, seconds. A supervisor gives a sign of life every second; a kernel
may be busy."""
GONE_STATES: Final = (DEAD, "unsupervised")
"""States of a guest for which no server answers; one may soon."""
BOOT_SHOWN_SECONDS: Final = 10.0
"""How much longer than in its state a guest must be up for both to be shown, seconds."""
MAX_EVENT_CHARACTERS: Final = 60
"""How many letters of the last event the line below the prompt shows."""


class GuestMonitor:
    """One guest, as it was last seen.

    Fields:
        guest: as the user named it; empty: there is none, and the host alone is looked at
        state: of the guest; "unmanaged" for a bare kernel; "unsupervised" or "dead" where no server
            listens
        status: the last answer to `status`; where no server listens, what is known without one;
            None if nothing is
        facts: for completion
        last: the last event, in words
        problem: why the guest cannot be looked at; empty if it can
    """

    def __init__(
        self,
        guest: str,
        changed: Callable[[], None],
        tell: Callable[[str], None],
        ours: Container[int] = (),
    ) -> None:
        """changed: called when something to show has changed

        tell: called with events, in words
        ours: pids of processes whose actions need not be told
        """
        self.guest = guest
        self.state: State = "unknown"
        self.status: Status | None = None
        self.facts = Facts()
        self.last = ""
        self.problem = ""
        self._changed = changed
        self._tell = tell
        self._ours = ours
        self._wanted = trio.Event()

    def refresh(self) -> None:
        """Look soon: a command may have changed something."""
        self._wanted.set()

    async def run(self) -> None:
        """Keep up with the guest until cancelled."""
        async with trio.open_nursery() as nursery:
            if self.guest:
                nursery.start_soon(self._follow)
            nursery.start_soon(self._poll)

    @property
    def shown(self) -> str:
        """The state, for a person."""
        from umlctl.output.views import state_text

        return state_text(self.state)

    def line(self, columns: int = 10_000) -> str:
        """The guest at a glance, for the line below the prompt, in `columns` columns.

        The facts that matter least are left out if there is no room for them.
        """
        from umlctl.output.views import duration, size

        if not self.guest:
            return "no guest: `list`, `switch NAME`, `start NAME`"[:columns]
        status = self.status
        state = f"{paths.umid_of(self.guest)} {self.shown}"
        facts = []
        if status is not None and status.pid:
            now, since, started = time.time(), status.since, status.started
            state += f" {duration(max(0.0, now - since))}"
            if started is not None and since - started > BOOT_SHOWN_SECONDS:
                facts.append(f"up {duration(max(0.0, now - started))}")
            devices = len(status.devices)
            if devices:
                facts.append(f"{devices} device{'s' if devices > 1 else ''}")
            facts.append(f"{size(status.memory)} memory")
            if status.cpu is not None:
                facts.append(f"{status.cpu:.1f}s cpu")
        news = [status.trouble] if status is not None and status.trouble else []
        news += [text for text in (self.problem, self.last) if text]
        while True:
            line = " | ".join([state, *facts, *news])
            if len(line) <= columns or not facts:
                return line if len(line) <= columns else line[: columns - 1] + "…"
            facts.pop()

    # Events

    async def _follow(self) -> None:
        while True:
            try:
                with AsyncGuestClient(self.guest, looks=True) as guest:
                    if not is_bare(guest.link):
                        await self._listen(guest)
            except (OSError, UmlctlError):
                pass  # `look` says why
            await trio.sleep(RETRY_INTERVAL)

    async def _listen(self, guest: AsyncGuestClient) -> None:
        rest = b""
        begun = time.time()

        def each(data: bytes) -> None:
            nonlocal rest
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                self._event(line, begun)

        await guest.ask("events", Deadline(patience=ANSWER_TIMEOUT, renewed=True), each=each)

    def _event(self, line: bytes, begun: float) -> None:
        from umlctl.output.views import event_line

        try:
            event = msgspec.json.decode(line, type=dict[str, Any])
            name, when = str(event["event"]), float(event["time"])
        except (msgspec.DecodeError, KeyError, TypeError, ValueError, RecursionError):
            return
        row = events.row(name)
        self.state = row.state or self.state
        ours = row.answers and event.get("pid") in self._ours
        if row.prompt:
            self.last = short(event)
            if when > begun and not ours:
                self._tell(event_line(line))
        self.refresh()
        self._changed()

    # Status

    async def _poll(self) -> None:
        while True:
            self._wanted = trio.Event()
            await self.look()
            self._changed()
            with trio.move_on_after(RETRY_INTERVAL if self.state in GONE_STATES else LOOK_INTERVAL):
                await self._wanted.wait()

    async def look(self) -> None:
        """Ask the guest how it is. What this host lacks for that is shown, and ends nothing."""
        try:
            await self._look()
        except (OSError, RuntimeError, UmlctlError) as problem:
            if isinstance(problem, RuntimeError) and not is_lacking(problem):
                raise
            self.problem = explained(problem)
        else:
            self.problem = ""

    async def _look(self) -> None:
        if self.guest:
            await self._look_at_guest()
        self.facts = self.facts._replace(**await trio.to_thread.run_sync(_of_the_host))
        if not self.facts.programs:
            programs = await trio.to_thread.run_sync(_programs)
            self.facts = self.facts._replace(programs=programs)

    async def _look_at_guest(self) -> None:
        with AsyncGuestClient(self.guest, looks=True) as guest:
            try:
                if is_bare(guest.link):
                    await self._look_at_bare(guest)
                else:
                    await self._look_at_supervised(guest)
            except NoGuest:
                self.status = await trio.to_thread.run_sync(_of_record, self.guest)
                self.state = DEAD if self.status is None else self.status.state

    async def _look_at_supervised(self, guest: AsyncGuestClient) -> None:
        from umlctl.protocol.status import read_status

        outcome = await guest.ask("status", Deadline(patience=ANSWER_TIMEOUT))
        try:
            status = read_status(outcome.data)
        except msgspec.DecodeError:
            return
        self.status, self.state = status, status.state
        if self.state in ("running", "stopped"):
            await self._look_at_processes(guest)
        devices = {each.name: each.asked for each in status.devices}
        consoles = {each.name: "a console" for each in status.consoles}
        root = (status.root or "").removesuffix(READONLY_SUFFIX)
        self.facts = self.facts._replace(
            devices={**consoles, **devices},
            root="/" if root == HOST_ROOT else root if root.endswith("/") else "",
        )

    async def _look_at_bare(self, guest: AsyncGuestClient) -> None:
        outcome = await guest.ask("version", Deadline(patience=ANSWER_TIMEOUT))
        self.status = None
        self.state = "silent" if outcome.kind == TIMED_OUT else "unmanaged"
        if outcome.ok:
            await self._look_at_processes(guest)

    async def _look_at_processes(self, guest: AsyncGuestClient) -> None:
        """List the guest's processes by a control group: a kernel cannot list /proc."""
        mounts = await guest.ask("proc 1/mounts", Deadline(patience=ANSWER_TIMEOUT))
        where = cgroup_mount(mounts.text) if mounts.ok else ""
        if not where:
            return
        listed = await guest.ask(
            f"proc 1/root{where}/cgroup.procs", Deadline(patience=ANSWER_TIMEOUT)
        )
        if listed.ok:
            pids = {int(word) for word in listed.text.split() if word.isdecimal()}
            self.facts = self.facts._replace(pids=tuple(sorted({1, 2} | pids)))


def _of_record(guest: str) -> Status | None:
    """What is known of a guest for which no server answers."""
    record = discover.find(guest) if "/" not in guest else None
    return None if record is None else unsupervised_status(record)


def short(event: dict[str, Any]) -> str:
    """An event in as many words as there is room for beside the guest's state."""
    from umlctl.output.views import printable, state_text

    try:
        when = time.strftime("%H:%M:%S", time.localtime(event["time"]))
    except (ValueError, OverflowError, OSError):
        when = ""
    said = event.get("text") or event.get("name") or ""
    words = f"{when} {state_text(str(event['event']))}{': ' if said else ''}{said}".strip()
    return printable(
        words if len(words) <= MAX_EVENT_CHARACTERS else words[: MAX_EVENT_CHARACTERS - 1] + "…"
    )


def cgroup_mount(mounts: str) -> str:
    """Where a guest has mounted the control groups of version 2; empty if nowhere."""
    for line in mounts.splitlines():
        fields = line.split()
        if len(fields) > 2 and fields[2] == "cgroup2" and fields[1].startswith("/"):
            return fields[1]
    return ""


def _programs() -> tuple[str, ...]:
    """Programs of this host that can be run by name."""
    found: set[str] = set()
    for directory in os.get_exec_path():
        with suppress(OSError), os.scandir(directory) as entries:
            found.update(entry.name for entry in entries)
    return tuple(sorted(found))


def _of_the_host() -> dict[str, Any]:
    """The guests of this host, and what it has that a guest can be plugged into."""
    found: dict[str, Any] = {}
    try:
        found["guests"] = dict.fromkeys(paths.guest_names(), "")
        names = {name for name in segments.names() if naming.PRIVATE_MARK not in name}
        names |= {each.name for each in definitions.load_all() if each.kind == definitions.SWITCH}
        found["networks"] = tuple(sorted(names))
        found["bridges"] = tuple(each.name for each in interfaces.bridges())
        found["taps"] = tuple(interfaces.tap_names())
    except (UmlctlError, paths.BadPlace):
        pass
    return found
