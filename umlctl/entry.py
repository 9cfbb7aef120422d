"""The entry of `umlctl`: what its arguments ask for, and how whatever goes wrong ends.

`umlctl VERB GUEST [ARGS]` has to cost no more than the interpreter's own start, so nothing is
imported here that can be left for later: no re, argparse, socket, json, click. Whatever is not
a plain one-shot command goes on to `umlctl.cli.main`.
"""

from __future__ import annotations

import gc
import sys

from umlctl import exitcodes, streams
from umlctl.client.oneshot import ask, tell
from umlctl.client.target import Target, named
from umlctl.protocol.commands import ALIASES, BY_NAME, HOST, Command

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Final

OWN_NAMES: Final = ("umlctl", "__main__.py")
"""What this program is called by when it stands in for no other."""
GARBAGE: Final = 50_000
"""How many objects are made before those are looked for that nobody can reach. To look while
modules are imported takes a tenth of what a short command takes, and finds nothing; what serves for
long has tens of MB by then, at most."""


def main(argv: list[str]) -> int:
    """Run `umlctl`, or the program that it is called as, with these arguments; the exit code."""
    gc.set_threshold(GARBAGE)
    streams.in_utf8()
    streams.open_all()
    called = argv[0].rpartition("/")[2]
    if called not in OWN_NAMES:
        from umlctl.compat.programs import find

        program = find(called)
        if program is not None:
            return _guarded(lambda: program(argv))
    return _run(argv)


def _run(argv: list[str]) -> int:
    verb = argv[1] if len(argv) > 1 else ""
    if verb == "help" and not _is_guest(argv[2:3]):
        words = [ALIASES.get(word, word) for word in argv[2:3]] + argv[3:]
        if words and sys.stdout.isatty():
            from umlctl.cli.man import open_page

            open_page(words[0])
        if words == ["migrating"]:
            return _guarded(_print_migrating)
        argv = [argv[0], *words, "--help"]  # whose commands, if no guest is named: ours
        verb = ""
    if verb == "mconsole" and len(argv) > 3 and not any(word[:1] in ("", "-") for word in argv[2:]):
        return _guarded(lambda: tell(named(argv[2]), " ".join(argv[3:])))
    if verb == "exec" and argv[3:4] == ["--"] and argv[2][:1] not in ("", "-"):
        from umlctl.cli.exec_command import run_plainly

        return _guarded(lambda: run_plainly(named(argv[2]), argv[4:]))
    if verb in ALIASES:
        verb = ALIASES[verb]
        argv = [argv[0], verb, *argv[2:]]
    command = BY_NAME.get(verb)
    if command is not None and command.served != HOST and not command.own_face:
        options = _options(command, argv[2:])
        if options is not None and not _names_several(command, options[1]):
            return _guarded(lambda: ask(command, named(options[0]), *options[1:]))
    return _guarded(lambda: _cli(argv[1:]))


def _is_guest(words: list[str]) -> bool:
    """A guest is named, or what is no command of ours either."""
    if not words or words[0].startswith("-"):
        return bool(words)
    try:
        if Target(words[0]).is_known():
            return True
    except OSError:
        return True  # who asks it says why
    from umlctl.cli.main import LAZY
    from umlctl.cli.man import TOPICS
    from umlctl.synonyms import SYNONYMS

    return words[0] not in {*LAZY, *BY_NAME, *SYNONYMS, *TOPICS}


def _print_migrating() -> int:
    """Where its page cannot be shown."""
    from umlctl.cli.migrating import text

    print(text(), end="")
    return exitcodes.OK


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
        from umlctl.host.limits import explained, is_lacking

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
    """What follows the first guest is another, and no number of seconds, or an option that only
    this command has."""
    return command.name == "shutdown" and any(not word[:1].isdigit() for word in words)


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
