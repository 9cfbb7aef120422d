from __future__ import annotations

import ast
import functools
import typing
from pathlib import Path
from typing import TYPE_CHECKING

import umlctl
from tests.histories import strange
from umlctl.protocol.events import CLIENT_FACTS, TABLE, EventName, event, row
from umlctl.protocol.status import STATES

if TYPE_CHECKING:
    from collections.abc import Iterator

NAMES: dict[str, EventName] = {name: name for name in TABLE}
ADDING = {"add": 0, "_note_sparingly": 1, "_write_down": 1, "event": 0, "Tell": 0, "_told": 0}
"""By what events are made, and which argument is their name."""
PACKED = {
    "by": CLIENT_FACTS,
    "by(call)": CLIENT_FACTS,
    "facts": (),
    "how": ("cause", "code", "text"),
}
"""What is handed on by `**`."""
GIVEN = {"_note_sparingly": ("text", "request", "left_out", *CLIENT_FACTS)}
"""Facts that are added on the way."""


def calls() -> Iterator[tuple[str, ast.Call, int]]:
    """Every place that makes an event, with the number of its argument that is the name."""
    for path in sorted(Path(umlctl.__file__).parent.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call):
                continue
            owner, _, function = ast.unparse(node.func).rpartition(".")
            told = owner.rpartition(".")[2].strip("_") in ("history", "log", "events")
            if function in ADDING and (told or function not in ("add", "event")):
                yield f"{path.name}:{node.lineno}", node, ADDING[function]


def said(node: ast.expr) -> set[str]:
    """The names that an argument can be, as far as they stand there."""
    if isinstance(node, ast.IfExp):
        return said(node.body) | said(node.orelse)
    return {str(node.value)} if isinstance(node, ast.Constant) else set()


@functools.cache
def named_calls() -> list[tuple[str, ast.Call, set[str]]]:
    """Where an event is made, how, and the names that it can have there."""
    return [
        (where, node, names)
        for where, node, at in calls()
        if len(node.args) > at and (names := said(node.args[at]))
    ]


def test_table_has_every_name_and_no_other() -> None:
    assert list(TABLE) == list(typing.get_args(EventName))


def test_states_are_states() -> None:
    assert {each.state for each in TABLE.values()} <= STATES | {None}


def test_places_that_make_events_are_found() -> None:
    found = named_calls()
    assert len(found) > 50
    assert {"ready", "user", "refused", "panicked"} <= set().union(*(n for _, _, n in found))


def test_event_says_only_what_its_row_has() -> None:
    unknown = {}
    for where, node, names in named_calls():
        facts: set[object] = {*GIVEN.get(ast.unparse(node.func).rpartition(".")[2], ())}
        for keyword in node.keywords:
            facts |= {keyword.arg} if keyword.arg else {*PACKED[ast.unparse(keyword.value)]}
        for packed in (each for each in node.args if isinstance(each, ast.Dict)):
            facts |= {key.value for key in packed.keys if isinstance(key, ast.Constant)}
        for name in names:
            if more := facts - {*TABLE[NAMES[name]].facts}:
                unknown[where, name] = more
    assert not unknown


def test_every_event_is_made_somewhere() -> None:
    words: set[str] = set()
    for path in Path(umlctl.__file__).parent.rglob("*.py"):
        if path.parent.name != "protocol":
            tree = ast.parse(path.read_text())
            words |= {str(each.value) for each in ast.walk(tree) if isinstance(each, ast.Constant)}
    assert not {name for name in TABLE if name not in words}


def test_event_has_what_every_one_has() -> None:
    found = event("ready", "demo", 1234.56789, after=0.2)
    assert found == {"time": 1234.568, "umid": "demo", "event": "ready", "after": 0.2}
    assert strange(found) == []
    assert strange(found | {"odd": 1}) == ["ready: odd"]
    assert strange(found | {"event": "odd"}) == ["odd"]


def test_event_of_a_newer_supervisor_is_shown_and_changes_nothing() -> None:
    found = row("sung")
    assert found.prompt
    assert (found.state, found.run, found.answers, found.facts) == (None, False, False, ())
