"""What the prompt has of the command line: every command, to its last option."""

from __future__ import annotations

import shlex

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from umlctl.cli import main, prompt
from umlctl.errors import UsageError
from umlctl.protocol.commands import BY_NAME, HOST
from umlctl.shell import completion
from umlctl.shell.completion import BUILT_IN

ROOT = click.Context(main.root)


def commands() -> list[tuple[str, ...]]:
    """The path of each command of `umlctl --help`, and of those below it."""
    found: list[tuple[str, ...]] = []

    def walk(path: tuple[str, ...], command: click.Command | None) -> None:
        assert command is not None
        found.append(path)
        if isinstance(command, click.Group):
            for name, each in command.commands.items():
                walk((*path, name), each)

    for name in main.root.list_commands(ROOT):
        walk((name,), main.root.get_command(ROOT, name))
    return found


COMMANDS = commands()
each_command = pytest.mark.parametrize("path", COMMANDS, ids=" ".join)


def examples(path: tuple[str, ...]) -> list[str]:
    if path[0] in prompt.INSTEAD:
        return []
    found = prompt.help_of(path)
    begin = [line.strip() for line in found].index("Examples:") if path != ("kernel",) else 0
    return [line.strip().split("  ")[0] for line in found[begin + 1 :]] if begin else []


@each_command
def test_every_command_is_found_with_its_guest_put_in(path: tuple[str, ...]) -> None:
    verb = prompt.find([*path, "word"] if len(path) > 1 else path)
    assert verb.path == path
    arguments = [each for each in verb.command.params if isinstance(each, click.Argument)]
    takes_one = bool(arguments) and arguments[0].name == "guest"
    assert verb.wants_guest is takes_one
    assert verb.line("demo")[: len(path) + takes_one] == [*path, *["demo"] * takes_one]


@each_command
def test_help_leaves_the_guest_out(path: tuple[str, ...]) -> None:
    said = prompt.help_of(path)
    assert said[0].startswith(f"Usage: {' '.join(path)} [OPTIONS]")
    assert not {"GUEST", "[GUEST]"} & set(said[0].split())
    for option in prompt.find(path).command.params:
        if isinstance(option, click.Option) and not option.hidden:
            assert any(option.opts[-1] in line for line in said), option.opts


@pytest.mark.parametrize(
    ("path", "example"),
    [
        (path, example)
        for path in COMMANDS
        if path[0] not in BY_NAME or BY_NAME[path[0]].served == HOST
        for example in examples(path)
    ],
)
def test_examples_are_what_can_be_typed(path: tuple[str, ...], example: str) -> None:
    """Without GUEST, those that are for a shell of the host left out."""
    verb = prompt.find(shlex.split(example.partition(" | ")[0]))
    assert verb.path[: len(path)] == path
    assert "umlctl" not in example
    values = verb.read("current")
    assert values.get("guest", "current") in ("current", None)


@pytest.mark.parametrize(
    ("line", "done"),
    [
        ("disk add a.img --ro", "disk add demo a.img --ro"),
        ("mem -64M", "mem demo -64M"),
        ("mem", "mem demo"),
        ("console 1", "console demo 1"),
        ("logs -f", "logs demo -f"),
        ("events --all -n 5", "events --all -n 5"),
        ("doctor --net", "doctor --net"),
        ("doctor", "doctor demo"),
        ("events -n 5", "events demo -n 5"),
        ("shutdown --all 60", "shutdown --all 60"),
        ("network show lan", "network show lan"),
        ("start web --mem 64M", "start web --mem 64M"),
        ("rm web", "rm web"),
        ("adopt web db", "adopt web db"),
        ("mconsole config ubd1", "mconsole demo config ubd1"),
        ("status --json", "status demo --json"),
    ],
)
def test_line_of_the_prompt_as_it_is_on_the_command_line(line: str, done: str) -> None:
    assert prompt.find(line.split()).line("demo") == done.split()


