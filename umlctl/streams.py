"""The three standard descriptors, as whoever started this program has left them.

They may be closed, be set not to block, have lost their reader, or lead to a terminal of another
character set. Whatever is read and written through `sys` minds all of this, once `open_all` was
called: nothing is lost without a word.

Text inside is UTF-8, and a byte that is none is a surrogate, as file names are. `in_utf8` sees
to that where the locale is another; what is printed is in the locale's character set.
"""

from __future__ import annotations

import io
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final, TextIO

STDIN: Final = 0
STDOUT: Final = 1
STDERR: Final = 2
ERROR_HANDLER: Final = "umlctl"
"""The name of `_as_it_can_be` among the handlers of encoding errors."""
UTF8: Final = ("-X", "utf8")
"""Has an interpreter take text for UTF-8."""
PYTHON: Final = (sys.executable, *UTF8, "-P", "-m")
"""Runs a module of ours; what lies in the current directory is not to be imported."""


class ReaderGone(BaseException):
    """Nobody reads standard output any more. No library takes it for its own business."""


class _Patient(io.FileIO):
    """A descriptor that is waited for, though it was set not to block."""

    def write(self, data: object, /) -> int:
        """Write some of it.

        Raises: ReaderGone, OSError
        """
        while True:
            try:
                done: int | None = super().write(data)  # type: ignore[arg-type]
            except BrokenPipeError:
                raise ReaderGone from None
            if done is not None:
                return done
            _await(self.fileno(), writing=True)

    def readinto(self, buffer: object, /) -> int:
        """Read some bytes; none at the end alone."""
        while True:
            done: int | None = super().readinto(buffer)  # type: ignore[arg-type]
            if done is not None:
                return done
            _await(self.fileno(), writing=False)

    def readall(self) -> bytes:
        found = bytearray()
        buffer = bytearray(65536)
        while size := self.readinto(buffer):
            found += buffer[:size]
        return bytes(found)


class _Unheard(_Patient):
    """Standard error: where nobody hears what is said, there is nobody to be told that either."""

    def write(self, data: object, /) -> int:
        try:
            return super().write(data)
        except (OSError, ReaderGone):
            return len(memoryview(data).cast("B"))  # type: ignore[arg-type]


def in_utf8() -> None:
    """Begin this program again with UTF-8 inside, where the locale is another: file names and
    arguments are bytes, and only the terminal has a character set."""
    if sys.getfilesystemencoding() != "utf-8" and sys.executable:
        os.execv(sys.executable, [sys.executable, *UTF8, *sys.orig_argv[1:]])  # noqa: S606


def open_all() -> None:
    """Have the three, though the caller closed one: a file that is opened later must not take
    its place."""
    for descriptor, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            mode = "r" if name == "stdin" else "w"
            while (opened := open("/dev/null", mode)).fileno() < descriptor:  # noqa: SIM115
                pass
            setattr(sys, name, opened)
    # One that was replaced, as by a test, is left as it is.
    if sys.stdin is sys.__stdin__ and sys.stdin is not None:
        reader = io.BufferedReader(_Patient(STDIN, "r", closefd=False))
        sys.stdin = io.TextIOWrapper(reader, "utf-8", "surrogateescape")
    if sys.stdout is sys.__stdout__ and sys.stdout is not None:
        sys.stdout = _writer(_Patient(STDOUT, "w", closefd=False), sys.stdout)
    if sys.stderr is sys.__stderr__ and sys.stderr is not None:
        sys.stderr = _writer(_Unheard(STDERR, "w", closefd=False), sys.stderr)


def _writer(file: _Patient, like: TextIO) -> io.TextIOWrapper:
    """Writes text to a file, as the interpreter's own writer did."""
    import codecs

    codecs.register_error(ERROR_HANDLER, _as_it_can_be)
    encoding = like.encoding
    if "utf8" in sys._xoptions:  # noqa: SLF001 - that alone tells it from the user's wish
        import _locale

        encoding = _locale.getencoding()
    return io.TextIOWrapper(
        io.BufferedWriter(file),
        encoding,
        ERROR_HANDLER,
        line_buffering=bool(like.line_buffering) or file.fileno() == STDERR,
        write_through=getattr(like, "write_through", False),
    )


def _as_it_can_be(problem: UnicodeError) -> tuple[str | bytes, int]:
    """What a character set does not have: a byte of a file's name as it is, a letter by its
    number."""
    if not isinstance(problem, UnicodeEncodeError):
        raise problem
    number = ord(problem.object[problem.start])
    if 0xDC80 <= number <= 0xDCFF:
        return bytes([number - 0xDC00]), problem.start + 1
    return ascii(chr(number))[1:-1], problem.start + 1


def close_output() -> None:
    """Have nothing go to standard output any more: what is still to be written would fail again
    when the interpreter ends."""
    try:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, STDOUT)
        os.close(nowhere)
    except OSError:
        pass  # then it fails again, and is told as that
    sys.stdout = None


def write_all(descriptor: int, data: bytes) -> None:
    """Write all of it to a descriptor, whatever it takes at once.

    Raises: ReaderGone, OSError
    """
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(descriptor, view) :]
        except BlockingIOError:
            _await(descriptor, writing=True)
        except BrokenPipeError:
            raise ReaderGone from None


def await_source(source: int, seconds: float | None) -> bool:
    """Wait until there is something to read, for whoever follows a source and prints it.

    source: a descriptor; -1: there is none, and the time passes
    seconds: the longest; None: for ever

    Raises: ReaderGone
    """
    import select

    poll = select.poll()
    poll.register(STDOUT, 0)
    if source >= 0:
        poll.register(source, select.POLLIN)
    ready = False
    for descriptor, _event in poll.poll(None if seconds is None else max(0.0, seconds) * 1000):
        if descriptor == STDOUT and source != STDOUT:
            raise ReaderGone
        ready = True
    return ready


def _await(descriptor: int, *, writing: bool) -> None:
    import select

    poll = select.poll()
    poll.register(descriptor, select.POLLOUT if writing else select.POLLIN)
    poll.poll()
