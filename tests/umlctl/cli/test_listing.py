from __future__ import annotations

import json
import os

import pytest

from umlctl import entry, exitcodes
from umlctl.cli import listing
from umlctl.definitions import files
from umlctl.protocol.status import Ending, Status


@pytest.mark.parametrize(
    "words", [["list"], ["list", "--enabled"], ["events", "--all"], ["adopt"], ["network", "list"]]
)
def test_records_that_cannot_be_read_are_no_empty_list(
    house: str, capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    os.makedirs(f"{house}/u/state")
    for name in ("guests", "enabled", "networks"):
        os.close(os.open(f"{house}/u/state/{name}", os.O_CREAT))
    assert entry.main(["umlctl", *words]) == 7
    said = capsys.readouterr()
    assert said.out == ""
    assert "umlctl: cannot read " in said.err
    assert "make it yours again, or set UMLCTL_DIR" in said.err


@pytest.fixture
def guests(house: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found = [
        Status(umid="a", state="running", pid=1, memory=5 << 20),
        Status(umid="b", state="stopped", pid=2, memory=9 << 20),
        Status(umid="c", state="dead", ending=Ending(cause="exited", code=0)),
    ]
    monkeypatch.setattr(listing, "gather", lambda: found)


def names(text: str) -> list[str]:
    return [line.split()[0] for line in text.splitlines()]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("", ["NAME", "a", "b", "c"]),
        ("--running", ["NAME", "a", "b"]),
        ("--sort -memory", ["NAME", "b", "a", "c"]),
        ("--sort=-name --format compact", ["NAME", "c", "b", "a"]),
        ("--columns state", ["STATE", "running", "paused", "dead"]),
        ("--columns pid,name --format csv", ["1,a", "2,b", ",c"]),
    ],
)
def test_list_has_the_columns_and_the_order_that_are_asked_for(
    guests: None, capsys: pytest.CaptureFixture[str], words: str, said: list[str]
) -> None:
    assert entry.main(["umlctl", "list", *words.split()]) == 0
    assert names(capsys.readouterr().out) == said


@pytest.mark.parametrize("words", ["--json", "--format json", "--json --columns name"])
def test_list_as_json_has_every_key_of_every_guest(
    guests: None, capsys: pytest.CaptureFixture[str], words: str
) -> None:
    assert entry.main(["umlctl", "list", *words.split()]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [each["umid"] for each in found] == ["a", "b", "c"]
    assert {frozenset(each) for each in found} == {frozenset(Status.__struct_fields__)}


def test_compact_list_is_one_line_a_guest_on_a_terminal_too(
    guests: None, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    assert entry.main(["umlctl", "list", "--format", "compact"]) == 0
    assert names(capsys.readouterr().out) == ["NAME", "a", "b", "c"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--columns name,age", "there is no column 'age'; there are name, state, uptime"),
        ("--sort -age", "there is no column 'age'; there are name, state, uptime"),
        ("--json --format csv", "`--json` is `--format json`, and no csv"),
        ("--enabled --columns name", "`list --enabled` has columns and an order of its own"),
        ("--enabled --format csv", "`list --enabled` has columns and an order of its own"),
        ("--format xml", "'xml' is not one of"),
    ],
)
def test_list_that_cannot_be_is_refused(
    guests: None, capsys: pytest.CaptureFixture[str], words: str, said: str
) -> None:
    assert entry.main(["umlctl", "list", *words.split()]) == exitcodes.USAGE
    found = capsys.readouterr()
    assert said in found.err
    assert found.out == ""


def test_list_of_no_guest_as_csv_is_empty(house: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert entry.main(["umlctl", "list", "--format", "csv"]) == 0
    assert capsys.readouterr() == ("", "")


def test_guest_that_is_defined_is_in_the_list(
    guests: None, capsys: pytest.CaptureFixture[str]
) -> None:
    path = files.save("d", "")
    files.save("a", "")
    assert entry.main(["umlctl", "list", "--format", "compact"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert names("\n".join(lines)) == ["NAME", "a", "b", "c", "d"]
    assert lines[-1].split()[:2] == ["d", "defined"]
    assert entry.main(["umlctl", "list", "--json"]) == 0
    row = json.loads(capsys.readouterr().out)[-1]
    assert (row["umid"], row["state"], row["since"]) == ("d", "defined", os.stat(path).st_mtime)
    assert entry.main(["umlctl", "list", "--running"]) == 0
    assert "defined" not in capsys.readouterr().out
