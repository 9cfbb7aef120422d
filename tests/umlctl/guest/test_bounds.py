from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as some

from umlctl.errors import UsageError
from umlctl.guest import bounds
from umlctl.guest.bounds import NONE, Bounds

G = 1 << 30
WHOLE = """# what guests may have
[host]   # of this machine
max_total_mem = "8G"
max_guests = 10

overcommit = false
"""


def test_file_says_what_guests_may_have() -> None:
    found = bounds.read(WHOLE, "f")
    assert (found.max_total_mem, found.max_guests, found.overcommit) == (8 * G, 10, False)
    assert [found.place(name) for name in ("max_total_mem", "max_guests", "overcommit")] == [
        "f:3",
        "f:4",
        "f:6",
    ]
    assert found.refuse
    for text in ("", "# nothing\n", "[host]\n"):
        assert bounds.read(text, "f") == NONE
    assert not NONE.refuse
    assert not bounds.read("[host]\novercommit = true", "f").refuse


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("max_guests = 1", "f:1: max_guests: it stands in no section: write [host]"),
        ("[host]\nmax-guests = 1", "f:2: max-guests: there is no such key; did you mean max_g"),
        ("[host]\nxyz = 1", "f:2: xyz: there is no such key; there are max_total_mem, max_guests"),
        ("[host]\nmax_guests = 0", "f:2: max_guests: it is a whole number from 1"),
        ("[host]\nmax_guests = 1\nmax_guests = 2", "f:3: max_guests: it is given in line 2"),
        ("[host]\nmax_total_mem = 8", "f:2: max_total_mem: a size stands in quotes"),
        ('[host]\nmax_total_mem = "8 G"', "f:2: max_total_mem: a size is a number"),
        ('[host]\nmax_total_mem = "0"', "f:2: max_total_mem: no guest could run"),
        ('[host]\nmax_total_mem = ""', "f:2: max_total_mem: it is empty"),
        ('[host]\novercommit = "yes"', "f:2: overcommit: it is true or false"),
        ("[host]\novercommit = yes", "f:2: overcommit: .*or overcommit = true"),
        ("[host\nmax_guests = 3\n", r"f:1: \[host: the name of a section ends with \]"),
        ("[net]\n", r"f:1: \[net\]: there is one section here, \[host\]"),
        ("[host]\n[host]\n", r"f:2: \[host\]: there is one section"),
        ("[[host]]\n", r"f:1: \[\[host\]\]: there is one section"),
        ("host.max_guests = 1", "f:1: host: it stands in no section"),
        ("[host]\nmax_guests", "f:2: max_guests"),
        ("[host]\nmax_guests.x = 1", "f:2: max_guests: it is a whole number"),
    ],
)
def test_what_is_wrong_is_told_with_its_place_and_remedy(text: str, said: str) -> None:
    with pytest.raises(UsageError, match=said.replace("write [host]", r"write \[host\]")):
        bounds.read(text, "f")


@given(some.text(max_size=60) | some.text("[host]max_guests=1\n\"'#. ", max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    said = "f:"
    try:
        bounds.read(text, "f")
    except UsageError as problem:
        said = str(problem)
    assert said.startswith("f:")


def test_stricter_one_counts() -> None:
    own = Bounds(
        8 * G, None, overcommit=True, places=(("max_total_mem", "o:1"), ("overcommit", "o:2"))
    )
    system = Bounds(4 * G, 3, places=(("max_total_mem", "s:1"), ("max_guests", "s:2")))
    found = bounds.strictest([own, system])
    assert (found.max_total_mem, found.max_guests, found.overcommit) == (4 * G, 3, True)
    assert (found.place("max_total_mem"), found.place("overcommit")) == ("s:1", "o:2")
    never = Bounds(overcommit=False, places=(("overcommit", "s:3"),))
    assert bounds.strictest([own, never]).overcommit is False
    assert bounds.strictest([]) == NONE
