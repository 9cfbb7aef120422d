"""A program for a guest that makes system calls of the host as soon as it can: when the kernel's
main process is killed alone, an old kernel lets go of what it traces, and that runs on as a process
of the host.

x86-64; it touches all that it needs before, since nobody gives it memory any more by then.
"""

from __future__ import annotations

import os
from contextlib import suppress
from struct import pack, unpack
from typing import TYPE_CHECKING, Any, Final

from umlctl.host import call_list

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_CODE: Final = bytes.fromhex(
    "bb 00 00 00 10"  # start: mov ebx, DATA
    "48 8b 03"  #       touch: mov rax, [rbx]
    "48 89 03"  #              mov [rbx], rax
    "81 c3 00 10 00 00"  #     add ebx, 4096
    "81 fb 00 00 01 10"  #     cmp ebx, DATA + SIZE
    "72 ec"  #                 jb touch
    "b8 27 00 00 00"  #        mov eax, 39                 getpid, of the guest
    "0f 05"  #                 syscall
    "49 89 c7"  #              mov r15, rax
    "b9 00 2d 31 01"  # spin:  mov ecx, 20000000
    "ff c9"  #          count: dec ecx
    "75 fc"  #                 jnz count
    "b8 27 00 00 00"  #        mov eax, 39
    "0f 05"  #                 syscall
    "4c 39 f8"  #              cmp rax, r15
    "74 eb"  #                 je spin
    "bb 00 00 00 10"  #        mov ebx, DATA               it is the host's
    "48 8b 03"  #       next:  mov rax, [rbx]
    "48 85 c0"  #              test rax, rax
    "78 1b"  #                 js done
    "48 8b 7b 08"  #           mov rdi, [rbx+8]
    "48 8b 73 10"  #           mov rsi, [rbx+16]
    "48 8b 53 18"  #           mov rdx, [rbx+24]
    "4c 8b 53 20"  #           mov r10, [rbx+32]
    "0f 05"  #                 syscall
    "48 89 43 28"  #           mov [rbx+40], rax
    "83 c3 30"  #              add ebx, 48
    "eb dd"  #                 jmp next
    "48 c7 43 28 01 00 00 00"  # done: mov qword [rbx+40], 1
    "b8 22 00 00 00"  # wait:  mov eax, 34                 pause
    "0f 05"  #                 syscall
    "eb f7"  #                 jmp wait
)
_CODE_ADDRESS: Final = 0x400000
_DATA: Final = 0x10000000
_SIZE: Final = 0x10000
_ROW: Final = 48
_ARGUMENTS: Final = 4


def program(calls: Iterable[Sequence[Any]]) -> bytes:
    """The program, with calls to make: their numbers and arguments, four at most."""
    table, strings = bytearray(), bytearray()
    calls = list(calls)
    start = _DATA + _ROW * (len(calls) + 1)
    for number, *arguments in calls:
        values = [0] * _ARGUMENTS
        for place, each in enumerate(arguments):
            if isinstance(each, int):
                values[place] = each & 0xFFFFFFFFFFFFFFFF
            else:
                values[place] = start + len(strings)
                strings += os.fsencode(each) + b"\0"
        table += pack("=q4Qq", number, *values, 0)
    table += pack("=q4Qq", -1, 0, 0, 0, 0, 0)
    data = bytes(table + strings)
    assert len(data) <= _SIZE
    return call_list._elf([(_CODE_ADDRESS, 5, _CODE), (_DATA, 6, data + bytes(_SIZE - len(data)))])


def is_ready(pid: int) -> bool:
    """A process of the host's is one that the program has in its guest, and has all it needs."""
    with suppress(OSError), open(f"/proc/{pid}/maps") as maps:
        starts = [int(line.partition("-")[2].split()[0], 16) for line in maps]
        return _DATA + _SIZE in starts
    return False


def results(pid: int, count: int) -> list[int] | None:
    """What its calls returned, errnos negative; None: they are not made yet, or it has ended."""
    with suppress(OSError), open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
        memory.seek(_DATA)
        table = memory.read(_ROW * (count + 1))
        found = [unpack("=q", table[at + 40 : at + 48])[0] for at in range(0, len(table), _ROW)]
        return found[:-1] if found[-1:] == [1] else None
    return None
