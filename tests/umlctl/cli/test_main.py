from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import pytest

from tests.program import UMLCTL
from umlctl import __version__, errors
from umlctl.cli import main
from umlctl.cli.complete import guests
from umlctl.protocol.commands import BY_NAME, COMMANDS, HOST

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.umlctl.cli.conftest import Run, Supervisor

VERBS = [c.name for c in COMMANDS if c.served != HOST and not c.own_face]
OWN = list(main.LAZY)


@pytest.mark.parametrize("verb", [*VERBS, *OWN])
def test_every_command_has_help_with_examples(run: Callable[..., Run], verb: str) -> None:
    done = run(verb, "--help")
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith(f"Usage: umlctl {verb}")
    command = main.root.get_command(click.Context(main.root), verb)
    if isinstance(command, click.Group):
        for name in command.commands:
            told = run(verb, name, "--help").out.replace("\n    ", "\n  ")
            assert f"Examples:\n  umlctl {verb} {name}" in told
    else:
        assert f"Examples:\n  umlctl {verb}" in done.out.replace("\n    ", "\n  ")


@pytest.mark.parametrize("words", [[], ["version"], ["run"]])
def test_help_has_a_short_name(words: list[str]) -> None:
    """In processes of their own: click keeps the names of a command's help option."""

    def told(option: str) -> str:
        command = [*UMLCTL, *words, option]
        return subprocess.run(
            command, capture_output=True, text=True, check=True, timeout=60
        ).stdout

    assert told("-h") == told("--help") != ""


def test_commands_of_both_supervisors_are_not_mixed_up(run: Callable[..., Run]) -> None:
    """`start`, `list` and `quit` are commands of their own, not verbs with a GUEST."""
    hosts = {command.name for command in COMMANDS if command.served == HOST}
    assert hosts <= set(OWN)
    assert not hosts & set(VERBS)


def test_every_command_is_listed_with_one_line(run: Callable[..., Run]) -> None:
    done = run("--help")
    assert done.code == 0
    listed = [line.split(maxsplit=1) for line in done.out.splitlines() if line.startswith("  ")]
    about = {words[0]: words[1] for words in listed if len(words) == 2}
    for verb in VERBS:
        assert about[verb] == BY_NAME[verb].help
    for verb in OWN:
        assert about[verb] == main.HELP[verb]
    assert set(main.HELP) == set(OWN)


