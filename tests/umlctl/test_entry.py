from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import umlctl
from socketproto import blocking
from socketproto.exchange import pieces
from umlctl import entry, exitcodes, streams

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.conftest import Bare
    from tests.umlctl.conftest import Run

    MakeBare = Callable[..., Bare]

ROOT = Path(umlctl.__file__).parent.parent
HEAVY = {
    *("trio", "click", "msgspec", "prompt_toolkit", "rich", "re", "socket", "json", "enum"),
    *("typing", "argparse", "pathlib", "dataclasses", "asyncio", "subprocess", "selectors"),
    *("contextlib", "functools", "collections", "logging", "importlib.metadata", "shutil"),
}
SCRIPT = """
import sys
before = set(sys.modules)
sys.path.insert(0, {root!r})
from umlctl.entry import main
sys.modules["umlctl.client.oneshot"].SILENCE_TIMEOUT = 60.0  # who is late here is held by nobody
code = main({argv!r})
print(*sorted(set(sys.modules) - before), file=sys.stderr)
sys.exit(code)
"""


def reply(data: bytes, error: int = 0) -> list[bytes]:
    return [each.encode() for each in pieces(data, error)]


def saying(data: bytes, error: int = 0) -> Callable[..., list[bytes]]:
    return lambda *_: reply(data, error)


def in_subprocess(*argv: str) -> subprocess.CompletedProcess[str]:
    script = SCRIPT.format(root=str(ROOT), argv=["umlctl", *argv])
    return subprocess.run(
        [sys.executable, "-I", "-S", "-c", script],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("mode", [0o755, 0o600])
@pytest.mark.parametrize(
    "words", [["version"], ["stack", "1"], ["log", "hello"], ["stop"], ["proc", "uptime"]]
)
def test_one_shot_command_imports_nearly_nothing(
    bare: MakeBare, words: list[str], mode: int
) -> None:
    verb, *arguments = words
    done = in_subprocess(verb, bare(mode=mode).path, *arguments)
    assert done.returncode == 0, done
    by_mconsole = in_subprocess("mconsole", bare(name="by", mode=mode).path, *words)
    told = done.stderr.splitlines()[-1]  # `stop` has something to say before
    assert (by_mconsole.returncode, by_mconsole.stderr.splitlines()) == (0, [told])
    imported = set(told.split())
    assert not imported & HEAVY
    if words != ["proc", "uptime"]:  # a bare kernel has no guard of its own
        ours = {name for name in imported if name.startswith(("umlctl", "socketproto"))}
        assert ours == {
            *("socketproto", "socketproto.blocking", "socketproto.exchange", "socketproto.wire"),
            *("umlctl", "umlctl.entry", "umlctl.exitcodes"),
            *("umlctl.protocol", "umlctl.protocol.commands"),
            *("umlctl.client", "umlctl.client.ask", "umlctl.client.oneshot"),
            *("umlctl.client.target", "umlctl.output"),
            "umlctl.streams",
            *("umlctl.host", "umlctl.host.paths"),
        }
    assert len(imported) < 32, imported


def test_command_that_fails_imports_no_more(short: str) -> None:
    done = in_subprocess("version", f"{short}/none")
    assert done.returncode == exitcodes.NO_GUEST
    *_, imported = done.stderr.splitlines()
    assert not set(imported.split()) & HEAVY


def test_options_may_stand_anywhere_and_end_at_two_dashes(
    shot: Callable[..., Run], bare: MakeBare
) -> None:
    server = bare()
    assert shot("stack", "--json", server.path, "--timeout", "9", "1").json["text"] == "stack 1"
    assert shot("stack", server.path, "1", "--json").json["text"] == "stack 1"
    assert shot("config", server.path, "--", "--json").out == b"config --json\n"


def test_guest_is_named_by_the_file_of_its_definition_too(
    shot: Callable[..., Run], bare: MakeBare, house: str, tmp_path: Path
) -> None:
    Path(f"{house}/h/.uml/demo").mkdir(parents=True)
    bare(name="h/.uml/demo/mconsole")
    file = tmp_path / "demo.toml"
    file.touch()
    for words in (["version", str(file)], ["mconsole", str(file), "version"]):
        done = shot(*words)
        assert (done.code, done.out) == (0, b"version\n")
        assert done.err == f"umlctl: demo: the guest of {file}\n"


def test_help_is_the_guests_where_there_is_one(shot: Callable[..., Run], bare: MakeBare) -> None:
    assert shot("help", bare(saying(b"of the guest", 0)).path).out == b"of the guest\n"
    assert "no guest 'nobody'" in shot("help", "nobody").err
    assert shot("help", "run").out.startswith(b"Usage: umlctl run")
    assert "did you mean list?" in shot("help", "ls").err


@pytest.mark.parametrize(
    "words",
    [
        ["version"],
        ["version", "--help"],
        ["version", "demo", "--unknown"],
        ["version", "demo", "--timeout"],
        ["version", "demo", "--timeout", "soon"],
        ["version", "demo", "--timeout", "0"],
        ["version", "demo", "--timeout", "-1"],
        ["version", "demo", "--timeout", "nan"],
        ["version", "demo", "--timeout", "inf"],
        ["version", "-v"],
        ["list"],
        ["--version"],
        [],
        ["nonsense"],
    ],
)
def test_what_is_no_plain_command_goes_to_the_full_command_line(
    monkeypatch: pytest.MonkeyPatch, words: list[str]
) -> None:
    handed: list[list[str]] = []

    def cli(arguments: list[str]) -> int:
        handed.append(arguments)
        return 77

    monkeypatch.setattr(entry, "_cli", cli)
    assert entry.main(["umlctl", *words]) == 77
    assert handed == [words]


def test_interrupt_and_closed_pipe_are_as_a_shell_expects(
    monkeypatch: pytest.MonkeyPatch, bare: MakeBare
) -> None:
    server = bare()
    for error, code in ((KeyboardInterrupt, 130), (streams.ReaderGone, 141)):

        def fail(*_: object, error: type[BaseException] = error, **_how: object) -> None:
            raise error

        with monkeypatch.context() as patch:
            patch.setattr(blocking.Connection, "request", fail)
            patch.setattr(sys, "stdout", sys.stdout)
            assert entry.main(["umlctl", "version", server.path]) == code


@pytest.mark.parametrize("words", [("version", "SOCKET"), ("run", "--help")])
def test_full_disk_is_one_line_on_standard_error(bare: MakeBare, words: tuple[str, ...]) -> None:
    server = bare()
    arguments = [server.path if word == "SOCKET" else word for word in words]
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [sys.executable, "-m", "umlctl", *arguments],
            cwd=ROOT,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == exitcodes.FAILED
    assert done.stderr == "umlctl: [Errno 28] No space left on device\n"
