"""`umlctl run` and `umlctl start`: options into a definition, and a definition into a guest."""

from __future__ import annotations

import os
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, NoReturn

import click
from msgspec.structs import replace

from umlctl import exitcodes
from umlctl.cli import complete
from umlctl.cli.seconds import SECONDS
from umlctl.errors import HostError, UmlctlError, UsageError
from umlctl.guest import cmdline, plug, policy
from umlctl.guest import definition as definitions
from umlctl.guest import profile as profiles
from umlctl.host import kernels, paths, programs, room
from umlctl.output import say

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from umlctl.guest.definition import Definition
    from umlctl.host.kernels import Kernel

NO_ASLR: Final = (7, 2)
"""Since this Linux a kernel turns the randomisation of its addresses off itself."""
_OPTIONS = [
    click.option(
        "--profile",
        metavar="lab|server[:BRIDGE]",
        shell_complete=complete.profiles,
        help="lab: --nic user. server: --nic tap=auto,bridge=BRIDGE (br0) --restart on-failure. "
        "What is given beside it wins.",
    ),
    click.option("--kernel", metavar="FILE", help="The UML kernel. [default: see `umlctl setup`]"),
    click.option("--mem", default="256M", show_default=True, metavar="SIZE", help="Guest memory."),
    click.option(
        "--root",
        default=definitions.HOST_ROOT,
        show_default=True,
        metavar="host|DIR|IMAGE[,OPTION]...",
        help="This machine's own files, read-only; a directory; an image, with a disk's options.",
    ),
    click.option("--init", default="", metavar="PROGRAM", help="Run PROGRAM as process 1."),
    click.option(
        "--disk",
        "disks",
        multiple=True,
        metavar="FILE[,OPTION]...",
        help="A disk; repeat for more. See `umlctl disk add --help` for the options.",
        shell_complete=complete.behind("plug", "disk"),
    ),
    click.option(
        "--nic",
        "nics",
        multiple=True,
        metavar="user|switch=NAME|tap=NAME[,OPTION]...",
        help="A network interface; repeat for more. See `umlctl nic add --help`.",
        shell_complete=complete.behind("plug", "nic"),
    ),
    click.option(
        "--append",
        multiple=True,
        metavar="KEY=VALUE",
        help="A kernel argument; repeat for more. Wins over a default of ours.",
    ),
    click.option(
        "--force",
        is_flag=True,
        help="Take what is refused as dangerous, such as a BPF program of a NIC, or a qcow2 image "
        "as a disk that the guest may write.",
    ),
    click.option(
        "--mem-dir",
        default="",
        metavar="DIR",
        help="Where the memory's file is made, such as a tmpfs of one NUMA node.",
    ),
    click.option(
        "--ncpus", type=int, default=1, show_default=True, metavar="N", help="Guest processors."
    ),
    click.option(
        "--memory-limit",
        default="",
        metavar="SIZE",
        help="The most of the host's memory that it may use; it is ended with more.",
    ),
    click.option(
        "--cpu-limit",
        type=click.IntRange(min=1),
        metavar="PERCENT",
        help="The most of the host's processors that it gets; 150 is one and a half.",
    ),
    click.option("--cpus", default="", metavar="LIST", help="Host CPUs to run on, as 0 or 0,2-3."),
    click.option("--aslr", is_flag=True, help="Leave address-space randomisation on."),
    click.option("--single", "-s", is_flag=True, help="Boot into single-user mode."),
    click.option("--verbose", "-v", is_flag=True, help="Every kernel message on the console."),
    click.option(
        "--modules",
        type=click.Choice(definitions.MODULES),
        default=definitions.UNLOCKED,
        show_default=True,
        help="Locked: nobody in the guest, root included, can load a kernel module.",
    ),
    click.option("--pidfile", default="", metavar="FILE", help="Hold the kernel's pid, locked."),
    click.option(
        "--user",
        default="",
        metavar="USER",
        help="Run the kernel as USER, whose reach is then the guest's; for root.",
    ),
    click.option(
        "--allow-user",
        "allow_users",
        multiple=True,
        metavar="USER[:read|control]",
        help="Let another user use its socket; a bare name may only read. Repeat for more.",
    ),
    click.option(
        "--allow-group",
        "allow_groups",
        multiple=True,
        metavar="GROUP[:read|control]",
        help="The same for the members of a group.",
    ),
    click.option(
        "--timeout",
        type=SECONDS,
        default=definitions.BOOT_TIMEOUT,
        show_default=True,
        metavar="SECONDS",
        help="How long the boot may take.",
    ),
    click.option(
        "--restart",
        type=click.Choice(policy.RESTARTS),
        default=None,
        help="Start it again when it has ended, but for a user's own doing. [default: no]",
    ),
    *(
        click.option(
            f"--on-{event}",
            type=click.Choice(policy.ACTIONS),
            default=None,
            help=f"What to do when it {does}. [default: as --restart says]",
        )
        for event, does in (("panic", "panics"), ("hang", "hangs"), ("exit", "ends by itself"))
    ),
    click.option(
        "--hang-after",
        type=SECONDS,
        default=definitions.HANG_AFTER,
        show_default=True,
        metavar="SECONDS",
        help="Without a sign of life for so long it counts as hung.",
    ),
    click.option(
        "--after",
        multiple=True,
        metavar="GUEST",
        shell_complete=complete.guests,
        help="Only once GUEST is ready, and end before it; repeat for more.",
    ),
]


