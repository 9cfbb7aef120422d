"""`umlctl exec`: a command in a guest of its own, or in one that is there anyway."""

from __future__ import annotations

import os
import re
import stat
import time
from errno import ENOENT
from typing import TYPE_CHECKING, Any, Final

import click
from click.core import ParameterSource

from umlctl import exitcodes, streams
from umlctl.cli import complete, overlay_image
from umlctl.cli.booting import host_errors
from umlctl.cli.durations import SECONDS
from umlctl.cli.exec_options import CLEAN, IN_MEMORY, Executing, guest_options
from umlctl.definitions import make
from umlctl.errors import SEE_DOCTOR, NeverStarted, UsageError
from umlctl.guest import command as commands
from umlctl.guest import definition as definitions
from umlctl.guest.command import Command, Root, Share
from umlctl.host import naming, paths
from umlctl.kernels import find, modules

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from umlctl.cli.exec_guest import Result
    from umlctl.guest.definition import Definition
    from umlctl.kernels.find import ProbedKernel
    from umlctl.protocol.control_line import Said

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
NOT_OFFERED: Final[dict[str, Any]] = {
    **dict.fromkeys(("after", "hide"), ()),
    **dict.fromkeys(("memory_limit", "mem_dir", "pidfile"), ""),
    **dict.fromkeys(("profile", "restart")),
    "root": definitions.HOST_ROOT,
    "modules": definitions.UNLOCKED,
    "ncpus": 1,
    "force": False,
}
"""What describes a guest, and is the same for all of these."""
IN_GUEST: Final = frozenset(("cwd", "variables", "timeout"))
"""The parameters of a command in a guest that runs."""
ROOT_ENVIRONMENT: Final = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/root",
    "USER": "root",
    "LOGNAME": "root",
}
"""The environment of a command there, with OF_TERMINAL as it is here."""
OF_TERMINAL: Final = ("TERM", "COLORTERM", "LANG", "LC_ALL")
NO_REBOOT: Final = "noreboot=1"
"""Ends a guest that reboots. Without a value it would be a word for init."""
PANIC_LINES: Final = 12
"""How many lines before a panic's own are shown."""


