from __future__ import annotations

from umlctl.shell.render import marked, rendered

MEMINFO = "\nMemTotal:       1024 kB\nMemFree:         512 kB\n"


def test_changes_are_marked() -> None:
    assert marked("", "a 1\n") == "a 1\n"
    assert marked("a 1\nb 2\n", "a 1\nb 3\n") == "a 1\nb \x1b[7m3\x1b[27m\n"
    assert marked("a 1\n", "a 1\nnew\n") == "a 1\n\x1b[7mnew\x1b[27m\n"


def test_known_file_is_shown_as_a_table_and_another_as_it_is() -> None:
    shown = rendered("proc", ["proc", "meminfo"], MEMINFO)
    assert shown.splitlines()[0].split() == ["WHAT", "SIZE", "KB"]
    assert "1.0M" in shown
    assert rendered("proc", ["proc", "uptime"], "1 2 [x]\n") == "1 2 [x]\n"
    assert rendered("stack", ["stack", "1"], "[<60048bdf>] f+0x1/0x2\n").endswith("f+0x1/0x2\n")
