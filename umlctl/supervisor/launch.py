"""Starting a kernel: everything of the host that it needs, made and checked before.

No trio here: `umlctl run` launches before it has imported what supervises, so that the guest
boots meanwhile. The supervisor takes on a `Launched` guest whoever launched it.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import os
import select
import signal
import socket
import stat
import time
from typing import TYPE_CHECKING, Final, NamedTuple

from umlctl.errors import GuestInUse, HostError, NeverStarted
from umlctl.guest import cmdline
from umlctl.guest import definition as definitions
from umlctl.guest.definition import (
    Definition,
    given_to_kernel,
    root_directory,
    root_is_host,
    root_is_image,
)
from umlctl.host import (
    attaching,
    cgroups,
    confine,
    consolelog,
    kernels,
    paths,
    processes,
    records,
    room,
    sharing,
    users,
)
from umlctl.host.claim import kernel_socket, take_over
from umlctl.host.files import stands_at
from umlctl.host.place import keep as keep_place
from umlctl.supervisor import passing
from umlctl.supervisor.access import check_names

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from umlctl.host.claim import Claim
    from umlctl.host.kernels import Kernel
    from umlctl.host.records import Entry, Record
    from umlctl.host.users import User

SHIM: Final = os.path.join(os.path.dirname(__file__), "shim.sh")
INIT: Final = os.path.join(os.path.dirname(os.path.dirname(__file__)), "guest", "init.sh")
_PASSED: Final = (9, 8, 7)
"""In the tiny parent: the guest's lock, the run directory's, and the pidfile's."""
_ABOVE: Final = attaching.FIRST_DESCRIPTOR + 2 * len(attaching.CONSOLES)
"""Descriptors of ours with this number or more are none that a kernel or its parent is to have."""
BEGINS: Final = 30
"""The longest that a kernel may take to be begun, systemd asked for its scope, seconds."""
Opening = tuple[int, int, str, int, int]
"""A file that a new process has open: POSIX_SPAWN_OPEN, descriptor, path, flags, mode."""


class Launched(NamedTuple):
    """A kernel that has been started.

    Fields:
        definition: what was asked for
        claim: the umid, made ours
        notify: the bound notify socket
        shim: pid of the tiny parent, our child
        pid: pid of the kernel's main process, which leads its process group
        started: the main process's start time, clock ticks since the host's boot
        command: kernel and arguments
        pidfile: descriptor of the locked pidfile; -1 if none was asked for
        record: what is on disk of it
        adopted: it ran already, and its supervisor was gone; `shim` is no child of ours then
        lost: what became of its record, if that could not be read; else empty
        passes: this process may have descriptors of its caller's for it
    """

    definition: Definition
    claim: Claim
    notify: socket.socket
    shim: int
    pid: int
    started: int
    command: list[str]
    pidfile: int
    record: Record
    adopted: bool = False
    lost: str = ""
    passes: bool = False


def launch(definition: Definition, claim: Claim, *, passes: bool = False) -> Launched:
    """Start the kernel of a guest whose umid has been claimed.

    passes: this process may have descriptors of its caller's for it

    Raises: HostError, UsageError, NeverStarted; nothing is left behind but the claim.
    """
    numbers = passing.check(definition, passes=passes)
    kernel = check_files(definition)
    check_names(definition)
    room.check_means(definition.umid)
    log = f"{claim.records}/console.log"
    for name in attaching.CONSOLES:
        consolelog.begin(f"{claim.records}/{attaching.log_name(name)}")
    _write(log, b"")
    consolelog.Index(log).add(consolelog.LAUNCH, time.time(), 0)
    asked = definitions.devices(definition)
    known = os.path.exists(records.path_of(claim.umid))
    aside = records.set_aside(claim.umid) if known else ""
    if not asked and not known:
        launched = _launch(definition, kernel, claim, log, [], "", numbers)
        return launched._replace(passes=passes)
    # Imported for those who need it: a guest without devices starts the sooner.
    from umlctl.backends import registry
    from umlctl.backends.interface import Owner
    from umlctl.host import inuse
    from umlctl.recovery import discover

    owner = Owner(claim.umid, claim.records, log)

    with inuse.lock():
        last = records.load(claim.umid)
        if last is not None and last.ending is None:  # its supervisor was killed, and then it
            registry.release_all(last.devices, owner)
        users = inuse.devices_of(discover.running(but=claim.umid))
        entries = registry.prepare_all(asked, owner, users)
        try:
            nics = registry.for_init(entries)
            launched = _launch(definition, kernel, claim, log, entries, nics, numbers)
        except BaseException:
            registry.undo_all(entries, owner)
            raise
    return launched._replace(lost=aside, passes=passes)


