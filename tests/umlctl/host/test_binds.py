"""On small processes of this host in namespaces of their own."""

from __future__ import annotations

import os
import re
import select
import subprocess
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from umlctl.host import binds, call_list, processes
from umlctl.host.call_list import CallList, open_program

if TYPE_CHECKING:
    from collections.abc import Iterator

ALONE: Final = "--mount --propagation slave --pid"
OF_A_USER: Final = f"--user --map-current-user {ALONE}"
SCOPES: Final = [*([ALONE] if os.geteuid() == 0 else []), OF_A_USER]
pytestmark = pytest.mark.skipif(
    os.uname().machine not in call_list.MACHINES, reason="such programs are for x86-64"
)


@contextmanager
def process_in(scope: str, within: tuple[str, ...] = (), *passed: int) -> Iterator[tuple[int, int]]:
    """A process in namespaces of its own; its pid and start time.

    within: what leads to it; passed: descriptors for that
    """
    unshare = ["unshare", *scope.split(), "--fork", "--kill-child"]
    words = [*unshare, *within, "/bin/sh", "-c", "echo; read line"]
    pipe = subprocess.PIPE
    with subprocess.Popen(words, stdin=pipe, stdout=pipe, pass_fds=passed) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == b"\n"
        (pid,) = processes.descendants(parent.pid)
        end = os.pidfd_open(pid)
        yield pid, processes.start_time(pid) or 0
        parent.kill()
        select.select([end], [], [])
        os.close(end)


