"""Taking a umid before a kernel is started under it.

A kernel that finds its umid in use boots under a random one, and says so in its log only. It
believes a pid file whose pid may be another process's by now. So, before the boot, the umid is
locked, what a dead guest left under it is removed, and a live guest is reported.

The supervisor and the guest's tiny parent both hold the lock: it is free when both are gone.
"""

from __future__ import annotations

import fcntl
import os
import stat
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final

from umlctl.errors import GuestInUse, HostError, UsageError
from umlctl.guest.definition import is_shared
from umlctl.host import naming, paths, place
from umlctl.host.files import FLOCK, is_still_at, remove_tree
from umlctl.host.starting import starting
from umlctl.state.public import SOCKET_NAME, PublicDirectory

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from typing import Self

    from umlctl.guest.definition import Definition


OWNER_FILE: Final = "owner"
EMPTY_MASK: Final = "masks/none"
"""In a confined kernel's own directory: what covers directories that it is not to see."""
CONFINED_FILE: Final = "confined"
"""Says there how the kernel is confined, should its record be lost."""
ASIDE_DIRECTORY: Final = "aside"
"""What is put aside there, for its supervisor."""
LOCK_FLAGS: Final = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW


class Claim:
    """A umid that this process has taken, with its directories.

    Fields:
        umid: the name
        directory: in the run directory, for what one running guest needs; empty at first
        records: in the state directory, for what outlives the guest
        lock: descriptor of the lock
        public: where uml_mconsole looks for the guest, below a user's home
        owner: descriptor of a lock that only the supervisor has: free when it is gone
    """

    def __init__(
        self,
        umid: str,
        directory: str,
        records: str,
        public: PublicDirectory,
        lock: int,
        owner: int,
    ) -> None:
        self.umid = umid
        self.directory = directory
        self.records = records
        self.public = public
        self.lock = lock
        self.owner = owner

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def release(self, *keep: str) -> None:
        """Remove everything of the guest from the run directory, and let the umid go.

        keep: files of its directory that stay
        """
        if self.lock < 0:
            return
        lock, self.lock = self.lock, -1
        try:
            remove_tree(os.path.dirname(paths.kernel_socket(self.umid)))
            self.public.withdraw()
            if keep:
                self._empty(keep)
            else:
                remove_tree(self.directory)
            _unlink(paths.kept_socket(self.umid))
            remove_own(self.umid)
            remove_tree(paths.session_dir(self.umid))
            self._drop_empty_records()
            _unlink(self.directory + ".lock")
        except paths.BadPlace:
            # Another user has put a directory in the place of the guest's: nothing in it is the
            # guest's.
            pass
        finally:
            os.close(lock)
            os.close(self.owner)

    def leave(self) -> None:
        """Let the umid go, and leave everything of its guest to the supervisor that takes it over
        next."""
        lock, self.lock = self.lock, -1
        if lock >= 0:
            os.close(lock)
            os.close(self.owner)

    def clear(self, *, rebooting: bool = False) -> None:
        """Remove what the last life of the guest left, for the next one under the same claim.

        rebooting: what viewers and commands have open stays: FIFOs and sockets

        Raises: OSError, GuestInUse
        """
        self.restore()
        with suppress(BlockingIOError):
            # The lock of an adopted guest was held by its tiny parent alone, which has ended with
            # it.
            fcntl.flock(self.lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        remove_tree(os.path.dirname(paths.kernel_socket(self.umid)))
        remove_own(self.umid)
        kept = [OWNER_FILE, SOCKET_NAME]
        if rebooting:
            with os.scandir(self.directory) as entries:
                kept += [each.name for each in entries if _is_open_to_clients(each)]
            _unlink(paths.kept_socket(self.umid))
        self._empty(kept)

    def _empty(self, keep: Collection[str]) -> None:
        for name in os.listdir(self.directory):
            if name not in keep:
                remove_tree(f"{self.directory}/{name}")

    def restore(self) -> bool:
        """Have the locks where others look for them, even if their files were removed; True if one
        had been.

        Raises: OSError
        """
        removed = False
        paths.make_run_dir()
        lock = self.directory + ".lock"
        if not is_still_at(self.lock, lock):
            removed = True
            _replace(self.lock, _lock(self.umid, lock, is_ours=True))
        owner = f"{self.directory}/{OWNER_FILE}"
        if not is_still_at(self.owner, owner):
            removed = True
            os.makedirs(self.directory, 0o700, exist_ok=True)
            _replace(self.owner, _own(self.umid, self.directory))
        return removed

    def _drop_empty_records(self) -> None:
        """Remove the records of a guest that never started, and whose log is empty."""
        try:
            names = os.listdir(self.records)
        except FileNotFoundError:
            return
        logs = [f"{self.records}/{name}" for name in names if name.endswith(".log")]
        kept = any(name.startswith("record.json") for name in names)  # also one that was set aside
        if not kept and not any(os.path.getsize(log) for log in logs):
            remove_tree(self.records)


def kernel_socket(definition: Definition) -> str:
    """The path of a kernel's own socket, wherever that guest has it."""
    if definition.user:
        return f"{paths.open_dir(definition.umid)}/k/{definition.umid}/mconsole"
    return paths.kernel_socket(definition.umid)


def own_place(definition: Definition, directory: str) -> str:
    """Where a guest's kernel finds what it needs: the guest's directory, unless it could not."""
    return paths.open_dir(definition.umid) if definition.user else directory


def own_directory(definition: Definition) -> str:
    """The directory in which a kernel makes its own, with its socket."""
    return os.path.dirname(os.path.dirname(kernel_socket(definition)))


def sockets(definition: Definition) -> dict[str, str]:
    """The sockets of a guest, by what they are for."""
    umid = definition.umid
    found = {"mconsole": paths.guest_socket(umid), "kernel": kernel_socket(definition)}
    if is_shared(definition):
        found["shared"] = paths.shared_socket(umid)
    return found


def claim(umid: str, home: str = "") -> Claim:
    """Take a umid for a guest that is to be started.

    home: below which uml_mconsole is to find the guest, if it is not the caller's

    Raises: UsageError: no name for a guest; GuestInUse: a guest runs under it; HostError
    """
    with starting(umid):
        try:
            naming.check_umid(umid)
        except ValueError as problem:
            raise UsageError(str(problem)) from problem
        return _claim(umid, home, f"{paths.make_run_dir()}/g/{umid}")


def _claim(umid: str, home: str, directory: str) -> Claim:
    """Raises: GuestInUse, OSError"""
    lock = _lock(umid, directory + ".lock")
    try:
        _refuse_living(umid)
        public = PublicDirectory(umid, home, directory)
        public.clear()
        remove_tree(os.path.dirname(paths.kernel_socket(umid)))
        _unlink(paths.kept_socket(umid))
        remove_own(umid)
        remove_tree(paths.session_dir(umid))
        remove_tree(directory)
        records = paths.record_dir(umid)
        for path in (directory, records):
            os.makedirs(path, 0o700, exist_ok=True)
        owner = _own(umid, directory)
    except BaseException:
        _unlink(directory + ".lock")
        os.close(lock)
        raise
    return Claim(umid, directory, records, public, lock, owner)


def claim_running(umid: str, home: str = "", *, runs: bool = False) -> Claim:
    """Take the umid of a guest that runs on without its supervisor.

    home: as for `claim`
    runs: the guest was seen to run, though nothing may be left in the run directory

    Raises: GuestInUse: the guest has a supervisor; HostError
    """
    try:
        directory = f"{paths.make_run_dir()}/g/{umid}"
        if not os.path.exists(f"{directory}/{OWNER_FILE}"):
            _refuse_removed(umid)
            if runs:
                os.makedirs(directory, 0o700, exist_ok=True)
        owner = _own(umid, directory)
    except OSError as problem:
        raise HostError(f"{umid}: cannot be taken over: {problem}") from problem
    lock = -1
    try:
        # The tiny parent of the guest has the lock, unless that was killed too.
        lock = os.open(directory + ".lock", LOCK_FLAGS, 0o600)
        with suppress(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.ftruncate(lock, 0)
        os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
    except OSError as problem:
        if lock >= 0:
            os.close(lock)
        os.close(owner)
        raise HostError(f"{umid}: cannot lock the name: {problem}") from problem
    public = PublicDirectory(umid, home, directory)
    return Claim(umid, directory, paths.record_dir(umid), public, lock, owner)


def has_owner(umid: str) -> bool:
    """Whether a supervisor has the guest. The lock is only asked about, and never taken: a look
    must not be in a supervisor's way."""
    try:
        owner = os.open(f"{paths.guest_dir(umid)}/{OWNER_FILE}", os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return bool(_lives(umid) and _removed_owner(umid))
    except OSError:
        return False
    try:
        answer = fcntl.fcntl(owner, fcntl.F_OFD_GETLK, FLOCK.pack(fcntl.F_WRLCK, 0, 0, 0, 0))
    finally:
        os.close(owner)
    kind: int = FLOCK.unpack(answer)[0]
    return kind != fcntl.F_UNLCK


def owner(umid: str) -> int:
    """The pid of a guest's supervisor; 0 if it has none."""
    if not has_owner(umid):
        return 0
    try:
        with open(f"{paths.guest_dir(umid)}.lock") as file:
            return int(file.read(32))
    except (OSError, ValueError):
        return _removed_owner(umid)


def _lives(umid: str) -> int:
    """The pid of the kernel of a guest that runs, by its record; else 0."""
    from umlctl.state import records  # what claims a name does without

    record = records.load(umid)
    return record.pid if record is not None and records.lives(record) else 0


def _removed_owner(umid: str) -> int:
    """The pid of the supervisor of a guest whose files were removed, or are where an earlier
    version has them; 0 if there is none."""
    directories = [paths.guest_dir(umid), *paths.earlier_guest_dirs(umid)]
    return place.holder([f"{directory}/{OWNER_FILE}" for directory in directories])


def _refuse_removed(umid: str) -> None:
    """Raises: GuestInUse: a supervisor runs; its files were removed, or it has another /tmp"""
    pid = _removed_owner(umid)
    if pid:
        raise GuestInUse(f"{umid} has a supervisor, pid {pid}, with its files elsewhere")


def _refuse_living(umid: str) -> None:
    """Refuse the name of a guest that runs. Its lock may be free all the same: the file was
    removed, or all processes that had the lock were killed.

    Raises: GuestInUse
    """
    kernel = _lives(umid)
    if kernel:
        raise GuestInUse(
            f"{umid} is the name of a running guest (kernel {kernel}); take another name, or end "
            f"it with `umlctl shutdown {umid}`"
        )


def _own(umid: str, directory: str) -> int:
    """Become the one supervisor of a guest; return the descriptor of the lock that says so.

    Raises: GuestInUse; OSError
    """
    owner = os.open(f"{directory}/{OWNER_FILE}", LOCK_FLAGS, 0o600)
    try:
        fcntl.fcntl(owner, fcntl.F_OFD_SETLK, FLOCK.pack(fcntl.F_WRLCK, 0, 0, 0, 0))
    except (BlockingIOError, PermissionError):
        os.close(owner)
        raise GuestInUse(f"{umid} has a supervisor") from None
    except BaseException:
        os.close(owner)
        raise
    return owner


def forget(umid: str) -> None:
    """Remove the records of a dead guest, unless its name has just been taken again."""
    with suppress(GuestInUse, OSError):
        remove_records(umid)


def remove_records(umid: str) -> None:
    """Remove the records of a dead guest.

    Raises: GuestInUse: it is not dead, or is about to be started again; OSError
    """
    with lock_unused(umid):
        _refuse_living(umid)
        remove_tree(paths.record_dir(umid))


@contextmanager
def lock_unused(umid: str) -> Iterator[None]:
    """Keep the name of a dead guest from being taken, with all that is left of it where it is.

    Raises: GuestInUse: the name is taken; OSError
    """
    path = f"{paths.make_run_dir()}/g/{umid}.lock"
    lock = _lock(umid, path)
    try:
        yield
        _unlink(path)
    finally:
        os.close(lock)


def _lock(umid: str, path: str, *, is_ours: bool = False) -> int:
    """Lock the name of a guest; return the descriptor.

    is_ours: the caller is the guest's supervisor

    Raises: GuestInUse; OSError
    """
    while True:
        lock = os.open(path, LOCK_FLAGS, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pid = os.pread(lock, 32, 0).decode("ascii", "replace").strip() or "unknown"
            os.close(lock)
            if not has_owner(umid):
                raise GuestInUse(
                    f"{umid} is the name of a guest that runs on though its supervisor is gone; "
                    f"`umlctl adopt {umid}` gives it another, `umlctl shutdown {umid}` ends it"
                ) from None
            raise GuestInUse(_running(umid, pid)) from None
        if is_still_at(lock, path):
            # The lock may be free though the guest has a supervisor. Of an adopted guest the tiny
            # parent alone had the lock, and has ended. The supervisor is about to bury the guest,
            # or to start it again.
            if not is_ours and has_owner(umid):
                os.close(lock)
                raise GuestInUse(_running(umid, owner(umid) or "unknown"))
            try:
                os.ftruncate(lock, 0)
                os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
            except OSError as problem:
                _unlink(path)
                os.close(lock)
                problem.filename = path
                raise
            return lock
        os.close(lock)  # the holder removed the file while this process waited for it


def _running(umid: str, supervisor: int | str) -> str:
    return (
        f"{umid} is the name of a running guest (supervisor {supervisor}); take another name, "
        f"or end it with `umlctl shutdown {umid}`"
    )


def _replace(old: int, new: int) -> None:
    """Make the number of one descriptor stand for another."""
    os.dup2(new, old, inheritable=False)
    os.close(new)


def confined(umid: str) -> str:
    """How the kernel of a guest that runs is confined; empty if it is not, or that is unknown."""
    try:
        with open(f"{paths.own_dir(umid)}/{CONFINED_FILE}") as file:
            return file.read(16)
    except OSError:
        return ""


def remove_own(umid: str) -> None:
    """Remove what a confined kernel had for itself; nobody can look into some of it."""
    own = paths.own_dir(umid)
    with suppress(OSError):
        os.rmdir(f"{own}/{EMPTY_MASK}")
    with suppress(OSError):
        os.chmod(f"{own}/{ASIDE_DIRECTORY}", 0o700)
    remove_tree(own)


def _is_open_to_clients(entry: os.DirEntry[str]) -> bool:
    """Whether a file of a guest's directory is a FIFO, or a socket of its supervisor's."""
    mode = entry.stat(follow_symlinks=False).st_mode
    is_lasting = entry.name not in ("notify", "init", "agent", "status", "status~")
    return is_lasting and (stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode))


def _unlink(path: str) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass
