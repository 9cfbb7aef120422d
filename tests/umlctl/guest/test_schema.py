from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from umlctl.cli.define import schema_text
from umlctl.errors import UsageError
from umlctl.guest import written
from umlctl.guest.options import OPTIONS
from umlctl.guest.schema import schema
from umlctl.guest.written import EXTENDS

PUBLISHED = Path(__file__).parents[3] / "docs" / "guest.schema.json"
VALIDATOR = jsonschema.Draft202012Validator(schema())
NAMES = [*(option.name for option in OPTIONS), EXTENDS, "memory", "disks"]
WORDS = [
    *("", "a", "64M", "1g", "65536kb", "64 M", "-1", "M", "no", "always", "off", "locked"),
    *("nothing", "user", "a\0b", "host"),
]
SCALARS = (
    st.sampled_from(WORDS)
    | st.booleans()
    | st.integers(-2, 3)
    | st.sampled_from([10**6, 10**6 + 1])
    | st.sampled_from([0.0, 0.5, 2.0, 1e9, 2e9, 10**9, 10**9 + 1])
)
VALUES = SCALARS | st.lists(SCALARS, max_size=2) | st.lists(st.sampled_from(WORDS), max_size=3)
TABLES = st.dictionaries(st.sampled_from(NAMES), VALUES, max_size=3)


def toml(table: dict[str, Any]) -> str:
    return "".join(f"{name} = {value_text(value)}\n" for name, value in table.items())


def value_text(value: Any) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(value_text, value))}]"
    if isinstance(value, bool):
        return str(value).lower()
    return json.dumps(value) if isinstance(value, str) else repr(value)


def is_read(text: str) -> bool:
    try:
        written.read(text, "f")
    except UsageError:
        return False
    return True


@given(TABLES)
def test_schema_and_reader_agree(table: dict[str, Any]) -> None:
    assert is_read(toml(table)) == VALIDATOR.is_valid(table), table


@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: str(option.name))
@given(VALUES)
def test_they_agree_on_each_key(option: Any, value: Any) -> None:
    table = {option.name: value}
    assert is_read(toml(table)) == VALIDATOR.is_valid(table), table


def test_schema_is_one() -> None:
    jsonschema.Draft202012Validator.check_schema(schema())
    assert set(schema()["properties"]) == {EXTENDS, *(option.name for option in OPTIONS)}


def test_schema_is_published() -> None:
    assert PUBLISHED.read_text() == schema_text(), "umlctl define --schema >docs/guest.schema.json"
