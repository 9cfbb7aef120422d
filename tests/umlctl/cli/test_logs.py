from __future__ import annotations

import json
import os
import subprocess
import threading
import time
from datetime import datetime
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner, Result

from tests.umlctl.recovery.test_discover import running
from tests.umlctl.state.test_records import keep, write_record
from umlctl import streams
from umlctl.cli.logs import LOOK_INTERVAL, _additions, dmesg, logs
from umlctl.errors import HostError, NoGuest
from umlctl.guest.definition import Definition
from umlctl.host import paths
from umlctl.kernels import find, stack_decoding
from umlctl.state import console_log

if TYPE_CHECKING:
    from collections.abc import Iterator


def write(umid: str, data: bytes) -> None:
    os.makedirs(paths.record_dir(umid), exist_ok=True)
    with open(f"{paths.record_dir(umid)}/console.log", "wb") as file:
        file.write(data)


def shown(*arguments: str) -> bytes:
    result = CliRunner().invoke(logs, arguments)
    assert result.exception is None
    return result.stdout_bytes


def test_log_is_shown_from_its_first_byte(house: str) -> None:
    data = b"[    0.000000] Linux \xff\x1b[0m\r\n" * 100_000
    write("demo", data)
    assert shown("demo") == data


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ("0", b""),
        ("1", b"three\n"),
        ("2", b"two\nthree\n"),
        ("3", b"one\ntwo\nthree\n"),
        ("4", b"one\ntwo\nthree\n"),
    ],
)
def test_last_lines_are_shown(house: str, lines: str, expected: bytes) -> None:
    write("demo", b"one\ntwo\nthree\n")
    assert shown("demo", "-n", lines) == expected
    assert shown("demo", "--lines", lines) == expected


def test_line_that_is_not_ended_is_one(house: str) -> None:
    write("demo", b"one\ntwo")
    assert shown("demo", "-n", "1") == b"two"


def test_empty_log_shows_nothing(house: str) -> None:
    write("demo", b"")
    assert shown("demo") == shown("demo", "-n", "5") == b""


def test_guest_whose_console_is_its_starters_is_said(house: str) -> None:
    keep("demo", own_line=True)
    write("demo", b"")
    result = CliRunner().invoke(logs, ["demo"])
    assert result.exception is None
    assert "demo: it was started as `linux`: what it prints is for who" in result.output


