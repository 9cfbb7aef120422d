from __future__ import annotations

import tomllib

from hypothesis import given
from hypothesis import strategies as st

from umlctl.guest import toml_lines, written
from umlctl.guest.toml_lines import KeyLine

TEXT = '''# of "keys" = 1
mem = "64M"   # [ is no list
"init" = \'\'\'/a
b = 1\'\'\'
disk = [
    "a", # "b"
    """c
d = 1""", 'e',
]

nic=["x","y"]
[section]
after = ["]", "\\"#"]
'''


def test_keys_have_the_lines_where_they_stand() -> None:
    assert toml_lines.find(TEXT) == [
        KeyLine("mem", 2, (2,)),
        KeyLine("init", 3, (3,)),
        KeyLine("disk", 5, (6, 7, 8)),
        KeyLine("nic", 11, (11, 11)),
        KeyLine("[section]", 12, section=True),
        KeyLine("after", 13, (13, 13)),
    ]


def test_key_that_stands_there_twice_is_found_twice() -> None:
    assert [key.line for key in toml_lines.find("a = 1\na = 2\n")] == [1, 2]


@given(st.text(alphabet="ab='\"[]{}#,\\\n\r \t.1", max_size=60))
def test_any_text_is_read_to_its_end(text: str) -> None:
    lines = [key.line for key in toml_lines.find(text)]
    assert lines == sorted(lines)
    assert all(1 <= line <= text.count("\n") + 1 for line in lines)


WORDS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8)


@given(
    st.dictionaries(st.from_regex(r"[a-z][a-z0-9_-]{0,5}", fullmatch=True), st.lists(WORDS)),
    st.sampled_from(["\n", "\n\n# mem = 1\n", " # ]\n"]),
)
def test_keys_are_those_that_toml_has(table: dict[str, list[str]], end: str) -> None:
    text = ""
    for key, words in table.items():
        inside = "".join(f"\n  {written._quoted(word)}," for word in words)
        text += f"{key} = [{inside}\n]{end}"
    found = toml_lines.find(text)
    assert {key.name for key in found} == set(tomllib.loads(text)) == set(table)
    lines = text.split("\n")
    for each in found:
        assert lines[each.line - 1].startswith(f"{each.name} = ")
        assert [lines[at - 1].strip(" ,") for at in each.items] == [
            written._quoted(word) for word in table[each.name]
        ]