def _with_options(function: Callable[..., int]) -> Callable[..., int]:
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


class _Booting(click.Command):
    """A command whose words after `--` are the kernel's, and none of its own arguments."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        end = args.index("--") if "--" in args else len(args)
        arguments = tuple(args[end + 1 :])
        rest = super().parse_args(ctx, args[:end])
        ctx.params["arguments"] = arguments
        return rest

    def collect_usage_pieces(self, ctx: click.Context) -> list[str]:
        return [*super().collect_usage_pieces(ctx), "[-- KERNEL ARGUMENTS]"]


def define(umid: str, options: dict[str, Any], arguments: tuple[str, ...]) -> Definition:
    """Make a definition of command-line options.

    Raises: UsageError, NoKernel
    """
    here = os.getcwd()
    try:
        for name in (umid, *options["after"]):
            paths.check_umid(name)
    except paths.BadUmid as problem:
        raise UsageError(str(problem)) from None
    if options["user"] and os.geteuid():
        raise UsageError("--user is for root: a guest of yours runs as you")
    force = options.pop("force")
    root, pidfile = _root(options.pop("root"), insist=force), options.pop("pidfile")
    if options["init"] and root == definitions.HOST_ROOT:
        options["init"] = os.path.abspath(options["init"])
    mem_dir = options.pop("mem_dir")
    memory_limit = options.pop("memory_limit")
    for word in (*options["append"], *arguments):
        danger = cmdline.danger(word)
        if danger and not force:
            raise UsageError(f"{word}: refused unless you insist with --force: {danger}")
    _expand(options.pop("profile"), options, arguments)
    kernel = kernels.find(options.pop("kernel"))
    found = kernels.probe(kernel, options["user"])
    if options["ncpus"] > found.most_cpus:
        _refuse_cpus(found, options["ncpus"])
    if options["modules"] == definitions.LOCKED:
        _check_locks(found)
    disks = plug.number_disks(options.pop("disks"), here, 1)
    return definitions.check(
        definitions.Definition(
            umid=umid,
            kernel=kernel,
            mem=definitions.parse_size(_memory(options.pop("mem"), options["append"], arguments)),
            root=root,
            disks=tuple(map(_insisted, disks)) if force else disks,
            nics=plug.number_nics(options.pop("nics"), insist=force),
            memory_limit=definitions.parse_size(memory_limit) if memory_limit else 0,
            cpu_limit=options.pop("cpu_limit") or 0,
            mem_dir=os.path.abspath(mem_dir) if mem_dir else "",
            pidfile=os.path.abspath(pidfile) if pidfile else "",
            arguments=arguments,
            cwd=here,
            home=paths.home(),
            append=tuple(options.pop("append")),
            **{name: value for name, value in options.items() if value is not None},
        )
    )


def _insisted(text: str) -> str:
    """A disk, plugged as it stands though a guest that writes to it destroys what it is."""
    from umlctl.host.disks import is_foreign

    disk = plug.parse_disk(text)
    if disk.readonly or disk.cow or disk.discard or not is_foreign(disk.file):
        return text
    return str(replace(disk, raw=True))


def _root(text: str, *, insist: bool) -> str:
    """The root as a definition has it: a directory ends in '/', and paths are absolute."""
    if text == definitions.HOST_ROOT:
        return text
    directory = text.removesuffix(definitions.READONLY)
    for found, option in ((text, ""), (directory, definitions.READONLY)):
        if os.path.isdir(found):
            return os.path.abspath(found).rstrip("/") + "/" + option
    file, comma, options = text.partition(",")
    image = os.path.abspath(file) + comma + options
    return _insisted(image) if insist else image


def _memory(option: str, *given: Sequence[str]) -> str:
    """The guest's memory: a kernel argument wins, wherever it stands."""
    told = (word for words in given for word in words if word.startswith("mem="))
    return [option, *told][-1].removeprefix("mem=")


