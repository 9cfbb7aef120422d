"""The commands of the command line as the prompt takes them: GUEST is left out.

The commands of click are the one declaration of a verb. Words typed at the prompt are looked up in
them, and the guest is put where they want it. Options, help, completion and errors are click's.
"""

from __future__ import annotations

import copy
import os
import re
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import click
from click.shell_completion import ShellComplete

from umlctl.cli import complete
from umlctl.cli.main import HELP, LAZY, root
from umlctl.errors import UmlctlError, UsageError
from umlctl.host.paths import guest_names
from umlctl.protocol.commands import BY_NAME, HOST
from umlctl.shell.completion import BUILT_IN, Suggestion

if TYPE_CHECKING:
    from collections.abc import Sequence

INSTEAD: Final = {
    "shell": "this is one, and `switch GUEST` talks to another guest",
    "quit": "here it leaves the prompt, and takes nothing; to end the supervisor is for outside: "
    "`!umlctl quit`",
}
"""What the prompt has instead of a command of the command line."""
VERBS: Final = {name: HELP[name] for name in LAZY if name not in INSTEAD}
"""The command line's own commands, each with its meaning in a line."""
KERNEL: Final = "--kernel"
"""Behind `help`: the kernel is asked."""
_GUEST: Final = "guest"
"""The name of the argument that is left out."""
_INSTEAD_OF_GUEST: Final = frozenset({"--all", "--net", "--exec"})
"""Options that stand in place of a guest."""
_HELP: Final = ("-h", "--help")
_MAX_HELP_COLUMNS: Final = 100
"""The widest line of help, columns."""
_EXAMPLE: Final = re.compile(r"  umlctl (.*?)(  .*)?")
_HOST_SHELL: Final = re.compile(r"&&|[;<>]|umlctl|\$\(")
"""Marks of an example that is for a shell of the host."""


class Verb(NamedTuple):
    """A command of the command line, and the words that the user typed behind it.

    Fields:
        path: its name, and below it that of a command of a group
        command: as click has it
        words: what follows
    """

    path: tuple[str, ...]
    command: click.Command
    words: tuple[str, ...]

    @property
    def name(self) -> str:
        return " ".join(self.path)

    @property
    def wants_guest(self) -> bool:
        """Whether it is asked of a guest, whose name goes before its words."""
        return _guest_of(self.command) is not None and _INSTEAD_OF_GUEST.isdisjoint(self.words)

    def line(self, guest: str) -> list[str]:
        """The command as words of the command line. A leading `~` is replaced: no shell will do
        that."""
        words = [os.path.expanduser(word) if word[:1] == "~" else word for word in self.words]
        return [*self.path, *([guest] if self.wants_guest else ()), *words]

    def read(self, guest: str) -> dict[str, Any]:
        """The values of its parameters.

        Raises: UsageError: the words are none that it takes
        """
        if isinstance(self.command, click.Group):
            below = ", ".join(self.command.commands)
            raise UsageError(f"`{self.name}` needs one of {below} behind it")
        words = self.line(guest)[len(self.path) :]
        try:
            with self.command.make_context(self.name, words) as found:
                return found.params
        except click.UsageError as problem:
            said = " ".join(problem.format_message().split()).rstrip(".")
            usage = " ".join(_usage(self.command))
            raise UsageError(f"{said}: {self.name} {usage}{self._hint()}") from None

    def _hint(self) -> str:
        """A hint for a user who has named another guest."""
        word = self.words[0] if self.words else ""
        if self.wants_guest and word in guest_names():
            return f"; for {word} it is `@{word} {self.name}`"
        return ""


def find(words: Sequence[str]) -> Verb:
    """The command that words begin with.

    Raises: UsageError: a group has no such command
    """
    ctx, rest = _context(), list(words)
    command: click.Command = root
    path: list[str] = []
    while isinstance(command, click.Group) and rest and rest[0][:1] != "-":
        try:
            name, below, rest = command.resolve_command(ctx, rest)
        except click.UsageError as problem:
            raise UsageError(problem.format_message()) from None
        assert name is not None
        assert below is not None
        ctx, command = click.Context(below, ctx, name), below
        path.append(name)
    return Verb(tuple(path), command, tuple(rest))


def is_command(words: Sequence[str]) -> bool:
    """Whether the words are a command of the command line's own, and nothing else."""
    try:
        return words[0] in VERBS and not find(words).words
    except UsageError:
        return False


def takes(words: Sequence[str]) -> bool:
    """Whether the command line does what the words say, and not the prompt.

    For the prompt's own commands and those of mconsole, it does if they have an option of its.
    """
    name, *rest = words
    command = BY_NAME.get(name)
    is_asked = command is not None and command.served != HOST
    if name in INSTEAD or name == "watch" or not (name in VERBS or is_asked):
        return False
    if name in BUILT_IN or is_asked:
        known = options(name)
        for word in rest:
            if word == "--" or (name == "log" and word[:1] != "-"):
                return False
            lax = command is not None and command.takes_rest
            if word.partition("=")[0] in known or (not lax and word[:1] == "-" and word[1:]):
                return True
        return False
    return True


