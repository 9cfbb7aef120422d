from __future__ import annotations

import contextlib
import os
import socket
import sys
import tempfile
import time
from typing import TYPE_CHECKING

import pytest

from tests import fake_kernel
from tests.umlctl.supervisor.launch.conftest import DEADLINE
from umlctl.errors import HostError
from umlctl.guest.definition import Definition
from umlctl.host import confine, landlock, paths, processes
from umlctl.state.umid_lock import claim
from umlctl.supervisor.launch.launch import launch

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from umlctl.supervisor.launch.launched import Launched

OUT_OF_REACH = ("Permission denied", "Read-only file system", "No such file", "nonexistent")
pytestmark = pytest.mark.skipif(bool(landlock.unable()), reason="this host confines no kernel")


@contextlib.contextmanager
def running(directory: Path, script: str, **fields: object) -> Iterator[tuple[Launched, str]]:
    """A guest whose kernel does what a script says; and what that has said."""
    kernel = fake_kernel.write(f"{directory}/linux", f"{script}\necho done\nexec sleep 600\n")
    told = {"cwd": str(directory), **fields}
    definition = Definition(umid="demo", kernel=kernel, **told)  # type: ignore[arg-type]
    with claim("demo") as held:
        launched = launch(definition, held)
        try:
            log = f"{held.records}/console.log"
            end = time.monotonic() + DEADLINE
            while not (said := _read(log)).endswith("done\n"):
                assert time.monotonic() < end, said
                time.sleep(0.01)
            yield launched, said
        finally:
            launched.notify.close()
            processes.kill_guest(launched.pid, launched.started, [])
            with contextlib.suppress(ChildProcessError):
                os.waitpid(launched.shim, 0)


def _read(path: str) -> str:
    with open(path) as file:
        return file.read()


