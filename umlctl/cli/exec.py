"""`umlctl exec`: a command in a guest of its own, or in one that is there anyway."""

from __future__ import annotations

import os
import re
import time
from typing import TYPE_CHECKING, Any, Final

import click
from click.core import ParameterSource

from umlctl import exitcodes, streams
from umlctl.checks import boot_warnings
from umlctl.cli import complete, exec_command, panic_text
from umlctl.cli.durations import SECONDS
from umlctl.cli.exec_options import CLEAN, Executing, guest_options
from umlctl.definitions import make
from umlctl.errors import SEE_DOCTOR, NeverStarted, UmlctlError, UsageError
from umlctl.guest import command as commands
from umlctl.guest import overlay
from umlctl.guest.command import Command, Root
from umlctl.guest.options import OPTIONS
from umlctl.guest.overlay import IN_MEMORY
from umlctl.guest.shares import Share
from umlctl.guest.shares import parse as parse_share
from umlctl.host import naming, paths
from umlctl.host.starting import unfit
from umlctl.kernels import find, modules, needed_modules
from umlctl.storage import overlay_image

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from umlctl.cli.exec_guest import Result
    from umlctl.execution.running import Ran
    from umlctl.guest.definition import Definition
    from umlctl.kernels.find import ProbedKernel

OF_THE_HOST: Final = frozenset(
    {
        *("SSH_AUTH_SOCK", "SSH_AGENT_PID", "GPG_AGENT_INFO", "DBUS_SESSION_BUS_ADDRESS"),
        *("XDG_RUNTIME_DIR", "DISPLAY", "XAUTHORITY", "WAYLAND_DISPLAY", "TMUX", "TMUX_PANE"),
        *("NOTIFY_SOCKET", "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES", "JOURNAL_STREAM"),
        *("INVOCATION_ID", "WATCHDOG_PID", "WATCHDOG_USEC", "UMLCTL_DIR", "UMLCTL_KERNEL"),
    }
)
"""Variables that lead to what is not in the guest."""
SECRET: Final = re.compile(
    r"(?:^|_)(?:TOKEN|SECRET|PASSWORD|PASSWD|PASSPHRASE|CREDENTIALS?"
    r"|(?:API|ACCESS|PRIVATE|SECRET|SIGNING)_?KEY)(?:$|_)",
    re.IGNORECASE,
)
"""Names of variables that are nobody else's business."""
NOT_OFFERED: Final = {option.field: option.absent for option in OPTIONS}
"""What describes a guest, and is the same for all of these unless they offer it."""
OF_GUEST: Final = (
    *("mem", "disks", "nics", "append", "seccomp", "virtual_time", "user", "confine"),
)
"""What of the options describes the guest."""
IN_GUEST: Final = frozenset(("cwd", "variables", "timeout", "report"))
"""The parameters of a command in a guest that runs."""
INSTEAD: Final = {
    "debugged": "umlctl gdb {}",
    "disks": "umlctl disk add {} FILE",
    "load": "umlctl exec {} -- modprobe NAME",
    "nics": "umlctl nic add {}",
    "shares": "umlctl share add {} DIR",
}
"""What a guest that runs has for other parameters."""
LAST_LINES: Final = 12
"""How many of the last lines are shown of a log."""


class Somewhere(Executing):
    """A command whose words after `--` are another command; before, a guest may stand."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        rest = super().parse_args(ctx, args)
        if ctx.params.get("guest") is not None and not ctx.resilient_parsing:
            for option in self.params:
                given = ctx.get_parameter_source(option.name or "") == ParameterSource.COMMANDLINE
                if isinstance(option, click.Option) and given and option.name not in IN_GUEST:
                    instead = INSTEAD.get(option.name or "", "").format(ctx.params["guest"])
                    ctx.fail(
                        f"{option.opts[0]} is for a guest of its own, and not for one that runs"
                        f"{f'; `{instead}` does that' if instead else ''}"
                    )
        return rest


@click.command(
    "exec",
    cls=Somewhere,
    epilog="""\b
Examples:
  umlctl exec -- make check                a kernel of its own; what it writes is gone afterwards
  umlctl exec --kernel ./linux -- sh -c 'insmod x.ko && ./selftest'; echo $?
  umlctl exec --rw . -- make               what it writes in this directory stays
  umlctl exec --timeout 60 --log ci.log --json how.json -- ./may-panic.sh
  umlctl exec --nic user -- apt-get install -y hello
  tar c . | umlctl exec --ro -- tar t      streams are those of the command
  umlctl exec -- bash                      a terminal is a terminal
  umlctl exec --keep -- make test          and then look around in the guest
  umlctl exec --gdb --kernel . -- ./test   gdb on its kernel, from the first instruction
  umlctl exec demo -- dmesg                in a guest that runs