@pytest.mark.parametrize(
    ("line", "is_taken"),
    [
        ("disk list", True),
        ("start", True),
        ("version", False),
        ("status --json", True),
        ("status --timeout=3", True),
        ("events", False),
        ("events -n 5", True),
        ("list", False),
        ("list --running", True),
        ("top -n 5", True),
        ("watch -n 5 status", False),
        ("log --json text", True),
        ("log text --json", False),
        ("log --nonsense", False),
        ("proc -- --json", False),
        ("status --nonsense", True),
        ("quit --leave-guests", False),
        ("shell demo", False),
        ("switch demo", False),
        ("nonsense", False),
    ],
)
def test_own_commands_of_the_prompt_are_the_command_lines_with_an_option(
    line: str, is_taken: bool
) -> None:
    assert prompt.takes(line.split()) is is_taken


# Completion


@each_command
@pytest.mark.usefixtures("house")
def test_every_option_is_completed(path: tuple[str, ...]) -> None:
    for parameter in prompt.find(path).command.params:
        if isinstance(parameter, click.Option) and not parameter.hidden:
            for option in (*parameter.opts, *parameter.secondary_opts):
                offered = [each.text for each in prompt.completed(path, option[:-1], "demo")]
                assert option in offered


@pytest.mark.usefixtures("house")
def test_what_fits_an_argument_is_completed() -> None:
    def offered(line: str, word: str = "") -> list[str]:
        return [each.text for each in prompt.completed(line.split(), word, "demo")]

    assert offered("console", "con1") == ["con1"]
    assert offered("logs --console", "ssl3") == ["ssl3"]
    assert offered("logs", "--console=ssl3") == ["ssl3"]
    assert offered("disk") == ["add", "commit", "list", "reset", "rm"]
    assert offered("help disk", "a") == ["add"]
    assert offered("help version") == []
    assert offered("help", "--") == ["--kernel", "--json", "--timeout", "--help"]
    assert "/etc/hostname" in offered("disk add", "/etc/hostn")
    assert offered("collect /x --to", "/et") == ["/etc/"]
    assert "--ro" in offered("disk add /etc/hostname"), "where no argument fits, options do"
    assert offered("disk add a --slot") == [], "but not for the value of an option"
    assert offered("disk nonsense") == []


def test_no_guest_is_completed_where_there_is_no_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UMLCTL_DIR", "nowhere")
    assert prompt.completed(["disk", "rm"], "u", "demo") == []


@given(st.lists(st.sampled_from(["disk", "add", "--slot", "--", "-", "help", "x", "="])), st.text())
def test_whatever_is_typed_is_completed_or_not_but_never_a_fault(
    words: list[str], word: str
) -> None:
    if words:
        prompt.completed(words, word, "demo")
        prompt.takes(words)
        prompt.asks_for_help(words)


def test_every_command_of_the_command_line_can_be_typed() -> None:
    names = {path[0] for path in COMMANDS}
    native = {name for name, command in BY_NAME.items() if command.served != HOST}
    assert names == native | prompt.VERBS.keys() | prompt.INSTEAD.keys()
    assert prompt.INSTEAD.keys() == {"shell", "quit"}
    assert "quit" in BUILT_IN


def test_group_needs_a_command() -> None:
    with pytest.raises(UsageError, match="needs one of add, commit, reset, rm, list"):
        prompt.find(["disk"]).read("demo")


@pytest.mark.parametrize(
    ("verb", "words"),
    [("disk", completion.DISK_OPTIONS), ("nic", completion.NIC_KINDS | completion.NIC_OPTIONS)],
)
def test_words_of_plug_are_the_options_of_the_command_line(
    verb: str, words: dict[str, str]
) -> None:
    """What one of them can say the other can say too."""
    others = {"--force", "--timeout", "--json", "--help"}
    longer = {"addr=": "guest-addr=", "host=": "host-addr="}
    offered = {each.text for each in prompt.completed([verb, "add"], "--", "demo")} - others
    assert offered == {f"--{longer.get(word, word).rstrip('=')}" for word in words}
