from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from umlctl.guest.definition import Definition
from umlctl.kernels import find
from umlctl.protocol.status import STATUS_LOST, Ending
from umlctl.state.endings import (
    HALTED,
    STARVED,
    Evidence,
    ExitStatus,
    describe,
    early_panic,
    executed_again,
    init_began,
    is_rebooting,
    judge,
    judge_unseen,
    read_exit_status,
)

if TYPE_CHECKING:
    from pathlib import Path

EARLY: dict[str, Any] = {"was_ready": False, "tail": b"", "had_socket": True}
"""Of a guest that ended before it was seen ready, with its console elsewhere."""
TRACE = b"Kernel panic - not syncing: Oops\nCPU: 0 PID: 1 Comm: %s Not tainted\n"
WELL = b"[    1.0] reboot: Power down\n"


def seen(**fields: Any) -> Evidence:
    usual: dict[str, Any] = {
        "status": 0,
        "tail": WELL,
        "was_ready": True,
        "panic": "",
        "asked": "",
        "forced": False,
        "late": "",
        "left": False,
    }
    return Evidence(**{**usual, **fields})


@pytest.mark.parametrize(
    ("fields", "cause", "code", "text"),
    [
        ({}, "exited", 0, ""),
        ({"status": 42}, "exited", 42, ""),
        ({"status": 134, "left": True}, "panicked", 255, f"the kernel aborted; {STATUS_LOST}"),
        ({"status": 134, "left": True, "halted": True}, "exited", 0, HALTED),
        ({"status": 134, "left": True, "tail": b""}, "killed", 134, "signal 6"),
        ({"status": 139, "left": True, "tail": b""}, "killed", 139, "signal 11"),
        ({"status": 1, "left": True, "tail": b""}, "killed", 137, "signal 9"),
        ({"status": 139}, "exited", 139, ""),
        ({"status": None}, "ended", 5, "nobody saw its exit status"),
        ({"status": None, "left": True, "tail": b""}, "killed", 137, "signal 9"),
        ({"panic": "Oops"}, "panicked", 255, "Oops"),
        ({"halted": True}, "exited", 0, "halted by a user, not synced"),
        ({"asked": "by uid 0"}, "shut down", 0, ""),
        ({"asked": "by uid 0", "forced": True}, "killed", 137, "by uid 0"),
        (
            {"asked": "by uid 0", "unsynced": "not synced: gone", "tail": b""},
            *("killed", 143, "by uid 0; not synced: gone"),
        ),
        ({"asked": "by uid 0", "unsynced": "not synced: gone"}, "shut down", 0, ""),
        (
            {"asked": "by uid 0", "unsynced": "not synced: gdb", "forced": True},
            *("killed", 137, "by uid 0; not synced: gdb"),
        ),
        ({"asked": "by uid 0", "status": 1, "left": True, "tail": b""}, "killed", 137, "signal 9"),
        ({"asked": "by uid 0", "status": 134, "left": True}, "shut down", 0, ""),
        ({"was_ready": False, "tail": b"a\nb\n\nc\n", "status": 1}, "never started", 125, "b; c"),
        ({"was_ready": False, "tail": b"", "status": 1}, "never started", 125, "exit status 1"),
        (
            {"was_ready": False, "tail": b"cannot execute the program: errno   2\n", "status": 126},
            *("never started", 125, "the kernel cannot be executed: No such file or directory"),
        ),
        ({"was_ready": False, "tail": b"", "panic": "no root"}, "never started", 125, "no root"),
        ({"was_ready": False, "panic": "Attempted to kill init!"}, "panicked", 255, "Attempted"),
        ({"was_ready": False, "status": 3}, "exited", 3, ""),
        ({"was_ready": False, "asked": "by uid 0"}, "never started", 125, "by uid 0"),
        ({**EARLY, "status": 7}, "exited", 7, ""),
        ({**EARLY, "status": 7, "left": True}, "exited", 7, ""),  # its directory was made anew
        ({**EARLY, "status": 1}, "exited", 1, ""),
        ({**EARLY, "status": 0}, "exited", 0, ""),
        ({**EARLY, "status": 1, "had_socket": False}, "never started", 125, "exit status 1"),
        ({**EARLY, "status": 1, "left": True}, "never started", 125, "exit status 1"),
        ({**EARLY, "status": None}, "ended", 5, "nobody saw its exit status"),
        (
            {**EARLY, "status": None, "had_socket": False},
            *("never started", 125, "nobody saw its exit status"),
        ),
        ({**EARLY, "panic": "sysrq triggered crash"}, "panicked", 255, "sysrq"),
        ({**EARLY, "panic": "Requested init /x failed"}, "panicked", 255, "Requested"),
        ({**EARLY, "panic": "Oops"}, "panicked", 255, "Oops"),
        ({**EARLY, "panic": "Oops", "tail": TRACE % b"swapper"}, "never started", 125, "Oops"),
        ({**EARLY, "panic": "Oops", "tail": TRACE % b"sh"}, "panicked", 255, "Oops"),
        (
            {**EARLY, "panic": "Oops", "tail": TRACE % b"swapper", "began": True},
            *("panicked", 255, "Oops"),
        ),
        ({**EARLY, "panic": "VFS: Unable to mount"}, "never started", 125, "VFS"),
        ({**EARLY, "panic": "No working init found."}, "never started", 125, "No working"),
    ],
)
def test_ending_follows_from_what_is_seen(
    fields: dict[str, Any], cause: str, code: int, text: str
) -> None:
    ending = judge(seen(**fields))
    assert (ending.cause, ending.code) == (cause, code)
    assert ending.text.startswith(text)


