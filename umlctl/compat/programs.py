"""Which programs there are, and which module each is.

Every start of `umlctl` by another name reads this table, so it imports nothing.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Final

PROGRAMS: Final = {
    "uml_mconsole": "ask a guest, or talk to it: look-ups, answers and exit codes of the original",
    "uml_moo": "merge a COW file and its backing file, into a new file or in place",
    "uml_mkcow": "make a COW file over a backing file",
    "tunctl": "make and remove taps that stay",
    "uml_switch": "a switch for guests with ethN=daemon, which may join a network",
    "linux": "a kernel by its own command line, supervised meanwhile",
    "xl": "the verbs of Xen's tool, for guests as domains",
}
"""Each by its name, with what it does. Its module has this name too, and a `main` that takes the
words of a command line, its own name first, and returns the exit code."""


def find(path: str) -> Callable[[list[str]], int] | None:
    """The program that is called by this path; None if it is none of them."""
    name = path.rpartition("/")[2]
    if name not in PROGRAMS:
        return None
    # importlib would cost a tenth of the start.
    main: Callable[[list[str]], int] = __import__(f"umlctl.compat.{name}", fromlist=["main"]).main
    return main
