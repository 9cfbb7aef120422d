from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from umlctl.backends.device_access import is_below
from umlctl.host.call_list import CallList, open_program
from umlctl.supervisor.launch.masks import Mask, Masks, outermost, plan

if TYPE_CHECKING:
    from pathlib import Path

PATHS = st.lists(st.sampled_from("ab"), min_size=1, max_size=4).map(
    lambda names: "/" + "/".join(names)
)


def test_what_is_given_is_left_out_of_what_covers_it() -> None:
    seen = {"/run/g/me": "/own/front", "/run/n": "/run/n", "/data": "/data"}
    assert plan(["/run", "/secret"], seen) == [
        Mask("/run", (("g/me", "/own/front"), ("n", "/run/n"))),
        Mask("/secret"),
    ]


def test_what_is_given_itself_is_not_covered() -> None:
    assert plan(["/home/me/.ssh"], {"/home/me/.ssh": "/home/me/.ssh"}) == []
    assert plan(["/home/me/.ssh"], {"/home/me": "/home/me"}) == [Mask("/home/me/.ssh")]


@given(st.lists(PATHS), st.lists(PATHS))
def test_all_that_is_hidden_is_covered_and_nothing_that_is_given(
    hidden: list[str], seen: list[str]
) -> None:
    found = plan(hidden, {path: path for path in seen})
    for path in hidden:
        assert path in seen or any(is_below(path, mask.path) for mask in found)
    for mask in found:
        assert mask.path not in seen
        left = [os.path.normpath(f"{mask.path}/{name}") for name, _ in mask.given]
        for path in seen:
            assert not is_below(path, mask.path) or any(is_below(path, each) for each in left)


@given(st.lists(PATHS))
def test_outermost_are_those_in_no_other(paths: list[str]) -> None:
    found = outermost(paths)
    assert all(any(is_below(path, each) for each in found) for path in paths)
    assert not any(is_below(a, b) for a in found for b in found if a != b)


def test_process_sees_what_is_left_and_nothing_else(tmp_path: Path) -> None:
    secret, place, own = tmp_path / "secret", tmp_path / "place", tmp_path / "kept" / "own"
    for directory in (secret, place / "mine", place / "theirs", own, tmp_path / "front"):
        directory.mkdir(parents=True)
    (secret / "key").write_text("key")
    (tmp_path / "file").write_text("password")
    (place / "theirs" / "socket").touch()
    (tmp_path / "front" / "notify").touch()
    seen = {f"{place}/mine": f"{tmp_path}/front", str(own): str(own)}
    hidden = [str(tmp_path / name) for name in ("secret", "file", "place", "kept", "gone")]
    calls = CallList()
    Masks(f"{own}/masks", plan(hidden, seen)).cover(calls)
    program = open_program(calls.program())
    shell = "cat file; echo $?; ls secret place place/mine kept; cat secret/key"
    words = ["unshare", "--user", "--map-current-user", "--keep-caps", "--mount"]
    words = words if os.geteuid() else ["unshare", "--mount"]
    done = subprocess.run(
        [*words, "--propagation", "slave", f"/proc/self/fd/{program}", "/bin/sh", "-c", shell],
        pass_fds=[program],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    os.close(program)
    assert "key" not in done.stdout + done.stderr.replace("secret/key", "")
    assert "password" not in done.stdout
    assert "theirs" not in done.stdout
    assert "place/mine:\nnotify\n" in done.stdout
    assert "kept:\nown\n" in done.stdout
    assert (tmp_path / "file").read_text() == "password", "outside all is as it was"