def _take_name(umid: str | None, options: dict[str, Any], arguments: list[str]) -> str | None:
    """The guest's name, which may stand among its kernel arguments; it is taken out of them.

    Raises: UsageError
    """
    for words in (options["append"], arguments):
        for word in [word for word in words if word.startswith("umid=")]:
            name = word.removeprefix("umid=")
            if name != (umid or name):
                raise UsageError(f"the guest is {umid}, and {word} has another name")
            umid = name
            words.remove(word)
    return umid


def _expand(profile: str | None, options: dict[str, Any], arguments: tuple[str, ...]) -> None:
    """Put what a profile stands for into the options that were not given.

    Raises: UsageError
    """
    if profile is None:
        return
    meant = profiles.parse(profile)
    options["restart"] = options["restart"] or meant.restart
    if not (options["nics"] or profiles.has_nic((*options["append"], *arguments))):
        options["nics"] = meant.nics


def _warnings(definition: Definition) -> list[str]:
    """What not everybody expects: a guest on hostfs is no smaller than root who starts it, and
    hostfs= is no jail."""
    said = []
    is_roots = not (os.geteuid() or definition.user)
    if is_roots and definitions.root_is_host(definition) and _is_first("told-of-root"):
        said.append(
            "root in this guest reaches every file of this host, as you do; "
            "--user NAME gives it the reach of NAME (said once)"
        )
    said += _shared_root(definition)
    said += [
        f"{word} keeps root in this guest from nothing: `..` leads out of it"
        for word in (*definition.append, *definition.arguments)
        if word.startswith(cmdline.HOSTFS)
    ]
    kernel = kernels.probe(definition.kernel, definition.user)
    if definition.aslr and kernel.release >= NO_ASLR:
        said.append(f"--aslr does nothing: Linux {kernel.version} turns randomisation off itself")
    if definition.ncpus > 1 and "seccomp" in kernel.capabilities:
        said.append(
            "with several processors any program in the guest can read and change all of the "
            "guest's memory: its kernel watches its processes by seccomp then"
        )
    if definition.nics and cmdline.has_agent(definition) and programs.init_lacks("ip"):
        said.append(
            "its NICs are not set up: this host, whose programs it has, lacks `ip`: "
            "apt install iproute2"
        )
    place = room.place_of(definition, os.environ)
    said += filter(None, [room.memory_doubt(place, definition.mem)])
    return said