def test_init_program_has_begun_once_the_kernel_says_so(tmp_path: Path) -> None:
    log = tmp_path / "log"
    assert not init_began(str(log))
    log.write_bytes(b"Linux version 6.1\n")
    assert not init_began(str(log))
    log.write_bytes(b"Linux version 6.1\nRun /tmp/init as init process\nwell\n")
    assert init_began(str(log))


@pytest.mark.parametrize(
    ("fields", "cause", "code"),
    [
        (
            {"tail": b"x\n\nFailed to exec kernel: No such file or directory\n"},
            "reboot failed",
            126,
        ),
        ({"tail": b"Failed to exec kernel: x\n" + WELL}, "exited", 0),
        ({"tail": b"\n"}, "reboot failed", 126),
        ({"tail": b"\nSegmentation fault\n", "status": 139}, "reboot failed", 126),
        ({"tail": b"\n", "status": 139, "left": True}, "killed", 139),
        ({"tail": b"\n", "asked": "by uid 0"}, "shut down", 0),
        ({"tail": b"\n", "executes": ""}, "exited", 0),
        ({}, "exited", 0),
    ],
)
def test_kernel_that_could_not_be_executed_again_is_no_success(
    tmp_path: Path, fields: dict[str, Any], cause: str, code: int
) -> None:
    kernel = tmp_path / "linux"
    kernel.touch(0o755)
    ending = judge(seen(**{"executes": str(kernel), **fields}))
    assert (ending.cause, ending.code) == (cause, code)
    if cause == "reboot failed":
        assert ending.text.endswith(
            f"{kernel} could not be executed again: it is empty, as while it is being built"
        )


@pytest.mark.parametrize(
    ("number", "why"), [(11, "another process has it locked"), (21, "Is a directory")]
)
def test_disk_that_cannot_be_opened_at_boot_is_named_and_not_the_panic_that_follows(
    number: int, why: str
) -> None:
    tail = (
        b"F_SETLK failed, file already locked by pid 3622\n"
        b'[    0.01] ubdb: Can\'t open "/a.img": errno = %d\n'
        b"Kernel panic - not syncing: Segfault with no mm\n" % number
    )
    ending = judge(seen(was_ready=False, panic="Segfault with no mm", tail=tail, status=134))
    assert (ending.cause, ending.code) == ("never started", 125)
    assert ending.text == f"the disk ubdb could not be opened: /a.img: {why}"


def test_kernel_that_panics_as_it_powers_down_is_said_to_have_lost_its_status() -> None:
    ending = judge(seen(panic="Segfault with no mm", status=134, left=True))
    assert (ending.cause, ending.code) == ("panicked", 255)
    assert ending.text == f"Segfault with no mm; {STATUS_LOST}"


@pytest.mark.parametrize(
    ("told", "cause", "code"),
    [
        ({"halted": True}, "exited", 0),
        ({"asked": "by uid 0"}, "shut down", 0),
        ({"asked": "by uid 0", "forced": True}, "killed", 137),
    ],
)
def test_kernel_that_was_told_to_end_and_panics_as_it_powers_down_has_ended_as_it_was_told(
    told: dict[str, Any], cause: str, code: int
) -> None:
    """And is no failure, for which a guest is started again."""
    for panic in ("Segfault with no mm", ""):
        ending = judge(seen(panic=panic, status=134, left=True, **told))
        assert (ending.cause, ending.code) == (cause, code)
    ending = judge(seen(panic="Oops", status=134, left=True, tail=b"", asked="by uid 0"))
    assert (ending.cause, ending.text) == ("panicked", "Oops"), "it had not powered down yet"


def test_kernel_that_aborts_after_it_has_closed_its_sockets_had_powered_down() -> None:
    """Its console may be elsewhere; with its sockets open it would have told of a panic."""
    early: dict[str, Any] = {"was_ready": False, "status": 134, "left": True, "tail": b""}
    ending = judge(seen(**early, had_socket=True))
    assert (ending.cause, ending.code) == ("panicked", 255)
    assert ending.text == f"the kernel aborted; {STATUS_LOST}"
    assert judge(seen(**early, had_socket=False)).cause == "never started"


def test_kernel_that_is_whole_exits_and_does_not_fail_to_reboot() -> None:
    whole = find.find()
    assert judge(seen(tail=b"\n", executes=whole)).cause == "exited"
    words = b"\nFailed to exec kernel: Permission denied\n"
    after = b"unshare: sigprocmask unblock failed: Invalid argument\n"
    assert judge(seen(tail=WELL + words + after)).cause == "reboot failed"
    told = judge(seen(tail=words, executes=whole))
    assert told.text == "the kernel could not be executed again: Permission denied"


