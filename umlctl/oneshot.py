"""The entry of `umlctl`, and the whole of a one-shot command.

`umlctl VERB GUEST [ARGS]` has to cost no more than the interpreter's own start, so nothing is
imported here that can be left for later: no re, argparse, socket, json, click. Whatever is not
a plain one-shot command goes on to `umlctl.cli`.
"""

from __future__ import annotations

import sys
from errno import EBUSY
from os.path import exists
from time import monotonic, sleep

from socketproto.blocking import NO_ANSWER, TIMEOUT, Connection, Link, Unreachable
from socketproto.exchange import GONE, TIMED_OUT, Outcome
from socketproto.wire import WireError
from umlctl import exitcodes, streams
from umlctl.commands import BY_NAME, HOST, KERNEL, OWN_FACES, SAME, Command
from umlctl.host.paths import find_socket, has_record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Final


SILENCE: Final = 0.9
"""After so long without an answer it is seen whether somebody holds the guest, seconds."""
SCANNED: Final = 1.0
"""How long a new disk of a bare kernel may be open yet for the scan of its partitions, seconds."""
KILLS: Final = 5
"""So many supervisors may be killed one after another under one request."""


BARE: Final = {
    "plug": "; of a bare one, `umlctl config GUEST ubd1=FILE` adds a disk, `umlctl config GUEST "
    "vec0:transport=...` a NIC",
    "devices": "; of a bare one, `umlctl config GUEST ubd1` asks for a disk",
}
"""What a bare kernel has instead."""


class Abandoned(Unreachable):
    """The supervisor was gone before it answered; its guest perhaps is not.

    Fields:
        text: the request
        outcome: how it ended
        in_doubt: the guest runs on, and may have done it
    """

    def __init__(self, path: str, text: str, outcome: Outcome, *, in_doubt: bool = False) -> None:
        super().__init__(path, outcome.reason)
        self.text = text
        self.outcome = outcome
        self.in_doubt = in_doubt


def main(argv: list[str]) -> int:
    """Run `umlctl` with these arguments; the exit code."""
    streams.in_utf8()
    streams.open_all()
    verb = argv[1] if len(argv) > 1 else ""
    if verb == "help" and not _is_guest(argv[2:3]):
        words = [SAME.get(word, word) for word in argv[2:3]] + argv[3:]
        argv = [argv[0], *words, "--help"]  # whose commands, if no guest is named: ours
        verb = ""
    if verb == "mconsole" and len(argv) > 3 and not any(word[:1] in ("", "-") for word in argv[2:]):
        return _guarded(lambda: tell(argv[2], " ".join(argv[3:])))
    if verb in SAME:
        verb = SAME[verb]
        argv = [argv[0], verb, *argv[2:]]
    command = BY_NAME.get(verb)
    if command is not None and command.served != HOST and verb not in OWN_FACES:
        options = _options(command, argv[2:])
        if options is not None and not _names_several(command, options[1]):
            return _guarded(lambda: ask(command, *options))
    return _guarded(lambda: _cli(argv[1:]))


def _is_guest(words: list[str]) -> bool:
    """A guest is named, or what is no command of ours either."""
    if not words or words[0].startswith("-"):
        return bool(words)
    try:
        if has_record(words[0]) or exists(find_socket(words[0])):
            return True
    except OSError:
        return True  # who asks it says why
    from umlctl.cli.main import LAZY
    from umlctl.synonyms import SYNONYMS

    return words[0] not in {*LAZY, *BY_NAME, *SYNONYMS}


def _cli(arguments: list[str]) -> int:
    from umlctl.cli.main import run

    return run(arguments)


def _guarded(work: Callable[[], int]) -> int:
    """Errors as one line, interrupts and closed pipes as a shell expects them."""
    try:
        code = work()
        sys.stdout.flush()
    except KeyboardInterrupt:
        return exitcodes.SIGNALLED + 2
    except streams.ReaderGone:
        return _reader_gone()
    except BaseExceptionGroup as group:
        if group.subgroup(streams.ReaderGone) is None:
            raise
        return _reader_gone()
    except (OSError, RuntimeError) as problem:
        from umlctl.host.scarce import explained, is_lacking

        if not (isinstance(problem, OSError) or is_lacking(problem)):
            raise
        streams.close_output()  # a full disk is full at exit too
        sys.stderr.write(f"umlctl: {explained(problem)}\n")
        return exitcodes.FAILED
    return code