def test_listing_commands_loads_none_of_them() -> None:
    script = (
        "import sys; from umlctl.cli.main import run; run(['--help'])\n"
        "print([n for n in sys.modules if n.startswith('umlctl.cli.')])\n"
        "print({'trio', 'prompt_toolkit', 'msgspec', 'rich'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.splitlines()[-2:] == ["['umlctl.cli.main']", "set()"]


def test_version_is_told(run: Callable[..., Run]) -> None:
    assert run("--version").out == f"umlctl {__version__}\n"


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("verison", "there is no command 'verison'; did you mean version?"),
        ("shutdwon", "there is no command 'shutdwon'; `umlctl --help` lists them"),
        ("lst", "did you mean list?"),
        ("ls", "did you mean list?"),
        ("resume", "did you mean go?"),
        ("reset", "did you mean reboot?"),
        ("poweroff", "did you mean shutdown?"),
        ("rename", "`umlctl --help` lists them"),
        ("nonsense", "there is no command 'nonsense'; `umlctl --help` lists them"),
    ],
)
def test_mistyped_command_is_a_usage_error_with_a_hint(
    run: Callable[..., Run], typed: str, said: str
) -> None:
    done = run(typed, "demo")
    assert (done.code, done.out) == (2, "")
    assert said in done.err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("disk remove demo ubd1", "there is no command 'remove'; did you mean rm?"),
        ("nic delete demo vec0", "did you mean rm?"),
        ("disk ls demo", "did you mean list?"),
        ("network delete lan", "did you mean rm?"),
        ("network nonsense", "`umlctl network --help` lists them"),
        ("kernel lst", "did you mean list?"),
    ],
)
def test_mistyped_command_of_a_group_has_a_hint(
    run: Callable[..., Run], words: str, said: str
) -> None:
    done = run(*words.split())
    assert (done.code, done.out) == (2, "")
    assert said in done.err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("", "Usage: umlctl [OPTIONS]"),
        ("run", "Usage: umlctl run [OPTIONS]"),
        ("start", "Usage: umlctl start [OPTIONS]"),
        ("version", "Usage: umlctl version [OPTIONS] GUEST"),
        ("disk add", "Usage: umlctl disk add [OPTIONS]"),
        ("pause", "Usage: umlctl stop [OPTIONS] GUEST"),
        ("help", "Usage: umlctl help [OPTIONS] GUEST"),
    ],
)
def test_help_with_a_command_is_its_help(
    house: str, monkeypatch: pytest.MonkeyPatch, words: str, said: str
) -> None:
    done = subprocess.run(
        [*UMLCTL, "help", *words.split()],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert done.stdout.startswith(said)


def test_every_command_stands_in_one_group_of_the_help(run: Callable[..., Run]) -> None:
    grouped = [name for names in main.GROUPS.values() for name in names]
    assert len(grouped) == len(set(grouped))
    assert set(grouped) == set(main.root.list_commands(click.Context(main.root)))
    out = run("--help").out
    for heading in main.GROUPS:
        assert f"{heading}:\n" in out


def test_nothing_to_do_shows_the_help_as_a_usage_error(run: Callable[..., Run]) -> None:
    done = run()
    assert done.code == 2
    assert "Usage: umlctl" in done.err + done.out


@pytest.mark.parametrize(
    "words",
    [
        ["--nonsense"],
        ["version"],
        ["version", "demo", "--nonsense"],
        ["version", "demo", "--timeout", "soon"],
        ["version", "demo", "--timeout", "0"],
        ["logs"],
        ["console"],
        ["logs", "demo", "-n", "-1"],
        ["run", "a", "b"],
        ["start"],
        ["mconsole", "demo"],
        ["shell", "demo", "more"],
    ],
)
def test_wrong_command_line_is_a_usage_error(run: Callable[..., Run], words: list[str]) -> None:
    done = run(*words)
    assert (done.code, done.out) == (2, "")
    assert "Error: " in done.err


@pytest.mark.parametrize(
    "error",
    [errors.UsageError, errors.NoGuest, errors.GuestInUse, errors.NeverStarted, errors.HostError],
)
def test_error_is_one_line_and_its_code(
    run: Callable[..., Run], monkeypatch: pytest.MonkeyPatch, error: type[errors.UmlctlError]
) -> None:
    def fail(*_: Any, **__: Any) -> int:
        raise error("what happened")

    monkeypatch.setattr(main.root, "invoke", fail)
    done = run("list")
    assert (done.code, done.out, done.err) == (error.code, "", "umlctl: what happened\n")


def test_abort_is_an_interrupt(run: Callable[..., Run], monkeypatch: pytest.MonkeyPatch) -> None:
    def abort(*_: Any, **__: Any) -> int:
        raise click.Abort

    monkeypatch.setattr(main.root, "invoke", abort)
    assert run("list").code == 130


def test_guests_are_completed(house: str) -> None:
    context, parameter = click.Context(click.Command("x")), click.Argument(["guest"])
    assert guests(context, parameter, "") == []
    for name in ("demo", "deb", "web"):
        os.makedirs(f"{house}/h/.uml/{name}")
    assert guests(context, parameter, "de") == ["deb", "demo"]


def parameters() -> list[tuple[list[str], click.Parameter]]:
    """Each parameter that takes a value, with the words of its command."""
    found: list[tuple[list[str], click.Parameter]] = []

    def gather(words: list[str], command: click.Command) -> None:
        if isinstance(command, click.Group):
            for name, each in command.commands.items():
                gather([*words, name], each)
        valued = (each for each in command.params if not getattr(each, "is_flag", False))
        found.extend((words, each) for each in valued)

    for verb in [*VERBS, *OWN]:
        command = main.root.get_command(click.Context(main.root), verb)
        assert command is not None
        gather([verb], command)
    return found


@pytest.mark.parametrize(("words", "parameter"), parameters())
def test_an_empty_value_is_a_usage_error_and_not_an_absent_one(
    run: Callable[..., Run], words: list[str], parameter: click.Parameter
) -> None:
    """As an unset variable of a script has it: --user "$WHO"."""
    given = [parameter.opts[-1], ""] if isinstance(parameter, click.Option) else [""]
    if parameter.type is click.UNPROCESSED:
        given = ["nobody", *given]
        if words == ["shutdown"]:
            given = ["nobody", "1", ""]
        if words == ["exec"]:
            given = ["--", ""]
    done = run(*words, *given)
    assert (done.code, done.out) == (2, "")
    assert (
        "empty" in done.err
        or "''" in done.err
        or "takes no argument" in done.err
        or "needs" in done.err
    )
    assert "no guest" not in done.err


@pytest.mark.parametrize(
    "words",
    [
        ["version", "./demo.toml"],
        ["mconsole", "--json", "./demo.toml", "version"],
        ["disk", "list", "./demo.toml"],
    ],
)
def test_guest_is_named_by_the_file_of_its_definition_too(
    supervisor: Supervisor, words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("demo.toml").touch()
    assert supervisor.main(*words) == 0
    assert supervisor.err == "umlctl: demo: the guest of ./demo.toml\n"
    assert supervisor.asked


def test_file_of_a_guest_that_is_yet_to_be_stays_one(
    run: Callable[..., Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("demo.toml").write_text('mem = "64M"\n')
    done = run("show", "./demo.toml")
    assert (done.code, done.err) == (0, "")
    assert done.out.endswith('mem = "64M"\n')