@pytest.fixture(params=SCOPES)
def process(request: pytest.FixtureRequest) -> Iterator[tuple[int, int]]:
    with process_in(request.param) as found:
        yield found


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A file to be bound, and a place for it."""
    (tmp_path / "source").write_text("source\n")
    (tmp_path / "target").touch()
    return tmp_path


def seen(pid: int, path: Path) -> str:
    return Path(f"/proc/{pid}/root{path}").read_text()


def test_file_appears_there_alone_and_is_taken_away(process: tuple[int, int], files: Path) -> None:
    source, target = files / "source", files / "target"
    for _ in range(2):
        binds.bind(*process, str(source), str(target))
        assert seen(process[0], target) == "source\n"
        assert target.read_text() == ""
        binds.unbind(*process, str(target))
        assert seen(process[0], target) == ""


def test_what_is_written_there_is_written(process: tuple[int, int], files: Path) -> None:
    binds.bind(*process, str(files / "source"), str(files / "target"))
    Path(f"/proc/{process[0]}/root{files}/target").write_text("new\n")
    assert (files / "source").read_text() == "new\n"


def test_directory_appears_with_what_comes_into_it(process: tuple[int, int], files: Path) -> None:
    for name in ("from", "to"):
        (files / name).mkdir()
    binds.bind(*process, str(files / "from"), str(files / "to"))
    (files / "from" / "file").write_text("later\n")
    assert seen(process[0], files / "to" / "file") == "later\n"


def test_device_can_be_used_there(process: tuple[int, int], files: Path) -> None:
    binds.bind(*process, "/dev/zero", str(files / "target"))
    with open(f"/proc/{process[0]}/root{files}/target", "rb") as file:
        assert file.read(2) == b"\0\0"


def test_link_is_followed_by_us(process: tuple[int, int], files: Path) -> None:
    (files / "link").symlink_to("source")
    binds.bind(*process, str(files / "link"), str(files / "target"))
    assert seen(process[0], files / "target") == "source\n"


@pytest.mark.parametrize("scope", SCOPES)
def test_what_leads_elsewhere_there_is_not_taken(scope: str, files: Path) -> None:
    """As where what is confined can put other files."""
    (files / "real").mkdir()
    (files / "real" / "source").write_text("source\n")
    (files / "false").mkdir()
    (files / "false" / "source").write_text("another\n")
    (files / "links").mkdir()
    (files / "links" / "source").symlink_to("/etc/passwd")
    with process_in(scope) as process:
        for each, said in (("false", "it is another file there"), ("links", "symbolic link")):
            binds.bind(*process, f"{files}/{each}", f"{files}/real")
            words = (*process, f"{files}/real/source", f"{files}/target")
            if scope == ALONE:  # it is taken from here
                binds.bind(*words)
                assert seen(process[0], files / "target") == "source\n"
                binds.unbind(*process, f"{files}/target")
            else:
                with pytest.raises(OSError, match=said):
                    binds.bind(*words)
            assert seen(process[0], files / "target") == ""
            binds.unbind(*process, f"{files}/real")


@pytest.mark.parametrize(
    ("source", "target", "said"),
    [
        ("no", "target", r"No such file or directory.*/no"),
        ("source", "no", r"cannot open \S+/no: No such file"),
        (".", "target", r"cannot \w+ \S+: (Not a directory|Invalid argument)"),
    ],
)
def test_what_cannot_be_bound_is_said(
    process: tuple[int, int], files: Path, source: str, target: str, said: str
) -> None:
    with pytest.raises(OSError, match=said):
        binds.bind(*process, str(files / source), str(files / target))


CHANGES: Final = (
    "chmod 777 {0}; touch -d @0 {0}; chown $(id -u) {0}; setfattr -n user.a -v b {0}; "
    "echo new >{0}; truncate -s 0 {0}; mv {0} {0}~; ln {0} {0}2; rm {0}; "
)


@pytest.mark.parametrize("scope", SCOPES)
def test_nothing_of_what_is_read_only_can_be_changed(scope: str, tmp_path: Path) -> None:
    for name in ("given", "kept"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text("as before\n")
        (tmp_path / name / "file").chmod(0o600)
    (tmp_path / "one").write_text("as before\n")
    before = os.stat(tmp_path / "kept" / "file")
    kept, given, one = f"{tmp_path}/kept/file", f"{tmp_path}/given", f"{tmp_path}/one"
    script = f"{CHANGES.format(kept)} echo new >{given}/file; chmod 755 {given}/file; echo 1 >{one}"
    done = after(scope, [given, one], script)
    assert done.stderr.count("Read-only file system") >= 7, done.stderr
    after_it = os.stat(kept)
    assert (before.st_mode, before.st_mtime, before.st_ctime, before.st_nlink) == (
        *(after_it.st_mode, after_it.st_mtime, after_it.st_ctime, after_it.st_nlink),
    )
    assert Path(kept).read_text() == "as before\n"
    assert Path(f"{given}/file").read_text() == "new\n"
    assert os.stat(f"{given}/file").st_mode & 0o777 == 0o755
    assert Path(one).read_text() == "1\n"
    Path(one).write_text("here\n")


@pytest.mark.parametrize("scope", SCOPES)
def test_device_is_written_though_all_is_read_only(scope: str) -> None:
    done = after(scope, [], "echo a >/dev/null && mkfifo /tmp/no-such-fifo")
    assert "mkfifo" in done.stderr
    assert "/dev/null" not in done.stderr


def after(scope: str, but: list[str], script: str) -> subprocess.CompletedProcess[str]:
    """What a script says where all but this is read-only."""
    calls = CallList()
    binds.read_only(calls, but)
    program = open_program(calls.program())
    path = f"/proc/self/fd/{program}"
    keep = "--keep-caps" if "--user" in scope else ""
    words = ["unshare", *scope.split(), "--fork", *keep.split(), path, "/bin/sh", "-c", script]
    done = subprocess.run(words, pass_fds=[program], capture_output=True, text=True, check=False)
    os.close(program)
    return done


def test_what_was_bound_is_traced_to_where_it_is(process: tuple[int, int], tmp_path: Path) -> None:
    source, target = tmp_path / "with blank", tmp_path / "there"
    for path in (source, target):
        path.touch()
    assert binds.source_of(process[0], str(target)) == ""
    binds.bind(*process, str(source), str(target))
    found = binds.source_of(process[0], str(target))
    assert found
    assert os.path.samefile(found, source)
    binds.unbind(*process, str(target))
    assert binds.source_of(process[0], str(target)) == ""
    assert binds.source_of(2**22, str(target)) == ""


def test_what_is_bound_can_be_written_though_all_is_read_only(tmp_path: Path) -> None:
    (tmp_path / "source").write_text("source\n")
    (tmp_path / "target").touch()
    for scope in SCOPES:
        calls = CallList()
        binds.read_only(calls, [])
        program = open_program(calls.program())
        within = (f"/proc/self/fd/{program}",)
        with process_in(f"{scope} --keep-caps", within, program) as process:
            binds.bind(*process, f"{tmp_path}/source", f"{tmp_path}/target")
            there = Path(f"/proc/{process[0]}/root{tmp_path}")
            (there / "target").write_text(scope)
            assert (tmp_path / "source").read_text() == scope
            with pytest.raises(OSError, match="Read-only"):
                (there / "source").write_text("no")
        os.close(program)


def test_what_is_not_bound_cannot_be_taken_away(process: tuple[int, int], files: Path) -> None:
    with pytest.raises(OSError, match=r"cannot unmount \S+/target: Invalid argument"):
        binds.unbind(*process, str(files / "target"))


def test_nothing_is_bound_on_this_host_itself(files: Path) -> None:
    pid = os.getpid()
    started = processes.start_time(pid) or 0
    before = Path("/proc/self/mountinfo").read_text()
    with subprocess.Popen(["sleep", "infinity"]) as other:
        for each, since in ((pid, started), (other.pid, processes.start_time(other.pid) or 0)):
            with pytest.raises(OSError, match="no mounts of its own"):
                binds.bind(each, since, str(files / "source"), str(files / "target"))
        other.kill()
    assert Path("/proc/self/mountinfo").read_text() == before


def test_process_that_has_ended_or_is_another_is_left_alone(files: Path) -> None:
    with process_in(SCOPES[0]) as (pid, started):
        with pytest.raises(ProcessLookupError, match=re.escape(str(pid))):
            binds.bind(pid, started + 1, str(files / "source"), str(files / "target"))
        assert seen(pid, files / "target") == ""
    with pytest.raises(OSError, match="no mounts of its own"):
        binds.unbind(pid, started, str(files / "target"))


@pytest.mark.parametrize("write", [True, False])
def test_directory_appears_with_what_covers_some_of_it(
    process: tuple[int, int], tmp_path: Path, write: bool
) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    for each in (source / "hidden", source / "open", target, tmp_path / "empty"):
        each.mkdir(parents=True)
    (source / "hidden/secret").touch()
    binds.cover(
        *process, str(source / "hidden"), [binds.Part("", str(tmp_path / "empty"), write=False)]
    )
    binds.bind_tree(*process, str(source), str(target), write=write)
    there = Path(f"/proc/{process[0]}/root{target}")
    assert sorted(os.listdir(there)) == ["hidden", "open"]
    assert os.listdir(there / "hidden") == []
    if write:
        (there / "open/new").touch()
    else:
        with pytest.raises(OSError, match="Read-only"):
            (there / "open/new").touch()
    with pytest.raises(OSError, match="is hidden from it"):
        binds.bind_tree(*process, str(source / "hidden"), str(target), write=write)
    binds.unbind(*process, str(target))
    assert os.listdir(there) == []
    assert (source / "open/new").exists() == write