def _launch(
    definition: Definition,
    kernel: Kernel,
    claim: Claim,
    log: str,
    entries: list[Entry],
    for_init: str,
    numbers: list[int],
) -> Launched:
    directory = claim.directory
    user = users.find(definition.user) if definition.user else None
    place = own_place(definition, directory)
    notify_path = f"{place}/notify"
    init = f"{place}/init"
    line = cmdline.build(
        definition,
        uml_dir=os.path.dirname(os.path.dirname(kernel_socket(definition))),
        notify=notify_path,
        init=init,
        devices=[entry.kernel for entry in entries],
        nics=for_init,
        wrapped=os.geteuid() != 0,
        traits=cmdline.Traits(
            kernel.release,
            seccomp="seccomp" in kernel.capabilities,
            modules=_modules(definition.kernel),
        ),
    )
    command = [definition.kernel, *line]
    if user:
        _make_place(user, definition, entries)
    since = time.time()
    pidfile, notify = -1, None
    shim = pid = started = 0
    cgroup = cgroups.Cgroup()
    try:
        pidfile = _lock_pidfile(definition)
        notify = _notify_socket(notify_path)
        cgroup = _cgroup(definition)
        _make_files(definition, directory, place, user)
        chain = [
            *cgroup.scope,
            *([] if definition.aslr else ["setarch", os.uname().machine, "-R"]),
            *(["taskset", "-c", definition.cpus] if definition.cpus else []),
            *("sh", SHIM, directory, log, definition.cwd, cgroup.directory, cgroup.limits),
        ]
        environment = users.environment(user) if user else dict(os.environ)
        environment["TMPDIR"] = room.place_of(definition, os.environ)
        lines = _lines(directory, claim.records)
        become = users.become(user) if user else []
        with passing.copied(numbers, _ABOVE) as passed:
            spawn = functools.partial(
                _spawn,
                held=(claim.lock, keep_place(), pidfile),
                log=log,
                environment=environment,
                lines=lines,
                passed=passed,
            )
            words = [*passing.placing(passed), *become, *command]
            shim, pid = _start(chain, words, definition.kernel, log, spawn)
        started = processes.start_time(pid) or 0
        if pidfile >= 0:
            os.ftruncate(pidfile, 0)
            os.pwrite(pidfile, f"{pid}\n".encode(), 0)
        record = records.Record(
            definition=definition,
            supervisor_pid=os.getpid(),
            pid=pid,
            started=started,
            boot_id=records.host_boot_id(),
            since=since,
            devices=entries,
            shim=shim,
            cgroup=cgroup.of(pid),
        )
        records.save(record)
    except BaseException as problem:
        if pid:
            with contextlib.suppress(OSError):  # whether it leads a group yet cannot be seen
                processes.kill_guest(pid, started, [])
            _kill_parent(shim)
        if not cgroup.scope:
            cgroups.remove(cgroup.directory)
        if notify is not None:
            notify.close()
        remove_pidfile(definition, pidfile)
        remove_place(definition)
        if isinstance(problem, OSError):
            raise HostError(f"{definition.umid}: {problem}") from problem
        raise
    return Launched(definition, claim, notify, shim, pid, started, command, pidfile, record)


def _modules(kernel: str) -> str:
    """Where the modules of a kernel are that came in a package; empty: nowhere."""
    prefix = os.path.dirname(os.path.dirname(os.path.realpath(kernel)))
    path = f"{prefix}/lib/uml/modules"
    return path if os.path.isdir(path) else ""


def launch_again(last: Launched) -> Launched:
    """Start a guest that has ended once more, under the claim that it has.

    Raises: HostError, UsageError, NeverStarted
    """
    try:
        last.claim.clear()
    except OSError as problem:
        raise HostError(f"{last.definition.umid}: {problem}") from problem
    return launch(last.definition, last.claim, passes=last.passes)


def leave(launched: Launched) -> None:
    """Let a guest go that lives, for another supervisor to adopt."""
    launched.notify.close()
    if launched.pidfile >= 0:
        os.close(launched.pidfile)
    launched.claim.leave()


def own_place(definition: Definition, directory: str) -> str:
    """Where a guest's kernel finds what it needs: the guest's directory, unless it could not."""
    return paths.open_dir(definition.umid) if definition.user else directory


