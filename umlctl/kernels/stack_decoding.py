"""The stacks of a kernel with files and lines, as its own scripts/decode_stacktrace.sh knows them.

That script makes shell arithmetic and programs of awk of what it reads, and a guest writes whatever
it likes to its console. So it gets nothing of a line but what can only be a place in a function,
and what it says takes that place.
"""

from __future__ import annotations

import glob
import os
import re
import select
import shutil
import signal
import subprocess
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Final, Self

from umlctl.errors import HostError
from umlctl.kernels import modules, symbols

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

    from umlctl.kernels.find import ProbedKernel

SCRIPT: Final = "scripts/decode_stacktrace.sh"
ELSEWHERE: Final = ("/usr/src/linux-*", "/usr/lib/linux-kbuild-*")
"""Where distributions have a kernel's scripts."""
ANSWER_TIMEOUT: Final = 30.0
"""How long the script may take for one place, seconds: the first has it read all symbols."""
PROGRAMS: Final = ("bash", "addr2line", "nm", "readelf", "awk")
"""What the script runs, with what is in binutils."""
PLACE: Final = re.compile(
    rb"(?:\[<[0-9a-f]{1,16}>\] )?(?P<doubt>\? )?"
    rb"(?P<place>[A-Za-z_][A-Za-z0-9_.]{0,127}\+0x[0-9a-f]{1,8}/0x[0-9a-f]{1,8}"
    rb"(?: \[[A-Za-z0-9_-]{1,63}\])?)(?=\s*$)"
)
"""A place in a function at the end of a line, with what a kernel prints before it."""


class Decoder:
    """The script, which runs until `close`."""

    def __init__(self, script: str, vmlinux: str, own_modules: str) -> None:
        """own_modules: the directory of the kernel's modules; empty: it has none

        Raises: HostError
        """
        # It finds out by itself which directory its paths are below.
        words = ["bash", script, vmlinux, "auto", own_modules or os.path.dirname(vmlinux)]
        try:
            self._process = subprocess.Popen(
                words,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env={**os.environ, "DEBUGINFOD_URLS": ""},
                start_new_session=True,  # an interrupt is ours
            )
        except OSError as problem:
            raise HostError(f"cannot run {script}: {problem}") from problem

    def line(self, line: bytes) -> bytes:
        """A line, with the file and line of the place that it names, if that is known."""
        found = PLACE.search(line)
        if found is None:
            return line
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(found["place"] + b"\n")
            self._process.stdin.flush()
        except OSError:
            return line  # it has ended
        said = self._answer().strip()
        if not said:
            return line
        return line[: found.start()] + (found["doubt"] or b"") + said + line[found.end() :]

    def _answer(self) -> bytes:
        """The next line of the script; empty if it has ended, or takes too long, and is ended."""
        assert self._process.stdout is not None
        output = self._process.stdout.fileno()
        poll = select.poll()
        poll.register(output, select.POLLIN)
        deadline = time.monotonic() + ANSWER_TIMEOUT
        said = b""
        while not said.endswith(b"\n"):
            left = deadline - time.monotonic()
            if left <= 0 or not poll.poll(left * 1000):
                self._end()
                return b""
            piece = os.read(output, 1 << 12)
            if not piece:
                break
            said += piece
        return said

    def _end(self) -> None:
        """End the script, with what it has begun."""
        if self._process.returncode is None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def lines(self, lines: Iterator[bytes]) -> Iterator[bytes]:
        """The same of each of them."""
        return map(self.line, lines)

    def close(self) -> None:
        for file in (self._process.stdin, self._process.stdout):
            with suppress(OSError):
                if file is not None:
                    file.close()
        self._end()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _problem: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self.close()


def decoder(kernel: ProbedKernel) -> Decoder:
    """What decodes the stacks of a kernel.

    Raises: HostError: something is missing, and what
    """
    vmlinux = symbols.find(kernel.path, kernel.version, symbols.LINES)
    script = _script(kernel)
    lacking = [name for name in PROGRAMS if shutil.which(name) is None]
    if lacking:
        raise HostError(f"{script} takes {', '.join(lacking)}: bash and binutils have them")
    return Decoder(script, vmlinux, modules.of_release(kernel))


def _script(kernel: ProbedKernel) -> str:
    """Raises: HostError: there is none, or none that is ours to run"""
    found = [
        f"{tree}/{name}{SCRIPT}"
        for tree in symbols.trees(kernel.path, kernel.version)
        for name in ("", "source/")
    ]
    found += [f"{place}/{SCRIPT}" for each in ELSEWHERE for place in sorted(glob.glob(each))[::-1]]
    for path in found:
        with suppress(OSError):
            look = os.stat(path)
            if look.st_uid in (0, os.geteuid()) and not look.st_mode & 0o002:
                return path
    raise HostError(
        f"the stacks of {kernel.path} take the kernel's own {SCRIPT}, which is not in the tree "
        f"where it was built, nor in one of {', '.join(ELSEWHERE)}"
    )
