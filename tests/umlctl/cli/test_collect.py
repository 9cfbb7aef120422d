from __future__ import annotations

import json
import os
from errno import EPERM
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from umlctl import exitcodes
from umlctl.client import ask
from umlctl.host import paths

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.conftest import Bare
    from tests.umlctl.cli.conftest import Supervisor


def has(supervisor: Supervisor, path: str, data: bytes, error: int = 0) -> None:
    """The guest has such a file."""
    supervisor.answers[f"proc 1/root{path}"] = (b"\n" + data if not error else data, error)


def collect(supervisor: Supervisor, *words: str) -> int:
    return supervisor.main("collect", "demo", *words)


def test_files_are_put_into_the_directory_under_their_names(supervisor: Supervisor) -> None:
    has(supervisor, "/var/log/a", b"one\n\n")
    has(supervisor, "/b c", b"\ntwo\n")
    assert collect(supervisor, "/var/log/a", "/b c", "--to", "new/out") == 0, supervisor.err
    assert Path("new/out/a").read_bytes() == b"one\n\n"
    assert Path("new/out/b c").read_bytes() == b"\ntwo\n"
    assert supervisor.out == "new/out/a: 5 bytes\nnew/out/b c: 5 bytes\n"
    assert sorted(os.listdir("new/out")) == ["a", "b c"]


@pytest.mark.parametrize(
    "name",
    ["-x", "--to", "a  b", "it's", 'a"b', "a\\b", "$(x)", "`x`", "*", "!a", "ä", ".a", "a;b"],
)
def test_odd_name_is_that_of_the_very_file(supervisor: Supervisor, name: str) -> None:
    has(supervisor, f"/d/{name}", b"one\n")
    assert collect(supervisor, f"/d/{name}", "--to", "out") == 0, supervisor.err
    assert os.listdir("out") == [name]
    assert f"proc 1/root/d/{name}" in supervisor.asked


def test_mode_is_that_of_a_new_file(supervisor: Supervisor) -> None:
    has(supervisor, "/a", b"one\n")
    before = os.umask(0o027)
    try:
        assert collect(supervisor, "/a") == 0
    finally:
        os.umask(before)
    assert Path("a").stat().st_mode & 0o777 == 0o640


def test_file_that_is_there_is_left_unless_told_otherwise(supervisor: Supervisor) -> None:
    has(supervisor, "/a", b"new\n")
    Path("a").write_text("old")
    assert collect(supervisor, "/a") == exitcodes.FAILED
    assert "is there already; --overwrite replaces it" in supervisor.err
    assert Path("a").read_text() == "old"
    assert supervisor.asked == []
    assert collect(supervisor, "/a", "--overwrite") == 0
    assert Path("a").read_text() == "new\n"


def test_link_of_this_host_is_not_followed(supervisor: Supervisor) -> None:
    has(supervisor, "/a", b"new\n")
    Path("victim").write_text("mine")
    Path("a").symlink_to("victim")
    assert collect(supervisor, "/a") == exitcodes.FAILED
    assert collect(supervisor, "/a", "--overwrite") == 0
    assert Path("victim").read_text() == "mine"
    assert not Path("a").is_symlink()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("a", "begins with '/'"),
        ("/a/", "is a directory and no file"),
        ("/a/..", "is a directory and no file"),
        ("/", "is a directory and no file"),
        ("/a /b ", "ends with a blank"),
        ("/a\nb", "cannot be printed"),
        ("/\udcff", "cannot be printed"),
        ("/a /x/a", "two files would be a"),
        ("/" + "a" * 511, "shorter paths fit"),
    ],
)
def test_path_that_cannot_be_is_a_usage_error_and_nothing_is_left(
    supervisor: Supervisor, words: str, said: str
) -> None:
    paths = [words] if words.startswith("/a\n") or words.endswith(" ") else words.split()
    assert collect(supervisor, *paths, "--to", "out") == exitcodes.USAGE
    assert said in supervisor.err
    assert supervisor.asked == []
    assert not os.path.exists("out") or os.listdir("out") == []


def test_one_that_cannot_be_had_keeps_no_other_back(supervisor: Supervisor) -> None:
    has(supervisor, "/gone", b"Failed to open file", 1)
    has(supervisor, "/b", b"two\n")
    assert collect(supervisor, "/gone", "/b", "--json") == exitcodes.REFUSED
    first, second = json.loads(supervisor.out)
    assert first["path"] == "/gone"
    assert (first["file"], first["bytes"]) == (None, None)
    assert "Failed to open file: there is none, or it is a directory" in first["problem"]
    assert second == {"path": "/b", "file": "./b", "bytes": 4, "problem": None}
    assert not [name for name in os.listdir(".") if name.startswith((".", "gone"))]


def test_file_that_was_cut_is_refused_whatever_is_forced(supervisor: Supervisor) -> None:
    has(supervisor, "/a", b"\nhalf\n", exitcodes.ENODATA)
    assert collect(supervisor, "/a", "--force") == exitcodes.TRUNCATED
    assert "cannot be had whole" in supervisor.err
    assert "base64" in supervisor.err
    assert "half" not in supervisor.err
    assert not Path("a").exists()


def test_file_that_may_be_cut_is_taken_if_forced(supervisor: Supervisor) -> None:
    has(supervisor, "/a", b"no end")
    assert collect(supervisor, "/a") == exitcodes.REFUSED
    assert "insist with --force" in supervisor.err
    assert not Path("a").exists()
    assert collect(supervisor, "/a", "--force") == 0
    assert Path("a").read_bytes() == b"no end"


def test_refusal_is_told_as_it_is(supervisor: Supervisor) -> None:
    supervisor.refuse("proc 1/root/dev/zero", "a device may block", -EPERM)
    assert collect(supervisor, "/dev/zero") == exitcodes.REFUSED
    assert "a device may block" in supervisor.err


def test_directory_that_cannot_be_made_is_said(supervisor: Supervisor) -> None:
    Path("file").write_text("")
    assert collect(supervisor, "/a", "--to", "file/out") == exitcodes.FAILED
    assert "--to file/out: Not a directory" in supervisor.err


def test_guest_that_is_not_there(supervisor: Supervisor) -> None:
    assert supervisor.main("collect", "nobody", "/a") == exitcodes.NO_GUEST
    assert "no guest 'nobody'" in supervisor.err


def test_bare_kernel_is_not_trusted_with_it(
    supervisor: Supervisor, bare: Callable[..., Bare]
) -> None:
    path = bare(name="bare").path
    assert supervisor.main("collect", path, "/a") == exitcodes.REFUSED
    assert "nobody supervises this guest" in supervisor.err


def test_deadline_ends_the_counting_too(
    supervisor: Supervisor, house: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Our init counts the bytes of a file, and this one never does."""
    monkeypatch.setattr(
        ask, "monotonic", lambda: 60.0 if "proc 1/root/run/count" in supervisor.asked else 0.0
    )
    has(supervisor, "/a", b"whole\n")
    paths.make_run_dir()
    os.makedirs(paths.guest_dir("demo"))
    pipe = f"{paths.guest_dir('demo')}/agent.in"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        code = supervisor.main("collect", "demo", "/a", "--timeout", "30")
        assert os.read(reader, 4096).startswith(b"count ")
    finally:
        os.close(reader)
    assert code == exitcodes.TIMED_OUT
    assert "not done within 30 seconds" in supervisor.err
    assert "--force" not in supervisor.err
