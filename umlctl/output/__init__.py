"""How answers and errors are shown. This module shows them as they come, for a one-shot command, so
that nearly nothing is imported; `views` has tables and JSON.
"""

from __future__ import annotations

import sys

from umlctl import exitcodes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from socketproto.exchange import Outcome


def say(message: str, code: int) -> int:
    """Write one line to standard error, or a few; return the code.

    What a guest, an archive or a file has in there has no power over the terminal.
    """
    sys.stdout.flush()
    if not message.isprintable():
        message = "\n".join(map(printable, message.split("\n")))
    sys.stderr.write(f"umlctl: {message}\n")
    return code


def printable(text: str) -> str:
    """A guest's or client's words, without power over the terminal that they are shown on."""
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode()
        for letter in text
    )


def show(guest: str, name: str, outcome: Outcome, words: list[str] | None = None) -> int:
    """Print an answer, or say on standard error what became of it; return the exit code.

    words: the words after the command, to say what a refusal was about
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
            from umlctl.output.refusals import explained

            said = explained(name, words, said)
        return say(f"{name} {guest}: {said}", exitcodes.of_error(outcome.error))
    return say(f"{name} {guest}: {outcome.kind}: {outcome.reason}", exitcodes.of(outcome.kind))
