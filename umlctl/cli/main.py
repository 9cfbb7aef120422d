"""The root of the command line: which module holds which command, loaded when it is used."""

from __future__ import annotations

import importlib
from typing import Any, Final

import click
from click.core import ParameterSource

from umlctl import __version__
from umlctl.client.target import named
from umlctl.errors import UmlctlError
from umlctl.output import say
from umlctl.protocol.commands import BY_NAME, COMMANDS, HOST
from umlctl.synonyms import meant

LAZY: Final = {
    "run": "umlctl.cli.run:run",
    "start": "umlctl.cli.start:start",
    "exec": "umlctl.cli.exec:execute",
    "test": "umlctl.cli.test:run_tests",
    "restart": "umlctl.cli.restart:restart",
    "define": "umlctl.cli.define:define",
    "undefine": "umlctl.cli.define:undefine",
    "edit": "umlctl.cli.edit:edit",
    "show": "umlctl.cli.show:show",
    "examples": "umlctl.cli.examples:examples",
    "import": "umlctl.cli.importing:import_guest",
    "dumpargs": "umlctl.cli.dumpargs:dumpargs",
    "list": "umlctl.cli.listing:list_guests",
    "rm": "umlctl.cli.rm:forget",
    "ps": "umlctl.cli.ps:ps",
    "disk": "umlctl.cli.disk:disk",
    "nic": "umlctl.cli.nic:nic",
    "share": "umlctl.cli.share:share",
    "mem": "umlctl.cli.mem:mem",
    "network": "umlctl.cli.network:network",
    "capture": "umlctl.cli.capture:capture",
    "cow": "umlctl.cli.cow:cow",
    "image": "umlctl.cli.image:image",
    "snapshot": "umlctl.cli.snapshot:snapshot",
    "watch": "umlctl.cli.watch:watch",
    "top": "umlctl.cli.watch:top",
    "console": "umlctl.cli.console:console",
    "logs": "umlctl.cli.logs:logs",
    "dmesg": "umlctl.cli.logs:dmesg",
    "gdb": "umlctl.cli.gdb:gdb",
    "collect": "umlctl.cli.collect:collect",
    "cp": "umlctl.cli.cp:cp",
    "events": "umlctl.cli.events:events",
    "mconsole": "umlctl.cli.mconsole:mconsole",
    "shell": "umlctl.cli.shell:shell",
    "info": "umlctl.cli.info:info",
    "doctor": "umlctl.cli.doctor:doctor",
    "setup": "umlctl.cli.setup:setup",
    "kernel": "umlctl.cli.kernel:kernel",
    "man": "umlctl.cli.man:man",
    "compat": "umlctl.cli.compat:compat",
    "adopt": "umlctl.cli.adopt:adopt",
    "quit": "umlctl.cli.quit:quit_supervisor",
    "enable": "umlctl.cli.autostart:enable",
    "disable": "umlctl.cli.autostart:disable",
    "autostart": "umlctl.cli.autostart:autostart",
}
OF_MCONSOLE: Final = "umlctl.cli.verbs:verb"
"""Makes the command of a row of the command table."""
HELP: Final = {
    "run": "boot a guest and supervise it in the foreground",
    "start": "boot a guest in the background",
    "exec": "run a command in a fresh guest, or in one that runs",
    "test": "run a command, or a kernel's own tests, in many fresh guests",
    "restart": "shut a guest down, and start it again as it was",
    "define": "write a guest down: keep a file as its definition",
    "undefine": "remove the definition of a guest",
    "edit": "edit the definition of a guest, which is checked first",
    "show": "how a guest is written down, and what of it runs",
    "examples": "definitions to begin with, each with its reasons",
    "import": "read guests of xl, vkernel, linux and libvirt as definitions",
    "dumpargs": "the kernel command line of a guest, without starting it",
    "list": "all guests: running, bare, dead and defined",
    "rm": "forget guests that have ended",
    "ps": "the processes of this host that belong to a guest",
    "disk": "the disks of a guest: add, rm, list, commit, reset",
    "nic": "the network interfaces of a guest: add, rm, list, set",
    "share": "directories of this host in a guest: add, rm, list",
    "mem": "a guest's memory: show, take, give back",
    "cow": "COW files: create, info, check, merge, rebase, du, diff, map",
    "image": "images of file systems: build, list, info, rm, resize, lint",
    "snapshot": "guests' disks as they were: create, list, revert, clone",
    "network": "switches and bridges for guests: list, create, rm, show, check",
    "capture": "the frames of a network or a NIC, as text or for wireshark",
    "watch": "ask a guest the same again and again, and show what changes",
    "top": "the guests that run, again and again",
    "console": "a terminal on a guest's console",
    "logs": "what a guest has put on its console",
    "dmesg": "the kernel's own messages on a guest's console",
    "gdb": "a debugger on a guest's kernel",
    "collect": "copy files out of a running guest, whatever runs there",
    "cp": "copy files into a running guest, or out of it",
    "events": "what has happened to a guest, or to all of them",
    "mconsole": "send any text to a guest, or a command a line from standard input",
    "shell": "a prompt with every command, for one guest at a time",
    "info": "what this host has for guests",
    "doctor": "what keeps guests from running here, or from running well",
    "setup": "find a UML kernel on this machine, or fetch one",
    "kernel": "UML kernels: list, show, add, build, rm, default, rollback",
    "man": "the manual pages, wherever they are installed",
    "compat": "links by which umlctl is uml_mconsole and other programs",
    "adopt": "take over guests whose supervisor was killed",
    "quit": "end the background supervisor, its guests first",
    "enable": "have a guest started by autostart",
    "disable": "have it started no more",
    "autostart": "start every enabled guest that does not run",
}
GROUPS: Final = {
    "Guests": (
        *("run", "start", "exec", "test", "restart", "reboot", "stop", "go", "shutdown", "kill"),
        *("sync", "wait", "list", "top", "status", "ps", "shell", "cp", "collect", "rm"),
    ),
    "Definitions": ("define", "undefine", "edit", "show", "examples", "import", "dumpargs"),
    "Devices": ("disk", "nic", "share", "mem", "devices", "plug", "layer"),
    "Images": ("image", "cow", "snapshot"),
    "Networks": ("network", "capture"),
    "Consoles and logs": ("console", "logs", "dmesg", "events"),
    "The kernel's own": (
        *("version", "proc", "stack", "sysrq", "log", "config", "remove", "cad", "halt", "help"),
        *("mconsole", "watch", "gdb"),
    ),
    "This host": (
        *(
            "info",
            "doctor",
            "kernel",
            "setup",
            "enable",
            "disable",
            "autostart",
            "adopt",
            "quit",
            "man",
            "compat",
        ),
    ),
}
"""What `--help` shows together, by what one wants; each command stands in one of them."""


