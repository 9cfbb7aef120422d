from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from umlctl.errors import UsageError
from umlctl.guest.readers import assignments
from umlctl.guest.readers.assignments import Assignment, Scalar


def values(text: str) -> dict[str, object]:
    return {each.key: plain(each.value) for each in assignments.read(text, "f")}


def plain(value: object) -> object:
    return [plain(each) for each in value] if isinstance(value, list) else value.text  # type: ignore[attr-defined]


def test_assignment_has_its_key_its_value_and_its_line() -> None:
    text = "\n# said\nkernel = '/a'  # why\n"
    assert assignments.read(text, "f") == [
        Assignment("kernel", Scalar("/a", 3), 3, "kernel = '/a'")
    ]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", {}),
        ("a = 1; b='2'", {"a": "1", "b": "2"}),
        ("a = 0x301\nb=010", {"a": "0x301", "b": "010"}),
        ("a = [ 'x',\n  'y', # why\n]\n", {"a": ["x", "y"]}),
        ("a = -1", {"a": "-1"}),
        ("a = []", {"a": []}),
        ("a = [['x'], 2]", {"a": [["x"], "2"]}),
        ("a = True\nb = False\nc = None", {"a": "1", "b": "0", "c": ""}),
        ("a = ['x']\na += ['y']", {"a": ["x", "y"]}),
        ("a = 'x'\na += 'y'", {"a": "xy"}),
        ("a += ['y']", {"a": ["y"]}),
        ("a = \\\n 'x'", {"a": "x"}),
        (r"a = 'it\'s\x41\101\n\\'", {"a": "it'sAA\n\\"}),
        ('a = "it\'s # no comment; none"', {"a": "it's # no comment; none"}),
        ("a = 'x'\r\nb = 'y'\r\n", {"a": "x", "b": "y"}),
    ],
)
def test_what_xl_reads_is_read(text: str, found: dict[str, object]) -> None:
    assert values(text) == found


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("import os", "f:1: import os: this is Python, and none of it is run"),
        ("a = 1\nif a:\n  b = 2", "f:2: if a:: this is Python, and none of it is run"),
        ("a = os.getcwd()", "f:1: a = os.getcwd(): 'os' is no value, and nothing is run"),
        ("a = 'x' + 'y'", "f:1: a = 'x' + 'y': '+' stands behind a value"),
        ("a = 'x' % 1", "'%' stands behind a value"),
        ("a = 1.5", "'1' is no value"),
        ("a =", "a value is missing"),
        ("a = 'x", "a text is not closed on its line"),
        ("a = [\n'x'\n", "f:1: a = [: a list is not closed"),
        ("a = ['x' 'y']", "\"'y'\" stands in a list"),
        ("a = [,]", "',' is no value"),
        ("= 1", "a line begins with a KEY"),
        (r"a = '\q'", r"\q means nothing in a text"),
        ("a = 'x'\na += ['y']", "f:2: a += ['y']: a list and a text cannot be added"),
        ("a = " + "[" * 9, "lists lie too deep in lists"),
        ("exec('x')", "none of it is run"),
        ("a\x1b = 1", "a\\x1b = 1: this is Python"),
    ],
)
def test_what_is_no_assignment_is_said_with_its_line(text: str, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        assignments.read(text, "f")
    assert said in str(caught.value)
    assert str(caught.value).startswith("f:")


TOKENS = st.sampled_from(
    [
        "a",
        "import",
        "=",
        "+=",
        "[",
        "]",
        ",",
        ";",
        "\n",
        "'x'",
        '"',
        "'",
        "\\",
        "#",
        "0x1",
        "9",
        " ",
    ]
)


@given(st.one_of(st.text(), st.lists(TOKENS).map("".join), st.lists(TOKENS).map(" ".join)))
def test_any_text_is_read_or_refused_with_a_line(text: str) -> None:
    try:
        found = assignments.read(text, "f")
    except UsageError as problem:
        line = int(str(problem).split(":")[1])
        assert 1 <= line <= text.count("\n") + 1
    else:
        assert all(1 <= each.line <= text.count("\n") + 1 for each in found)


LISTS = st.recursive(
    st.text(st.characters(exclude_characters="\n\r\\'")),
    lambda inner: st.lists(inner, max_size=3),
    max_leaves=6,
).filter(lambda value: str(value).count("[") < assignments.MAX_DEPTH)


@given(st.dictionaries(st.from_regex(r"[a-z_][a-z0-9_-]*", fullmatch=True), LISTS))
def test_what_was_written_is_read(pairs: dict[str, object]) -> None:
    def shown(value: object) -> str:
        return f"[{', '.join(map(shown, value))}]" if isinstance(value, list) else f"'{value}'"

    assert values("\n".join(f"{key} = {shown(value)}" for key, value in pairs.items())) == pairs
