"""What every family of devices answers to, so that nobody else has to know which it is.

As it stands here it is the backend of a device that takes nothing of this host: each family says
what is otherwise with it. What touches the host may wait, and is called in a worker thread.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable

    from socketproto.exchange import Outcome
    from umlctl.guest.specs import Disk, Nic
    from umlctl.state.leases import Use
    from umlctl.state.records import Entry


MAX_FACT: Final = 64
"""The longest fact that a guest tells of a device, characters."""


class Owner(NamedTuple):
    """The guest that a device is for.

    Fields:
        umid: its name
        directory: of its records, where files are made that go with it
        log: of its console, which the output of hooks goes to
    """

    umid: str
    directory: str
    log: str


class Kernel(Protocol):
    """A guest's kernel, which tells what the guest has."""

    async def ask(self, text: str, /) -> Outcome: ...


async def has_sysfs(kernel: Kernel) -> bool:
    """The guest's init has a /sys mounted where it should be."""
    return " /sys sysfs " in (await kernel.ask("proc 1/mounts")).text


class Backend:
    """One family.

    Fields:
        family: how the names of its devices begin
        limit: so many devices a guest can have of it; 0: they are not numbered by us
        removable: its kernel can take one away while it runs
        spoils: a kernel that could not open one may panic of the next NIC
        needs_host: without its host's side it is not given to a guest again
    """

    limit = 0
    removable = True
    spoils = False
    needs_host = False

    def __init__(self, family: str) -> None:
        self.family = family

    def numbers(self) -> Iterable[int]:
        """The numbers of its devices in the order in which they are given."""
        return range(self.limit)

    # The host's side

    def check(self, device: str, pid: int) -> None:
        """See that what a device leads to is there: the kernel looks late, or says OK all the same.

        device: in the kernel's words
        pid: of the guest's kernel

        Raises: Refusal
        """

    def check_again(self, _entry: Entry) -> None:
        """The same before a device is given to a guest again.

        Raises: Refusal
        """

    def prepare(
        self,
        asked: Disk | Nic,
        number: int,
        owner: Owner,
        users: Iterable[Use],
        *,
        insist: bool = False,
    ) -> Entry:
        """Have the host's side of a device ready; the caller holds `inuse.lock`.

        users: the devices of all other guests, and the others of this one
        insist: take what is refused for its danger

        Raises: HostError, UsageError; nothing is left behind then
        """
        raise NotImplementedError

    def renew(self, entry: Entry, pid: int) -> None:
        """The guest has rebooted: have the host's side of a device ready again.

        pid: of its kernel, the same as before

        Raises: HostError
        """

    def note(self, _entry: Entry) -> str:
        """What has become of the host's side while a guest has the device; empty if it is as it
        was.
        """
        return ""

    def undo(self, _entry: Entry, _owner: Owner) -> str:
        """The device was not plugged after all: remove what was made for it; what failed."""
        return ""

    def release(self, _entry: Entry, _owner: Owner) -> str:
        """The device is no longer there: let go what was made for it; what failed."""
        return ""

    # The guest's side

    async def observe(self, entry: Entry, kernel: Kernel) -> dict[str, Any] | None:
        """What the guest has under the name of an entry; None if it has nothing.

        All of it is the guest's word: it may be missing, wrong or hostile.
        """
        answer = await kernel.ask(f"config {entry.name}")
        return {"config": answer.text.strip()} if answer.ok else None

    def stand_in(self, _name: str) -> str:
        """What the kernel has under a name until a device takes its place, in its words; or
        nothing.
        """
        return ""

    async def lets_go(self, _name: str, _kernel: Kernel) -> bool:
        """A device that is open will not be in a moment."""
        return False

    async def why_open(self, name: str, said: str, _kernel: Kernel) -> str:
        """Why a device cannot be removed, as far as can be known from outside.

        said: by the kernel
        """
        return f"{name}: {said}"

    def explain(self, said: str, error: int) -> str:
        """Why the kernel refuses a device, in words.

        said: by the kernel; it may say nothing, or the same of everything
        error: its number
        """
        if said:
            return said
        if error < 0:
            return os.strerror(-error)
        return "the kernel cannot, and does not say why; its log may"
