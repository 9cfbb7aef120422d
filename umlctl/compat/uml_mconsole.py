"""`uml_mconsole`: ask a guest one thing, or talk to it.

    uml_mconsole [--strict] NAME [WORD...]

What the original prints and how it ends, scripts of twenty years rely on: `OK TEXT` or `ERR TEXT`,
and the error of the answer as the exit code, modulo 256 (-22 is 234). A few words it does itself. A
guest that is not there still has a prompt, which the next `switch` may lead elsewhere.

The faults of the original are not taken over, unless `--strict` asks for its letter: see
`umlctl.compat.asking`. Source: uml_mconsole of uml-utilities 20070815.
"""

from __future__ import annotations

import os
import sys
from errno import EINVAL

from umlctl.compat.asking import Asking, Strictly
from umlctl.compat.disk_paths import BLANKS, absolute
from umlctl.compat.lookup import find

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Final

    from socketproto.exchange import Outcome

USAGE: Final = "Usage : uml_mconsole socket-name [command]\n"
STRICT: Final = "--strict"
CLIENT_VERSION: Final = 2
MAX_LOG_BYTES: Final = 506
"""How much of a text goes with one `log`, bytes: what a request holds, less the word."""
MAX_PROMPT_BYTES: Final = 11
"""How much of the guest's name the prompt shows, bytes."""
NOBODY: Final = "[None]"
"""What it shows while no guest was found."""
LOCAL_HELP: Final = """\
Additional local mconsole commands:
    quit - Quit mconsole
    switch <socket-name> - Switch control to the given machine
    log -f <filename> - use contents of <filename> as UML log messages
    mconsole-version - version of this mconsole program
    int  - Interrupt UML session
"""
NO_PID: Final = "Cannot determine the PID of your UML session, not sending signal.\n"
BAD_DESCRIPTOR: Final = b"Failed to parse file descriptor"


def main(argv: list[str]) -> int:
    """Run `uml_mconsole` with these arguments; the exit code."""
    words = argv[1:]
    strictly = words[:1] == [STRICT]
    if strictly:
        del words[0]
    if not words:
        sys.stderr.write(USAGE)
        return 1
    client = Client(strictly)
    client.switch(words[0])
    try:
        if words[1:]:
            return client.do(" ".join(words[1:]))
        return _talk(client)
    except Quit as end:
        return end.code


class Quit(Exception):
    """The program is to end, with this exit code."""

    def __init__(self, code: int) -> None:
        self.code = code