class Somewhere(Executing):
    """A command whose words after `--` are another command; before, a guest may stand."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        rest = super().parse_args(ctx, args)
        if ctx.params.get("guest") is not None and not ctx.resilient_parsing:
            for option in self.params:
                given = ctx.get_parameter_source(option.name or "") == ParameterSource.COMMANDLINE
                if isinstance(option, click.Option) and given and option.name not in IN_GUEST:
                    ctx.fail(
                        f"{option.opts[0]} is for a guest of its own, and not for one that runs"
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
  umlctl exec --timeout 60 --log ci.log -- ./may-panic.sh
  umlctl exec --nic user -- apt-get install -y hello
  tar c . | umlctl exec --ro -- tar t      streams are those of the command
  umlctl exec -- bash                      a terminal is a terminal
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
@click.option("--log", default="", metavar="FILE", help="Write the kernel's own messages to FILE.")
def execute(guest: str | None, words: tuple[str, ...], **options: Any) -> int:
    """Run a command in a fresh guest, or in one that runs.

    A fresh one is on this machine's own files. The command has the same directory, environment,
    standard streams and terminal as it would have here, and a kernel of its own. It is root there,
    and may write anything: nothing of that gets to the host, unless with --rw, --share or
    --overlay=DIR. The exit code is the command's own.

    In GUEST, which runs, it is root, in that guest's own files.
    """
    began = time.monotonic()
    _check_words(words)
    if guest is not None:
        limit = options["timeout"]
        return _in_guest(guest, words, options, None if limit is None else began + limit)
    result = perform(words, options)
    if result.problem:
        _say(result.problem)
    return _code(result, words[0], options["timeout"])


def _check_words(words: tuple[str, ...]) -> None:
    """Raises: UsageError"""
    if not words or not words[0]:
        what = "the command is empty" if words else "there is no command"
        raise UsageError(f"{what}: umlctl exec [OPTIONS] [GUEST] -- COMMAND [ARGUMENT]...")


def perform(words: tuple[str, ...], options: Mapping[str, Any]) -> Result:
    """Run a command in a fresh guest, of which nothing is left then; how it went.

    options: of `umlctl exec`, by their names; `boot_timeout` beside them: how long the guest may
        take to begin, seconds

    Raises: UmlctlError
    """
    began = time.monotonic()
    _check_words(words)
    limit = options["timeout"]
    deadline = None if limit is None else began + limit
    from umlctl.cli import exec_guest

    umid = naming.of_process(os.getpid())
    with host_errors():
        kernel = find.probe(find.find(options["kernel"]), options["user"])
        root = make_root(options, kernel)
        directory = os.path.abspath(options["cwd"]) if options["cwd"] else os.getcwd()
        command = _command(words, options, _environment(options), directory)
        definition = _define(umid, options, root, kernel, command)
        log = os.path.abspath(options["log"]) if options["log"] else ""
        return exec_guest.execute(definition, root, command, deadline, log)


def _in_guest(
    guest: str, words: tuple[str, ...], options: Mapping[str, Any], deadline: float | None
) -> int:
    """Run a command in a guest that is there anyway; the exit code."""
    from umlctl.cli import exec_running

    command = _command(words, options, _environment_in_guest(options), options["cwd"] or "/")
    with host_errors():
        ran = exec_running.execute(paths.umid_of(guest), command, deadline)
    if ran.problem:
        _say(ran.problem)
    if ran.outcome.said is None and not (ran.outcome.late or ran.outcome.caught):
        _say(f"{guest} has ended, or was rebooted, before the command had")
        return exitcodes.GONE
    from umlctl.cli.exec_guest import Result

    return _code(
        Result(ran.outcome, None, ran.todo, b"", ran.problem), words[0], options["timeout"]
    )


# What is asked for


def make_root(options: Mapping[str, Any], kernel: ProbedKernel) -> Root:
    """What the command has as its files.

    Raises: UsageError, NeverStarted: the kernel has no overlay file system
    """
    shares = [Share(path, path) for path in map(os.path.abspath, options["rw"])]
    shares += map(_share, options["shares"])
    for share in shares:
        if not os.path.isdir(share.source):
            raise UsageError(f"{share.source} is no directory of this host, to be shared")
    own = modules.of_release(kernel)
    kind = commands.READONLY if options["readonly"] else commands.OVERLAY
    found = Root(kind, "", "", own, kernel.version, tuple(shares))
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
        found = found._replace(kept=overlay_image.DEVICE)
    module, why = modules.overlay(kernel)
    found = found._replace(overlay_module=module)
    if why:
        raise NeverStarted(
            f"the kernel {kernel.path} has no overlay file system ({why}), which keeps what the "
            "command writes from this host; --ro does without, and --kernel FILE takes another; "
            f"{SEE_DOCTOR}"
        )
    return found


def _share(text: str) -> Share:
    """Raises: UsageError"""
    source, _, option = text.partition(",")
    if option not in ("", "ro"):
        raise UsageError(f"--share {text}: behind the directory there can be ,ro, not {option!r}")
    source, _, target = source.partition(":")
    source = os.path.abspath(source)
    target = target or source
    if not target.startswith("/"):
        raise UsageError(f"--share {text}: where it is to be in the guest begins with /")
    return Share(source, os.path.normpath(target), readonly=option == "ro")


def _command(
    words: tuple[str, ...],
    options: Mapping[str, Any],
    environment: dict[str, str],
    directory: str,
) -> Command:
    kinds = _kinds()
    size = (24, 80)
    if kinds[0] == commands.TERMINAL:
        found = os.get_terminal_size(streams.STDIN)
        size = (found.lines, found.columns)
    return Command(
        words,
        directory,
        environment,
        kinds,
        os.urandom(16).hex(),
        size,
        commands.NETWORK if options["nics"] else "",
        powerless=bool(os.geteuid() or options["user"]),
    )


def _kinds() -> str:
    """What the standard descriptors of this process are; on a terminal, to read and to write, it is
    one for the command too."""
    nothing = os.stat(os.devnull)
    found = []
    terminal = os.isatty(streams.STDIN) and os.isatty(streams.STDOUT)
    for descriptor in (streams.STDIN, streams.STDOUT, streams.STDERR):
        look = os.fstat(descriptor)
        if terminal and os.isatty(descriptor):
            found.append(commands.TERMINAL)
        elif stat.S_ISCHR(look.st_mode) and look.st_rdev == nothing.st_rdev:
            found.append(commands.NOTHING)
        else:
            found.append(commands.PIPED)
    return "".join(found)


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
    return _with_variables(found, options["variables"])


def _environment_in_guest(options: Mapping[str, Any]) -> dict[str, str]:
    """Raises: UsageError"""
    found = {name: os.environ[name] for name in OF_TERMINAL if name in os.environ}
    return _with_variables(found | ROOT_ENVIRONMENT, options["variables"])


def _with_variables(found: dict[str, str], variables: Iterable[str]) -> dict[str, str]:
    """The environment with what --env gives, and without what is not there.

    Raises: UsageError
    """
    for text in variables:
        name, equals, value = text.partition("=")
        if not name:
            raise UsageError(f"--env takes NAME=VALUE or NAME, not {text!r}")
        if equals:
            found[name] = value
        elif name in os.environ:
            found[name] = os.environ[name]
        else:
            found.pop(name, None)
    return found


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
        **{name: options[name] for name in ("mem", "disks", "nics", "user", "confine")},
        "append": options["append"],
        "timeout": options.get("boot_timeout"),
    }
    if root.kept:
        image = overlay_image.prepare(os.path.abspath(options["kept"]))
        told["disks"] = (*options["disks"], f"{image},slot={overlay_image.SLOT}")
    found = make.make(umid, NOT_OFFERED | told, (NO_REBOOT, "--", *init[1:], handed))
    written = [share.source for share in root.shares if not share.readonly]
    read = [share.source for share in root.shares if share.readonly]
    read += [handed, os.path.dirname(init[-1]), command.directory]
    if root.modules:  # there may be links from one to the other
        read += [root.modules, os.path.dirname(kernel.path)]
    return exec_guest.reaching(found, read, written)


# How it went


def _code(result: Result, name: str, limit: float | None) -> int:
    """The exit code; why it is no command's is said."""
    outcome, said = result.outcome, result.outcome.said
    if outcome.late:
        _say(f"{late_text(limit)}, and ended")
        return exitcodes.LIMIT
    if said is None:
        return exitcodes.SIGNALLED + outcome.caught if outcome.caught else _of_guest(result)
    if said.word == "status":
        status = said.numbers[0]
        if os.WIFSIGNALED(status):
            return exitcodes.SIGNALLED + os.WTERMSIG(status)
        return os.waitstatus_to_exitcode(status) or (exitcodes.FAILED if result.problem else 0)
    if said.word == "noexec":
        code, text = not_executed(said, name)
        _say(text)
        return code
    _say(why_unprepared(said, result))
    if said.word == "unprepared":
        _show(_last(result.tail))
    return exitcodes.NEVER_STARTED