def _make_place(user: User, definition: Definition, entries: list[Entry]) -> None:
    """Make the place of a kernel that runs as another user, and see that it can do so.

    Raises: HostError
    """
    path = kernel_socket(definition)
    if len(os.fsencode(path)) > paths.SUN_PATH:
        raise HostError(
            f"{definition.umid}: the path of its socket would be too long: {path}; "
            "take a shorter umid"
        )
    _check_reach(user, definition, entries)
    place = os.path.dirname(sharing.make(definition.umid, "notify"))
    own = os.path.dirname(os.path.dirname(path))
    try:
        users.remove([own, f"{place}/notify", f"{place}/init"])
        os.mkdir(own, 0o700)
        users.give(user, [own])
    except OSError as problem:
        raise HostError(
            f"{definition.umid}: cannot make its kernel a place: {problem}"
        ) from problem


def remove_place(definition: Definition) -> None:
    """Remove the place of a kernel that ran as another user; its shared socket may stay there.

    Raises: HostError
    """
    if definition.user:
        place = paths.open_dir(definition.umid)
        users.remove(f"{place}/{name}" for name in ("k", "notify", "init"))
        with contextlib.suppress(OSError):
            os.rmdir(place)


def _make_files(definition: Definition, directory: str, place: str, user: User | None) -> None:
    """Make what the kernel opens, beside the notify socket.

    Raises: OSError
    """
    for name in (*attaching.CONSOLES, "agent"):
        os.mkfifo(f"{directory}/{name}.in", 0o600)
    if root_is_host(definition):
        _make_init(place, user)
    if user:
        users.give(user, [f"{place}/notify"])


def _make_init(place: str, user: User | None) -> None:
    """Raises: OSError"""
    with open(INIT, "rb") as file:
        _write(f"{place}/init", file.read(), 0o700)
    if user:
        users.give(user, [f"{place}/init"])


def make_again(launched: Launched) -> None:
    """Make what a reboot needs and somebody has removed, such as who cleans up /tmp: our init
    program, and the directory of the kernel's own."""
    definition = launched.definition
    place = own_place(definition, launched.claim.directory)
    own = os.path.dirname(os.path.dirname(kernel_socket(definition)))
    with contextlib.suppress(OSError, HostError):  # the kernel will say what it lacks
        user = users.find(definition.user) if definition.user else None
        if not os.path.isdir(own):
            os.makedirs(own, 0o700)
            if user:
                users.give(user, [own])
        if root_is_host(definition) and not os.path.exists(f"{place}/init"):
            os.makedirs(place, 0o700, exist_ok=True)
            _make_init(place, user)


def is_deaf(launched: Launched) -> bool:
    """The kernel's notifications find no socket: somebody has removed its name."""
    return not os.path.exists(_notify_path(launched))


def listen_again(launched: Launched) -> socket.socket:
    """Where they arrive from now on.

    Raises: OSError, HostError
    """
    definition = launched.definition
    if definition.user:
        sharing.make_place(definition.umid)
    notify = _notify_socket(_notify_path(launched))
    if definition.user:
        users.give(users.find(definition.user), [_notify_path(launched)])
    return notify


def _notify_path(launched: Launched) -> str:
    return f"{own_place(launched.definition, launched.claim.directory)}/notify"


def check_reboot(launched: Launched) -> None:
    """See that a kernel will find again what it opens anew when it reboots.

    Raises: HostError
    """
    definition = launched.definition
    kernels.probe(definition.kernel, definition.user)
    directory = room.place_of(definition, processes.environment(launched.pid))
    _check_reopened(definition, directory, processes.memory_used(launched.pid) or 0)
    for entry in launched.record.devices:
        if entry.boot:  # what was plugged later is given again
            from umlctl.backends import registry  # a guest without devices starts the sooner

            backend = registry.of(entry.name)
            if backend.needs_host:
                backend.renew(entry, launched.pid)
    make_again(launched)


def _cgroup(definition: Definition) -> cgroups.Cgroup:
    """Make the cgroup that a guest is to have, if any.

    Raises: HostError
    """
    if not (definition.memory_limit or definition.cpu_limit):
        return cgroups.Cgroup()
    limits = {"memory": definition.memory_limit, "cpu": definition.cpu_limit}
    return cgroups.make(definition.umid, **limits)


def _check_reach(user: User, definition: Definition, entries: list[Entry]) -> None:
    """See that the user can open what its kernel will.

    Raises: HostError
    """
    files = [("x", definition.kernel), ("r", definition.kernel)]
    directory = "/" if root_is_host(definition) else root_directory(definition)
    if directory:
        files.append(("x", directory))
    memory = room.place_of(definition, os.environ)
    files += [("x", memory), ("w", memory)]
    mine = {path for entry in entries for path in entry.made.values()}
    for entry in entries:
        users.give(user, entry.made.values())
        for hold in entry.holds:
            files += [("r", hold.path), *([("w", hold.path)] if hold.write else [])]
            if hold.path in mine:
                files.append(("x", os.path.dirname(hold.path)))
    users.check_reach(user, files)


