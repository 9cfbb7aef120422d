"""Processors and NUMA nodes of this host, and running something on some of them.

A process inherits both from the thread that starts it, and keeps them when it is executed again, as
a kernel is that reboots.
"""

from __future__ import annotations

import os
from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple, TypeVar

from umlctl.errors import HostError
from umlctl.guest import pinning
from umlctl.host import own_thread

if TYPE_CHECKING:
    from collections.abc import Callable

_T = TypeVar("_T")

NODES: Final = "/sys/devices/system/node"
_SET_MEMPOLICY: Final = {"x86_64": 238, "aarch64": 237}
"""The number of set_mempolicy(2), by machine."""
_MPOL_BIND: Final = 2
_MAX_NODES: Final = 1024
"""MAX_NUMNODES of any kernel, at most."""
_MAX_CPUS: Final = 8192
"""NR_CPUS of any kernel, at most."""


class Share(NamedTuple):
    """What of this host a guest has.

    Fields:
        cpus: the processors that it runs on; None: any
        node: the NUMA node that its memory is of; None: any
    """

    cpus: frozenset[int] | None = None
    node: int | None = None


ALL: Final = Share()


def share(cpus: str, ncpus: int, node: int | None) -> Share:
    """What a guest is to have.

    cpus: in the words of `umlctl.guest.pinning`
    ncpus: of the guest
    node: of this host, to which its memory and its processors are bound

    Raises: HostError: this host has it not
    """
    if node is None and cpus in ("", pinning.ANY):
        return ALL
    can, where = allowed(), "this host"
    if node is not None:
        can &= _cpus_of(node)
        where = f"NUMA node {node}"
    found = pinning.chosen(cpus, ncpus, can, where)
    if found is None and node is not None and can:  # some have memory alone
        found = can
    return Share(found, node)


def allowed() -> frozenset[int]:
    """The processors that a process of this user can run on: those of its cpuset, whatever this
    process has been set to."""

    def widest() -> frozenset[int]:
        os.sched_setaffinity(0, range(_MAX_CPUS))
        return frozenset(os.sched_getaffinity(0))

    return own_thread.run(widest)


def _cpus_of(node: int) -> frozenset[int]:
    """The processors of a NUMA node that has memory.

    Raises: HostError
    """
    with_memory = _listed(f"{NODES}/has_memory")
    if not with_memory:
        raise HostError(f"--numa {node}: this host has no NUMA nodes; leave it out")
    if node not in with_memory:
        raise HostError(
            f"--numa {node}: this host has no such NUMA node with memory; there is "
            f"{pinning.listed(with_memory)}"
        )
    return _listed(f"{NODES}/node{node}/cpulist")


def _listed(path: str) -> frozenset[int]:
    """The numbers in a file; none if it is not there."""
    try:
        with open(path) as file:
            return pinning.numbers(file.read().strip())
    except (OSError, ValueError):
        return frozenset()


def with_share(share: Share, start: Callable[[], _T]) -> _T:
    """Call `start` so that what it starts has its share of this host.

    Raises: what `start` raises; HostError, OSError
    """
    return start() if share == ALL else own_thread.run(partial(_start, share, start))


def _start(share: Share, start: Callable[[], _T]) -> _T:
    if share.cpus is not None:
        os.sched_setaffinity(0, share.cpus)
    if share.node is not None:
        _bind_memory(share.node)
    return start()


def _bind_memory(node: int) -> None:
    """Have this thread, and what it starts, have memory of one node alone.

    Raises: HostError
    """
    import ctypes  # most guests have any memory

    number = _SET_MEMPOLICY.get(os.uname().machine)
    if number is None:
        raise HostError(f"--numa {node}: it is not known how on a {os.uname().machine}")
    mask = (1 << node).to_bytes(_MAX_NODES // 8, "little")
    libc = ctypes.CDLL(None, use_errno=True)
    # The kernel reads one bit less than it is told.
    if libc.syscall(number, _MPOL_BIND, mask, ctypes.c_ulong(_MAX_NODES + 1)):
        why = os.strerror(ctypes.get_errno())
        raise HostError(f"--numa {node}: its memory cannot be had here, as by a cpuset: {why}")
