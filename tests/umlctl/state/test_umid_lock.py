from __future__ import annotations

import errno
import fcntl
import os
import shutil
import socket
import subprocess
import sys
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING

import pytest

from tests.umlctl.state.test_records import write_record
from umlctl.errors import GuestInUse, HostError, UsageError
from umlctl.host import paths
from umlctl.host.files import remove_tree
from umlctl.state import records, umid_lock
from umlctl.state.umid_lock import (
    claim,
    claim_running,
    forget,
    has_owner,
    lock_unused,
    owner,
    remove_records,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

HOLD = """
import sys
from umlctl.state.umid_lock import claim
held = claim(sys.argv[1])
print("held", flush=True)
sys.stdin.read()
"""


@contextmanager
def program(*command: str) -> Iterator[subprocess.Popen[str]]:
    """A program that runs until its standard input ends or it is killed."""
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def left(house: str) -> list[str]:
    """Files and directories of guests, but for those of the house itself."""
    found = []
    for base, directories, files in os.walk(house):
        found += [os.path.join(base, name) for name in directories + files]
    structure = (
        "/h/.uml",
        "/u/run",
        "/u/run-kept",
        *(f"/u/run/{name}" for name in ("k", "g", "n")),
    )
    ours = {house + name for name in (*structure, "/u/run/supervisor", "/h", "/u", "/c")}
    return sorted(path.removeprefix(house) for path in found if path not in ours)


def put(path: str, text: str = "stale") -> None:
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w") as file:
        file.write(text)


def test_claimed_umid_has_its_private_directories(house: str) -> None:
    with claim("demo") as held:
        assert held.directory == paths.guest_dir("demo")
        assert held.records == paths.record_dir("demo")
        for path in (held.directory, held.records):
            assert os.stat(path).st_mode == 0o40700
        with open(f"{held.directory}.lock") as lock:
            assert lock.read() == f"{os.getpid()}\n"


def test_released_umid_leaves_only_its_records(house: str) -> None:
    held = claim("demo")
    put(f"{held.directory}/notify")
    put(f"{held.records}/console.log")
    put(paths.kernel_socket("demo"))
    held.public.publish(1)
    held.release()
    held.release()
    guests = "/u/state/guests"
    assert left(house) == ["/u/state", guests, f"{guests}/demo", f"{guests}/demo/console.log"]


def test_umid_in_use_is_refused_with_the_supervisors_pid(house: str) -> None:
    with claim("demo"), pytest.raises(GuestInUse, match=rf"demo.*supervisor {os.getpid()}"):
        claim("demo")
    claim("demo").release()


def test_umid_held_by_another_process_is_free_when_it_is_killed(house: str) -> None:
    with program(sys.executable, "-c", HOLD, "demo") as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with pytest.raises(GuestInUse, match=f"supervisor {other.pid}"):
            claim("demo")
        other.kill()
        other.wait()
        claim("demo").release()
    assert not [path for path in left(house) if path.startswith(("/u/run", "/h"))]


def test_lock_is_kept_while_somebody_inherits_it(house: str) -> None:
    """The guest's tiny parent holds it too: supervisors may die."""
    held = claim("demo")
    copy = os.dup(held.lock)
    os.close(held.lock)
    os.close(held.owner)
    with pytest.raises(GuestInUse):
        claim("demo")
    os.close(copy)
    claim("demo").release()


def test_supervisor_has_the_name_though_nobody_has_its_lock(house: str) -> None:
    """As of a guest that was adopted, and has ended: it is to be buried, or started again."""
    first = claim("demo")
    os.close(first.owner)
    held = claim_running("demo")
    os.close(first.lock)
    with pytest.raises(GuestInUse, match=r"running guest .supervisor "):
        claim("demo")
    with pytest.raises(GuestInUse), lock_unused("demo"):
        pass
    held.clear()
    with pytest.raises(BlockingIOError), open(f"{held.directory}.lock") as again:
        fcntl.flock(again, fcntl.LOCK_EX | fcntl.LOCK_NB)
    held.release()
    claim("demo").release()


def test_what_a_dead_guest_left_is_removed(house: str) -> None:
    paths.make_run_dir()
    put(paths.kernel_socket("demo"))
    put(f"{house}/u/run/k/demo/pid", "1")
    put(f"{paths.guest_dir('demo')}/init")
    put(f"{paths.guest_dir('demo')}.lock", "999")
    put(f"{paths.record_dir('demo')}/record.json")
    os.makedirs(f"{house}/h/.uml/demo")
    put(f"{house}/h/.uml/demo/pid", "1\n")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as stale:
        stale.bind(paths.public_socket("demo"))
    with claim("demo") as held:
        assert os.listdir(held.directory) == ["owner"]
        assert not os.path.exists(f"{house}/h/.uml/demo")
        assert not os.path.exists(os.path.dirname(paths.kernel_socket("demo")))
        assert os.listdir(held.records) == ["record.json"]


@pytest.mark.parametrize("umid", ["", "..", "a/b", "n" * 64])
def test_name_that_is_no_umid_is_a_usage_error(house: str, umid: str) -> None:
    with pytest.raises(UsageError):
        claim(umid)
    assert not left(house)


def test_run_dir_that_is_not_ours_is_a_host_error(house: str) -> None:
    os.chmod(paths.make_run_dir(), 0o777)
    with pytest.raises(HostError, match="not a private directory"):
        claim("demo")


def test_state_that_cannot_be_written_is_a_host_error_and_frees_the_name(house: str) -> None:
    put(f"{paths.state_dir()}/guests", "a file, where a directory should be")
    with pytest.raises(HostError, match="demo: "):
        claim("demo")
    os.unlink(f"{paths.state_dir()}/guests")
    claim("demo").release()


# Forgetting


def test_guest_that_runs_is_not_forgotten_though_its_lock_was_removed(house: str) -> None:
    with claim("demo") as held:
        write_record()
        os.unlink(f"{held.directory}.lock")
        with pytest.raises(GuestInUse, match="running guest"):
            remove_records("demo")
        assert records.load("demo") is not None


def test_forgotten_guest_has_no_records(house: str) -> None:
    for name in ("demo", "other"):
        with claim(name) as held:
            os.close(os.open(f"{held.records}/record.json", os.O_CREAT))
    forget("demo")
    assert os.listdir(f"{house}/u/state/guests") == ["other"]
    assert not os.listdir(f"{house}/u/run/g")


def test_guest_whose_name_was_taken_again_is_not_forgotten(house: str) -> None:
    with claim("demo"):
        forget("demo")
        assert os.path.isdir(paths.record_dir("demo"))


def test_guest_nobody_knows_is_forgotten_without_a_word(house: str) -> None:
    forget("demo")
    assert left(house) == ["/u/state"]  # empty


def test_tree_is_removed_whatever_stands_there(house: str) -> None:
    put(f"{house}/t/a/b")
    put(f"{house}/f")
    for name in ("t", "f", "missing"):
        remove_tree(f"{house}/{name}")
    assert not left(house)


def test_guest_that_never_started_leaves_no_records_but_what_it_said(house: str) -> None:
    with claim("demo") as held:
        os.close(os.open(f"{held.records}/console.log", os.O_CREAT))
    assert not os.path.exists(held.records)
    with claim("demo") as held, open(f"{held.records}/console.log", "w") as file:
        file.write("a hook said no\n")
    assert os.listdir(held.records) == ["console.log"]


# Taking over


def test_guest_without_a_supervisor_is_taken_over_by_one(house: str) -> None:
    held = claim("demo")
    assert has_owner("demo")
    assert owner("demo") == os.getpid()
    with pytest.raises(GuestInUse, match="demo has a supervisor"):
        claim_running("demo")
    parent = os.dup(held.lock)  # the tiny parent's, which lives on
    os.close(held.owner)
    os.close(held.lock)
    assert not has_owner("demo")
    assert owner("demo") == 0
    taken = claim_running("demo")
    assert has_owner("demo")
    with pytest.raises(GuestInUse):
        claim_running("demo")
    with pytest.raises(GuestInUse, match="running guest"):
        claim("demo")
    os.close(parent)
    taken.release()
    assert not has_owner("demo")
    assert not os.listdir(f"{house}/u/run/g")
    claim("demo").release()


def test_guest_whose_tiny_parent_is_gone_too_can_be_taken_over(house: str) -> None:
    held = claim("demo")
    os.close(held.owner)
    os.close(held.lock)
    with claim_running("demo"), pytest.raises(GuestInUse, match="running guest"):
        claim("demo")


def test_guest_that_cannot_be_taken_over_for_want_of_room_can_be_later(
    house: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = claim("demo")
    os.close(held.owner)
    os.close(held.lock)

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(os, "pwrite", full)
        with pytest.raises(HostError, match="No space left"):
            claim_running("demo")
    assert not has_owner("demo")
    claim_running("demo").release()


def test_lock_that_leads_elsewhere_is_not_followed(house: str) -> None:
    put(f"{house}/precious", "precious")
    for name in ("demo.lock", "demo/owner"):
        path = f"{paths.make_run_dir()}/g/{name}"
        os.makedirs(os.path.dirname(path), exist_ok=True)
        os.symlink(f"{house}/precious", path)
        with pytest.raises((HostError, OSError)):
            claim_running("demo")
        with (
            pytest.raises(OSError, match="symbolic links") if name == "demo.lock" else nullcontext()
        ):
            remove_records("demo")
        remove_tree(f"{paths.run_dir()}/g")
    with open(f"{house}/precious") as file:
        assert file.read() == "precious"


def test_place_that_is_another_users_is_left_as_it_is(
    house: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = claim("demo")
    put(paths.kernel_socket("demo"), "theirs")
    uid = os.getuid() + 1
    with monkeypatch.context() as patched:
        patched.setattr(os, "getuid", lambda: uid)
        held.release()
        with pytest.raises(paths.BadPlace):
            remove_records("demo")
    assert os.path.exists(paths.kernel_socket("demo"))


def test_name_without_a_guest_cannot_be_taken_over(house: str) -> None:
    paths.make_run_dir()
    with pytest.raises(HostError, match="cannot be taken over"):
        claim_running("demo")
    assert not has_owner("demo")
    assert not os.listdir(f"{house}/u/run/g")


def test_cleared_claim_is_as_new_and_still_ours(house: str) -> None:
    with claim("demo") as held:
        os.mkfifo(f"{held.directory}/con0.in")
        os.makedirs(f"{held.directory}/sub/dir")
        kernel = os.path.dirname(paths.kernel_socket("demo"))
        os.makedirs(kernel)
        held.clear()
        assert os.listdir(held.directory) == ["owner"]
        assert not os.path.exists(kernel)
        assert has_owner("demo")
        with pytest.raises(GuestInUse):
            claim("demo")


# What was removed


def test_claim_that_is_cleared_for_a_reboot_keeps_what_clients_have_open(house: str) -> None:
    with claim("demo") as held:
        os.mkfifo(f"{held.directory}/con0.in")
        for name in ("con0", "notify"):
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as bound:
                bound.bind(f"{held.directory}/{name}")
        os.mkdir(f"{held.directory}/status")
        held.clear(rebooting=True)
        assert sorted(os.listdir(held.directory)) == ["con0", "con0.in", "owner"]


def test_supervisor_is_known_though_the_run_directory_was_removed(house: str) -> None:
    with claim("demo") as held:
        write_record()
        shutil.rmtree(paths.run_dir())
        assert has_owner("demo")
        assert owner("demo") == os.getpid()
        with pytest.raises(GuestInUse, match=f"demo has a supervisor, pid {os.getpid()}"):
            claim_running("demo")
        with pytest.raises(GuestInUse, match=f"running guest .supervisor {os.getpid()}"):
            claim("demo")
        assert held.restore()
        assert not held.restore()
        assert has_owner("demo")
        with pytest.raises(GuestInUse, match=r"demo has a supervisor$"):
            claim_running("demo")
        with pytest.raises(GuestInUse, match=f"supervisor {os.getpid()}"):
            claim("demo")


@pytest.mark.parametrize("name", ["/owner", ".lock"])
def test_each_lock_that_was_removed_is_there_again(house: str, name: str) -> None:
    with claim("demo") as held:
        os.unlink(held.directory + name)
        assert held.restore()
        assert os.path.exists(held.directory + name)
        assert has_owner("demo")
    assert not os.path.exists(held.directory + name)


def test_guest_without_a_supervisor_is_taken_over_though_its_files_were_removed(
    house: str,
) -> None:
    held = claim("demo")
    write_record()
    shutil.rmtree(paths.run_dir())
    os.close(held.owner)
    os.close(held.lock)
    assert not has_owner("demo")
    with claim_running("demo", runs=True):
        assert has_owner("demo")


def test_supervisor_of_an_earlier_version_is_known_where_that_had_its_locks(
    house: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    earlier = f"{house}/r/umlctl/g/demo"
    put(f"{earlier}/owner", "")
    monkeypatch.setattr(paths, "earlier_guest_dirs", lambda _umid: [earlier])
    paths.make_run_dir()
    write_record()
    assert not has_owner("demo")
    with open(f"{earlier}/owner"):
        assert has_owner("demo")
        with pytest.raises(GuestInUse, match="demo has a supervisor"):
            claim_running("demo")


def test_how_a_kernel_is_confined_is_known_as_long_as_it_has_a_directory(house: str) -> None:
    assert umid_lock.confined("demo") == ""
    with claim("demo"):
        os.makedirs(f"{paths.own_dir('demo')}/{umid_lock.ASIDE_DIRECTORY}")
        os.makedirs(f"{paths.own_dir('demo')}/{umid_lock.EMPTY_MASK}")
        for name in (umid_lock.ASIDE_DIRECTORY, umid_lock.EMPTY_MASK):
            os.chmod(f"{paths.own_dir('demo')}/{name}", 0)
        with open(f"{paths.own_dir('demo')}/{umid_lock.CONFINED_FILE}", "w") as file:
            file.write("strict")
        assert umid_lock.confined("demo") == "strict", house
    assert umid_lock.confined("demo") == ""
    assert not os.path.exists(paths.own_dir("demo"))