def adopt(record: Record) -> Launched:
    """Take over a guest that runs on though its supervisor is gone.

    record: what is on disk of it, or what is known without

    Raises: GuestInUse: it has one, or is no more; HostError
    """
    from umlctl.recovery.discover import shim_of  # who launches does not need it

    definition = record.definition
    held = take_over(definition.umid, definition.home, runs=True)
    notify = None
    pidfile = -1
    try:
        if record.ending is not None or not processes.alive(record.pid, record.started):
            raise GuestInUse(f"{definition.umid} does not run any more")
        path = f"{own_place(definition, held.directory)}/notify"
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        notify = _notify_socket(path)
        if definition.user:
            users.give(users.find(definition.user), [path])
        with open(f"/proc/{record.pid}/cmdline", "rb") as file:
            command = os.fsdecode(file.read()).rstrip("\0").split("\0")
        pidfile = _lock_pidfile(definition, record.pid)
        aside = records.set_aside(definition.umid)
        if not aside and not os.path.exists(records.path_of(definition.umid)):
            aside = f"there is no record of {definition.umid}"
        os.makedirs(held.records, 0o700, exist_ok=True)
        record.supervisor_pid = os.getpid()
        record.shim = shim_of(record.pid)
        records.save(record)
    except BaseException as problem:
        if notify is not None:
            notify.close()
        if pidfile >= 0:
            os.close(pidfile)
        held.leave()
        if isinstance(problem, OSError):
            raise HostError(f"{definition.umid}: cannot be taken over: {problem}") from problem
        raise
    return Launched(
        definition,
        held,
        notify,
        record.shim,
        record.pid,
        record.started,
        command,
        pidfile,
        record,
        adopted=True,
        lost=aside,
    )


def _notify_socket(path: str) -> socket.socket:
    """Where a kernel's notifications arrive.

    Raises: OSError
    """
    notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    try:
        notify.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        notify.bind(path)
    except BaseException:
        notify.close()
        raise
    return notify


def _lock_pidfile(definition: Definition, running: int = 0) -> int:
    """Open the pidfile and lock it, if one is wanted; only a lock says that it is in use.

    running: the kernel's pid if it runs already: its tiny parent has the lock then

    Raises: HostError
    """
    path = definition.pidfile
    while path:
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK, 0o644)
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                os.close(descriptor)
                raise HostError(f"cannot write the pidfile {path}: it is no regular file")
        except OSError as problem:
            raise HostError(f"cannot write the pidfile {path}: {problem.strerror}") from problem
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip()
            if running and owner == str(running):
                return descriptor
            os.close(descriptor)
            raise HostError(
                f"the pidfile {path} is locked by a running guest, pid {owner}"
            ) from None
        if stands_at(descriptor, path):
            return descriptor
        os.close(descriptor)  # its holder removed the file while we waited for it
    return -1


def remove_pidfile(definition: Definition, descriptor: int) -> None:
    """Remove a pidfile of ours and let it go; one that somebody has put in its place is kept.

    Raises: OSError: it could not be removed, and is let go all the same
    """
    if descriptor >= 0:
        try:
            if stands_at(descriptor, definition.pidfile):
                os.unlink(definition.pidfile)
        finally:
            os.close(descriptor)


def check_files(definition: Definition) -> Kernel:
    """See that the files of a definition are there, before a kernel is started on them.

    Returns: what the kernel says of itself

    Raises: HostError
    """
    kernel = kernels.probe(definition.kernel, definition.user)
    if not os.path.isdir(definition.cwd):
        raise HostError(f"{definition.umid}: there is no directory {definition.cwd}")
    _check_reopened(definition, room.place_of(definition, os.environ))
    if root_is_image(definition) and not given_to_kernel(definition).keys() & {"root", "initrd"}:
        from umlctl.backends import disk  # a guest without devices starts the sooner

        disk.check_root(definitions.root_disk(definition).file)
    return kernel


def _check_reopened(definition: Definition, directory: str, memory: int = 0) -> None:
    """See that the directories are there that a kernel opens whenever it begins.

    directory: of its memory
    memory: bytes of it that the guest has already, and gives back before

    Raises: HostError
    """
    room.check_memory(directory, definition.mem, memory)
    root = root_directory(definition)
    if root and not os.path.isdir(root):
        raise HostError(f"{definition.umid}: there is no directory {root}")
    program = definition.init or given_to_kernel(definition).get("init", "")
    if program and (root or root_is_host(definition)):
        from umlctl.host.programs import check_init

        check_init(program, root or "/")


