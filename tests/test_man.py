"""The manual says what there is: every command and option, and nothing else."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec
import pytest

import umlctl
from umlctl.cli.main import GROUPS, LAZY, about, root
from umlctl.errors import UmlctlError
from umlctl.exitcodes import TABLE
from umlctl.guest.bounds import OPTIONS as BOUNDS
from umlctl.guest.bounds import read as read_bounds
from umlctl.guest.options import OPTIONS
from umlctl.guest.written import EXTENDS
from umlctl.guest.written import read as read_definition
from umlctl.library.console import Console as Console_
from umlctl.library.guest import Guest
from umlctl.library.many import Runner
from umlctl.output.guest_table import COLUMNS, DEFAULT_COLUMNS
from umlctl.protocol.commands import BY_NAME, SYSRQ
from umlctl.protocol.events import TABLE as TABLE_OF_EVENTS
from umlctl.protocol.status import CAUSES, STATES, Console, Device, Status, Viewer
from umlctl.shell.completion import BUILT_IN

if TYPE_CHECKING:
    from collections.abc import Iterator

MAN = Path(__file__).parent.parent / "man"
PAGES = sorted(path for path in MAN.glob("man?/*.?") if not path.is_symlink())
OF_COMMANDS = [path for path in PAGES if path.match("man1/umlctl-*.1")]
MACRO = re.compile(r"[A-Z][a-z]")
OF_ALL = "The options of all three"


def page(name: str) -> str:
    return (MAN / f"man{name[-1]}" / name).read_text()


def section(text: str, title: str) -> str:
    _, found, rest = text.partition(f".Sh {title}\n")
    assert found, title
    return rest.partition("\n.Sh ")[0]


def subsection(text: str, title: str) -> str:
    _, found, rest = text.partition(f".Ss {title}\n")
    assert found, title
    return re.split(r"^\.S[hs] ", rest, maxsplit=1, flags=re.MULTILINE)[0]


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


def described(text: str) -> set[str]:
    """The options that have an item of their own."""
    return flags("\n".join(re.findall(r"^\.It Fl .*", text, flags=re.MULTILINE)))


def options(command: click.Command) -> set[str]:
    return {
        name
        for param in command.params
        if isinstance(param, click.Option) and not param.hidden
        for name in param.opts + param.secondary_opts
    }


def operands(command: click.Command) -> set[str]:
    """What stands for the arguments of a command: `guest`, `path`."""
    found: set[str] = set()
    for param in command.params:
        if not isinstance(param, click.Argument):
            continue
        if param.metavar is not None:
            found |= {word.lower() for word in re.findall(r"[A-Z]+", param.metavar)}
        elif param.name:
            found.add(param.name.removesuffix("s") if param.nargs < 0 else param.name)
    return found


def commands() -> dict[str, click.Command]:
    """Every command there is that does something, by what is typed to have it."""
    context = click.Context(root)
    found: dict[str, click.Command] = {}
    for name in root.list_commands(context):
        command = root.get_command(context, name)
        assert command is not None, name
        if isinstance(command, click.Group):
            found |= {f"{name} {sub}": each for sub, each in command.commands.items()}
        else:
            found[name] = command
    return found


def names(text: str) -> list[str]:
    """The commands that a page is of."""
    return re.findall(r"^\.Nm umlctl-(\S+)", section(text, "NAME"), flags=re.MULTILINE)


def synopsis(name: str) -> str:
    """What the page of a command shows of it: all its forms."""
    verb, _, sub = name.partition(" ")
    text = section(page(f"umlctl-{verb}.1"), "SYNOPSIS") + "\n"
    forms = [each.partition("\n") for each in text.split(".Nm umlctl ")[1:]]
    begin = f".Cm {sub}\n" if sub else ""
    found = [form for head, _, form in forms if head == verb and form.startswith(begin)]
    assert found, f"{name} has no synopsis"
    return "".join(found)


def test_each_command_has_a_page_and_no_other() -> None:
    verbs = {name.partition(" ")[0] for name in commands()}
    assert {path.stem for path in MAN.glob("man1/*.1")} == {
        "umlctl",
        *(f"umlctl-{verb}" for verb in verbs),
    }


@pytest.mark.parametrize("path", OF_COMMANDS, ids=lambda path: path.stem)
def test_page_of_several_commands_is_found_by_each(path: Path) -> None:
    links = [link.stem for link in MAN.glob("man1/*.1") if link.resolve() == path.resolve()]
    assert {f"umlctl-{name}" for name in names(path.read_text())} == set(links)


@pytest.mark.parametrize("name", commands())
def test_synopsis_is_of_the_command_as_it_is_declared(name: str) -> None:
    command, said = commands()[name], synopsis(name)
    shown = flags(said)
    if ".Op Ar options\n" in said:
        shown |= described(subsection(page(f"umlctl-{name}.1"), OF_ALL))
    assert shown == options(command)
    plain = "\n".join(line for line in said.splitlines() if " Fl " not in line)
    words = {word for found in arguments(plain, "Ar") for word in found if word.isalpha()}
    assert words - {"options"} == operands(command)


@pytest.mark.parametrize("path", OF_COMMANDS, ids=lambda path: path.stem)
def test_page_describes_the_options_of_its_commands_and_no_other(path: Path) -> None:
    text = path.read_text()
    known = [options(each) for name, each in commands().items() if name.split()[0] in names(text)]
    assert described(text) == set().union(*known)


@pytest.mark.parametrize("path", OF_COMMANDS, ids=lambda path: path.stem)
def test_page_has_what_every_page_has(path: Path) -> None:
    text = path.read_text()
    titles = re.findall(r"^\.Sh (.*)", text, flags=re.MULTILINE)
    assert titles[:3] == ["NAME", "SYNOPSIS", "DESCRIPTION"]
    assert titles[-2:] == ["EXAMPLES", "SEE ALSO"]
    assert "umlctl" in section(text, "EXAMPLES")


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_pages_that_are_referred_to_exist(path: Path) -> None:
    for name, number in re.findall(r"\b(umlctl[\w-]*|mconsole) ?\((\d)\)", path.read_text()):
        assert (MAN / f"man{number}" / f"{name}.{number}").exists(), name


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_sections_that_are_referred_to_exist(path: Path) -> None:
    text = path.read_text().replace("\n", " ")
    for title, name in re.findall(r"\b([A-Z]{2,}(?: [A-Z]{2,})*) in (umlctl[\w-]*)\(1\)", text):
        assert section(page(f"{name}.1"), title), title


def test_options_named_anywhere_exist() -> None:
    context = click.Context(root)
    known = set().union(*(options(command) for command in commands().values()))
    known |= {name for param in root.get_params(context) for name in param.opts}
    known |= {"-h", "--help"}
    assert set().union(*(flags(path.read_text()) for path in PAGES)) == known
    assert flags(section(page("umlctl.1"), "GLOBAL OPTIONS")) == {"-h", "--help", "--version"}


def test_overview_has_each_command_in_its_group_in_the_words_of_the_help() -> None:
    said = section(page("umlctl.1"), "COMMANDS")
    assert re.findall(r"^\.Ss (.*)", said, flags=re.MULTILINE) == list(GROUPS)
    for heading, verbs in GROUPS.items():
        found = re.findall(
            r"^\.It umlctl-(\S+)\(1\)\n(.*?)\.(?=\n\.)",
            subsection(said + "\n", heading),
            flags=re.MULTILINE | re.DOTALL,
        )
        assert [verb for verb, _ in found] == list(verbs)
        words = {verb: text.replace("\n", " ").lower() for verb, text in found}
        assert words == {verb: about(verb).replace("`", "").lower() for verb in verbs}


def test_sysrq_letters_are_those_of_the_table() -> None:
    found = re.findall(r"^\.It Ql (\w)\n(.*)", page("umlctl-mconsole.1"), flags=re.MULTILINE)
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


def test_page_of_the_list_has_every_column() -> None:
    said = section(page("umlctl-list.1"), "DESCRIPTION").partition("The columns are:")
    assert re.findall(r"^\.It Va (\w+)$", said[2], flags=re.MULTILINE) == list(COLUMNS)
    assert f"{', '.join(DEFAULT_COLUMNS[:-1])} and {DEFAULT_COLUMNS[-1]}." in said[0]


def test_protocol_page_has_every_state() -> None:
    said = subsection(page("mconsole.7"), "The status")
    rows = re.findall(r"^\.It Sy (.*)", said, flags=re.MULTILINE)
    names = [name for row in rows for name in row.split(" , ")]
    assert sorted(names) == sorted(STATES)


def test_protocol_page_has_every_cause_of_an_end() -> None:
    said = page("mconsole.7").partition("\n.It Ic wait\n")[2].partition("\n.It ")[0]
    listed = " ".join(said.partition("The cause is ")[2].split())
    found = re.sub(r" \([^)]*\)|, where .*", "", listed).replace(", or ", ", ")
    assert found.split(", ") == list(CAUSES)


def test_protocol_page_has_every_event_with_its_facts() -> None:
    said = subsection(page("mconsole.7"), "The events")
    found = {}
    for row in re.split(r"^\.It Sy ", said, flags=re.MULTILINE)[1:]:
        names, _, text = row.partition("\n")
        facts = re.match(r"\.Va ([^:\n]*)", text)
        for name in names.split(" , "):
            found[name] = tuple(facts[1].strip().split(" , ")) if facts else ()
    assert found == {name: row.facts for name, row in TABLE_OF_EVENTS.items()}


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
    assert set(LAZY) <= {name.partition(" ")[0] for name in commands()}


def test_pages_are_clean() -> None:
    done = subprocess.run(
        ["mandoc", "-Tlint", "-W", "style", *PAGES],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("", "")


KINDS = {
    "text": "A text",
    "choice": "A text",
    "size": "A size",
    "flag": "True or false",
    "count": "A whole number",
    "seconds": "A number",
}


def test_page_of_definitions_has_every_key_with_its_kind() -> None:
    said = section(page("umlctl.toml.5"), "KEYS")
    rows = re.findall(r"^\.It Va (\S+)\n((?:(?!\.It).*\n)*)", said, flags=re.MULTILINE)
    assert [name for name, _ in rows] == [EXTENDS, *(option.name for option in OPTIONS)]
    about = dict(rows)
    assert about.pop(EXTENDS).startswith("A text")
    for option in OPTIONS:
        assert about[option.name].startswith("A list" if option.many else KINDS[option.kind])
        if "one of the same" not in about[option.name]:
            words = set(re.findall(r"[\w-]+", about[option.name]))
            assert set(option.choices) <= words, option.name


def test_bounds_are_described() -> None:
    said = section(page("umlctl.toml.5"), "BOUNDS")
    about = dict(re.findall(r"^\.It Va (\S+)\n(.*)", said, flags=re.MULTILINE))
    assert list(about) == [option.name for option in BOUNDS]
    assert all(about[option.name].startswith(KINDS[option.kind]) for option in BOUNDS)
    written = re.findall(
        r"\.Bd -unfilled -offset indent\n(.*?)\.Ed",
        section(page("umlctl.toml.5"), "EXAMPLES"),
        flags=re.DOTALL,
    )
    assert [read_bounds(text, "f").max_guests for text in written] == [10]


def test_examples_of_definitions_are_sound() -> None:
    said = section(page("umlctl.toml.5"), "EXAMPLES")
    for text in re.findall(r"\.Bd -literal -offset indent\n(.*?)\.Ed", said, flags=re.DOTALL):
        assert read_definition(text, "f")


@pytest.mark.parametrize(
    ("title", "kind"), [("Guest", Guest), ("Console", Console_), ("Runner", Runner)]
)
def test_page_of_the_library_has_all_that_it_has(title: str, kind: type) -> None:
    said = subsection(page("umlctl.3"), title)
    found = {found[0] for found in arguments(said, "Fn") if found} - {"start", title}
    inner = {"history", "never", "trials"}
    assert (
        found
        == {name for name, value in vars(kind).items() if callable(value) and name[0] != "_"}
        - inner
    )


def test_page_of_the_library_has_every_error() -> None:
    said = section(page("umlctl.3"), "ERRORS")
    found = {word for words in arguments(said, "Er") for word in words} - {","}
    errors = {
        name
        for name in dir(umlctl)
        if isinstance(each := getattr(umlctl, name), type) and issubclass(each, UmlctlError)
    }
    assert found == errors - {"UmlctlError"}
