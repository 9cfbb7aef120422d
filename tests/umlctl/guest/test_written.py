from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from umlctl.errors import UsageError
from umlctl.guest import written
from umlctl.guest.options import BY_NAME
from umlctl.guest.written import Given

WRONG = [
    # text, line, key, what is said of it, and the remedy
    ("mem = 512M", 1, "mem", 'a text stands in quotes: mem = "512M"'),
    ("\nmem = 512", 2, "mem", 'with its unit: mem = "512M"'),
    ("mem = true", 1, "mem", "a size stands in quotes"),
    ("mem = []", 1, "mem", "it is a text, and stands in quotes"),
    ('mem = "big"', 1, "mem", "a size is a number with k, M or G"),
    ('mem = ""', 1, "mem", "it is empty: give a value, or leave it out"),
    ('mem = "64M"\nmem = "1G"', 2, "mem", "it is given in line 1 already; leave one out"),
    ('disk = ["a"]\ndisk = ["b"]', 2, "disk", 'write one list: disk = ["...", "..."]'),
    ('memory = "1G"', 1, "memory", "did you mean mem?"),
    ('memory_limit = "1G"', 1, "memory_limit", "did you mean memory-limit?"),
    ('disks = ["a"]', 1, "disks", "did you mean disk?"),
    ("vcpus = 2", 1, "vcpus", "did you mean ncpus?"),
    ('ramdisk = "a"', 1, "ramdisk", "did you mean initrd?"),
    ('mem = "1G"\nname = "a"', 2, "name", "the guest has the name of the file: leave the line out"),
    ("Ncpus = 2", 1, "Ncpus", "did you mean ncpus?"),
    ('xyzzy = "a"', 1, "xyzzy", "umlctl.toml(5) has all of them"),
    ("a.b = 1", 1, "a", "there is no such key"),
    ('[guest]\nmem = "1G"', 1, "[guest]", "leave the line out"),
    ('disk = "a.img"', 1, "disk", 'it is a list: disk = ["a.img"]'),
    ("disk = a.img", 1, "disk", 'disk = ["a.img"]'),
    ("nic = []", 1, "nic", "it is empty: fill it, or leave the key out"),
    ('nic = [\n"user",\n""]', 3, "nic", "it is empty: give a value"),
    ('nic = [\n"user",\n1]', 1, "nic", "stands in quotes"),
    ('nic = [["user"]]', 1, "nic", "stands in quotes"),
    ('aslr = "yes"', 1, "aslr", "without quotes: aslr = true"),
    ("aslr = True", 1, "aslr", "it is true or false, in small letters"),
    ("aslr = yes", 1, "aslr", "it is true or false, in small letters"),
    ("aslr = 1", 1, "aslr", "it is true or false"),
    ('ncpus = "2"', 1, "ncpus", "a whole number from 1 to 1000000, without quotes"),
    ("ncpus = 0", 1, "ncpus", "a whole number from 1 to 1000000"),
    ("ncpus = 1.5", 1, "ncpus", "a whole number from 1 to 1000000"),
    ("cpu-limit = true", 1, "cpu-limit", "a whole number from 1 to 1000000"),
    ('timeout = "1m"', 1, "timeout", "a number of seconds, without quotes"),
    ("timeout = 0", 1, "timeout", "more than 0 seconds"),
    ("timeout = nan", 1, "timeout", "more than 0 seconds"),
    ("hang-after = 2e9", 1, "hang-after", "1000000000 at most"),
    (f"timeout = 0x{'f' * 5000}", 1, "timeout", "1000000000 at most"),
    (f"mem = 0x{'f' * 5000}", 1, "mem", "a size stands in quotes"),
    (f"ncpus = {'9' * 5000}", 1, "ncpus", "KEY ="),
    (f"ncpus = 0x{'f' * 5000}", 1, "ncpus", "a whole number from 1 to 1000000"),
    ("ncpus = 1e300", 1, "ncpus", "a whole number from 1 to 1000000"),
    (f"mem = {'[' * 5000}", 1, "mem", "a list too deep; a line is KEY ="),
    ('restart = "allways"', 1, "restart", 'it is "no" or "on-failure" or "always"'),
    ("on-panic = 1", 1, "on-panic", 'it is "nothing" or'),
    ("\n\nextends = 1", 3, "extends", "stands in quotes"),
    ('extends = ""', 1, "extends", "it is empty"),
    ('root = "a', 1, "root", 'KEY = "TEXT"'),
    ('mem = "64M"\nncpus', 2, "ncpus", 'KEY = "TEXT"'),
    ('mem = "64M"\n=', 2, "mem", 'KEY = "TEXT"'),
    ('root = "a\\u0000"', 1, "root", "it has a NUL in it"),
    ("root = '''\na\nb", 3, "root", "KEY ="),
]


@pytest.mark.parametrize(("text", "line", "key", "said"), WRONG)
def test_what_is_wrong_is_told_with_file_line_key_and_remedy(
    text: str, line: int, key: str, said: str
) -> None:
    with pytest.raises(UsageError) as caught:
        written.read(text, "web.toml")
    assert str(caught.value).startswith(f"web.toml:{line}: {key}: "), caught.value
    assert said in str(caught.value)