def _write(path: str, data: bytes, mode: int = 0o600) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
    try:
        os.write(descriptor, data)
    finally:
        os.close(descriptor)


def _lines(directory: str, records: str) -> list[Opening]:
    """The descriptors that the kernel has from the start, for lines that are plugged later."""
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
    agent = f"{directory}/agent.in"
    console = f"{records}/{attaching.log_name('con0')}"
    # FIFOs are opened to be written, too, so that nobody sees an end of them.
    lines: list[Opening] = [
        (os.POSIX_SPAWN_OPEN, cmdline.CONSOLE_IN, f"{directory}/con0.in", os.O_RDWR, 0),
        (os.POSIX_SPAWN_OPEN, cmdline.CONSOLE_OUT, console, flags, 0o600),
        (os.POSIX_SPAWN_OPEN, cmdline.AGENT_DESCRIPTOR, agent, os.O_RDWR, 0),
    ]
    for number, name in enumerate(attaching.CONSOLES[1:]):
        first = attaching.FIRST_DESCRIPTOR + 2 * number
        log = f"{records}/{attaching.log_name(name)}"
        lines += [
            (os.POSIX_SPAWN_OPEN, first, f"{directory}/{name}.in", os.O_RDWR, 0),
            (os.POSIX_SPAWN_OPEN, first + 1, log, flags, 0o600),
        ]
    return lines


def _start(
    chain: list[str],
    command: list[str],
    kernel: str,
    log: str,
    spawn: Callable[[list[str]], tuple[int, bytes]],
) -> tuple[int, int]:
    """Start the tiny parent in the best scope that this host allows; its pid and the kernel's.

    Raises: HostError, NeverStarted
    """
    told = ""
    for scope in confine.scopes(kernel):
        start = functools.partial(spawn, [*chain, scope, *command])
        if scope == "group" and confine.has_capabilities(kernel):
            shim, said = start()
        else:
            # The thread that is made for it ends before the supervisor goes on.
            shim, said = confine.confined(start, abort=scope == "group")
        if said.strip().isdigit():
            return shim, int(said)
        os.waitpid(shim, 0)
        with open(log, "r+b") as file:
            told = file.read(2000).decode("utf-8", "replace").strip()
            file.truncate(0)  # the next scope begins with an empty log
    raise NeverStarted(f"{chain[0]} could not start the kernel: {told or 'it said nothing'}")


def _spawn(
    words: list[str],
    held: tuple[int, ...],
    log: str,
    environment: dict[str, str],
    lines: list[Opening],
    passed: Iterable[int],
) -> tuple[int, bytes]:
    """Start the tiny parent; its pid, and what it says: the kernel's pid.

    passed: copies of descriptors that are the kernel's

    Raises: HostError, NeverStarted
    """
    reader, writer = os.pipe()
    copies: dict[int, int] = {}
    try:
        for descriptor, number in zip(held, _PASSED, strict=True):
            if descriptor >= 0:
                copies[fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, _ABOVE)] = number
        actions = [
            (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
            (os.POSIX_SPAWN_DUP2, writer, 1),
            (os.POSIX_SPAWN_OPEN, 2, log, os.O_WRONLY | os.O_APPEND, 0),
            *((os.POSIX_SPAWN_DUP2, copy, number) for copy, number in copies.items()),
            *((os.POSIX_SPAWN_DUP2, copy, copy) for copy in passed),
            *lines,  # last: their numbers may be those of our own descriptors
        ]
        try:
            processes.keep_descriptors()
            # The signals that its starter holds back are not held back from a kernel.
            shim = os.posix_spawnp(
                words[0], words, environment, file_actions=actions, setsid=True, setsigmask=()
            )
        except OSError as problem:
            raise HostError(f"cannot run {words[0]}: {problem.strerror}") from problem
        os.close(writer)
        writer = -1
        said = b""
        waiting = select.poll()
        waiting.register(reader, select.POLLIN)
        while not said.endswith(b"\n"):
            if not waiting.poll(BEGINS * 1000):
                _kill_parent(shim)
                raise NeverStarted(f"{words[0]} did not begin a kernel within {BEGINS:g} seconds")
            piece = os.read(reader, 64)
            if not piece:
                break
            said += piece
    finally:
        for descriptor in (reader, *copies, *([writer] if writer >= 0 else [])):
            os.close(descriptor)
    return shim, said


def _kill_parent(shim: int) -> None:
    """End the tiny parent, and what it is about to make a kernel: that is in its group still."""
    os.killpg(shim, signal.SIGKILL)
    os.waitpid(shim, 0)
