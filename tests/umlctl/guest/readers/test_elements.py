from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from umlctl.errors import UsageError
from umlctl.guest.readers import elements
from umlctl.guest.readers.elements import MAX_DEPTH, MAX_ELEMENTS

BOMB = """<!DOCTYPE lolz [
<!ENTITY a "lol"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;">
]><domain>&b;</domain>"""
OUTSIDE = """<?xml version="1.0"?>
<!DOCTYPE domain [<!ENTITY x SYSTEM "file:///etc/passwd">]><domain>&x;</domain>"""


def test_elements_have_attributes_text_and_lines() -> None:
    found = elements.read("<a>\n <b c='1'>t<!-- no -->u</b><b/>\n<d e='&lt;'/></a>", "f")
    assert [(each.name, each.line) for each in found.children] == [("b", 2), ("b", 2), ("d", 3)]
    b = found.child("b")
    assert b is not None
    assert (b.text, b.get("c"), b.get("x"), str(b)) == ("tu", "1", "", "<b c='1'>tu")
    assert len(list(found.all("b"))) == 2
    assert found.attribute("d", "e") == "<"
    assert found.attribute("none", "e") == ""
    assert found.child("none") is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "f:1: this is no XML: no element found"),
        ("<a>\n<b></a>", "f:2: this is no XML: mismatched tag"),
        ("<a>&x;</a>", "f:1: this is no XML: undefined entity"),
        ("text", "f:1: this is no XML: syntax error"),
        (BOMB, "f:1: <!DOCTYPE lolz>: entities are not expanded"),
        (OUTSIDE, "f:2: <!DOCTYPE domain>: entities are not expanded"),
        ("<a>" * (MAX_DEPTH + 1), f"or than {MAX_DEPTH} in each other"),
        ("<a>" + "<b/>" * MAX_ELEMENTS, f"more than {MAX_ELEMENTS} elements"),
        ("<?xml version='1.0' encoding='x'?><a/>", "<a/>"),
    ],
)
def test_what_is_no_plain_xml_is_refused(text: str, said: str) -> None:
    if said == text[-4:]:  # the text is decoded already, whatever it says of itself
        assert elements.read(text, "f").name == "a"
        return
    with pytest.raises(UsageError) as caught:
        elements.read(text, "f")
    assert said in str(caught.value)


PIECES = st.sampled_from(
    ["<a>", "</a>", "<b c='d'/>", "&lt;", "&x;", "x", "<!--", "-->", "<![CDATA["]
)


@given(st.one_of(st.text(), st.lists(PIECES).map("".join)))
def test_any_text_is_read_or_refused_with_a_line(text: str) -> None:
    try:
        said = f"f:{elements.read(text, 'f').line}"
    except UsageError as problem:
        said = str(problem)
    assert re.match(r"f:[1-9]", said)