def _reader_gone() -> int:
    streams.close_output()
    return exitcodes.SIGNALLED + 13


def _names_several(command: Command, words: list[str]) -> bool:
    """What follows the first guest is another, and no number of seconds."""
    return command.name == "shutdown" and bool(words) and not words[0][:1].isdigit()


def _options(
    command: Command, words: list[str]
) -> tuple[str, list[str], bool, float | None, bool] | None:
    """GUEST, ARGS and the three options that every verb has; None: let click see to it.

    Options may stand anywhere, but the text of `log` is a text from its first word on.
    """
    guest = None
    rest: list[str] = []
    json = force = False
    timeout: float | None = None
    index = 0
    while index < len(words):
        word = words[index]
        index += 1
        if word == "--" and guest is not None:
            rest += words[index:]
            break
        if (rest and command.name == "log") or not word.startswith("--"):
            if guest is None:
                guest = word
            else:
                rest.append(word)
        elif word == "--json":
            json = True
        elif word == "--force":
            force = True
        elif word == "--timeout" and index < len(words):
            try:
                timeout = float(words[index])
            except ValueError:
                return None
            index += 1
        else:
            return None
    if not guest or guest.startswith("-") or not (timeout is None or 0 < timeout < 1e9):
        return None
    return guest, rest, json, timeout, force


def ask(
    command: Command, guest: str, words: list[str], json: bool, timeout: float | None, force: bool
) -> int:
    """Send one command of the table to a guest, and show how it ended."""
    try:
        return _ask_on(command, guest, words, json, timeout, force)
    except Abandoned as problem:
        if json:
            from umlctl.cli.views import show_outcome

            return show_outcome(guest, command.name, problem.outcome, json)
        if problem.in_doubt:
            return say(f"{command.name} {guest}: {problem.why}", exitcodes.GONE)
        return show(guest, command.name, problem.outcome)
    except Unreachable as problem:
        return unreachable(guest, problem)
    except WireError as problem:
        return say(f"{command.name} {guest}: {problem}", exitcodes.USAGE)
    except PermissionError as problem:
        return say(f"{command.name} {guest}: {problem}", exitcodes.REFUSED)


def _ask_on(
    command: Command, guest: str, words: list[str], json: bool, timeout: float | None, force: bool
) -> int:
    """Send it to the guest's supervisor; if that is gone, to the next one.

    Raises: Unreachable, Abandoned, WireError, PermissionError
    """
    kills = 0
    end = 0.0 if timeout is None else monotonic() + timeout
    while True:
        left = end - monotonic() if end else None
        try:
            return _ask(command, guest, words, json, left, force)
        except Unreachable as problem:
            if not has_record(guest):
                raise
            from umlctl.cli.afterlife import answer, can_be_asked_again, take_over

            kills += 1
            if kills < KILLS and take_over(guest):
                can_be_asked_again(guest, problem)
                if end and monotonic() >= end:
                    late = Outcome(TIMED_OUT, reason=NO_ANSWER)
                    raise Abandoned(problem.path, command.name, late) from None
                continue
            code = answer(command.name, guest, json) if command.served != KERNEL else None
            if code is None:
                raise
            return code


def _is_scanned(text: str, outcome: Outcome) -> bool:
    """A bare kernel does not remove a disk that is open, maybe just to look for partitions."""
    return outcome.error == -EBUSY and text.startswith("remove ubd")


def _ask(
    command: Command, guest: str, words: list[str], json: bool, timeout: float | None, force: bool
) -> int:
    """The same; what keeps the request from being sent is raised.

    Raises: Unreachable, Abandoned, WireError, PermissionError
    """
    wrong = wrong_words(command, words)
    if wrong:
        return say(f"{command.name} {guest}: {wrong}", exitcodes.USAGE)
    text = as_text(command, words)
    with Connection(find_socket(guest)) as connection:
        ended = end_bare(command, guest, connection.link, words, json)
        if ended is not None:
            return ended
        text = prepare(connection.link, text, force)
        deadline, renew = deadlines(command, timeout)
        idle = _Idle(guest, connection.link)
        outcome = connection.request(text, deadline, renew=renew, idle=idle.look)
        end = monotonic() + SCANNED
        while _is_scanned(text, outcome) and not connection.link.served and monotonic() < end:
            sleep(SCANNED / 20)
            outcome = connection.request(text, deadline, renew=renew, idle=idle.look)
        check_abandoned(connection.link, text, outcome)
    if command.name == "halt" and outcome.kind == "timed out" and not connection.link.served:
        from umlctl.cli import bare

        code = bare.end("halt", guest, connection.link.path, words, json)
        if code is not None:
            return code
    if command.name == "stop" and outcome.ok and not json:
        ends = f"; `umlctl shutdown {guest}` ends it" if connection.link.served else ""
        say(f"{guest} is paused; `umlctl go {guest}` resumes it{ends}", exitcodes.OK)
    if command.waits and outcome.ok:
        from umlctl.cli.views import show_ending

        return show_ending(guest, command, outcome, json)
    if json or command.name == "status":
        from umlctl.cli.views import show_outcome

        return show_outcome(guest, command.name, outcome, json)
    return show(guest, command.name, outcome, words)


