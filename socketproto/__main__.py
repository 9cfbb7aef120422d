"""`python -m socketproto PATH COMMAND...`: one mconsole request, standard library only.

Prints the answer; ends with 0 if the server answered, 1 if it said ERR, 2 on wrong usage,
3 if no server listens, 4 without an answer in time, 5 if the server went away, 6 if a part is lost,
7 if this process may not have what it takes to ask.
"""

from __future__ import annotations

import sys

from socketproto.blocking import Connection, Unreachable
from socketproto.wire import WireError

CODES = {"answered": 0, "refused": 1, "timed out": 4, "guest gone": 5, "truncated": 6}


def main(arguments: list[str]) -> int:
    if len(arguments) < 2 or arguments[0].startswith("-"):
        sys.stderr.write("usage: python -m socketproto PATH COMMAND...\n")
        return 2
    path, *words = arguments
    with Connection(path) as connection:
        try:
            outcome = connection.request(" ".join(words))
        except Unreachable as problem:
            sys.stderr.write(f"socketproto: {problem}\n")
            return 3
        except OSError as problem:
            sys.stderr.write(f"socketproto: {path} was not asked: {problem}\n")
            return 7
        except WireError as problem:
            sys.stderr.write(f"socketproto: {problem}\n")
            return 2
    if outcome.data:
        sys.stdout.buffer.write(outcome.data.rstrip(b"\n") + b"\n")
    if not outcome.ok:
        sys.stderr.write(f"socketproto: {outcome.kind}: {outcome.reason or words[0]}\n")
    return CODES[outcome.kind]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
