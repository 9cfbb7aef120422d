"""With a script that says what it is told: the kernel's own takes a kernel."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.switches import until
from tests.umlctl.kernels.elves import elf
from umlctl.errors import HostError
from umlctl.host import processes
from umlctl.kernels import stack_decoding
from umlctl.kernels.find import ProbedKernel
from umlctl.kernels.symbols import LINES, SYMBOLS

if TYPE_CHECKING:
    from pathlib import Path

SCRIPT = 'while read line; do echo "${line%%+*} (${1##*/} ${2##*/} $line)"; done\n'


@pytest.fixture
def kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ProbedKernel:
    """A kernel in the tree where it was built."""
    monkeypatch.setattr(stack_decoding, "PROGRAMS", ("sh",))  # what SCRIPT takes
    (tmp_path / "linux").write_bytes(elf())
    (tmp_path / "vmlinux").write_bytes(elf(SYMBOLS, LINES))
    (tmp_path / "scripts").mkdir()
    (tmp_path / "scripts/decode_stacktrace.sh").write_text(SCRIPT)
    return ProbedKernel(f"{tmp_path}/linux", "7.3.4", frozenset(), {})


def test_places_are_decoded_and_the_rest_is_as_it_is(kernel: ProbedKernel) -> None:
    lines = [
        b"[    0.1] Call Trace:\n",
        b"[    0.1]  [<6002d37a>] ? show_stack+0x184/0x193\n",
        b"[    0.1]  panic+0x197/0x376\r\n",
        b"[    0.1]  [<6002d37a>] load+0x1/0x2 [vfat]",
    ]
    with stack_decoding.decoder(kernel) as decoder:
        found = list(decoder.lines(iter(lines)))
    of = "vmlinux auto"
    assert found == [
        lines[0],
        f"[    0.1]  ? show_stack ({of} show_stack+0x184/0x193)\n".encode(),
        f"[    0.1]  panic ({of} panic+0x197/0x376)\r\n".encode(),
        f"[    0.1]  load ({of} load+0x1/0x2 [vfat])".encode(),
    ]


@given(st.text())
def test_script_is_told_nothing_that_a_shell_or_awk_could_take_for_a_program(text: str) -> None:
    found = stack_decoding.PLACE.search(f" {text}+0x1/0x2\n".encode())
    if found is not None:
        assert set(found["place"]) <= set(
            b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.+/-[] "
        )


@pytest.mark.parametrize(
    "line",
    [
        b'x"||system("id")||"+0x1/0x2\n',
        b"a[$(id)]+0x1/0x2\n",
        b"name+0x1/0x2 [$(id)]\n",
        b"name+$(id)/0x2\n",
        b"name+0x1/0x2 trailing\n",
    ],
)
def test_line_that_is_no_place_is_kept_from_the_script(kernel: ProbedKernel, line: bytes) -> None:
    with stack_decoding.decoder(kernel) as decoder:
        said = decoder.line(line)
    assert b"(vmlinux" not in said or b"$(" not in said.partition(b"(vmlinux")[2]
    assert b"system" not in said.partition(b"(vmlinux")[2]


def test_script_that_has_ended_leaves_lines_as_they_are(
    kernel: ProbedKernel, tmp_path: Path
) -> None:
    (tmp_path / "scripts/decode_stacktrace.sh").write_text("exit 1\n")
    with stack_decoding.decoder(kernel) as decoder:
        for _ in range(3):
            assert decoder.line(b"panic+0x1/0x2\n") == b"panic+0x1/0x2\n"


def test_script_that_does_not_answer_is_ended_with_what_it_has_begun(
    kernel: ProbedKernel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stack_decoding, "ANSWER_TIMEOUT", 0.05)
    begun = tmp_path / "begun"
    text = f"(echo $BASHPID >{begun}; exec sleep 7701) & wait\n"
    (tmp_path / "scripts/decode_stacktrace.sh").write_text(text)
    with stack_decoding.decoder(kernel) as decoder:
        until(lambda: begun.exists() and begun.read_text().endswith("\n"))
        for _ in range(2):
            assert decoder.line(b"panic+0x1/0x2\n") == b"panic+0x1/0x2\n"
    until(lambda: processes.start_time(int(begun.read_text())) is None)


def test_what_is_missing_is_said(
    kernel: ProbedKernel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stack_decoding, "ELSEWHERE", ())
    monkeypatch.setattr(stack_decoding, "PROGRAMS", ("sh", "no-such-program"))
    with pytest.raises(HostError, match="takes no-such-program"):
        stack_decoding.decoder(kernel)
    script = tmp_path / "scripts/decode_stacktrace.sh"
    script.chmod(0o666)  # anybody may have written it
    with pytest.raises(HostError, match=r"the kernel's own scripts/decode_stacktrace\.sh"):
        stack_decoding.decoder(kernel)
    (tmp_path / "vmlinux").unlink()
    with pytest.raises(HostError, match="no line numbers of"):
        stack_decoding.decoder(kernel)


def test_script_is_found_in_the_source_of_a_build_elsewhere(
    kernel: ProbedKernel, tmp_path: Path
) -> None:
    source = tmp_path / "away"
    source.mkdir()
    (tmp_path / "scripts").rename(source / "scripts")
    (tmp_path / "source").symlink_to(source)
    with stack_decoding.decoder(kernel) as decoder:
        assert decoder.line(b"f+0x1/0x2\n") == b"f (vmlinux auto f+0x1/0x2)\n"