def test_kernel_changes_nothing_that_it_was_not_given(house: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("as before")
    (tmp_path / "given").mkdir()
    script = (
        f"cd {tmp_path}; echo no >file; echo no >new; mkdir new; rm file; chmod 777 file;"
        "ln file other; mv file other; touch -d @0 file; mknod null c 1 3; echo yes >given/new"
    )
    before = os.stat(tmp_path / "file")
    with running(tmp_path, script, rw=(f"{tmp_path}/given",)) as (launched, said):
        assert launched.record.confined == "writes"
        assert (
            len([line for line in said.splitlines() if any(e in line for e in OUT_OF_REACH)]) == 9
        )
    assert sorted(os.listdir(tmp_path)) == ["file", "given", "linux", "linux.sh"]
    assert (tmp_path / "file").read_text() == "as before"
    after = os.stat(tmp_path / "file")
    assert (after.st_mode, after.st_mtime_ns) == (before.st_mode, before.st_mtime_ns)
    assert (tmp_path / "given" / "new").read_text() == "yes\n"
    assert house


def test_kernel_that_is_not_confined_does_what_its_user_can(house: str, tmp_path: Path) -> None:
    with running(tmp_path, f"echo yes >{tmp_path}/new", confine="off") as (launched, _):
        assert (launched.record.confined, launched.record.binds) == ("off", False)
        assert not os.path.exists(paths.own_dir("demo"))
    assert (tmp_path / "new").read_text() == "yes\n"
    assert house


def test_kernel_sees_of_all_that_is_umlctls_its_own_alone(house: str, tmp_path: Path) -> None:
    run = paths.make_run_dir()
    for directory in (paths.record_dir("other"), paths.guest_dir("other")):
        os.makedirs(directory, 0o700)
    script = f"ls {run} {run}/* {run}-kept {paths.guest_records()}"
    with running(tmp_path, script) as (launched, said):
        if not launched.record.binds:
            pytest.skip("this host gives no mounts of its own to a kernel")
        listed = {part.partition(":\n")[0]: part.split("\n")[1:] for part in said.split("\n\n")}
        assert listed[f"{run}/g"] == ["demo"]
        assert sorted(listed[run]) == ["g", "k", "n"]
        assert "other" not in said.split()
        assert os.path.exists(f"{run}/g/other"), "to others it is there"
    assert house


def test_kernel_does_not_see_what_is_secret(
    house: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    (home / ".ssh" / "mine").mkdir(parents=True)
    (home / ".ssh" / "key").write_text("hush")
    (home / ".ssh" / "mine" / "file").write_text("given")
    (tmp_path / "hidden").write_text("hush")
    monkeypatch.setenv("HOME", str(home))
    script = (
        f"cd {tmp_path}; cat home/.ssh/key hidden; cat home/.ssh/mine/file; echo; ls -A home/.ssh"
    )
    more = {"hide": (f"{tmp_path}/hidden",), "ro": (f"{home}/.ssh/mine",)}
    with running(tmp_path, script, **more) as (launched, said):
        if launched.record.binds:
            assert "hush" not in said
        assert "given\nmine" in said
    assert house


@pytest.mark.parametrize("mode", ["writes", "strict"])
def test_plug_of_a_vde_switch_reaches_it_where_its_directory_is_hidden(
    house: str, tmp_path: Path, short: str, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    os.makedirs(f"{short}/all/sw")
    with open(f"{short}/vde_plug", "w") as file:
        os.chmod(file.fileno(), 0o700)
    monkeypatch.setenv("PATH", f"{short}:{os.environ['PATH']}")
    (tmp_path / "plug.py").write_text(
        "import os, socket\n"
        f"os.chdir('{short}/all/sw')\n"
        "socket.socket(socket.AF_UNIX, socket.SOCK_STREAM).connect('ctl')\n"
        "socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).bind('.1')\n"
        "os.unlink('.1')\n"
    )
    plug = f"{sys.executable} -I {tmp_path}/plug.py"
    script = f"{plug} && echo on; echo >{short}/all/sw/file"
    nic = f"vec0:transport=vde,vnl=vde://{short}/all/sw"
    ro = (f"{tmp_path}/linux.sh", f"{tmp_path}/plug.py", sys.prefix, sys.base_prefix)
    more = {"confine": mode, "hide": (f"{short}/all",), "ro": ro}
    with running(tmp_path, "", **more) as (launched, _):
        has_mounts = launched.record.binds
    with contextlib.closing(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)) as listener:
        listener.bind(f"{short}/all/sw/ctl")
        listener.listen()
        with running(tmp_path, script, arguments=(nic,), **more) as (launched, said):
            assert (launched.record.confined, launched.record.binds) == (mode, has_mounts)
            assert "on\n" in said, said
            assert os.listdir(f"{short}/all/sw") == ["ctl"]
    assert house


def test_strictly_confined_kernel_reads_only_what_it_was_given(house: str, tmp_path: Path) -> None:
    place, given = tmp_path / "place", tmp_path / "given"
    for directory in (place, given):
        directory.mkdir()
        (directory / "file").write_text(f"of {directory.name}")
    script = f"cat {given}/file; echo; cat {tmp_path}/place/file; ls {tmp_path}"
    kernel = f"{tmp_path}/linux.sh"  # of the fake one, its program
    strict = {"confine": "strict", "ro": (str(given), kernel)}
    with running(given, script, **strict) as (launched, said):
        assert launched.record.confined == "strict"
        assert "of given" in said
        assert "of place" not in said
        assert said.count("Permission denied") == 2
    assert house


def test_it_gives_up_privileges_that_are_not_about_files(house: str, tmp_path: Path) -> None:
    with running(tmp_path, "") as (launched, _):
        with open(f"/proc/{launched.pid}/status") as file:
            status = dict(line.rstrip("\n").split(":\t") for line in file if ":\t" in line)
        assert int(status["CapEff"], 16) & ~0x1F == 0
        assert int(status["CapAmb"], 16) == 0
        assert status["NoNewPrivs"] == "1"
        assert status["Seccomp"] == "2"
    assert house


def test_its_addresses_are_no_more_random_than_without(house: str, tmp_path: Path) -> None:
    with running(tmp_path, "cat /proc/self/personality") as (launched, said):
        assert said.splitlines()[0] == "00040000", (launched, house)


def test_scope_in_which_nothing_can_be_mounted_is_given_up_for_the_next(
    house: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where a host lets a user make namespaces, and do nothing in them."""
    (tmp_path / "file").write_text("as before")
    # In the first it says that it has mounts of its own, and may not make any.
    monkeypatch.setattr(confine, "scopes", lambda *_, **__: ["--user --mount --pid", "group"])
    with running(tmp_path, f"echo no >{tmp_path}/file") as (launched, _):
        assert (launched.record.confined, launched.record.binds) == ("writes", False)
        assert os.path.isdir(paths.kernel_dir())
    assert (tmp_path / "file").read_text() == "as before"
    assert house


def test_host_that_confines_nobody_starts_what_does_not_ask_for_it(
    house: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(landlock, "version", lambda: 0)
    with running(tmp_path, f"echo yes >{tmp_path}/new") as (launched, _):
        assert launched.record.confined == "off"
    assert (tmp_path / "new").read_text() == "yes\n"
    for more in ({"confine": "writes"}, {"confine": "strict"}, {"rw": ("/data",)}):
        with (
            pytest.raises(HostError, match=r"cannot confine a guest: .*Landlock"),
            running(tmp_path, "", **more),
        ):
            pass
    assert house


def test_older_landlock_confines_as_far_as_it_can(
    house: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("as before")
    monkeypatch.setattr(landlock, "version", lambda: 1)
    with running(tmp_path, f"echo no >{tmp_path}/file; rm {tmp_path}/file") as (launched, _):
        assert launched.record.confined == "writes"
    assert (tmp_path / "file").read_text() == "as before"
    assert house


def test_nothing_of_a_confined_one_is_left(
    house: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[str] = []
    make = tempfile.mkdtemp

    def noted(**asked: str) -> str:
        made.append(make(**asked))
        return made[-1]

    monkeypatch.setattr(tempfile, "mkdtemp", noted)
    with running(tmp_path, ""):
        assert os.path.isdir(paths.own_dir("demo"))
    assert os.listdir(paths.kept_dir()) == []
    assert made != []
    assert [path for path in made if os.path.lexists(path)] == []
    assert house