class Client:
    """Who asks, of the guest that was chosen last.

    Fields:
        prompt: what an interactive user sees before each line
    """

    def __init__(self, strictly: bool) -> None:
        self.prompt = f"({NOBODY}) "
        self._strictly = strictly
        self._asking: Asking | None = None
        self._words: dict[str, Callable[[str], int]] = {
            "quit": self._quit,
            "help": self._help,
            "switch": self._switch,
            "log": self._log,
            "umlfs": self._umlfs,
            "mconsole-version": self._version,
            "int": self._interrupt,
        }

    def switch(self, name: str) -> bool:
        """Choose another guest; False if there is none of that name, and the last one stays."""
        path = find(name, strictly=self._strictly)
        if not path:
            if self._asking is None:
                self._asking = self._ask_of(name, "")
            return False
        self._asking = self._ask_of(name, path)
        shown = os.fsencode(name)[:MAX_PROMPT_BYTES]
        self.prompt = f"({os.fsdecode(shown)}) "
        return True

    def _ask_of(self, name: str, path: str) -> Asking:
        return (Strictly if self._strictly else Asking)(name, path)

    def do(self, text: str) -> int:
        """Do one command; the exit code. A word of our own is known by its beginning, as the
        original knows it: `interrupt` is `int`.

        Raises: Quit
        """
        text = text.rstrip(BLANKS)
        for word, act in self._words.items():
            if text.startswith(word):
                return act(text[len(word) :].lstrip(BLANKS) if word != "help" else text)
        return self._send(text)

    def _send(self, text: str) -> int:
        """Ask the guest, and print the answer; the exit code."""
        assert self._asking is not None
        outcome = self._asking.ask(absolute(text, strictly=self._strictly))
        return 1 if outcome is None else show(outcome)

    def _quit(self, _rest: str) -> int:
        raise Quit(0)

    def _help(self, text: str) -> int:
        code = self._send(text)
        sys.stdout.write(LOCAL_HELP)
        return 0 if self._strictly else code

    def _switch(self, rest: str) -> int:
        if not self.switch(rest):
            return 1
        sys.stdout.write(f"Switched to '{rest}'\n")
        return 0

    def _log(self, rest: str) -> int:
        """Log a text or a file, in pieces that each are answered, with the end of a line behind
        the last if it has none."""
        code, end = 0, b""
        for piece in _file(rest[2:].lstrip(BLANKS)) if rest[:2] == "-f" else _pieces(rest):
            code = self._send(f"log {os.fsdecode(piece)}") or code
            end = piece[-1:]
        if end != b"\n":
            code = self._send("log \n") or code
        return 0 if self._strictly else code

    def _umlfs(self, rest: str) -> int:
        """Ask for a file system of the guest's, which no kernel of today has."""
        from socketproto.exchange import REFUSED, Outcome

        if not rest.isdecimal():
            return show(Outcome(REFUSED, -EINVAL, BAD_DESCRIPTOR))
        return self._send(f"umlfs {rest}")

    def _version(self, _rest: str) -> int:
        sys.stdout.write(f"uml_mconsole client version {CLIENT_VERSION}\n")
        return 0

    def _interrupt(self, _rest: str) -> int:
        """Send SIGINT to a kernel, which ends it."""
        assert self._asking is not None
        pid = self._asking.pid()
        if pid is None:
            sys.stdout.write(NO_PID)
        else:
            from _signal import SIGINT  # type: ignore[import-not-found] # typeshed has `signal`

            try:
                os.kill(pid, SIGINT)
            except OSError as problem:  # the original ends with 0 then, and says nothing
                sys.stderr.write(f"int: pid {pid}: {problem.strerror}\n")
                return 0 if self._strictly else 1
        return 0


def show(outcome: Outcome) -> int:
    """Print an answer, or what became of it; the exit code."""
    from umlctl.exitcodes import ECONNRESET, ENODATA, ETIMEDOUT

    said = outcome.data
    error = outcome.error
    if outcome.kind not in ("answered", "refused"):
        error = {"timed out": ETIMEDOUT, "guest gone": ECONNRESET}.get(outcome.kind, ENODATA)
        said += str(outcome).encode("utf-8", "surrogateescape")
    sys.stdout.flush()
    sys.stdout.buffer.write((b"ERR " if error else b"OK ") + said + b"\n")
    sys.stdout.buffer.flush()
    return error & 0xFF


def _pieces(text: str) -> Iterator[bytes]:
    data = os.fsencode(text)
    for begin in range(0, len(data), MAX_LOG_BYTES):
        yield data[begin : begin + MAX_LOG_BYTES]


def _file(path: str) -> Iterator[bytes]:
    """A file's pieces.

    Raises: Quit: it cannot be read, which ends the original even where it has a prompt
    """
    what = "opening"
    try:
        with open(path, "rb") as file:
            what = "reading"
            while piece := file.read(MAX_LOG_BYTES):
                yield piece
    except (OSError, ValueError) as problem:
        sys.stdout.flush()
        sys.stderr.write(f"{what} file: {getattr(problem, 'strerror', None) or problem}\n")
        raise Quit(1) from None


def _talk(client: Client) -> int:
    """Do a command a line until there are no more.

    Raises: Quit
    """
    read = _typed if sys.stdin.isatty() and sys.stdout.isatty() else _piped
    while (line := read(client.prompt)) is not None:
        client.do(line)
        sys.stdout.flush()
    sys.stdout.write("\n")
    return 0


def _typed(prompt: str) -> str | None:
    """A line of a terminal, which can be edited, and had again; None at the end."""
    import readline  # noqa: F401 - input() edits with it

    try:
        return input(prompt)
    except EOFError:
        return None


def _piped(prompt: str) -> str | None:
    """A line of a script, which is shown behind the prompt, as the original does; None at the
    end."""
    sys.stdout.write(prompt)
    sys.stdout.flush()
    line = sys.stdin.readline()
    if not line:
        return None
    sys.stdout.write(line if line.endswith("\n") else line + "\n")
    return line.removesuffix("\n")