def _without_empty_values(command: click.Command) -> click.Command:
    """The command, and those under it, with a look at each value that it is given.

    An unset variable of a script becomes an empty value: to take it as absent would give, with
    `--user "$WHO"`, the reach of root. Words that go to a guest as they stand are left to it.
    """
    for parameter in command.params:
        if parameter.type is not click.UNPROCESSED:
            guests = _names_guests(parameter)
            looked = _named if guests else _refuse_empty
            parameter.callback = parameter.callback or looked
    if isinstance(command, click.Group):
        for each in command.commands.values():
            _without_empty_values(each)
    return command


def _refuse_empty(ctx: click.Context, parameter: click.Parameter, value: Any) -> Any:
    """Raises: BadParameter"""
    given = value if isinstance(value, tuple) else (value,)
    if (
        "" in given
        and ctx.get_parameter_source(parameter.name or "") is ParameterSource.COMMANDLINE
    ):
        what = ", or leave the option out" if isinstance(parameter, click.Option) else ""
        raise click.BadParameter(f"it is empty: give a value{what}", ctx, parameter)
    return value


def _names_guests(parameter: click.Parameter) -> bool:
    """Whether a parameter is a guest, or guests, and no file of one that is yet to be."""
    words = (parameter.metavar or "GUEST").split("|")
    return parameter.name in ("guest", "guests") and "GUEST" in words and "FILE" not in words


def _named(ctx: click.Context, parameter: click.Parameter, value: Any) -> Any:
    """The guests that are meant, also by the files that define them.

    Raises: BadParameter
    """
    value = _refuse_empty(ctx, parameter, value)
    if ctx.resilient_parsing or value is None:
        return value
    return tuple(map(named, value)) if isinstance(value, tuple) else named(value)


class Group(click.Group):
    """Commands, and a hint at the right one for a word that is none."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Say what somebody may have meant who typed a word that is no command."""
        known = ctx.resilient_parsing or not args or self.get_command(ctx, args[0]) is not None
        if not known and not args[0].startswith("-"):
            near = meant(args[0], self.list_commands(ctx))
            hint = f"did you mean {near}?" if near else f"`{ctx.command_path} --help` lists them"
            ctx.fail(f"there is no command {args[0]!r}; {hint}")
        return super().resolve_command(ctx, args)


class Root(Group):
    """Commands from the command table and from LAZY; listing them imports none."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return [
            *LAZY,
            *(each.name for each in COMMANDS if each.served != HOST and not each.own_face),
        ]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name in LAZY:
            found: click.Command = _loaded(LAZY[cmd_name])
        elif cmd_name in BY_NAME:
            found = _loaded(OF_MCONSOLE)(BY_NAME[cmd_name])
        else:
            return None
        return _without_empty_values(found)

    def format_commands(
        self,
        ctx: click.Context,  # noqa: ARG002
        formatter: click.HelpFormatter,
    ) -> None:
        """Names and one line each, without loading what is behind them."""
        for heading, names in GROUPS.items():
            with formatter.section(heading):
                formatter.write_dl([(name, about(name)) for name in names])


def _loaded(name: str) -> Any:
    """What is called MODULE:ATTRIBUTE. Who says what there is imports none of it."""
    module, _, attribute = name.partition(":")
    return getattr(importlib.import_module(module), attribute)


def about(name: str) -> str:
    """A command in a line."""
    return HELP[name] if name in HELP else BY_NAME[name].help


@click.command(
    cls=Root,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="""\b
Examples:
  umlctl run                          a guest on this machine's own files, in the foreground
  umlctl start demo --mem 512M        one in the background
  umlctl version demo                 ask it something
  umlctl disk add demo disk.img       plug a disk in
  umlctl shell demo                   a prompt
  umlctl shutdown demo
  umlctl help disk                    the manual page of a command
  umlctl help migrating               from vkernel, Xen, and the old utilities of UML
""",
)
@click.version_option(__version__, prog_name="umlctl", message="%(prog)s %(version)s")
def root() -> None:
    """Run User Mode Linux guests, and talk to them."""


def run(arguments: list[str]) -> int:
    """Run the command line; the exit code."""
    try:
        result: Any = root.main(arguments, prog_name="umlctl", standalone_mode=False)
    except click.exceptions.Exit as ended:
        return ended.exit_code
    except click.Abort:
        return 130
    except click.ClickException as problem:
        problem.show()
        return problem.exit_code
    except UmlctlError as problem:
        from umlctl.host.limits import explained

        return say(explained(problem), problem.code)
    return result if isinstance(result, int) else 0
