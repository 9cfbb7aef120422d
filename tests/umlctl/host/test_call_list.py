from __future__ import annotations

import errno
import os
import resource
import subprocess
import time
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from umlctl.host import call_list
from umlctl.host.call_list import FIRST_DESCRIPTOR, CallList, explain, open_program, run

if TYPE_CHECKING:
    from pathlib import Path

WRITE, OPEN, DUP2, PAUSE, MKDIR, GETPPID, CLOSE = 1, 2, 33, 34, 83, 110, 3
EVEN_HERE = pytest.mark.skipif(
    os.uname().machine not in call_list.MACHINES, reason="such programs are for x86-64"
)
pytestmark = EVEN_HERE


def become(calls: CallList, *words: str, env: dict[str, str] | None = None) -> tuple[int, str, str]:
    """Run the list, and what it becomes: how it ended, and what it said."""
    program = open_program(calls.program())
    try:
        done = subprocess.run(
            ["umlctl-calls", *words],
            executable=f"/proc/self/fd/{program}",
            pass_fds=[program],
            env=env or {},
            capture_output=True,
            text=True,
            check=False,
        )
    finally:
        os.close(program)
    return done.returncode, done.stdout, done.stderr


def test_calls_are_made_in_order_with_their_arguments(tmp_path: Path) -> None:
    calls = CallList()
    made = tmp_path / "made"
    calls.call("cannot make a directory", MKDIR, str(made), 0o700)
    file = calls.call("cannot open", OPEN, f"{made}/file", os.O_CREAT | os.O_WRONLY, 0o600)
    calls.call("cannot have it as 77", DUP2, file, 77)
    calls.call("cannot write", WRITE, 77, b"\0bytes", 6)
    run(calls, [], timeout=60)
    assert (made / "file").read_bytes() == b"\0bytes"


def test_program_becomes_another_with_its_arguments_and_environment() -> None:
    words = ["/bin/sh", "-c", 'echo "$0" "$@" "$A"; exit 3', "one", "two words", ""]
    assert become(CallList(), *words, env={"A": "of it"}) == (3, "one two words  of it\n", "")


def test_program_without_an_argument_ends_well() -> None:
    assert become(CallList()) == (0, "", "")


def test_program_that_is_not_there_is_said() -> None:
    code, _, said = become(CallList(), "/nonexistent")
    assert (code, explain(said)) == (
        call_list.FAILED,
        "cannot execute the program: No such file or directory\n",
    )


def test_first_call_that_fails_is_said_and_ends_the_list(tmp_path: Path) -> None:
    calls = CallList()
    calls.call("cannot make a", MKDIR, f"{tmp_path}/no/a", 0o700)
    calls.call("cannot make b", MKDIR, f"{tmp_path}/b", 0o700)
    with pytest.raises(FileNotFoundError, match="cannot make a: No such file or directory"):
        run(calls, [], timeout=60)
    assert become(calls, "/bin/echo") == (call_list.FAILED, "", "cannot make a: errno   2\n")
    assert not os.listdir(tmp_path)


def test_failure_that_is_tolerated_is_none(tmp_path: Path) -> None:
    calls = CallList()
    calls.call("cannot make a", MKDIR, f"{tmp_path}", 0o700, tolerated=[errno.ENOENT, errno.EEXIST])
    calls.call("cannot make b", MKDIR, f"{tmp_path}/b", 0o700, tolerated=[errno.ENOENT])
    run(calls, [], timeout=60)
    with pytest.raises(FileExistsError, match="cannot make b"):
        run(calls, [], timeout=60)


def test_errno_of_three_digits_is_said_whole() -> None:
    """None that a list can tolerate is as great."""
    calls = CallList()
    sock = calls.call("cannot make a socket", 41, 2, 1, 0)
    connect = b"\x02\0\0\x01\x7f\0\0\x01" + bytes(8)
    calls.call("cannot connect to port 1", 42, sock, connect, 16, tolerated=range(64))
    with pytest.raises(ConnectionRefusedError) as raised:
        run(calls, [], timeout=60)
    assert raised.value.errno == errno.ECONNREFUSED > 99


def test_descriptors_are_passed_whatever_numbers_they_have_here() -> None:
    pipes = [os.pipe() for _ in range(9)]
    calls = CallList()
    for index in range(len(pipes)):
        calls.call("cannot write", WRITE, FIRST_DESCRIPTOR + index, b"%d" % index, 1)
    order = sorted(range(len(pipes)), key=lambda index: -pipes[index][1])
    run(calls, [pipes[index][1] for index in order], timeout=60)
    for index, (reader, writer) in enumerate(pipes):
        os.close(writer)
        assert os.read(reader, 9) == b"%d" % order.index(index)
        os.close(reader)


def test_program_closes_the_descriptor_that_it_is(tmp_path: Path) -> None:
    calls = CallList()
    calls.call("cannot close it", CLOSE, 63)
    program = open_program(calls.program())
    os.dup2(program, 63)
    os.set_inheritable(63, True)
    try:
        words = ["sh", "-c", "exec /proc/self/fd/63 /bin/ls /proc/self/fd"]
        done = subprocess.run(words, pass_fds=[63], capture_output=True, text=True, check=True)
    finally:
        os.close(program)
        os.close(63)
    assert "63" not in done.stdout.split()


def test_call_that_never_returns_is_given_up() -> None:
    calls = CallList()
    calls.call("cannot pause", PAUSE)
    begun = time.monotonic()
    with pytest.raises(TimeoutError, match=r"longer than 0.1 seconds"):
        run(calls, [], timeout=0.1)
    assert time.monotonic() - begun < 30


def test_program_can_be_a_file_where_there_is_none_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> int:
        raise PermissionError(errno.EACCES, "vm.memfd_noexec")

    monkeypatch.setattr(os, "memfd_create", refused)
    with pytest.raises(PermissionError):
        open_program(CallList().program())
    program = open_program(CallList().program(), str(tmp_path))
    try:
        path = f"/proc/self/fd/{program}"
        done = subprocess.run(["x"], executable=path, pass_fds=[program], check=False)
    finally:
        os.close(program)
    assert done.returncode == 0
    assert not os.listdir(tmp_path)


def test_program_is_in_memory_though_an_old_host_knows_no_executable_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    create = os.memfd_create
    asked: list[int] = []

    def old(name: str, flags: int) -> int:
        asked.append(flags)
        if flags & 0x10:
            raise OSError(errno.EINVAL, "unknown flag")
        return create(name, flags)

    monkeypatch.setattr(os, "memfd_create", old)
    assert become(CallList(), "/bin/echo", "well") == (0, "well\n", "")
    assert len(asked) == 2


def test_nothing_is_left_open(tmp_path: Path) -> None:
    calls = CallList()
    calls.call("cannot make a directory", MKDIR, f"{tmp_path}/no/a", 0o700)
    before = os.listdir("/proc/self/fd")
    for _ in range(2):
        with pytest.raises(FileNotFoundError):
            run(calls, [], timeout=60)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(before), hard))
    try:
        with pytest.raises(OSError, match="Too many open files"):
            run(calls, [], timeout=60)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert len(os.listdir("/proc/self/fd")) == len(before)


@given(st.lists(st.binary(max_size=300), max_size=5), st.text(max_size=300))
def test_data_of_any_length_has_addresses_of_its_own(data: list[bytes], words: str) -> None:
    calls = CallList()
    addresses = [calls.place(each) for each in data]
    calls.call(words, GETPPID)
    for each, address, following in zip(data, addresses, addresses[1:], strict=False):
        assert address + len(each) <= following
        assert address % 8 == 0
    assert calls.program() == calls.program()
