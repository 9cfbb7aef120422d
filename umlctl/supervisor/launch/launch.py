"""Starting a kernel: everything of the host that it needs, made and checked before.

No trio here: `umlctl run` launches before it has imported what supervises, so that the guest
boots meanwhile. The supervisor takes on a `Launched` guest whoever launched it.
"""

from __future__ import annotations

import contextlib
import functools
import os
import time
from typing import TYPE_CHECKING, Final, NamedTuple

from umlctl.definitions import host_file, kernel_command
from umlctl.errors import NeverStarted
from umlctl.guest import cmdline, confinement
from umlctl.guest import definition as definitions
from umlctl.host import cgroups, processes, processors, room, users
from umlctl.host.pidfile import Pidfile
from umlctl.host.place import keep as keep_place
from umlctl.host.starting import starting
from umlctl.protocol import console_socket
from umlctl.state import console_log, records
from umlctl.supervisor import passed_descriptors
from umlctl.supervisor.access import check_names
from umlctl.supervisor.launch import spawn
from umlctl.supervisor.launch.jail import Jail
from umlctl.supervisor.launch.launched import Launched
from umlctl.supervisor.launch.place import (
    make_files,
    make_place,
    notify_path,
    notify_socket,
    remove_place,
    write,
)
from umlctl.supervisor.launch.preflight import check_files, check_reach
from umlctl.supervisor.launch.spawn import Lent

if TYPE_CHECKING:
    from collections.abc import Sequence

    from umlctl.guest.bounds import Bounds
    from umlctl.guest.definition import Definition
    from umlctl.guest.specs import Disk, Nic
    from umlctl.kernels.find import ProbedKernel
    from umlctl.state.records import DeviceEntry
    from umlctl.state.umid_lock import Claim

NOTHING_LENT: Final = Lent()


class Given(NamedTuple):
    """What a kernel has of who starts it.

    Fields:
        numbers: descriptors
        lent: lines whose other ends the starter has
        enter: what has a command run in other namespaces
    """

    numbers: list[int]
    lent: Lent
    enter: Sequence[str] = ()


def launch(
    definition: Definition, claim: Claim, *, passes: bool = False, lent: Lent = NOTHING_LENT
) -> Launched:
    """Start the kernel of a guest whose umid has been claimed.

    passes: this process may have descriptors of its caller's for it
    lent: lines whose other ends this process has

    Raises: HostError, UsageError, NeverStarted; nothing is left behind but the claim.
    """
    given = Given(passed_descriptors.check(definition, passes=passes), lent)
    bounds = host_file.load()
    kernel = check_files(definition, overcommit=bool(bounds and bounds.overcommit))
    check_names(definition)
    room.check_means(definition.umid)
    log = f"{claim.records}/console.log"
    for name in console_socket.CONSOLES:
        console_log.begin(f"{claim.records}/{console_socket.log_name(name)}")
    write(log, b"")
    console_log.Index(log).add(console_log.LAUNCH, time.time(), 0)
    asked = definitions.devices(definition)
    known = os.path.exists(records.path_of(claim.umid))
    aside = records.set_aside(claim.umid) if known else ""
    if not asked and not known and not (bounds and bounds.refuse):
        launched = _launch(definition, kernel, claim, log, [], "", given)
        launched.passes = passes
        return launched
    launched = _launch_with_devices(definition, kernel, claim, log, asked, bounds, given)
    launched.lost, launched.passes = aside, passes
    return launched


def launch_again(last: Launched) -> Launched:
    """Start a guest that has ended once more, under the claim that it has.

    Raises: HostError, UsageError, NeverStarted
    """
    with starting(last.claim.umid):
        last.claim.clear()
    return launch(last.definition, last.claim, passes=last.passes)


def launch_for_reboot(last: Launched) -> Launched:
    """Start another kernel for a guest that has lost its own as it rebooted. It has the devices
    that it had, whose host's sides are as they were left, and what clients have open.

    Raises: HostError, UsageError, NeverStarted
    """
    from umlctl.backends import registry
    from umlctl.networks.namespaces import PORT
    from umlctl.state import leases
    from umlctl.supervisor.launch import entrance

    definition, claim, record = last.definition, last.claim, last.record
    kernel = check_files(definition, overcommit=True)  # it had its memory already
    cgroups.remove(record.cgroup)
    with starting(claim.umid):
        claim.clear(rebooting=True)
    numbers = passed_descriptors.check(definition, passes=last.passes)
    entries = [entry for entry in record.devices if entry.boot]
    is_inside = any(PORT in entry.made for entry in record.devices)
    asked = definitions.devices(definition) if is_inside else []
    log = f"{claim.records}/console.log"
    said = os.path.getsize(log) if os.path.exists(log) else 0
    with leases.lock(), contextlib.closing(entrance.find(definition, asked)) as way:
        given = Given(numbers, NOTHING_LENT, way.words)
        for_init = registry.for_init(entries)
        launched = _launch(definition, kernel, claim, log, entries, for_init, given, record)
    launched.passes, launched.said_before = last.passes, said
    launched.losses = last.losses_in_a_row() + 1
    return launched


