from __future__ import annotations

import os
import shlex
from errno import EACCES, EIO, ENODEV, ENOENT

import pytest
from hypothesis import given
from hypothesis import strategies as st

from umlctl.guest import command as commands
from umlctl.guest.command import Command, Root, Step, encode, encode_for_shell, steps
from umlctl.guest.shares import Share

PLAIN = Command(("ls", "-l"), "/src", {"PATH": "/bin"}, "ppp", "abc")
texts = st.text(st.characters(exclude_characters="\0"))


def letters(todo: list[Step]) -> str:
    return "".join(step.letter for step in todo)


def mounts(todo: list[Step]) -> dict[str, tuple[str, ...]]:
    return {step.texts[2]: step.texts for step in todo if step.letter in "pP"}


def test_command_is_the_last_of_all() -> None:
    todo = steps(Root(), PLAIN)
    assert todo[0] == Step("t", ("abc",))
    assert [step.texts[0] for step in todo if step.letter == "a"] == ["ls", "-l"]
    assert letters(todo).endswith("nkwceaa")
    assert Step("c", ("/src",)) in todo
    assert Step("e", ("PATH=/bin",)) in todo


def test_overlay_is_over_all_and_its_module_is_loaded_before() -> None:
    todo = steps(Root(overlay_module="/m/overlay.ko", kept="/dev/ubdp"), PLAIN)
    assert letters(todo).startswith("tmopr")
    assert todo[2].texts == ("/dev/ubdp",)
    assert "m" not in letters(steps(Root(), PLAIN))


def test_files_that_are_only_read_leave_some_places_to_write() -> None:
    there = mounts(steps(Root(commands.READONLY), PLAIN))
    assert {"/tmp", "/run", "/var/tmp"} < there.keys()
    here = mounts(steps(Root(commands.READONLY), PLAIN._replace(directory="/tmp/src")))
    assert "/tmp" not in here
    shared = Root(commands.READONLY, shares=(Share("/x", "/run/x"),))
    assert "/run" not in mounts(steps(shared, PLAIN))


def test_shares_are_mounted_where_they_are_wanted() -> None:
    root = Root(shares=(Share("/a", "/b"), Share("/c", "/c", readonly=True)))
    there = mounts(steps(root, PLAIN))
    assert there["/b"] == ("hostfs", "none", "/b", "0", "/a")
    assert there["/c"] == ("hostfs", "none", "/c", "1", "/c")


def test_modules_are_where_programs_look_for_them() -> None:
    there = mounts(steps(Root(modules="/usr/lib/uml/modules/6.1", release="6.1"), PLAIN))
    assert there["/lib/modules/6.1"][4] == "/usr/lib/uml/modules/6.1"


def test_who_can_gain_no_privileges_and_what_a_shell_does_first() -> None:
    todo = steps(Root(), PLAIN._replace(powerless=True, script="ip link"))
    assert {"q", "s"} < set(letters(todo))
    assert not {"q", "s"} & set(letters(steps(Root(), PLAIN)))


def test_steps_are_written_with_a_nul_behind_each_text() -> None:
    assert encode([Step("r"), Step("e", ("A=\udcff",)), Step("l", ("x", "y"))]) == (
        b"re" + b"A=\xff\0" + b"lx\0y\0"
    )


@given(st.lists(texts, max_size=5))
def test_shell_reads_every_text_as_it_stands(words: list[str]) -> None:
    line = encode_for_shell([Step("p", tuple(words))]).decode("utf-8", "surrogatepass")
    assert shlex.split(line) == ["step_p", *words, "||", "failed", "0"]


def test_shell_collects_words_and_goes_on_after_what_may_fail() -> None:
    lines = encode_for_shell([Step("e", ("A=1",)), Step("a", ("it's",)), Step("D", ("/x",))])
    assert lines.decode().splitlines() == [
        "set -- \"$@\" 'A=1'",
        "set -- \"$@\" 'it'\\''s'",
        "step_d '/x' || :",
    ]


def test_failure_is_explained_with_the_ways_out() -> None:
    todo = steps(Root(overlay_module="/m/overlay.ko"), PLAIN)
    no_overlay = commands.explain(todo, 2, ENODEV, os.strerror(ENODEV))
    assert "no overlay file system" in no_overlay
    assert "--ro" in no_overlay
    assert "--kernel" in no_overlay
    assert "not there" in commands.explain(todo, 1, ENOENT, os.strerror(ENOENT))
    said = commands.explain(todo, 5, EACCES, os.strerror(EACCES))
    assert said.endswith("mount proc on /proc: Permission denied")
    assert commands.explain(todo, 5, EIO, "x").endswith("mount proc on /proc")
    assert "what is to be done" in commands.explain(todo, 1 << 20, ENOENT, "x")


def test_freezing_is_one_step_and_no_command() -> None:
    todo = commands.steps_to_freeze()
    assert encode(todo) == b"f"
    assert encode_for_shell(todo) == b"step_f  || failed 0\n"


def test_modules_are_loaded_before_all_else() -> None:
    for kind in (commands.OVERLAY, commands.READONLY):
        found = steps(Root(kind, load=("/m/a.ko", "/m/b.ko")), PLAIN)
        assert [each.texts for each in found[1:3]] == [("/m/a.ko",), ("/m/b.ko",)]
        assert {each.letter for each in found[1:3]} == {"m"}


@pytest.mark.parametrize(
    ("path", "says", "starts"),
    [
        (commands.AGENT + ".c", 'say("began"', "child = start("),
        (commands.SCRIPT, "say began", 'run_piped "$@"'),
    ],
)
def test_guest_says_that_the_command_begins_before_that_can_end_it(
    path: str, says: str, starts: str
) -> None:
    """A kernel that panics at once has said so: else it would be one that never began."""
    with open(path) as file:
        source = file.read()
    assert source.count(says) == source.count(starts) == 1
    assert source.index(says) < source.index(starts)