def _to_be_lost(definition: Definition) -> list[str]:
    """What a guest writes and nobody will find, if anything."""
    disks = [plug.parse_disk(text, definition.cwd) for text in definition.disks]
    if definitions.root_is_image(definition):
        disks.insert(0, definitions.root_disk(definition))
    lost = [disk.file for disk in disks if disk.discard]
    said = (
        f"what it writes to {', '.join(lost)} is lost when it ends; "
        f"`umlctl collect {definition.umid} PATH` copies files out before"
    )
    return [said] if lost else []


def _is_first(what: str) -> bool:
    """Something has not been said to this user before; if that cannot be kept, it has not."""
    try:
        os.makedirs(paths.state_dir(), 0o700, exist_ok=True)
        os.close(
            os.open(f"{paths.state_dir()}/{what}", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        )
    except FileExistsError:
        return False
    except OSError:
        return True
    return True


def _check_console(definition: Definition) -> None:
    """See that con0 is where a terminal can be attached to it.

    Raises: UsageError
    """
    elsewhere = definitions.given_to_kernel(definition).get("con0", "")
    if elsewhere:
        raise UsageError(
            f"--console is con0, and a kernel argument has it elsewhere: con0={elsewhere}; "
            "leave one of them out"
        )


def _shared_root(definition: Definition) -> list[str]:
    """Who writes to the directory that is the root too."""
    if not definition.root.endswith("/"):
        return []
    from umlctl.host import inuse, lost

    mine = os.path.realpath(definition.root)
    others = [
        umid
        for umid, root in inuse.directories_of(lost.running(but=definition.umid))
        if os.path.commonpath([mine, os.path.realpath(root)]) in (mine, os.path.realpath(root))
    ]
    return [
        f"{umid} writes to {definition.root} too, and neither sees what the other keeps in memory; "
        f"--root {definition.root},ro only reads"
        for umid in others
    ]


def _come_back(umid: str) -> str:
    """How a server is there after the host was started anew."""
    unit = "`umlctl setup --systemd --system`" if not os.geteuid() else "`umlctl setup --systemd`"
    return f"`umlctl enable {umid}`, and {unit} once, have it started with the host"


def _refuse_cpus(kernel: Kernel, ncpus: int) -> NoReturn:
    """Raises: UsageError"""
    has = "has no SMP" if kernel.most_cpus == 1 else f"can have {kernel.most_cpus}"
    raise UsageError(f"{ncpus} processors are too many: the kernel {kernel.path} {has}")


def _check_locks(kernel: Kernel) -> None:
    """See that the kernel heeds what would lock its modules: it would not say.

    Raises: UsageError
    """
    if not kernel.locks_modules:
        raise UsageError(
            f"--modules locked takes Linux 5.8 with sysctl, and {kernel.path} is {kernel.version}"
        )


@click.command(
    cls=_Booting,
    epilog="""\b
Examples:
  umlctl run                                    this machine's files, a name made up
  umlctl run test --kernel ./linux --mem 1G     the kernel that you just built
  umlctl run test --root debian.img -- quiet    an image; kernel arguments after --
  umlctl run ci --init /tmp/test.sh; echo $?    its exit status: /proc/exitcode; 255: panic
  umlctl run ci --init /tmp/test.sh --limit 600 --json --log ci.log    in a test bench
  umlctl run db --ready-fd 3 --log-format json 3>ready 2>log    under a job runner
""",
)
@click.argument("umid", required=False)
@_with_options
@click.option("--console", is_flag=True, help="Attach the terminal to its console; ^] leaves it.")
@click.option(
    "--ready-fd",
    type=int,
    metavar="N",
    help="Write a line, UMID PID, to descriptor N when it is ready, and close it.",
)
@click.option(
    "--log-format",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="What happens to it, on standard error: in words, or all events as lines of JSON.",
)
@click.option("--json", "in_json", is_flag=True, help="In the end, print how it ended as JSON.")
@click.option("--log", "copy", metavar="FILE", help="Copy what it puts on its console to FILE.")
@click.option(
    "--limit",
    type=SECONDS,
    metavar="SECONDS",
    help="End it if it has not ended after so long; the exit code is 124 then.",
)
@click.option(
    "--die-with-parent",
    "tied",
    is_flag=True,
    help="Kill it when this process is killed, which it outlives otherwise.",
)
def run(
    umid: str | None,
    arguments: tuple[str, ...],
    *,
    console: bool,
    log_format: str,
    in_json: bool,
    **options: Any,
) -> int:
    """Boot a guest and supervise it in the foreground until it ends.

    The exit code is the guest's own status, 255 after a panic, 125 if it ended before
    its init program began.
    Ctrl-C shuts the guest down in order; twice, it is killed.
    """
    from umlctl.cli import foreground
    from umlctl.cli.alongside import Copy

    options["append"], told = list(options["append"]), list(arguments)
    umid = _take_name(umid, options, told)
    begun = time.monotonic()
    ready_fd, limit = options.pop("ready_fd"), options.pop("limit")
    copy, tied = options.pop("copy"), options.pop("tied")
    options["named"] = umid is not None
    umid = umid or f"uml-{os.getpid()}"
    log = foreground.Log(umid, in_json=log_format == "json")
    try:
        if in_json and console:
            raise UsageError("--json and --console both take standard output; give one of them")
        with _host_errors():
            if ready_fd is not None:
                foreground.check_ready_descriptor(ready_fd)
            definition = define(umid, options, tuple(told))
            if console:
                _check_console(definition)
            copied = None if copy is None else Copy(copy)
            for warning in (*_warnings(definition), *_to_be_lost(definition)):
                log.write(log.event("warning", text=warning))
            _await_earlier(definition)
            wishes = foreground.Wishes(console, ready_fd, limit, copied, tied)
            ending = foreground.supervise(definition, log, wishes)
    except UmlctlError as problem:
        if in_json:
            _print_result(umid, "failed", problem.code, str(problem), begun, "")
        if log.in_json:
            return log.fail(problem)
        raise
    if in_json:
        place = copied.path if copied else f"{paths.record_dir(umid)}/console.log"
        _print_result(umid, ending.cause, ending.code, ending.text, begun, place)
    return ending.code


@contextmanager
def _host_errors() -> Iterator[None]:
    """Whatever the host refuses is told as one of our errors, to programs too.

    Raises: HostError
    """
    try:
        yield
    except OSError as problem:
        raise HostError(str(problem)) from problem


def _print_result(umid: str, cause: str, code: int, text: str, begun: float, log: str) -> None:
    """How a run ended, as one line of JSON."""
    import msgspec

    result = {
        "umid": umid,
        "status": code,
        "cause": cause,
        "text": text.encode("utf-8", "backslashreplace").decode(),
        "seconds": round(time.monotonic() - begun, 3),
        "log": log if log and os.path.exists(log) else None,
    }
    print(msgspec.json.encode(result).decode())


@click.command(
    cls=_Booting,
    epilog="""\b
Examples:
  umlctl start web --mem 512M --root web.img --nic user,forward=8080:80
  umlctl start a --root base.img,cow=a.cow --nic switch=lan --disk data.img
  umlctl start db && umlctl start web --after db && umlctl list
  umlctl start guest --root guest.img --modules locked
  umlctl start try --profile lab --mem 1G        NAT, without root
  umlctl start mail --profile server:br1 --root mail.img && umlctl enable mail
""",
)
@click.argument("umid")
@_with_options
@click.option("--console", is_flag=True, help="Attach to its console at once, as `console` does.")
@click.option("--no-wait", is_flag=True, help="Come back at once, not when it is ready.")
@click.option("--json", "in_json", is_flag=True, help="Print what has become of it as JSON.")
def start(
    umid: str,
    arguments: tuple[str, ...],
    *,
    console: bool,
    no_wait: bool,
    in_json: bool,
    **options: Any,
) -> int:
    """Boot a guest in the background; come back when it is ready, or has failed.

    The supervisor is yours, started when first needed, and ends after its last guest.
    A guest that has ended is started as it was last, if nothing but its name is given.
    """
    if console and no_wait:
        raise UsageError("--console stays with the guest, and --no-wait does not: give one of them")
    told = {"console": console, "wait": not no_wait, "in_json": in_json}
    if not in_json:
        return _start_as_told(umid, arguments, **told, **options)
    try:
        if console:
            raise UsageError("--json and --console both take standard output; give one of them")
        with _host_errors():
            return _start_as_told(umid, arguments, **told, **options)
    except UmlctlError as problem:
        _print_start(umid, problem.code, str(problem))
        raise


def _start_as_told(
    umid: str,
    arguments: tuple[str, ...],
    *,
    console: bool,
    wait: bool,
    in_json: bool,
    **options: Any,
) -> int:
    from umlctl.cli import again

    last = again.last(umid)
    is_server = (options["profile"] or "").startswith(profiles.SERVER)
    if last is not None and again.is_asked_for(options, arguments):
        definition = last
        say(f"{umid}: as it was started last: {again.words(last)}".rstrip(": "), exitcodes.OK)
    else:
        options["append"], told = list(options["append"]), list(arguments)
        _take_name(umid, options, told)
        definition = define(umid, options, tuple(told))
        if last is not None and not again.is_same(definition, last):
            words = again.words(last) or "no options"
            say(f"{umid}: a new guest of this name; it was started last with {words}", exitcodes.OK)
    for warning in _warnings(definition):
        say(f"{umid}: {warning}", exitcodes.OK)
    if is_server:
        say(f"{umid}: {_come_back(umid)}", exitcodes.OK)
    _await_earlier(definition)
    if console:
        _check_console(definition)
        from umlctl.cli.console import attach_while
        from umlctl.errors import GuestInUse
        from umlctl.host.claim import has_owner

        if has_owner(umid):  # it would be attached to that one
            raise GuestInUse(f"{umid} is the name of a running guest; take another name")

        _say_what_is_lost(definition)
        return attach_while(umid, lambda: _start(definition, quietly=True))
    code = _start(definition, wait=wait, in_json=in_json)
    if code == exitcodes.OK:  # of a guest that is refused nothing is lost
        _say_what_is_lost(definition)
    return code


def start_again(definition: Definition, *, in_json: bool) -> int:
    """Start a guest in the background as it was started last; the exit code.

    Raises: UmlctlError
    """
    for warning in _warnings(definition):
        say(f"{definition.umid}: {warning}", exitcodes.OK)
    _await_earlier(definition)
    code = _start(definition, in_json=in_json)
    if code == exitcodes.OK:
        _say_what_is_lost(definition)
    return code


def _say_what_is_lost(definition: Definition) -> None:
    for warning in _to_be_lost(definition):
        say(f"{definition.umid}: {warning}", exitcodes.OK)


def _await_earlier(definition: Definition) -> None:
    if definition.after:
        from umlctl.cli.earlier import await_earlier

        await_earlier(definition)


def _print_start(umid: str, code: int, text: str, state: str = "", pid: int = 0) -> None:
    """How a start went, as one line of JSON."""
    import msgspec

    result = {
        "umid": umid,
        "status": code,
        "text": text.encode("utf-8", "backslashreplace").decode(),
        "state": state or None,
        "pid": pid or None,
    }
    print(msgspec.json.encode(result).decode())


def _start(
    definition: Definition, *, wait: bool = True, quietly: bool = False, in_json: bool = False
) -> int:
    """Have the background supervisor start a guest; the exit code."""
    from umlctl.client.start import start as start_there

    umid = definition.umid
    answer = start_there(definition, wait=wait)
    if answer["code"]:
        if in_json:
            _print_start(umid, answer["code"], answer["text"])
        return say(answer["text"], answer["code"])
    status = answer["status"]
    if in_json:
        _print_start(umid, exitcodes.OK, "", status["state"], status["pid"])
    elif not quietly:
        print(f"{umid} is {status['state']}, kernel pid {status['pid']}")
    return exitcodes.OK