def late_text(limit: float | None) -> str:
    """That a command's time was up; limit: of it, seconds; None: somebody has ended it."""
    return "told to end" if limit is None else f"not over within {limit:g} seconds"


def not_executed(said: Said, name: str) -> tuple[int, str]:
    """The exit code of a command that could not be executed, and why it could not."""
    code = exitcodes.NO_COMMAND if said.numbers[0] == ENOENT else exitcodes.NOT_EXECUTED
    return code, f"{name}: {_strerror(said.numbers[0])}"


def why_unprepared(said: Said, result: Result) -> str:
    """Why there was no guest to run a command in."""
    if said.word == "nowhere":
        problem = _strerror(said.numbers[0])
        return f"the guest cannot enter the directory: {problem}; --cwd names one"
    if said.word == "failed":
        index, number = said.numbers
        return commands.explain(result.todo, index, number, _strerror(number))
    return "what had to be done before the command has failed; the end of the guest's log:"


def _strerror(number: int) -> str:
    return os.strerror(number) if number < 4096 else str(number)


def _of_guest(result: Result) -> int:
    """The exit code where the guest has ended before its command did."""
    from umlctl.state import endings

    assert result.ending is not None
    panic = result.tail.rfind(b"Kernel panic - not syncing")
    is_unfit = panic < 0 and not result.outcome.began
    hint = f"; {SEE_DOCTOR}" if is_unfit else ""
    _say(f"the guest has ended: {endings.describe(result.ending)}{hint}")
    if panic >= 0:
        begin = len(result.tail[:panic].split(b"\n")) - 1
        lines = result.tail.split(b"\n")
        _show(lines[max(0, begin - PANIC_LINES) :])
    elif result.ending.code == exitcodes.NEVER_STARTED:
        _show(_last(result.tail))
    if not result.outcome.began:
        return exitcodes.NEVER_STARTED
    return result.ending.code


def _last(tail: bytes) -> list[bytes]:
    return tail.rstrip().split(b"\n")[-PANIC_LINES:]


def _show(lines: list[bytes]) -> None:
    for each in lines:
        click.echo(each.decode("utf-8", "replace").rstrip(), err=True)


def _say(text: str) -> None:
    click.echo(f"umlctl: {text}", err=True)
