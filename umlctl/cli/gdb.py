"""`umlctl gdb`: a debugger on the kernel of a guest that runs."""

from __future__ import annotations

import os
import shutil
import sys
from typing import Final

import click

from umlctl.cli import complete
from umlctl.cli.exec_command import say
from umlctl.errors import HostError, NoGuest, UmlctlError
from umlctl.host import paths

PASSED: Final = (
    *("SIGSEGV", "SIGALRM", "SIGVTALRM", "SIGIO", "SIGUSR1", "SIGUSR2", "SIGWINCH", "SIGCHLD"),
    "SIG34",  # between the processors of one with SMP
)
"""Signals that a kernel runs by: page faults, its clock, its devices. SIGTRAP is gdb's own, and a
kernel takes none but from the processes that it traces.

Source: arch/um/os-Linux/signal.c, smp.c
"""
COMMANDS: Final = (
    f"handle {' '.join(PASSED)} nostop noprint pass",
    "set detach-on-fork on",
    "set follow-fork-mode parent",
    "set print inferior-events off",
)
"""What gdb is told first. The guest's processes are not followed: their tracer is the kernel."""


class Behind(click.Command):
    """A command whose words after `--` are another program's."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        end = args.index("--") if "--" in args else len(args)
        rest = super().parse_args(ctx, args[:end])
        ctx.params["words"] = tuple(args[end + 1 :])
        return rest

    def collect_usage_pieces(self, ctx: click.Context) -> list[str]:
        return [*super().collect_usage_pieces(ctx), "[-- GDB ARGUMENTS]"]


@click.command(
    "gdb",
    cls=Behind,
    epilog="""\b
Examples:
  umlctl gdb demo                          `break sys_openat`, `continue`; `quit` lets it go on
  umlctl gdb demo -- -batch -ex backtrace  where its kernel is
""",
)
@click.argument("guest", shell_complete=complete.guests)
def gdb(guest: str, words: tuple[str, ...]) -> int:
    """Attach gdb to the kernel of a guest, with its symbols where they are at hand.

    The signals that a kernel runs by are passed without a stop. While gdb has stopped it, the
    guest is shown as traced, and who asks it something is told so.
    """
    from umlctl.state import records

    umid = paths.umid_of(guest)
    record = records.load(umid)
    if record is None or not records.lives(record):
        raise NoGuest(f"no guest {umid!r} of yours runs here; `umlctl list` shows those that do")
    kernel = record.definition.kernel
    command = command_of(kernel, record.definition.user, record.pid, words)
    sys.stdout.flush()
    try:
        os.execv(command[0], command)  # noqa: S606 - it has the terminal then
    except OSError as problem:
        raise HostError(f"cannot run {command[0]}: {problem.strerror}") from problem


def command_of(
    kernel: str, user: str, pid: int, words: tuple[str, ...], gate: str = ""
) -> list[str]:
    """gdb, attached to a kernel's process; that there are no symbols is said.

    kernel: its path; user: whom it runs as; words: more arguments
    gate: a file that is written a line to before the process becomes the kernel; empty: it is that

    Raises: HostError: there is no gdb
    """
    found = _symbols(kernel, user)
    begin = ["set sysroot /", "set exec-file-mismatch off", "set pagination off"]
    first = [*COMMANDS]
    if gate:  # the symbols are those of the program that it becomes, until it is told again
        first += ["tcatch exec", f"shell echo >{gate}", "continue", "set confirm off"]
        first += [f"symbol-file {found}", "set confirm on"]
    early = [each for text in begin for each in ("-iex", text)]
    then = [each for text in (*first, "set pagination on") for each in ("-ex", text)]
    return [find_gdb(), "-q", *early, found, "-p", str(pid), *then, *words]


def find_gdb() -> str:
    """Raises: HostError: there is none"""
    program = shutil.which("gdb")
    if program is None:
        raise HostError("there is no gdb on this host: its package is called gdb")
    return program


def _symbols(kernel: str, user: str) -> str:
    """The file that gdb takes symbols from; the kernel itself where there are none."""
    from umlctl.kernels import find, symbols

    try:
        return symbols.find(kernel, find.probe(kernel, user).version)
    except UmlctlError as problem:
        say(f"without symbols: {problem}")
        return kernel