def _launch_with_devices(
    definition: Definition,
    kernel: ProbedKernel,
    claim: Claim,
    log: str,
    asked: Sequence[Disk | Nic],
    bounds: Bounds | None,
    given: Given,
) -> Launched:
    """Have the host's sides of the devices ready, and start the kernel with them.

    Raises: HostError, UsageError, NeverStarted
    """
    # Imported for those who need it: a guest without devices starts the sooner.
    from umlctl.backends import registry
    from umlctl.backends.interface import Owner
    from umlctl.recovery import discover
    from umlctl.state import admission, leases, reverting
    from umlctl.supervisor.launch import entrance
    from umlctl.supervisor.launch.entrance import Entrance

    reverting.finish_interrupted()

    with leases.lock():
        owner = Owner(claim.umid, claim.records, log)
        last = records.load(claim.umid)
        if last is not None and last.ending is None:  # its supervisor was killed, and then it
            registry.release_all(last.devices, owner)
        others = discover.running(but=claim.umid)
        if bounds:
            admission.check(definition, room.place_of(definition, os.environ), bounds, others)

        def begin(way: Entrance) -> Launched:
            there = owner._replace(namespace=way.inode)
            entries = registry.prepare_all(asked, there, leases.devices_of(others))
            try:
                nics = registry.for_init(entries)
                entering = given._replace(enter=way.words)
                return _launch(definition, kernel, claim, log, entries, nics, entering)
            except BaseException:
                registry.undo_all(entries, there)
                raise

        with contextlib.closing(entrance.find(definition, asked)) as way:
            try:
                return begin(way)
            except NeverStarted as problem:
                if not way.failed(problem):
                    raise
                with starting(claim.umid):
                    claim.clear()
                return begin(Entrance())


def _launch(
    definition: Definition,
    kernel: ProbedKernel,
    claim: Claim,
    log: str,
    entries: list[DeviceEntry],
    for_init: str,
    given: Given,
    last: records.Record | None = None,
) -> Launched:
    """last: the record of the kernel whose place it takes, if of any"""
    directory, lent = claim.directory, given.lent
    shared = _shared(definition) if last is None else []
    if not lent.words and spawn.has_slots():
        lent = spawn.lines_of_commands(has_agent=cmdline.has_agent(definition))
    wrapped = os.geteuid() != 0 and not lent.descriptors
    command = kernel_command.of_guest(
        definition, kernel, directory, entries, for_init, lines=lent.words, wrapped=wrapped
    )
    user = users.find(definition.user) if definition.user else None
    if user:
        check_reach(user, definition, entries)
        make_place(user, definition)
    since = time.time()
    with starting(definition.umid), contextlib.ExitStack() as undo:
        undo.callback(remove_place, definition)
        pidfile = Pidfile.lock(definition.pidfile)
        undo.callback(pidfile.remove)
        memory = room.place_of(definition, os.environ)
        jail = Jail(definition, entries, command, memory, gate=lent.gate)
        notify = notify_socket(notify_path(definition, directory))
        undo.callback(notify.close)
        cgroup = _cgroup(definition)
        if not cgroup.scope:  # systemd removes its own
            undo.callback(cgroups.remove, cgroup.directory)
        make_files(definition, directory, user, lent.fifos.values())
        given = given._replace(lent=lent)
        shim, pid, unheld = _begin(definition, claim, log, pidfile, cgroup, jail, given)
        undo.callback(spawn.end, shim, pid)
        pidfile.write(pid)
        record = records.Record(
            definition=definition,
            supervisor_pid=os.getpid(),
            pid=pid,
            started=processes.start_time(pid) or 0,
            boot_id=records.host_boot_id(),
            since=since,
            devices=last.devices if last else [*entries, *shared],
            removed=last.removed if last else [],
            shim=shim,
            cgroup=cgroup.of(pid),
            confined=jail.mode,
            binds=jail.mounts,
        )
        records.save(record)
        undo.pop_all()
    return Launched(record, claim, notify, pidfile, command, unheld=unheld)


def _shared(definition: Definition) -> list[DeviceEntry]:
    """The directories that the guest is to have mounted once it has begun.

    Raises: HostError
    """
    if not definition.shares:
        return []
    from umlctl.backends import share  # a guest without starts the sooner

    return share.entries_of(definition.shares)


def _begin(
    definition: Definition,
    claim: Claim,
    log: str,
    pidfile: Pidfile,
    cgroup: cgroups.Cgroup,
    jail: Jail,
    given: Given,
) -> spawn.Begun:
    """Have the tiny parent begin the kernel.

    Raises: OSError, HostError, NeverStarted
    """
    user = users.find(definition.user) if definition.user else None
    chain = [
        *cgroup.scope,
        *given.enter,
        *([] if definition.aslr else ["setarch", os.uname().machine, "-R"]),
        *("sh", spawn.SHIM, claim.directory, log, definition.cwd),
        *(cgroup.directory, cgroup.limits),
    ]
    environment = users.environment(user) if user else dict(os.environ)
    environment["TMPDIR"] = room.place_of(definition, os.environ)
    with passed_descriptors.copied(given.numbers, spawn.first_free()) as passed:

        def begin(words: list[str], descriptors: list[int]) -> tuple[int, bytes]:
            return spawn.spawn(
                words,
                held=(claim.lock, keep_place(), pidfile.descriptor),
                log=log,
                environment=environment,
                lines=spawn.lines(claim.directory, claim.records, given.lent),
                passed=[*passed, *descriptors],
            )

        become = users.become(user) if user else []
        armed = functools.partial(jail.armed, passed_descriptors.placing(passed), become)
        start = functools.partial(spawn.start, chain, definition.kernel, log, armed, begin)
        share = processors.share(definition.cpus, definition.ncpus, definition.numa)
        mounts = jail.mode != confinement.OFF
        return processors.with_share(share, functools.partial(start, mounts=mounts))


def _cgroup(definition: Definition) -> cgroups.Cgroup:
    """Make the cgroup that a guest is to have, if any.

    Raises: HostError
    """
    if not (definition.memory_limit or definition.cpu_limit):
        return cgroups.Cgroup()
    limits = {"memory": definition.memory_limit, "cpu": definition.cpu_limit}
    return cgroups.make(definition.umid, **limits)