def asks_for_help(words: Sequence[str]) -> bool:
    """Whether the words are a command and `--help`."""
    name, *rest = words
    if name in VERBS and name not in (*BUILT_IN, *BY_NAME):
        rest = rest[: rest.index("--")] if "--" in rest else rest
        return not set(_HELP).isdisjoint(rest)
    return (name in VERBS or name in BY_NAME) and rest[:1] in ([each] for each in _HELP)


def options(name: str) -> set[str]:
    """The options of a command, as a user types them."""
    verb = find([name])
    return {each for parameter in _options(verb.command) for each in parameter.opts}


# Help


def help_of(words: Sequence[str]) -> list[str]:
    """The help of a command, as `--help` has it, without GUEST.

    Raises: UsageError
    """
    verb = find(words)
    guest = _guest_of(verb.command)
    shown = copy.copy(verb.command)
    shown.params = [each for each in verb.command.params if each is not guest]
    shown.epilog = _examples(verb)
    return shown.get_help(_context(shown, verb.name)).splitlines()


def options_of(name: str) -> list[str]:
    """The options of a command, each with its meaning."""
    verb = find([name])
    ctx = _context(verb.command, name)
    formatter = ctx.make_formatter()
    click.Command.format_options(verb.command, ctx, formatter)
    return formatter.getvalue().strip("\n").splitlines()


def _usage(command: click.Command) -> list[str]:
    guest = _guest_of(command)
    shown = copy.copy(command)
    shown.params = [each for each in command.params if each is not guest]
    return shown.collect_usage_pieces(_context(shown))


def _examples(verb: Verb) -> str:
    """The examples, as a user types them at the prompt; without those for a shell of the host."""
    found = []
    for line in (verb.command.epilog or "").splitlines():
        example = _EXAMPLE.fullmatch(line)
        if example is None or _HOST_SHELL.search(example[1]):
            continue
        typed = _without_guest(find(example[1].split()))
        if typed:
            found.append((typed, (example[2] or "").strip()))
    width = max((len(typed) for typed, note in found if note), default=0)
    lines = [f"  {typed:<{width}}  {note}".rstrip() for typed, note in found]
    return "\n".join(["\b", "Examples:", *lines]) if lines else ""


def _without_guest(verb: Verb) -> str:
    """A command line of an example as it is at the prompt; empty if there is none."""
    words = list(verb.words)
    if verb.wants_guest:
        with verb.command.make_context(verb.name, list(words), resilient_parsing=True) as found:
            guest = found.params[_GUEST]
        if guest not in words:
            return ""
        words.remove(guest)
    return " ".join([*verb.path, *words])


# Completion


def completed(words: Sequence[str], word: str, guest: str) -> list[Suggestion]:
    """What can be typed for a word behind those of a command, as a shell of the host would offer
    it.

    What has been typed as `--option=` stays. Where no argument fits, options do.
    """
    try:
        if words[0] == "help":
            return _helped(words[1:], word, guest)
        verb = find(words)
        line = verb.line(guest)
        offered = _offered(line, word)
        if not offered and not word and not _awaits_value(verb):
            offered = _offered(line, "-")
    except (click.ClickException, UmlctlError, OSError, ValueError):
        return []
    return offered


def _offered(words: list[str], word: str) -> list[Suggestion]:
    given = ShellComplete(root, {}, "umlctl", "").get_completions(list(words), word)
    found = []
    for item in given:
        if item.type == "plain":
            found.append(Suggestion(item.value, item.help or ""))
            continue
        names = complete.files(item.value)
        found += [
            Suggestion(name, final=not name.endswith("/"))
            for name in names
            if item.type == "file" or name.endswith("/")
        ]
    return found


def _helped(words: Sequence[str], word: str, guest: str) -> list[Suggestion]:
    """What can be typed behind `help`: a command of a group, or the option for the kernel's own
    text."""
    command = find(words).command if words and words[0] in VERBS else None
    below = command.commands if isinstance(command, click.Group) else {}
    found = [Suggestion(name, each.get_short_help_str()) for name, each in below.items()]
    found.append(Suggestion(KERNEL, "what the kernel itself says"))
    found = [each for each in found if each.text.startswith(word) and (word or below)]
    return found + (_offered(["help", guest], word) if word[:1] == "-" else [])


def _awaits_value(verb: Verb) -> bool:
    last = verb.words[-1] if verb.words else ""
    return any(
        last in each.opts and not (each.is_flag or each.count) for each in _options(verb.command)
    )


# Of click


def _context(command: click.Command = root, name: str = "") -> click.Context:
    return click.Context(
        command, info_name=name, max_content_width=_MAX_HELP_COLUMNS, help_option_names=list(_HELP)
    )


def _guest_of(command: click.Command) -> click.Argument | None:
    """The argument that the prompt leaves out; None if a command is asked of no guest, or of
    several."""
    arguments = [each for each in command.params if isinstance(each, click.Argument)]
    return arguments[0] if arguments and arguments[0].name == _GUEST else None


def _options(command: click.Command) -> list[click.Option]:
    return [
        each for each in command.get_params(_context(command)) if isinstance(each, click.Option)
    ]