def end_bare(command: Command, guest: str, link: Link, words: list[str], json: bool) -> int | None:
    """End a kernel that nobody supervises by its process; None: that is not it."""
    if command.name not in ("kill", "shutdown"):
        return None
    link.open()
    if link.served:
        return None
    from umlctl.cli import bare

    return bare.end(command.name, guest, link.path, words, json)


class _Idle:
    """Says, once, who keeps a guest from answering."""

    def __init__(self, guest: str, link: Link) -> None:
        self._guest = guest
        self._link = link
        self._since = monotonic()

    def look(self) -> None:
        """Nothing comes."""
        if self._since and monotonic() - self._since > SILENCE:
            self._since = 0.0
            from umlctl.cli.afterlife import holder

            by = holder(self._link)
            if by:
                say(f"{self._guest} is waited for: {by}", exitcodes.OK)


def tell(
    guest: str, text: str, json: bool = False, timeout: float | None = None, force: bool = False
) -> int:
    """Send any text to a guest, and show how it ended."""
    try:
        with Connection(find_socket(guest)) as connection:
            outcome = exchange(connection, guest, text, timeout, force)
    except Unreachable as problem:
        return unreachable(guest, problem)
    except WireError as problem:
        return say(f"{guest}: {problem}", exitcodes.USAGE)
    except PermissionError as problem:
        return say(f"{guest}: {problem}", exitcodes.REFUSED)
    if json:
        from umlctl.cli.views import show_outcome

        return show_outcome(guest, text, outcome, json)
    return show(guest, "mconsole", outcome)


def exchange(
    connection: Connection, guest: str, text: str, timeout: float | None, force: bool
) -> Outcome:
    """Send any text; where nobody takes it, a guest that lost its supervisor gets another one.

    The files of disks are the client's.

    Raises: Unreachable, WireError, PermissionError
    """
    name, *words = text.lstrip("! ").split(" ")
    command = BY_NAME.get(name)
    if command is not None:
        text = text[: len(text) - len(text.lstrip("! "))] + as_text(command, words)
    deadline, renew = deadlines(command, timeout)
    try:
        return connection.request(prepare(connection.link, text, force), deadline, renew=renew)
    except Unreachable:
        from umlctl.cli.afterlife import take_over

        if not take_over(guest):
            raise
    return connection.request(prepare(connection.link, text, force), deadline, renew=renew)


def as_text(command: Command, words: list[str]) -> str:
    """A command as it is sent; the files of disks are the client's, so their paths are whole."""
    text = " ".join(words)
    if (command.name == "config" and text.startswith("ubd") and "=" in text) or (
        command.name == "plug" and words[:1] == ["disk"]
    ):
        text = _absolute(text)
    return f"{command.name} {text}" if text else command.name


def deadlines(command: Command | None, timeout: float | None) -> tuple[float, float]:
    """How long an answer may take, and how long from each sign of life on if not 0, seconds.

    command: None if it is unknown
    timeout: what was asked for, which is kept whatever comes; None: an answer that may take as
        long as the guest likes is waited for as long as there are signs of life
    """
    if timeout is not None:
        return timeout, 0.0
    return TIMEOUT, TIMEOUT if command is not None and command.waits else 0.0