@pytest.mark.parametrize(
    ("arguments", "tells"),
    [
        ((), True),
        (("con1=null", "console=tty0"), True),
        (("noreboot",), False),
        (("con0=null",), False),
        (("con=pts",), False),
        (("console=ttyS0",), False),
    ],
)
def test_reboot_shows_in_the_log_unless_words_of_the_kernel_go_elsewhere(
    arguments: tuple[str, ...], tells: bool
) -> None:
    definition = Definition(umid="demo", kernel="/linux", arguments=arguments)
    assert executed_again(definition) == ("/linux" if tells else "")


def test_ending_in_words() -> None:
    assert describe(judge(seen(status=3))) == "exited with status 3"
    assert describe(judge(seen(panic="Oops", tail=b""))) == "panicked: Oops"


def test_panic_before_the_first_notification_is_in_the_log() -> None:
    tail = b"x\nKernel panic - not syncing: VFS: no root\nCPU: 0\n"
    assert early_panic(tail) == "VFS: no root"
    assert early_panic(WELL) == ""


@given(st.binary(max_size=300))
def test_any_log_is_read(tail: bytes) -> None:
    assert "\n" not in early_panic(tail)
    judge(seen(tail=tail, was_ready=False, status=1))


PANICKED = b"[ 3.4] Kernel panic - not syncing: sysrq triggered crash\n[ 3.4] CPU: 0\n"


@pytest.mark.parametrize(
    ("status", "tail", "left", "cause", "code", "text"),
    [
        (None, PANICKED, True, "ended", 5, "nobody saw how"),
        (9, WELL, False, "exited", 9, ""),
        (1, b"", True, "killed", 137, "signal 9 from somebody else"),
        (134, PANICKED, True, "panicked", 255, "sysrq triggered crash"),
        (127, PANICKED, True, "panicked", 255, "sysrq triggered crash"),
        (127, WELL, True, "panicked", 255, f"the kernel aborted; {STATUS_LOST}"),
        (0, PANICKED, False, "exited", 0, ""),  # the guest's own words, and no panic
    ],
)
def test_ending_that_nobody_saw_is_known_from_what_is_left(
    status: int | None, tail: bytes, left: bool, cause: str, code: int, text: str
) -> None:
    ending = judge_unseen(ExitStatus(status, starved=False), tail, left=left)
    assert (ending.cause, ending.code, ending.text) == (cause, code, text)


@pytest.mark.parametrize(
    ("written", "found"),
    [
        ("137 starved\n", ExitStatus(137, starved=True)),
        ("137\n", ExitStatus(137, starved=False)),
        ("137 starv", ExitStatus(137, starved=False)),
        ("", ExitStatus(None, starved=False)),
        ("x" * 1000, ExitStatus(None, starved=False)),
        ("\x00", ExitStatus(None, starved=False)),
    ],
)
def test_status_is_what_the_tiny_parent_wrote(
    tmp_path: Path, written: str, found: ExitStatus
) -> None:
    (tmp_path / "status").write_text(written)
    assert read_exit_status(str(tmp_path)) == found


def test_status_that_was_not_written_is_not_known(tmp_path: Path) -> None:
    assert read_exit_status(str(tmp_path)) == ExitStatus(None, starved=False)


def test_guest_without_enough_memory_was_ended_by_the_host() -> None:
    ending = judge(seen(status=137, starved=True, left=True))
    assert (ending.cause, ending.code, ending.text) == ("killed", 137, STARVED)
    ending = judge(seen(status=137, starved=True, left=True, was_ready=False, tail=b"VFS: Mounted"))
    assert (ending.cause, ending.text) == ("never started", STARVED)
    assert judge_unseen(ExitStatus(137, starved=True), b"", left=True).text == STARVED


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (
            "00000500",
            " (init ended with status 5: write it to /proc/exitcode and power off)",
        ),
        ("0000000b", " (init was ended by signal 11)"),
        ("0000000g", ""),
        ("5", ""),
    ],
)
def test_end_of_an_init_program_is_said_in_words(code: str, said: str) -> None:
    text = f"Attempted to kill init! exitcode=0x{code}"
    assert describe(Ending(cause="panicked", code=255, text=text)) == f"panicked: {text}{said}"


@pytest.mark.parametrize(
    ("tail", "reboots"),
    [
        (b"[  3.1] reboot: Restarting system\n", True),
        (b"[  3.1] sysrq: Resetting\n", True),
        (b"[  3.1] reboot: Power down\n", False),
        (b"[  3.1] reboot: Restarting system\n[  0.9] reboot: Power down\n", False),
        (b"[  3.1] reboot: Restarting system\nCore dump limits :\n", False),
        (b"[  3.1] reboot: Restarting system\n[  0.0] Linux version 6.1\n", False),
        (b"[  0.0] Linux version 6.1\n# reboot\n[  3.1] reboot: Restarting system\n", True),
        (b"", False),
    ],
)
def test_kernel_that_is_about_to_reboot_says_so_until_it_begins_again(
    tail: bytes, reboots: bool
) -> None:
    assert is_rebooting(tail) == reboots
