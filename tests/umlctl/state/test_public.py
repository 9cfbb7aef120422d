"""What a claim has below ~/.uml."""

from __future__ import annotations

import os

import pytest

from tests.umlctl.state.test_umid_lock import left, program, put
from umlctl.errors import GuestInUse
from umlctl.host import paths
from umlctl.state.umid_lock import claim


def test_file_of_somebody_else_in_the_public_directory_is_kept(house: str) -> None:
    held = claim("demo")
    held.public.publish(1)
    put(f"{house}/h/.uml/demo/notes")
    held.release()
    assert "/h/.uml/demo/notes" in left(house)


def test_home_that_cannot_be_written_keeps_nobody_from_a_guest(house: str) -> None:
    put(f"{house}/h/.uml", "a file, where a directory should be")
    with claim("demo") as held, pytest.raises(OSError, match="Not a directory"):
        held.public.publish(1)


def test_guest_is_found_by_uml_mconsole_in_the_home_of_who_starts_it(house: str) -> None:
    os.mkdir(f"{house}/other")
    with claim("demo", f"{house}/other") as held:
        link = f"{house}/other/.uml/demo/mconsole"
        for pid in (4711, 4712):
            held.public.publish(pid)
            with open(f"{house}/other/.uml/demo/pid") as file:
                assert file.read() == f"{pid}\n"
            assert os.readlink(link) == paths.guest_socket("demo")
    assert not os.path.exists(f"{house}/other/.uml/demo")


def test_socket_that_has_too_long_a_name_for_uml_mconsole_is_told(house: str) -> None:
    os.mkdir(f"{house}/{'l' * 80}")
    with claim("demo", f"{house}/{'l' * 80}") as held, pytest.raises(OSError, match="so long a"):
        held.public.publish(1)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
@pytest.mark.parametrize("theirs", ["h", "h/.uml", "h/.uml/demo"])
def test_home_of_another_user_is_left_as_it_is(house: str, theirs: str) -> None:
    """As root's HOME is another's after some ways to become root."""
    put(f"{house}/precious", "precious")
    put(f"{house}/h/.uml/demo/notes")
    os.mkfifo(f"{house}/h/.uml/demo/pid")  # who opens it waits for ever
    os.symlink(f"{house}/precious", f"{house}/h/.uml/demo/pid~")
    os.symlink(f"{paths.guest_socket('demo')}", f"{house}/h/.uml/demo/mconsole")
    os.chown(f"{house}/{theirs}", 65534, 65534)
    before = [name for name in left(house) if name.startswith("/h/")]
    with claim("demo") as held, pytest.raises(PermissionError, match=f"{theirs} is another user"):
        held.public.publish(1)
    assert [name for name in left(house) if name.startswith("/h/")] == before
    with open(f"{house}/precious") as file:
        assert file.read() == "precious"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_link_of_another_user_is_not_followed(house: str) -> None:
    put(f"{house}/other/demo/notes")
    os.symlink(f"{house}/other", f"{house}/h/.uml")
    claim("demo").release()
    assert not os.path.exists(f"{house}/other/demo"), "a link of our own"
    put(f"{house}/other/demo/notes")
    os.lchown(f"{house}/h/.uml", 65534, 65534)
    claim("demo").release()
    assert os.path.exists(f"{house}/other/demo/notes")


def test_what_leads_to_another_place_is_not_removed(house: str) -> None:
    with claim("demo") as held:
        held.public.publish(1)
        os.unlink(f"{house}/h/.uml/demo/mconsole")
        os.symlink("/elsewhere/mconsole", f"{house}/h/.uml/demo/mconsole")
    assert os.path.islink(f"{house}/h/.uml/demo/mconsole")


def test_kernel_started_by_hand_under_the_name_is_respected(house: str) -> None:
    with program("sh", "-c", "echo up; read line", "linux", "mem=64M", "umid=demo") as kernel:
        assert kernel.stdout is not None
        assert kernel.stdout.readline() == "up\n"
        put(f"{house}/h/.uml/demo/pid", f"{kernel.pid}\n")
        with pytest.raises(GuestInUse, match=f"another kernel, pid {kernel.pid}"):
            claim("demo")
        assert os.path.exists(f"{house}/h/.uml/demo/pid")
        assert not os.path.exists(f"{house}/u/run/g/demo.lock")
        kernel.kill()
        kernel.wait()
        claim("demo").release()


@pytest.mark.parametrize("pid", ["1", "", "x", "-1", "ours", "99999999"])
def test_pid_file_whose_number_is_somebody_elses_now_is_stale(house: str, pid: str) -> None:
    put(f"{house}/h/.uml/demo/pid", pid.replace("ours", str(os.getpid())))
    with claim("demo") as held:
        assert held.umid == "demo"
    assert "/h/.uml/demo" not in left(house)
