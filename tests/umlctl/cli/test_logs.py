from __future__ import annotations

import os

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from umlctl.cli.logs import _start_of_last, logs
from umlctl.errors import NoGuest
from umlctl.host import paths


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


@given(st.lists(st.integers(0, 70_000), max_size=6), st.booleans(), st.integers(0, 8))
def test_last_lines_of_a_long_log_are_found(sizes: list[int], ended: bool, lines: int) -> None:
    data = b"\n".join(b"x" * size for size in sizes) + (b"\n" if ended else b"")
    descriptor = os.memfd_create("log")
    try:
        os.write(descriptor, data)
        start = _start_of_last(descriptor, lines)
    finally:
        os.close(descriptor)
    assert data[start:] == b"".join(data.splitlines(keepends=True)[-lines:] if lines else [])


def test_guest_without_a_log_is_no_guest(house: str) -> None:
    result = CliRunner().invoke(logs, ["demo"])
    assert isinstance(result.exception, NoGuest)
    assert "there is no log of a guest 'demo'" in str(result.exception)