def test_values_are_read_with_their_places() -> None:
    text = 'mem = "1G"\nsingle = true\ntimeout = 5\nncpus = 2.0\nafter = [\n  "a",\n  "b",\n]\n'
    found = written.read(text, "f")
    assert found == {
        "mem": Given("1G", "f", 1, (1,)),
        "single": Given(True, "f", 2),
        "timeout": Given(5.0, "f", 3),
        "ncpus": Given(2, "f", 4),
        "after": Given(("a", "b"), "f", 5, (6, 7)),
    }
    assert [found["after"].place(index) for index in (None, 0, 1)] == ["f:5", "f:6", "f:7"]


@given(st.text(max_size=80) | st.text(alphabet="mem=\"'[]{}\n#1.t \\", max_size=80))
def test_any_text_is_a_definition_or_told_with_its_line(text: str) -> None:
    said = ""
    found: dict[str, Given] = {}
    try:
        found = written.read(text, "f")
    except UsageError as problem:
        said = str(problem)
    assert not said or re.match(r"f:\d+: ", said)
    assert set(found) <= {*BY_NAME, written.EXTENDS}


def anchored(base: str, **values: object) -> dict[str, object]:
    given = {name.replace("_", "-"): Given(value, "f", 7) for name, value in values.items()}
    return {name: each.value for name, each in written.anchored(given, base).items()}


@pytest.mark.parametrize(
    ("values", "found"),
    [
        ({"kernel": "./linux"}, {"kernel": "/d/linux"}),
        ({"kernel": "linux"}, {"kernel": "linux"}),
        ({"kernel": "../linux"}, {"kernel": "/linux"}),
        ({"root": "host"}, {"root": "host"}),
        ({"root": "a.img,cow=b/c,sync"}, {"root": "/d/a.img,cow=/d/b/c,sync"}),
        ({"root": "/a.img,cow=/c"}, {"root": "/a.img,cow=/c"}),
        ({"root": "dir,ro"}, {"root": "/d/dir,ro"}),
        ({"init": "test.sh"}, {"init": "/d/test.sh"}),
        ({"init": "bin/sh", "root": "/i"}, {"init": "bin/sh", "root": "/i"}),
        ({"disk": ("a,ro", "/b")}, {"disk": ("/d/a,ro", "/b")}),
        ({"disk": ("ubd3=c,b",)}, {"disk": ("ubd3=/d/c,/d/b",)}),
        ({"overlay": "memory"}, {"overlay": "memory"}),
        ({"overlay": "kept"}, {"overlay": "/d/kept"}),
        ({"append": ("initrd=i", "ubd1=a")}, {"append": ("initrd=/d/i", "ubd1=/d/a")}),
        ({"append": ("quiet", "ubdx", "a=b/c")}, {"append": ("quiet", "ubdx", "a=b/c")}),
        ({"ro": ("x",), "pidfile": "p"}, {"ro": ("/d/x",), "pidfile": "/d/p"}),
        ({"after": ("x",), "nic": ("tap=x",)}, {"after": ("x",), "nic": ("tap=x",)}),
    ],
)
def test_relative_paths_are_those_of_a_directory(
    values: dict[str, object], found: dict[str, object]
) -> None:
    assert anchored("/d", **values) == found


@pytest.mark.parametrize(
    "values",
    [
        {"kernel": "./linux"},
        {"root": "a.img"},
        {"root": "/a.img,cow=c"},
        {"disk": ("a",)},
        {"disk": ("ubd3=c",)},
        {"append": ("initrd=i",)},
        {"hide": ("x",)},
    ],
)
def test_relative_path_is_refused_where_there_is_no_directory(values: dict[str, object]) -> None:
    with pytest.raises(UsageError, match=r"^f:7: .* is relative, .*: write the whole path"):
        anchored("", **values)


def test_home_of_a_shell_is_none() -> None:
    with pytest.raises(UsageError, match="f:7: root: `~` is for shells: write the whole path"):
        anchored("/d", root="~/a.img")


VALUES = st.fixed_dictionaries(
    {},
    optional={
        "mem": st.sampled_from(["64M", "1G", "65536k"]),
        "init": st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(
            lambda text: "\0" not in text
        ),
        "aslr": st.booleans(),
        "ncpus": st.integers(1, 1_000_000),
        "timeout": st.floats(0.001, 1e9),
        "append": st.lists(st.text("ab\"'\\\n\x7f=é\U0001f40d", min_size=1), min_size=1).map(tuple),
    },
)


@given(VALUES)
def test_what_is_written_is_read_again(values: dict[str, object]) -> None:
    found = written.read(written.write(values), "f")
    assert {name: given.value for name, given in found.items()} == values


def test_what_is_no_text_is_not_written() -> None:
    with pytest.raises(UsageError, match="it cannot be saved"):
        written.write({"init": "\udcff"})