""",
)
@click.argument("guest", required=False, shell_complete=complete.guests)
@click.argument("words", nargs=-1, metavar="-- COMMAND [ARGUMENT]...", type=click.UNPROCESSED)
@guest_options
@click.option(
    "--disk",
    "disks",
    multiple=True,
    metavar="FILE[,OPTION]...",
    help="A disk; repeat for more. See `umlctl disk add --help` for the options.",
    shell_complete=complete.behind("plug", "disk"),
)
@click.option(
    "--timeout",
    type=SECONDS,
    metavar="SECONDS",
    help="End it if it has not ended after so long; the exit code is 124 then.",
)
@click.option(
    "--log",
    "--kmsg",
    "log",
    default="",
    metavar="FILE",
    help="Write the kernel's own messages to FILE.",
)
@click.option(
    "--keep", is_flag=True, help="Have the guest stay, for further commands; its name is said."
)
@click.option(
    "--gdb",
    "debugged",
    is_flag=True,
    help="Have gdb on its kernel, from the first instruction.",
)
@click.option(
    "--json",
    "report",
    metavar="FILE",
    help="In the end, write how it ended to FILE as JSON; /dev/fd/3 is a descriptor.",
)
def execute(guest: str | None, words: tuple[str, ...], **options: Any) -> int:
    """Run a command in a fresh guest, or in one that runs.

    A fresh one is on this machine's own files. The command has the same directory, environment,
    standard streams and terminal as it would have here, and a kernel of its own. It is root there,
    and may write anything: nothing of that gets to the host, unless with --rw, --share or
    --overlay=DIR. The exit code is the command's own.

    In GUEST, which runs, it is root, in that guest's own files.
    """
    if options["report"] is None:
        return _run(guest, words, options)[0]
    from umlctl.cli import exec_report

    began = time.monotonic()
    exec_report.check(options["report"])
    try:
        code, result = _run(guest, words, options)
    except UmlctlError as problem:
        found = exec_report.of_problem(problem, time.monotonic() - began)
        exec_report.write(options["report"], found)
        raise
    seconds = time.monotonic() - began
    found = exec_report.of_result(result, words[0], code, options["timeout"], seconds)
    exec_report.write(options["report"], found)
    return code


def _run(
    guest: str | None, words: tuple[str, ...], options: Mapping[str, Any]
) -> tuple[int, Result | Ran]:
    """Run a command, and say what is to be said of it; the exit code, and how it went.

    Raises: UmlctlError
    """
    if guest is None:
        result = perform(words, options, exec_command.say)
        return _show_result(result, words, options), result
    directory, limit = options["cwd"] or "/", options["timeout"]
    return exec_command.perform_in_guest(guest, words, options["variables"], directory, limit)


def _show_result(result: Result, words: tuple[str, ...], options: Mapping[str, Any]) -> int:
    """Say what is to be said of a command that is over; the exit code."""
    if result.problem:
        exec_command.say(result.problem)
    if result.kept:
        _have_kept(naming.of_kept(os.getpid()))
    return _code(result, words[0], options)


def perform(
    words: tuple[str, ...],
    options: Mapping[str, Any],
    warn: Callable[[str], None] = lambda _text: None,
) -> Result:
    """Run a command in a fresh guest, of which nothing is left then; how it went.

    warn: is told before what not everybody expects
    options: of `umlctl exec`, by their names; `keep` may lack, and `boot_timeout` be there: how
        long the guest may take to begin, seconds

    Raises: UmlctlError
    """
    began = time.monotonic()
    exec_command.check_words(words)
    limit = options["timeout"]
    deadline = None if limit is None else began + limit
    from umlctl.cli import exec_guest

    keep, debugged = options.get("keep", False), options.get("debugged", False)
    if debugged:
        from umlctl.cli import gdb

        if keep:
            raise UsageError("--gdb and --keep exclude each other: `umlctl gdb` is for the latter")
        gdb.find_gdb()
    umid = naming.of_kept(os.getpid()) if keep else naming.of_process(os.getpid())
    with unfit("the command cannot be run"):
        kernel = find.probe(find.find(options["kernel"]), options["user"])
        root = make_root(options, kernel)
        directory = os.path.abspath(options["cwd"]) if options["cwd"] else os.getcwd()
        command = exec_command.make(words, _environment(options), directory)._replace(
            script=commands.NETWORK if options["nics"] else "",
            powerless=bool(os.geteuid() or options["user"]),
        )
        definition = _define(umid, options, root, kernel, command)
        for text in boot_warnings.of_memory(definition):
            warn(text)
        log = os.path.abspath(options["log"]) if options["log"] else ""
        if debugged and os.isatty(streams.STDIN):  # which is gdb's
            command = command._replace(kinds=commands.NOTHING + 2 * commands.PIPED)
        return exec_guest.execute(
            definition, root, command, deadline, log, keep=keep, debugged=debugged
        )


def _have_kept(umid: str) -> None:
    """Have a guest supervised that runs on, and say its name."""
    from umlctl.client import unsupervised

    is_supervised = unsupervised.ask_to_adopt(umid)
    end = "kill" if is_supervised else "adopt"
    exec_command.say(
        f"the guest stays, as {umid}: `umlctl exec {umid} -- COMMAND` goes on in it, "
        f"`umlctl {end} {umid}` {'ends it' if is_supervised else 'has it supervised'}; a reboot "
        "ends it, too"
    )


# What is asked for


def make_root(options: Mapping[str, Any], kernel: ProbedKernel) -> Root:
    """What the command has as its files.

    Raises: UsageError, NeverStarted: the kernel has no overlay file system, or not the modules
    """
    shares = [Share(path, path) for path in map(os.path.abspath, options["rw"])]
    shares += [parse_share(text, os.getcwd()) for text in options["shares"]]
    for share in shares:
        if not os.path.isdir(share.source):
            raise UsageError(f"{share.source} is no directory of this host, to be shared")
    own = modules.of_release(kernel)
    kind = commands.READONLY if options["readonly"] else commands.OVERLAY
    load = [f"{own}/{path}" for path in needed_modules.files(kernel, options["load"])]
    found = Root(kind, "", "", own, kernel.version, tuple(load), tuple(shares))
    if options["readonly"]:
        if options["kept"] != IN_MEMORY:
            raise UsageError("--ro and --overlay=DIR exclude each other: give one of them")
        return found
    kept = options["kept"]
    if kept != IN_MEMORY:
        kept = os.path.abspath(kept)
        if not os.path.isdir(kept):
            raise UsageError(f"--overlay={kept}: there is no such directory to keep things in")
        if kernel.config.get("EXT4_FS") != "y":
            raise NeverStarted(f"the kernel {kernel.path} has no ext4, which --overlay=DIR takes")
        found = found._replace(kept=overlay.DEVICE)
    module, why = modules.overlay(kernel)
    found = found._replace(overlay_module=module)
    if why:
        raise NeverStarted(
            f"the kernel {kernel.path} has no overlay file system ({why}), which keeps what the "
            "command writes from this host; --ro does without, and --kernel FILE takes another; "
            f"{SEE_DOCTOR}"
        )
    return found


def _environment(options: Mapping[str, Any]) -> dict[str, str]:
    """Raises: UsageError, HostError"""
    here = dict(os.environ)
    if options["user"]:
        from umlctl.host import users

        here = users.environment(users.find(options["user"]))
        here |= {name: os.environ[name] for name in ("TERM", "LANG") if name in os.environ}
    if options["clean_env"]:
        found = {name: here[name] for name in CLEAN if name in here}
    else:
        found = {
            name: value
            for name, value in here.items()
            if name not in OF_THE_HOST and not SECRET.search(name)
        }
    return exec_command.with_variables(found, options["variables"])


def _define(
    umid: str, options: Mapping[str, Any], root: Root, kernel: ProbedKernel, command: Command
) -> Definition:
    """The guest.

    Raises: UsageError, HostError
    """
    from umlctl.cli import exec_guest

    handed = paths.session_dir(umid, options["user"])
    init = exec_guest.init_for(kernel, options["user"], handed)
    told = {
        "kernel": kernel.path,
        "init": init[0],
        "ro": (),
        "rw": (),
        "named": False,
        **{name: options[name] for name in OF_GUEST},
        "timeout": options.get("boot_timeout"),
    }
    if root.kept:
        image = overlay_image.prepare(os.path.abspath(options["kept"]))
        told["disks"] = (*options["disks"], f"{image},slot={overlay.SLOT}")
    found = make.make(umid, NOT_OFFERED | told, (commands.NO_REBOOT, "--", *init[1:], handed))
    written = [share.source for share in root.shares if not share.readonly]
    read = [share.source for share in root.shares if share.readonly]
    read += [handed, os.path.dirname(init[-1]), command.directory]
    if root.modules:  # there may be links from one to the other
        read += [root.modules, os.path.dirname(kernel.path)]
    return exec_guest.reaching(found, read, written)


# How it went


def _code(result: Result, name: str, options: Mapping[str, Any]) -> int:
    """The exit code; why it is no command's is said."""
    found = exec_command.code(result.outcome, result.todo, name, options["timeout"])
    if found is None:
        return _of_guest(result, options)
    if result.outcome.said is not None and result.outcome.said.word == "unprepared":
        _show(_last(result.tail))
    return found or (exitcodes.FAILED if result.problem else exitcodes.OK)


def _of_guest(result: Result, options: Mapping[str, Any]) -> int:
    """The exit code where the guest has ended before its command did."""
    from umlctl.state import endings

    assert result.ending is not None
    has_panicked = panic_text.PANIC in result.tail
    is_unfit = not has_panicked and not result.outcome.began
    hint = f"; {SEE_DOCTOR}" if is_unfit else ""
    exec_command.say(f"the guest has ended: {endings.describe(result.ending)}{hint}")
    if has_panicked:
        _show(panic_text.lines_of(result.tail, options["kernel"], options["user"]))
    elif result.ending.code == exitcodes.NEVER_STARTED:
        _show(_last(result.tail))
    if not result.outcome.began:
        return exitcodes.NEVER_STARTED
    return result.ending.code


def _last(tail: bytes) -> list[bytes]:
    return tail.rstrip().split(b"\n")[-LAST_LINES:]


def _show(lines: list[bytes]) -> None:
    for each in lines:
        click.echo(each.decode("utf-8", "replace").rstrip(), err=True)
