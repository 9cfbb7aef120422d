"""The interface of all families of devices, so that no other module has to know the family.

`Backend` itself is the backend of a device that takes nothing of this host. Each family overrides
what is otherwise with it. Methods that touch the host may wait, and are called in a worker thread.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable

    from socketproto.exchange import Outcome
    from umlctl.guest.specs import Disk, Nic
    from umlctl.state.leases import Use
    from umlctl.state.records import DeviceEntry


MAX_FACT_CHARACTERS: Final = 64
"""The longest fact that a guest tells of a device, characters."""


class Owner(NamedTuple):
    """The guest that a device is for.

    Fields:
        umid: its name
        directory: of its records, where files are made that go with it
        log: of its console, which the output of hooks goes to
        namespace: which network namespace its kernel is in, or will be; 0: this host's
    """

    umid: str
    directory: str
    log: str
    namespace: int = 0


class GuestKernel(Protocol):
    """A guest's kernel, which tells what the guest has."""

    async def ask(self, text: str, /) -> Outcome: ...


async def has_sysfs(kernel: GuestKernel) -> bool:
    """Whether the guest's init has a /sys mounted where it should be."""
    return " /sys sysfs " in (await kernel.ask("proc 1/mounts")).text


class Backend:
    """One family of devices.

    Fields:
        family: how the names of its devices begin
        limit: how many devices of it a guest can have; 0: umlctl does not number them
        removable: its kernel can remove one while it runs
        spoils: a kernel that could not open one may panic of the next NIC
        needs_host: a device without its host's side is not given to a guest again
    """

    limit = 0
    removable = True
    spoils = False
    needs_host = False

    def __init__(self, family: str) -> None:
        self.family = family

    def numbers(self) -> Iterable[int]:
        """The numbers of the family's devices, in the order in which they are given."""
        return range(self.limit)

    # The host's side

    def check(self, device: str, pid: int) -> None:
        """See that what a device leads to is there: the kernel looks late, or says OK all the same.

        device: in the kernel's words
        pid: of the guest's kernel

        Raises: Refusal
        """

    def check_again(self, _entry: DeviceEntry) -> None:
        """See the same before a device is given to a guest again.

        Raises: Refusal
        """

    def plan(self, asked: Disk | Nic, number: int, owner: Owner) -> DeviceEntry:
        """The entry of a device as its kernel would be told of it; this host is not looked at.

        Raises: UsageError, HostError
        """
        raise NotImplementedError

    def prepare(
        self,
        asked: Disk | Nic,
        number: int,
        owner: Owner,
        users: Iterable[Use],
        *,
        insist: bool = False,
    ) -> DeviceEntry:
        """Have the host's side of a device ready; the caller holds `leases.lock`.

        users: the devices of all other guests, and the others of this one
        insist: take what is refused for its danger

        Raises: HostError, UsageError; nothing is left behind then
        """
        raise NotImplementedError

    def renew(self, entry: DeviceEntry, pid: int) -> None:
        """Have the host's side of a device ready again, for a guest that has rebooted.

        pid: of its kernel, the same as before

        Raises: HostError
        """

    def note(self, _entry: DeviceEntry) -> str:
        """What has become of the host's side while a guest has the device; empty if it is as it
        was.
        """
        return ""

    def undo(self, _entry: DeviceEntry, _owner: Owner) -> str:
        """Remove what was made for a device that was not plugged after all; return what failed."""
        return ""

    def release(self, _entry: DeviceEntry, _owner: Owner) -> str:
        """Release what was made for a device that is no longer there; return what failed."""
        return ""

    # The guest's side

    async def observe(self, entry: DeviceEntry, kernel: GuestKernel) -> dict[str, Any] | None:
        """What the guest has under the name of an entry; None if it has nothing.

        All of it is the guest's word: it may be missing, wrong or hostile.
        """
        answer = await kernel.ask(f"config {entry.name}")
        return {"config": answer.text.strip()} if answer.ok else None

    def stand_in(self, _name: str) -> str:
        """What the kernel has under a name until a device takes its place, in the kernel's words;
        empty if nothing.
        """
        return ""

    async def lets_go(self, _name: str, _kernel: GuestKernel) -> bool:
        """Whether a device that is open will be closed in a moment."""
        return False

    async def why_open(self, name: str, said: str, _kernel: GuestKernel) -> str:
        """Why a device cannot be removed, as far as can be known from outside.

        said: what the kernel said
        """
        return f"{name}: {said}"

    def explain(self, said: str, error: int) -> str:
        """Why the kernel refuses a device, in words.

        said: what the kernel said; it may say nothing, or the same of everything
        error: the error's number
        """
        if said:
            return said
        if error < 0:
            return os.strerror(-error)
        return "the kernel cannot, and does not say why; its log may"
