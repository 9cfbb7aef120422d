"""Filters for frames, as tcpdump(1) understands them, for a socket that packets come from.

tcpdump makes a program of a filter, and the host's kernel runs it for each packet before that is
there to be read.
"""

from __future__ import annotations

import ctypes
import shutil
import socket
import struct
import subprocess
from typing import TYPE_CHECKING, Final

from umlctl.errors import HostError, UnfitHost, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

PROGRAM: Final = "tcpdump"
COMPILE_TIMEOUT: Final = 20.0
"""How long tcpdump may take, seconds: it may look host names up."""
MAX_INSTRUCTIONS: Final = 4096
"""Source: BPF_MAXINSNS of linux/bpf_common.h"""
_SO_ATTACH_FILTER: Final = 26
_JUMPS: Final = 0x05
_JUMP: Final = 0x05
_LENGTH: Final = 0x80
_SUBTRACT: Final = 0x14
"""The class of instructions that jump, one that always does, A = length of the packet, A -= K.
Source: linux/bpf_common.h"""
_EMPTY: Final = struct.pack("=IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 262144, 1)
"""A capture of Ethernet frames without one: tcpdump needs a kind of frames to make a program."""

Instruction = tuple[int, int, int, int]


def find_program() -> str:
    """Where tcpdump is.

    Raises: UnfitHost
    """
    found = shutil.which(PROGRAM) or shutil.which(PROGRAM, path="/usr/sbin:/usr/bin:/sbin:/bin")
    if found is None:
        raise UnfitHost(
            f"{PROGRAM} is not installed, which a filter and the text of frames need: install it, "
            "or capture all with -w FILE"
        )
    return found


def compile_filter(words: Sequence[str]) -> list[Instruction]:
    """The program of a filter.

    words: as of pcap-filter(7)

    Raises: UsageError: it is none; HostError, UnfitHost: tcpdump cannot be had
    """
    command = [find_program(), "-ddd", "-r", "-", "--", *words]
    try:
        done = subprocess.run(
            command, input=_EMPTY, capture_output=True, timeout=COMPILE_TIMEOUT, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as problem:
        raise HostError(f"{PROGRAM} cannot make a program of the filter: {problem}") from problem
    if done.returncode:
        lines = done.stderr.decode("utf-8", "replace").strip().splitlines() or ["it does not say"]
        reason = lines[-1].removeprefix(f"{PROGRAM}: ")
        raise UsageError(f"no filter of pcap-filter(7): {' '.join(words)!r}: {reason}")
    return parse(done.stdout)


def parse(text: bytes) -> list[Instruction]:
    """The program that tcpdump has printed: how many instructions, and a line for each.

    Raises: HostError: it is none
    """
    try:
        count, *lines = [[int(word) for word in line.split()] for line in text.splitlines()]
        made = [(code, true, false, value) for code, true, false, value in lines]
        for each in made:
            struct.pack("=HBBI", *each)
    except (ValueError, struct.error) as problem:
        raise HostError(f"{PROGRAM} has printed no program: {problem}") from None
    if count != [len(made)] or not 0 < len(made) <= MAX_INSTRUCTIONS:
        raise HostError(f"{PROGRAM} has printed a program of {len(made)} instructions")
    return made


def with_more_behind(program: list[Instruction], count: int) -> list[Instruction]:
    """A program for packets that have more than their frame: lengths are the frame's.

    count: how much more that is, bytes

    Raises: UsageError: it cannot be made, since it would jump too far
    """
    at = [0]  # where each instruction is then
    for code, *_ in program:
        at.append(at[-1] + (2 if code == _LENGTH else 1))
    found = []
    for index, (code, true, false, value) in enumerate(program):

        def moved(by: int, index: int = index) -> int:
            to = index + 1 + by
            return (at[to] if to < len(at) else to) - at[index] - 1

        if code == _JUMP:
            value = moved(value)  # noqa: PLW2901
        elif code & 7 == _JUMPS:
            true, false = moved(true), moved(false)  # noqa: PLW2901
        found.append((code, true, false, value))
        if code == _LENGTH:
            found.append((_SUBTRACT, 0, 0, count))
    if len(found) > MAX_INSTRUCTIONS or any(max(each[1:3]) > 255 for each in found):
        raise UsageError("the filter is too long for one that asks how long frames are")
    return found


def attach(connection: socket.socket, program: list[Instruction]) -> None:
    """Have a socket take only what a filter passes.

    Raises: OSError
    """
    fprog, _held = for_kernel(program)
    connection.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, fprog)


def for_kernel(program: list[Instruction]) -> tuple[bytes, object]:
    """struct sock_fprog of linux/filter.h, and what it points to, which is to be kept meanwhile."""
    code = b"".join(struct.pack("=HBBI", *each) for each in program)
    held = ctypes.create_string_buffer(code, len(code))
    return struct.pack("@HP", len(program), ctypes.addressof(held)), held
