"""The manual says what there is: every command and option, and nothing else."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec
import pytest

from umlctl.cli.main import LAZY, root
from umlctl.commands import BY_NAME, COMMANDS, HOST, SYSRQ
from umlctl.exitcodes import TABLE
from umlctl.protocol.status import STATES, Console, Device, Status, Viewer
from umlctl.shell.completion import BUILT_IN

if TYPE_CHECKING:
    from collections.abc import Iterator

MAN = Path(__file__).parent.parent / "man"
MACRO = re.compile(r"[A-Z][a-z]")
BOOTING, GUEST, OTHER = "BOOTING A GUEST", "COMMANDS TO A GUEST", "OTHER COMMANDS"
VERBS = [c for c in COMMANDS if c.served != HOST and not c.own_face]


def page(name: str) -> str:
    return (MAN / name).read_text()


def section(text: str, title: str) -> str:
    _, found, rest = text.partition(f".Sh {title}\n")
    assert found, title
    return rest.partition("\n.Sh ")[0]


def arguments(text: str, macro: str) -> Iterator[list[str]]:
    """What follows each use of a macro, up to the next macro on its line."""
    for line in text.splitlines():
        words = line.removeprefix(".").split() if line.startswith(".") else []
        for index, word in enumerate(words):
            if word == macro:
                found = []
                for argument in words[index + 1 :]:
                    if MACRO.fullmatch(argument):
                        break
                    found.append(argument)
                yield found


def flags(text: str) -> set[str]:
    """The options that a text names, as they are typed; a bare `--` is none."""
    words = {word for found in arguments(text, "Fl") for word in found}
    return {f"-{word}" for word in words if re.fullmatch(r"-?\w[\w-]*", word)}


def items(text: str, macro: str) -> dict[str, str]:
    """Everything between one `.It MACRO NAME` and the next, by NAME."""
    parts = re.split(rf"^\.It {macro} ", text, flags=re.MULTILINE)[1:]
    found: dict[str, str] = {}
    for part in parts:
        head, _, body = part.partition("\n")
        words = head.split()
        end = next((i for i, word in enumerate(words) if MACRO.fullmatch(word)), len(words))
        name = " ".join(words[:end])
        found[name] = found.get(name, "") + f".{macro} {head}\n{body}"
    return found


def options(command: click.Command) -> set[str]:
    return {
        name
        for param in command.params
        if isinstance(param, click.Option)
        for name in param.opts + param.secondary_opts
    }


def commands() -> dict[str, click.Command]:
    """Every command there is, by what is typed to have it."""
    context = click.Context(root)
    found: dict[str, click.Command] = {}
    for name in root.list_commands(context):
        command = root.get_command(context, name)
        assert command is not None, name
        found[name] = command
        if isinstance(command, click.Group):
            found |= {f"{name} {sub}": each for sub, each in command.commands.items()}
    return found


def texts() -> dict[str, str]:
    """What umlctl(1) says of each command."""
    text = page("umlctl.1")
    # Values of an option are Cm too, but behind its Fl.
    return {
        name: said
        for title in (BOOTING, GUEST, OTHER)
        for name, said in items(section(text, title), "Cm").items()
    }


def test_page_has_every_command_and_no_other() -> None:
    assert set(texts()) == set(commands())


def test_each_command_has_its_options_and_no_other() -> None:
    text = page("umlctl.1")
    known = commands()
    for title in (BOOTING, GUEST):
        each = items(section(text, title), "Cm")
        found = {name: options(known[name]) for name in each if options(known[name])}
        common = set.intersection(*found.values())
        own = {name: found[name] - common for name in found}
        # What follows the last of them is of all: the options that they share.
        assert {name: flags(each[name]) - common for name in own} == own
        assert flags(section(text, title)) == common.union(*own.values())
    for name, said in items(section(text, OTHER), "Cm").items():
        assert flags(said) == options(known[name]), name


def test_options_named_anywhere_exist() -> None:
    context = click.Context(root)
    known = set().union(*(options(command) for command in commands().values()))
    known |= {name for param in root.get_params(context) for name in param.opts}
    known |= {"-h", "--help"}
    text = page("umlctl.1")
    assert flags(text) == known
    assert flags(section(text, "GLOBAL OPTIONS")) == {"-h", "--help", "--version"}


@pytest.mark.parametrize("command", VERBS, ids=[command.name for command in VERBS])
def test_arguments_are_those_of_the_table(command: object) -> None:
    row = BY_NAME[str(getattr(command, "name", ""))]
    said = texts()[row.name].partition("\n")[0]
    wanted = [word.lower() for word in re.findall(r"[A-Z]+", row.args)]
    assert [found[0] for found in arguments(said, "Ar")] == wanted
    optional = re.findall(r"\[=?([A-Z]+)", row.args)
    assert len(list(arguments(said, "Op"))) == len(optional)


def test_sysrq_letters_are_those_of_the_table() -> None:
    found = re.findall(r"^\.It Ql (\w)\n(.*)", page("umlctl.1"), flags=re.MULTILINE)
    said = {letter: meaning.partition(",")[0] for letter, meaning in found if letter == "0"}
    said |= {letter: meaning for letter, meaning in found if letter != "0"}
    assert said == {letter: SYSRQ[letter] for letter in SYSRQ if letter not in "12345678"}


def test_exit_status_is_the_table() -> None:
    text = section(page("umlctl.1"), "EXIT STATUS").partition("\n.El")[0]
    found = dict(re.findall(r"^\.It (\S+)\n(.*)", text, flags=re.MULTILINE))
    assert found == {("128+N" if code == 128 else str(code)): said for code, said in _plain()}


def _plain() -> Iterator[tuple[int, str]]:
    for code, said in TABLE:
        yield code, said.removeprefix("128+N, ")


@pytest.mark.parametrize("name", ["shell", "console"])
def test_page_of_one_command_has_its_options_and_no_other(name: str) -> None:
    text = page(f"umlctl-{name}.1")
    body = text.replace("watch Oo Fl n", "watch")  # an option at the prompt
    assert flags(body) == options(commands()[name])


def test_prompts_own_commands_are_in_its_page() -> None:
    text = page("umlctl-shell.1")
    for name in BUILT_IN:
        assert re.search(rf"^\.It .*\b{name}\b", text, flags=re.MULTILINE), name


def test_protocol_page_has_every_command_and_no_other() -> None:
    names = {
        name.rstrip(",")
        for line in page("mconsole.7").splitlines()
        if line.startswith(".It ")
        for found in arguments(line, "Ic")
        for name in found
        if name != ","
    }
    assert names == set(BY_NAME)


def subsection(text: str, title: str) -> str:
    _, found, rest = text.partition(f".Ss {title}\n")
    assert found, title
    return re.split(r"^\.S[hs] ", rest, maxsplit=1, flags=re.MULTILINE)[0]


def json_type(schema: dict[str, Any]) -> str:
    """What a field of a JSON schema is, apart from null."""
    types = {
        "object" if "$ref" in each else str(each["type"])
        for each in schema.get("anyOf", [schema])
        if each.get("type") != "null"
    }
    assert len(types) == 1, schema
    return types.pop()


def test_protocol_page_has_every_field_of_a_status_with_its_type() -> None:
    said = subsection(page("mconsole.7"), "The status")
    rows = re.findall(r"^\.It Va (\w+) Ta (\w+) Ta ", said, flags=re.MULTILINE)
    schema = msgspec.json.schema(Status)["$defs"]["Status"]["properties"]
    schema["state"] = {"type": "string"}  # it is a list of all of them
    assert rows == [(name, json_type(schema[name])) for name in schema]


def test_protocol_page_has_every_state() -> None:
    said = subsection(page("mconsole.7"), "The status")
    rows = re.findall(r"^\.It Sy (.*)", said, flags=re.MULTILINE)
    names = [name for row in rows for name in row.split(" , ")]
    assert sorted(names) == sorted(STATES)


def test_protocol_page_has_every_field_of_what_is_in_a_status() -> None:
    said = subsection(page("mconsole.7"), "The status")
    for kind in (Console, Viewer):
        for field in msgspec.structs.fields(kind):
            assert re.search(rf"\b{field.name}\b", said), field.name
    said = subsection(page("mconsole.7"), "The device table")
    rows = re.findall(r"^\.It Va (.*)", said, flags=re.MULTILINE)
    names = {name for row in rows for name in row.split(" , ")}
    assert names == {field.name for field in msgspec.structs.fields(Device)}


def test_lazy_commands_are_commands() -> None:
    assert set(LAZY) <= set(commands())


def test_pages_are_clean() -> None:
    done = subprocess.run(
        ["mandoc", "-Tlint", "-W", "style", *sorted(os.listdir(MAN))],
        cwd=MAN,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("", "")