def test_log_of_somebody_elses_guest_is_not_ours_to_read(
    house: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", refuse)
    result = CliRunner().invoke(logs, ["/share/demo/mconsole"])
    assert isinstance(result.exception, HostError)
    assert "is for the guest's owner alone" in str(result.exception)


def test_guest_without_a_log_is_no_guest(house: str) -> None:
    result = CliRunner().invoke(logs, ["demo"])
    assert isinstance(result.exception, NoGuest)
    assert "there is no log of con0 of a guest 'demo'" in str(result.exception)
    assert isinstance(CliRunner().invoke(dmesg, ["demo"]).exception, NoGuest)


def test_boots_are_told_apart(house: str) -> None:
    write("demo", b"")
    log = f"{paths.record_dir('demo')}/console.log"
    with open(log, "wb") as file:
        file.write(b"Core dump limits :\nfirst\n")
    index = console_log.Index(log)
    index.add(console_log.LAUNCH, 1.0, 0)
    console_log.begin(log)
    with open(log, "wb") as file:
        file.write(b"Core dump limits :\nsecond\nCore dump limits :\nthird\n")
    index.add(console_log.LAUNCH, 2.0, 0)
    index.add(console_log.BOOT, 3.0, 26)
    assert shown("demo", "--boot", "0") == b"Core dump limits :\nthird\n"
    assert shown("demo", "--boot", "-1") == b"Core dump limits :\nsecond\n"
    assert shown("demo", "--boot", "-2") == b"Core dump limits :\nfirst\n"
    assert shown("demo", "--boot", "-1", "-n", "1") == b"second\n"
    for wrong, said in (("-3", "the log has 3 boots"), ("1", "0 for the last boot")):
        result = CliRunner().invoke(logs, ["demo", "--boot", wrong])
        assert said in str(result.exception)


def test_log_since_a_time(house: str) -> None:
    write("demo", b"old\nnew\n")
    index = console_log.Index(f"{paths.record_dir('demo')}/console.log")
    now = time.time()
    for ago, offset in ((7200, 0), (3000, 4)):
        index.add(console_log.MOMENT, now - ago, offset)
    assert shown("demo", "--since", "3h") == b"old\nnew\n"
    assert shown("demo", "--since", "40m") == b"new\n"
    since = datetime.fromtimestamp(now - 2400).isoformat()  # noqa: DTZ006 - as people say it
    assert shown("demo", "--since", since) == b"new\n"
    result = CliRunner().invoke(logs, ["demo", "--since", "yesterday"])
    assert "--since takes 10m" in str(result.exception)


def test_log_of_another_console(house: str) -> None:
    write("demo", b"zero\n")
    with open(f"{paths.record_dir('demo')}/con1.log", "wb") as file:
        file.write(b"one\n")
    assert shown("demo", "--console", "1") == shown("demo", "--console", "con1") == b"one\n"
    assert shown("demo", "--console", "0") == b"zero\n"


def test_kernels_own_messages_are_those_with_a_time(house: str) -> None:
    write("demo", b"hello\n[    0.010000] one\n# ls\n# [  123.456789] two\r\n")
    result = CliRunner().invoke(dmesg, ["demo"])
    assert "the log has 0 boots" in str(result.exception)
    log = f"{paths.record_dir('demo')}/console.log"
    console_log.Index(log).add(console_log.LAUNCH, 1.0, 0)
    for words, expected in (
        ((), b"[    0.010000] one\n[  123.456789] two\r\n"),
        (("-n", "1"), b"[  123.456789] two\r\n"),
        (("-n", "0"), b""),
    ):
        result = CliRunner().invoke(dmesg, ["demo", *words])
        assert result.stdout_bytes == expected


def test_followed_log_ends_with_its_guest(house: str) -> None:
    write("demo", b"one\n")
    paths.make_run_dir()
    os.makedirs(paths.guest_dir("demo"))
    log = f"{paths.record_dir('demo')}/console.log"

    def guest() -> None:
        with open(log, "ab") as file:
            for line in (b"two\n", b"three\n"):
                file.write(line)
                file.flush()
        os.rmdir(paths.guest_dir("demo"))

    thread = threading.Thread(target=guest)
    thread.start()
    assert shown("demo", "-f") == b"one\ntwo\nthree\n"
    thread.join()


def test_lines_are_objects_for_programs(house: str) -> None:
    write("demo", b"[    0.010000] one\r\ntwo \xff\n# [  123.456789] three\nno end")
    one = {"console": "con0", "seconds": 0.01, "text": "[    0.010000] one"}
    two = {"console": "con0", "seconds": None, "text": "two \\xff"}
    three = {"console": "con0", "seconds": None, "text": "# [  123.456789] three"}
    rest = {"console": "con0", "seconds": None, "text": "no end"}
    for words, expected in (
        ((), [one, two, three, rest]),
        (("-n", "2"), [three, rest]),
        (("-n", "0"), []),
    ):
        found = [json.loads(line) for line in shown("demo", "--json", *words).splitlines()]
        assert found == expected
    console_log.Index(f"{paths.record_dir('demo')}/console.log").add(console_log.LAUNCH, 1.0, 0)
    result = CliRunner().invoke(dmesg, ["demo", "--json", "-n", "1"])
    kernels = {"console": "con0", "seconds": 123.456789, "text": "[  123.456789] three"}
    assert json.loads(result.stdout_bytes) == kernels


def test_line_is_one_object_whatever_it_shows_and_speaks_of(house: str) -> None:
    write("demo", b"10%\r20%\r30%\r\nclient: [    5.000000] hi\n")
    for words in ((), ("-n", "2")):
        found = [json.loads(line) for line in shown("demo", "--json", *words).splitlines()]
        assert [line["text"] for line in found] == ["10%\r20%\r30%", "client: [    5.000000] hi"]
        assert [line["seconds"] for line in found] == [None, None]


def test_log_that_is_put_aside_as_it_is_opened_is_not_missed(
    house: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The life of a guest that is started again and again may be over by then."""
    write("demo", b"one\n")
    log = f"{paths.record_dir('demo')}/console.log"
    descriptor = os.open(log, os.O_RDONLY)
    console_log.begin(log)
    write("demo", b"two\n")
    real, looks = os.open, 0

    def late(path: str, *how: int, **more: int) -> int:
        if path == log:
            monkeypatch.setattr(os, "open", real)
            console_log.begin(log)
        return real(path, *how, **more)

    def is_there() -> bool:
        nonlocal looks
        looks += 1
        if looks == 2:
            write("demo", b"three\n")
        return looks < 3

    monkeypatch.setattr(os, "open", late)
    assert list(_additions(log, descriptor, 0, is_there)) == [b"one\n", b"two\n", b"three\n"]
    os.close(descriptor)


def test_life_between_two_looks_is_followed(house: str) -> None:
    """A guest that panics at once, and is started again."""
    log = f"{paths.record_dir('demo')}/console.log"
    write("demo", b"zero\n")
    console_log.begin(log)
    write("demo", b"one\n")
    descriptor = os.open(log, os.O_RDONLY)
    looks = 0

    def is_there() -> bool:
        nonlocal looks
        looks += 1
        if looks == 2:
            for data in (b"two\n", b"three\n"):
                console_log.begin(log)
                write("demo", data)
        return looks < 3

    assert list(_additions(log, descriptor, 0, is_there)) == [b"one\n", b"two\n", b"three\n"]
    os.close(descriptor)


def test_log_of_the_life_before_is_not_followed(house: str) -> None:
    """Though the last one printed nothing, so that it was not put aside."""
    log = f"{paths.record_dir('demo')}/console.log"
    write("demo", b"zero\n")
    os.utime(log, (1, 1))
    console_log.begin(log)
    write("demo", b"")
    descriptor = os.open(log, os.O_RDONLY)
    console_log.begin(log)
    write("demo", b"two\n")
    looks = iter((True, False))
    assert list(_additions(log, descriptor, 0, lambda: next(looks))) == [b"two\n"]
    os.close(descriptor)


FOLLOWING = """
import sys
from umlctl.cli import logs
def shows(pieces, come, console):
    before = set(sys.modules)
    print(*pieces, *come)
    print(*sorted(set(sys.modules) - before))
logs._print = shows
logs.logs(["demo", "-f"])
"""


def test_all_is_imported_before_what_is_followed_is_shown(house: str) -> None:
    """An interrupt can be lost in an import."""
    write("demo", b"one\n")
    done = subprocess.run(
        [*streams.PYTHON[:-1], "-c", FOLLOWING], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines() == ["b'one\\n'", ""]


def test_log_of_a_guest_that_runs_is_followed_though_its_directory_is_out_of_sight(
    house: str,
) -> None:
    write("demo", b"one\n")
    with running() as pid:
        write_record(pid=pid)
        found: list[bytes] = []
        thread = threading.Thread(target=lambda: found.append(shown("demo", "-f")))
        thread.start()
        thread.join(3 * LOOK_INTERVAL)  # it may have looked whether the guest is there
        assert thread.is_alive()
        with open(f"{paths.record_dir('demo')}/console.log", "ab") as file:
            file.write(b"two\n")
    thread.join()
    assert found == [b"one\ntwo\n"]


def test_line_that_is_cut_where_following_begins_is_one_object(house: str) -> None:
    write("demo", b"one\nhalf ")
    paths.make_run_dir()
    os.makedirs(paths.guest_dir("demo"))

    def guest() -> None:
        with open(f"{paths.record_dir('demo')}/console.log", "ab") as file:
            file.write(b"a line\n")
        os.rmdir(paths.guest_dir("demo"))

    thread = threading.Thread(target=guest)
    thread.start()
    found = [json.loads(line)["text"] for line in shown("demo", "-f", "--json").splitlines()]
    thread.join()
    assert found == ["one", "half a line"]


@pytest.mark.parametrize("offset", ["0", "4", "13", "99999", "9" * 30])
def test_index_that_is_wrong_breaks_nothing(house: str, offset: str) -> None:
    write("demo", b"one\ntwo\nthree\n")
    index = console_log.index_of(f"{paths.record_dir('demo')}/console.log")
    with open(index, "w") as file:
        file.write(f"launch 1.000 {offset}\nat 2.000 {offset}\nboot 3.000 {offset}\n")
    for words in (
        ["--boot", "0"],
        ["--boot", "-1"],
        ["--boot", "-1", "-n", "2"],
        ["--since", "1s"],
    ):
        assert shown("demo", *words) in b"one\ntwo\nthree\n"


class Upper:
    """Decodes lines into capitals."""

    def __enter__(self) -> Upper:  # noqa: PYI034 - a stand-in
        return self

    def __exit__(self, *_: object) -> None: ...

    def lines(self, lines: Iterator[bytes]) -> Iterator[bytes]:
        return (line.upper() for line in lines)


def test_stacks_of_the_kernel_that_the_guest_has_are_decoded(
    house: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(find, "probe", lambda *_: None)
    monkeypatch.setattr(stack_decoding, "decoder", lambda _: Upper())

    def decoded() -> Result:
        return CliRunner().invoke(dmesg, ["demo", "--decode"])

    write("demo", b"[    0.100000] a\nno\n[    0.200000] b\n")
    console_log.Index(f"{paths.record_dir('demo')}/console.log").add(console_log.LAUNCH, 1.0, 0)
    assert isinstance(decoded().exception, NoGuest)
    write_record("demo")
    assert decoded().stdout_bytes == b"[    0.100000] A\n[    0.200000] B\n"
    with open(f"{house}/linux", "w"):
        pass
    keep("demo", definition=Definition(umid="demo", kernel=f"{house}/linux"), since=1.0)
    assert "was built anew since demo was started" in str(decoded().exception)