def prepare(link: Link, text: str, force: bool) -> str:
    """The text as this server wants it: a supervisor knows '!', a bare kernel has no guard.

    Raises: Unreachable; PermissionError: a bare kernel has no such command, or would not
        survive it
    """
    link.open()
    if link.served:
        return "!" + text if force else text
    name = text.partition(" ")[0]
    command = BY_NAME.get(name)
    if command is not None and command.served != KERNEL:
        raise PermissionError(
            f"nobody supervises this guest, and a bare kernel has no `{name}`; "
            f"guests of `umlctl run` and `umlctl start` have{BARE.get(name, '')}"
        )
    if text.startswith("!"):
        return prepare(link, text[1:].lstrip(), force=True)
    if name == "stop" and text.strip() != name:
        raise PermissionError(
            "nobody supervises this guest, who would resume it in time; `stop` alone is until `go`"
        )
    # A kernel takes any name that begins with one of its own: `proc/kcore` reads kcore.
    if not force and (command is None or name in ("proc", "sysrq", "config")):
        from umlctl.guard import Refusal, check, read

        try:
            if command is not None or name.startswith(tuple(BY_NAME)):
                check(read(text))
        except Refusal as refusal:
            raise PermissionError(str(refusal)) from None
    if text.startswith("log ") and not text.endswith("\n"):
        text += "\n"  # the kernel shows a line only when it ends
    return text


def check_abandoned(link: Link, text: str, outcome: Outcome) -> None:
    """See that it was not the supervisor that ended under a request.

    Raises: Abandoned
    """
    if outcome.kind == GONE and link.served:
        raise Abandoned(link.path, text, outcome)


def show(guest: str, name: str, outcome: Outcome, words: list[str] | None = None) -> int:
    """Print an answer, or say on standard error what became of it; the exit code.

    words: what followed the command, to say what a refusal was about
    """
    stream = sys.stdout
    if outcome.error == exitcodes.ENODATA:
        reason = "a part of the answer is lost"
        outcome = type(outcome)("truncated", 0, outcome.data, reason, outcome.pieces)
    if outcome.kind in ("answered", "truncated") and outcome.data:
        data = outcome.data
        if name == "proc":
            data = data.removeprefix(b"\n")  # the kernel begins each file with one
        stream.flush()
        stream.buffer.write(data if data.endswith(b"\n") or not data else data + b"\n")
        stream.buffer.flush()
    if outcome.ok:
        return exitcodes.OK
    if outcome.kind == "refused":
        said = outcome.text.strip() or f"error {outcome.error}"
        if words:
            from umlctl.cli.refusals import explained

            said = explained(name, words, said)
        return say(f"{name} {guest}: {said}", exitcodes.of_error(outcome.error))
    return say(f"{name} {guest}: {outcome.kind}: {outcome.reason}", exitcodes.of(outcome.kind))


def unreachable(guest: str, problem: Unreachable) -> int:
    return say(absent(guest, problem), exitcodes.NO_GUEST)


def absent(guest: str, problem: Unreachable) -> str:
    """Why nobody answers for a guest, for a person: what became of it, if that is known."""
    if has_record(guest):
        from umlctl.cli.afterlife import epitaph

        said = epitaph(guest)
        if said:
            return said
    # That there is no socket at all is no more than that there is no guest.
    named = "/" not in guest and problem.is_missing
    return f"no guest {guest!r}{'' if named else f': {problem}'}; `umlctl list` shows the guests"


def say(message: str, code: int) -> int:
    """One line on standard error; returns the code."""
    sys.stdout.flush()
    sys.stderr.write(f"umlctl: {message}\n")
    return code


def wrong_words(command: Command, words: list[str]) -> str:
    """What is wrong with what follows a command; empty if nothing is."""
    if len(words) < command.required:
        return f"{command.name} needs {command.args}"
    if len(words) > command.most and not command.takes_rest:
        return f"{command.name} takes {command.args or 'no argument'}, not {words[-1]!r}"
    if words and not all(words) and not (command.takes_rest and "".join(words).strip()):
        return f"{command.name} takes {command.args}, not an empty text"
    return ""


def _absolute(text: str) -> str:
    """Disk files are the client's, and the kernel may live in another directory."""
    from os import getcwd

    from umlctl.errors import UsageError

    try:
        if text.startswith("ubd"):
            from umlctl.devices.ubd import parse

            return str(parse(text).absolute(getcwd()))
        from umlctl.guest.plug import parse_disk

        what, _, spec = text.partition(" ")
        return f"{what} {parse_disk(spec.strip(), getcwd())}"
    except UsageError:
        return text  # the guest says what is wrong, in its own words
