"""System calls made in another process, as code that runs there would make them: what a guest's
kernel may do on its host is seen by this, whatever it does itself.

x86-64. Source: ptrace(2), sys/user.h.
"""

from __future__ import annotations

import ctypes
import os
import signal
import struct
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

_CONT: Final = 7
_SINGLESTEP: Final = 9
_EVENT_STOP: Final = 128
_GETREGS: Final = 12
_SETREGS: Final = 13
_DETACH: Final = 17
_SEIZE: Final = 0x4206
_INTERRUPT: Final = 0x4207
_GETSIGMASK: Final = 0x420A
_SETSIGMASK: Final = 0x420B
_REGISTERS: Final = struct.Struct("=27Q")
_ARGUMENTS: Final = (14, 13, 12, 7, 9, 8)
"""Where rdi, rsi, rdx, r10, r8 and r9 stand in struct user_regs_struct."""
_RAX: Final = 10
_ORIG_RAX: Final = 15
_RIP: Final = 16
_WHOLE: Final = 1 << 16
"""The room for what arguments point to, bytes."""
_MMAP: Final = 9
_MUNMAP: Final = 11
CLOSE: Final = 3
_ALL: Final = 0x40000000
"""__WALL of waitpid(2)."""
_BUT_SIGTRAP: Final = struct.pack("=Q", 0xFFFFFFFFFFFFFFFF & ~(1 << signal.SIGTRAP - 1))


class Made(NamedTuple):
    """What became of a call: a result, or the errno, negative; and the room that it had."""

    result: int
    data: bytes


class Process:
    """A process that is stopped, and makes calls for us."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._room = 0

    def call(self, number: int, *arguments: int | str | bytes) -> Made:
        """Have it make a call.

        arguments: text is passed as the address of a string that ends with NUL, bytes as theirs
        """
        data, values = bytearray(), []
        for each in arguments:
            if isinstance(each, int):
                values.append(each & 0xFFFFFFFFFFFFFFFF)
                continue
            values.append(self._room + len(data))
            data += os.fsencode(each) + b"\0" if isinstance(each, str) else each
            data += bytes(-len(data) % 16)
        with open(f"/proc/{self.pid}/mem", "r+b", buffering=0) as memory:
            if data:
                memory.seek(self._room)
                memory.write(data)
            result = self._step(number, values)
            if self._room and data:
                memory.seek(self._room)
                data = bytearray(memory.read(len(data)))
        return Made(result, bytes(data))

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """Raises: PermissionError: this host does not let us look into it"""
        self._trace(_SEIZE, 0, 0)
        self._trace(_INTERRUPT, 0, 0)
        while (status := self._wait()) >> 16 != _EVENT_STOP:  # a signal came before
            self._trace(_CONT, 0, os.WSTOPSIG(status))
        registers = self._buffer(_GETREGS, _REGISTERS.size)
        mask = self._buffer(_GETSIGMASK, 8, 8)
        self._trace(_SETSIGMASK, 8, ctypes.create_string_buffer(_BUT_SIGTRAP, 8))
        try:
            self._registers = _REGISTERS.unpack(registers.raw)
            self._syscall = self._find_syscall()
            self._room = self.call(_MMAP, 0, _WHOLE, 3, 0x22, -1, 0).result
            assert self._room > 0, self._room
            yield
            self.call(_MUNMAP, self._room, _WHOLE)
        finally:
            self._trace(_SETREGS, 0, registers)
            self._trace(_SETSIGMASK, 8, mask)
            self._trace(_DETACH, 0, 0)

    def _step(self, number: int, values: list[int]) -> int:
        changed = list(self._registers)
        for place, value in zip(_ARGUMENTS, values, strict=False):
            changed[place] = value
        changed[_RAX], changed[_ORIG_RAX] = number, 0xFFFFFFFFFFFFFFFF
        changed[_RIP] = self._syscall
        packed = _REGISTERS.pack(*changed)
        self._trace(_SETREGS, 0, ctypes.create_string_buffer(packed, len(packed)))
        self._trace(_SINGLESTEP, 0, 0)
        assert os.WSTOPSIG(self._wait()) == signal.SIGTRAP
        after = _REGISTERS.unpack(self._buffer(_GETREGS, _REGISTERS.size).raw)
        found: int = ctypes.c_int64(after[_RAX]).value
        return found

    def _find_syscall(self) -> int:
        """Where it has an instruction that makes a call."""
        with open(f"/proc/{self.pid}/maps") as maps:
            spans = [line.split() for line in maps]
        with open(f"/proc/{self.pid}/mem", "rb", buffering=0) as memory:
            for span, rights, *rest in spans:
                if "x" in rights and "[v" not in rest[-1]:
                    start, end = (int(each, 16) for each in span.split("-"))
                    memory.seek(start)
                    at = memory.read(end - start).find(b"\x0f\x05")
                    if at >= 0:
                        return start + at
        raise LookupError(f"process {self.pid} makes no system calls")

    def _buffer(self, request: int, size: int, address: int = 0) -> ctypes.Array[ctypes.c_char]:
        found = ctypes.create_string_buffer(size)
        self._trace(request, address, found)
        return found

    def _trace(self, request: int, address: int, data: int | ctypes.Array[ctypes.c_char]) -> None:
        where = ctypes.c_long(data) if isinstance(data, int) else data
        words = (ctypes.c_long(request), ctypes.c_long(self.pid), ctypes.c_long(address), where)
        if self._libc.ptrace(*words) == -1:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), f"ptrace {request:#x}")

    def _wait(self) -> int:
        _, status = os.waitpid(self.pid, _ALL)
        assert os.WIFSTOPPED(status), status
        return status


@contextmanager
def inside(pid: int) -> Iterator[Process]:
    """A process that makes calls for us, and goes on as if there had been nothing."""
    process = Process(pid)
    with process.stopped():
        yield process
