"""Which client may ask what, by the credentials that the host's kernel attaches to each datagram.

The owner of the supervisor and root may do everything. Users and groups that a guest's definition
names may read, or control. Nobody else may do anything, whatever the modes of sockets and
directories let by.
"""

from __future__ import annotations

import errno
import os
import time
from typing import TYPE_CHECKING, Final

from umlctl.errors import HostError, Refusal
from umlctl.guest.grants import CONTROL, READ, parse_grant
from umlctl.host import brand
from umlctl.protocol.guard import is_query

if TYPE_CHECKING:
    from collections.abc import Callable

    from umlctl.guest.definition import Definition
    from umlctl.protocol.guard import CommandLine

READABLE: Final = frozenset(
    {
        *("buddyinfo", "cgroups", "cmdline", "consoles", "cpuinfo", "crypto", "devices"),
        *("diskstats", "filesystems", "interrupts", "loadavg", "locks", "meminfo", "misc"),
        *("modules", "mounts", "partitions", "pressure/cpu", "pressure/io", "pressure/memory"),
        *("softirqs", "stat", "swaps", "uptime", "version", "vmstat", "zoneinfo"),
        *("sys/fs/dentry-state", "sys/fs/file-nr", "sys/fs/inode-nr"),
        *("sys/kernel/ctrl-alt-del", "sys/kernel/domainname", "sys/kernel/hostname"),
        *("sys/kernel/osrelease", "sys/kernel/ostype", "sys/kernel/pid_max"),
        *("sys/kernel/random/boot_id", "sys/kernel/random/entropy_avail", "sys/kernel/tainted"),
        *("sys/kernel/threads-max", "sys/kernel/version", "tty/drivers"),
    }
)
"""Files of /proc that tell of the guest as a whole; they are short, and none leads elsewhere."""
READABLE_OF_A_PROCESS: Final = frozenset(
    {
        *("cgroup", "comm", "limits", "loginuid", "mountinfo", "mounts", "mountstats"),
        *("oom_score", "stat", "statm", "status", "wchan"),
    }
)
"""The same of one process: neither its files (root, cwd, fd) nor its memory, words or secrets."""

MEMBERS_KEPT_SECONDS: Final = 60.0
"""How long the supervisor remembers which groups a user is in, seconds."""


class Access:
    """What each user may do with one guest.

    `level` is quick wherever it can be. Where the definition names groups, it asks the host's
    database of users, which may lie behind a network.
    """

    def __init__(self, users: dict[int, str], groups: dict[int, str]) -> None:
        """users, groups: READ or CONTROL, by number; the owner and root need not be among them."""
        self._users = {**users, 0: CONTROL, os.geteuid(): CONTROL}
        self._groups = groups
        self._members: dict[int, tuple[float, frozenset[int]]] = {}

    def known(self, uid: int, gid: int) -> str | None:
        """READ, CONTROL or nothing (""), as far as it is known without the database; else None.

        uid, gid: of the sender, by the host's kernel; -1 if the kernel did not say
        """
        level = self._users.get(uid, "")
        if uid < 0 or not self._groups or level == CONTROL:
            return level
        levels = {level, self._groups.get(gid, "")}
        if CONTROL in levels:
            return CONTROL
        moment, members = self._members.get(uid, (0.0, frozenset()))
        if not moment or time.monotonic() > moment + MEMBERS_KEPT_SECONDS:
            return None
        levels |= {self._groups.get(group, "") for group in members}
        return CONTROL if CONTROL in levels else READ if READ in levels else ""

    def level(self, uid: int, gid: int) -> str:
        """READ, CONTROL or nothing (""); this may wait for the host's database of users."""
        level = self.known(uid, gid)
        while level is None:
            self._members[uid] = (time.monotonic(), groups_of(uid))
            level = self.known(uid, gid)
        return level


def groups_of(uid: int) -> frozenset[int]:
    """The groups of a user by the host's database.

    Not what /proc says of the sender: the sender may have ended, and its pid be another's.
    """
    import pwd

    try:
        user = pwd.getpwuid(uid)
        return frozenset(os.getgrouplist(user.pw_name, user.pw_gid))
    except (KeyError, OSError):
        return frozenset()


def of_guest(definition: Definition) -> Access:
    """The access that a definition gives; a name that the host no longer knows gives none."""
    users: dict[int, str] = {}
    groups: dict[int, str] = {}
    for texts, found, number_of in (
        (definition.allow_users, users, user_number),
        (definition.allow_groups, groups, group_number),
    ):
        for grant in map(parse_grant, texts):
            number = number_of(grant.name)
            if number is not None and found.get(number) != CONTROL:
                found[number] = grant.level
    return Access(users, groups)


def check_names(definition: Definition) -> None:
    """See that the users and groups of a definition are there.

    Raises: HostError
    """
    checks: tuple[tuple[tuple[str, ...], str, Callable[[str], int | None]], ...] = (
        (definition.allow_users, "user", user_number),
        (definition.allow_groups, "group", group_number),
    )
    for texts, what, number_of in checks:
        for grant in map(parse_grant, texts):
            if number_of(grant.name) is None:
                raise HostError(f"{definition.umid}: this host has no {what} {grant.name}")


def user_number(name: str) -> int | None:
    """The uid of a name or number; None if there is none."""
    import pwd

    if name.isascii() and name.isdigit():
        return _number(name)
    try:
        return pwd.getpwnam(name).pw_uid
    except KeyError:
        return None


def group_number(name: str) -> int | None:
    import grp

    if name.isascii() and name.isdigit():
        return _number(name)
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        return None


def _number(digits: str) -> int | None:
    number = int(digits[:12])
    return number if number < 2**32 - 1 else None


def check_is_free(pid: int) -> None:
    """See that who asks is no confined guest, whose kernel runs as a user who may.

    Raises: Refusal
    """
    if brand.is_on(pid):
        raise _denied(f"process {pid} is a confined guest's, or has ended")


def check(line: CommandLine | None, level: str, uid: int) -> None:
    """See whether a level suffices for a line.

    line: None: it cannot be read, which is no secret to clients that may use the guest

    Raises: Refusal
    """
    if level == CONTROL:
        return
    if level != READ:
        raise _denied(f"uid {uid} may not use this guest; its owner can allow it, see --allow-user")
    if line is None:
        return
    name = line.command.name
    if not (is_query(line) or line.command.reads):
        raise _denied(f"uid {uid} may only read, and `{name}` does more")
    if line.forced:
        raise _denied(f"uid {uid} may only read, and cannot insist on what is refused")
    if name == "proc" and not readable(line.argument):
        raise _denied(
            f"uid {uid} may only read, and of /proc only what is listed in umlctl(1), "
            f"not {line.argument[:80]!r}"
        )


def readable(path: str) -> bool:
    """Whether a file of /proc is also for clients that may only read."""
    path = path.removeprefix("/")
    if path in READABLE:
        return True
    process, _, name = path.partition("/")
    number = process.isascii() and process.isdigit()
    return (number or process in ("self", "thread-self")) and name in READABLE_OF_A_PROCESS


def _denied(why: str) -> Refusal:
    return Refusal(f"permission denied: {why}", -errno.EPERM)
