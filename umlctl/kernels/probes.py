"""Asking a file that may be a kernel what it is, and keeping what it said.

A file that looks like a kernel may be none: it may hang, flood its caller with output, leave
children behind or write files. So it runs as confined as the host allows, with a deadline and a
cap, and the processes that it started are killed. What it said is kept beside its identity, so that
a file is asked once.
"""

from __future__ import annotations

import os
from contextlib import suppress

from umlctl.errors import NoKernel
from umlctl.host import paths

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

_MAX_OUTPUT_BYTES: Final = 4 << 20
"""The most output of a probe, bytes, far above the 80 KB of a real `--showconfig`."""
_MARK: Final = "umlctl probe 1"
_NAMESPACES: Final = "--mount --net --ipc --pid --fork --kill-child"
_LEAVE: Final = (_NAMESPACES, f"--user --map-current-user {_NAMESPACES}", "")
"""What of the host is kept from a probe, see unshare(1): the most first; the last always works."""
_POWERLESS: Final = (
    *("/usr/bin/setpriv", "--inh-caps", "-all"),
    *("--bounding-set", "-all,+dac_override,+dac_read_search"),
)
"""Root without its powers, but for reaching the file. This is for hosts where no namespace can be
had, as where another directory is the root, so that the probe mounts nothing."""
_LIMITED: Final = 'ulimit -c 0; ulimit -f 0; exec "$@"'
"""The probe writes to no file."""
_LEFT: Final = "left\n"
_TELL: Final = 'echo left; exec "$@"'
"""Tells that the probe is so confined, before the probe can say anything."""


def identity(path: str) -> str:
    """A value that tells this very content of a file from all others.

    Raises: OSError
    """
    found = os.stat(path)
    numbers = (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
    return f"{_MARK} {' '.join(map(str, numbers))} {path}"


def kept(path: str, identity: str) -> list[str]:
    """The lines that were kept for this content of the file; none if there are none."""
    try:
        with open(_place(path), "rb", opener=_careful) as file:
            if os.fstat(file.fileno()).st_uid != os.geteuid():
                return []  # in another user's HOME, who could have any file taken for a kernel
            lines = file.read().decode("utf-8", "surrogateescape").split("\n")
    except OSError:
        return []
    return lines[1:] if lines[0] == identity else []


def keep(path: str, identity: str, lines: list[str]) -> None:
    """Keep what a file said of itself; if that cannot be kept, the file is asked again."""
    place = _place(path)
    temporary = f"{place}.{os.getpid()}"
    text = "\n".join([identity, *lines])
    with suppress(OSError):
        os.makedirs(os.path.dirname(place), 0o700, exist_ok=True)
        try:
            with open(temporary, "xb") as file:
                file.write(text.encode("utf-8", "surrogateescape"))
            os.rename(temporary, place)
        except OSError:
            os.unlink(temporary)


def _place(path: str) -> str:
    """One file for each path, so that kernels that are built again and again leave nothing
    behind."""
    from binascii import crc32

    return f"{paths.cache_dir()}/probes/{crc32(os.fsencode(path)):08x}"


def _careful(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK)


def ask(path: str, argument: str, timeout: float, user: str = "") -> str:
    """What a program prints; it does not outlive the call.

    timeout: seconds
    user: the user that it runs as, for root; the caller unless given

    Raises: NoKernel, HostError
    """
    from functools import partial

    from umlctl.host import confine

    become: list[str] = []
    environment = None
    if user:
        from umlctl.host import users

        found = users.find(user)
        become, environment = users.become(found), users.environment(found)
    said = ""
    for options in _LEAVE:
        if options and os.uname().machine not in confine.MACHINES:
            continue
        leave = ["unshare", *options.split(), "--"] if options else []
        words = ["/bin/sh", "-c", _LIMITED, "sh", *leave, "/bin/sh", "-c", _TELL, "sh"]
        is_root = not (options or become or os.geteuid())
        powerless = _POWERLESS if is_root and os.path.exists(_POWERLESS[0]) else ()
        words += [*powerless, *become, path, argument]
        # As process 1 it would abort for ever.
        start = partial(_run, words, environment, timeout)
        said = confine.confined(start, abort=not options)
        if said.startswith(_LEFT):
            break
    return said.removeprefix(_LEFT)


def _run(words: list[str], environment: dict[str, str] | None, timeout: float) -> str:
    import signal
    import subprocess
    import time

    deadline = time.monotonic() + timeout
    try:
        process = subprocess.Popen(
            words,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    except OSError as error:
        raise NoKernel(f"it cannot be asked: {error.strerror or error}") from error
    assert process.stdout is not None
    output = process.stdout.fileno()
    said = bytearray()
    problem = ""
    exited = -1
    try:
        exited = os.pidfd_open(process.pid)
        while not problem:
            left = deadline - time.monotonic()
            if left <= 0 or not _is_readable(output, left):
                problem = f"it did not end within {timeout:g} s"
            elif not (piece := os.read(output, 1 << 16)):
                break
            elif len(said) + len(piece) > _MAX_OUTPUT_BYTES:
                problem = f"it printed more than {_MAX_OUTPUT_BYTES >> 20} MiB"
            else:
                said += piece
        if not problem:
            _is_readable(exited, max(0.0, deadline - time.monotonic()))
    finally:
        # Before the wait: until then its pid cannot be another process's.
        os.killpg(process.pid, signal.SIGKILL)
        if exited >= 0:
            os.close(exited)
        process.stdout.close()
        process.wait()
    if problem:
        raise NoKernel(problem)
    return said.decode(errors="replace")


def _is_readable(descriptor: int, seconds: float) -> bool:
    """Whether there is something to read, or an end, within so many seconds. The descriptor of a
    supervisor with many guests may be one that select(2) does not take."""
    import select

    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(seconds * 1000))
