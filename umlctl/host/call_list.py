"""A program that is a list of system calls: it makes each, and then becomes another program.

Some of what confines a process must be the last thing before its program: once a process is in a
Landlock domain it can mount nothing, and once it has left a user namespace for another it has no
way back. No program of every host does that, an interpreter takes as long as a kernel to boot, and
few hosts have a compiler. So the program is written here: an ELF file of some hundred bytes,
without a library, whose code walks a table of calls. At the first one that fails, it says so in
words, and what errno it was, on standard error, and exits.

It is made for x86-64, and kept in memory: no file system need let it be executed.
"""

from __future__ import annotations

import fcntl
import os
import re
import select
import signal
from errno import EINVAL
from struct import pack
from typing import TYPE_CHECKING, Final

from umlctl.host import processes

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

MACHINES: Final = frozenset({"x86_64"})
"""Where such programs run."""
FAILED: Final = 126
"""The exit status of one that could not make a call, or not become the program it should."""
FIRST_DESCRIPTOR: Final = 3
"""The first of those that `run` passes on."""

_CODE: Final = bytes.fromhex(
    "bb 00 00 00 20"  # start:  mov ebx, TABLE
    "48 8b 03"  #       next:   mov rax, [rbx]              the number of the call
    "48 85 c0"  #               test rax, rax
    "78 7a"  #                  js become
    "48 8b 7b 08"  #            mov rdi, [rbx+8]            its arguments
    "48 8b 73 10"  #            mov rsi, [rbx+16]
    "48 8b 53 18"  #            mov rdx, [rbx+24]
    "4c 8b 53 20"  #            mov r10, [rbx+32]
    "4c 8b 43 28"  #            mov r8, [rbx+40]
    "4c 8b 4b 30"  #            mov r9, [rbx+48]
    "0f 05"  #                  syscall
    "48 3d 00 f0 ff ff"  #      cmp rax, -4096
    "77 0d"  #                  ja failed                   -4095 to -1 is an errno
    "48 8b 4b 38"  #            mov rcx, [rbx+56]           where its result goes
    "48 89 01"  #               mov [rcx], rax
    "48 83 c3 58"  #    done:   add rbx, 88                 the next row
    "eb c9"  #                  jmp next
    "48 f7 d8"  #       failed: neg rax
    "48 83 f8 3f"  #            cmp rax, 63
    "77 07"  #                  ja say
    "48 0f a3 43 40"  #         bt [rbx+64], rax            does it matter?
    "72 ea"  #                  jc done
    "8b 73 48"  #       say:    mov esi, [rbx+72]           the words for it
    "8b 53 50"  #               mov edx, [rbx+80]           how many bytes they are
    "48 8d 7c 16 fe"  #         lea rdi, [rsi+rdx-2]        the last digit
    "b9 0a 00 00 00"  #         mov ecx, 10
    "31 d2"  #          digit:  xor edx, edx
    "f7 f1"  #                  div ecx
    "80 c2 30"  #               add dl, '0'
    "88 17"  #                  mov [rdi], dl
    "48 ff cf"  #               dec rdi
    "85 c0"  #                  test eax, eax
    "75 f0"  #                  jnz digit
    "8b 53 50"  #               mov edx, [rbx+80]
    "bf 02 00 00 00"  #         mov edi, 2
    "b8 01 00 00 00"  #         mov eax, 1                  write(2, words, bytes)
    "0f 05"  #                  syscall
    "bf 7e 00 00 00"  #         mov edi, FAILED
    "b8 e7 00 00 00"  # quit:   mov eax, 231                exit_group(edi)
    "0f 05"  #                  syscall
    "31 ff"  #          become: xor edi, edi
    "48 8b 0c 24"  #            mov rcx, [rsp]              argc
    "48 83 f9 01"  #            cmp rcx, 1
    "76 ed"  #                  jbe quit
    "48 8d 54 cc 10"  #         lea rdx, [rsp+8*rcx+16]     the environment
    "48 8d 74 24 10"  #         lea rsi, [rsp+16]           argv + 1
    "48 8b 3e"  #               mov rdi, [rsi]
    "b8 3b 00 00 00"  #         mov eax, 59                 execve(argv[1], argv + 1, environment)
    "0f 05"  #                  syscall
    "eb 93"  #                  jmp failed
)
_NAME: Final = "umlctl-calls"
_MFD_EXEC: Final = 0x10
_CODE_ADDRESS: Final = 0x400000
_DATA_ADDRESS: Final = 0x10000000
_TABLE_ADDRESS: Final = 0x20000000
_PAGE: Final = 4096
_EXECUTABLE: Final = 5
_WRITABLE: Final = 6
_BECOME: Final = -1
_ROW_BYTES: Final = 88
"""What the code takes a row to be, bytes: the call's number, six arguments, the address that its
result goes to, a bit for each errno that does no harm, the words for any other and their length."""
_ARGUMENTS: Final = 6
_ROOM_FOR_ERRNO: Final = "   \n"
_ERRNO: Final = re.compile(r"(.*): errno +(\d+)$", re.MULTILINE)


class CallResult:
    """What a call of the list returns, as an argument of one later call."""

    def __init__(self) -> None:
        self.address = 0


class CallList:
    """System calls that a process is to make, in this order."""

    def __init__(self) -> None:
        self._rows: list[tuple[int, tuple[int | CallResult, ...], CallResult, bytes]] = []
        self._data = bytearray(8)  # where results go that nobody wants
        self._last = self._on_failure("cannot execute the program")

    def call(
        self,
        words: str,
        number: int,
        *arguments: int | str | bytes | CallResult,
        tolerated: Iterable[int] = (),
    ) -> CallResult:
        """Add a call.

        words: what could not be done if it fails, as in `cannot mount /a`
        number: of the call on x86-64
        arguments: text is passed as the address of a string that ends with NUL, bytes as their
            address, a result of an earlier call as it is
        tolerated: errnos below 64 with which it may fail: what follows is done all the same
        """
        placed = tuple(
            each if isinstance(each, (int, CallResult)) else self.place(each) for each in arguments
        )
        result = CallResult()
        self._rows.append((number, placed, result, self._on_failure(words, tolerated)))
        return result

    def _on_failure(self, words: str, tolerated: Iterable[int] = ()) -> bytes:
        """The end of a row."""
        said = os.fsencode(f"{words}: errno {_ROOM_FOR_ERRNO}")
        return pack("<3Q", sum(1 << each for each in set(tolerated)), self.place(said), len(said))

    def place(self, data: str | bytes) -> int:
        """Have data in the program, text with a NUL behind it.

        Returns: its address there
        """
        self._data += bytes(-len(self._data) % 8)
        address = _DATA_ADDRESS + len(self._data)
        self._data += data if isinstance(data, bytes) else os.fsencode(data) + b"\0"
        return address

    def program(self) -> bytes:
        """The executable file, for x86-64.

        Its first argument is the program that it becomes, an absolute path, which gets the
        arguments from that one on; without an argument it exits with 0.
        """
        table = (
            bytearray(_ROW_BYTES * len(self._rows)) + pack("<q", _BECOME) + bytes(56) + self._last
        )
        for index, (number, arguments, _, on_failure) in enumerate(self._rows):
            values = [0] * _ARGUMENTS
            for place, argument in enumerate(arguments):
                if isinstance(argument, CallResult):
                    argument.address = _TABLE_ADDRESS + index * _ROW_BYTES + 8 * (place + 1)
                else:
                    values[place] = argument & 0xFFFFFFFFFFFFFFFF
            start = index * _ROW_BYTES
            table[start : start + 56] = pack("<q6Q", number, *values)
            table[start + 64 : start + _ROW_BYTES] = on_failure
        for index, row in enumerate(self._rows):  # where a result goes is known when all are placed
            start = index * _ROW_BYTES + 56
            table[start : start + 8] = pack("<Q", row[2].address or _DATA_ADDRESS)
        return _elf(
            [
                (_CODE_ADDRESS, _EXECUTABLE, _CODE),
                (_DATA_ADDRESS, _WRITABLE, bytes(self._data)),
                (_TABLE_ADDRESS, _WRITABLE, bytes(table)),
            ]
        )


def _elf(segments: Sequence[tuple[int, int, bytes]]) -> bytes:
    """An executable of these segments: address, rights, bytes; it begins with the first of them."""
    kinds = b"\x7fELF" + bytes([2, 1, 1]) + bytes(9)  # 64 bits, little endian
    header = kinds + pack(
        *("<HHIQQQIHHHHHH", 2, 62, 1, segments[0][0], 64, 0, 0, 64, 56, len(segments) + 1, 64, 0, 0)
    )
    body = b""
    headers = pack("<IIQQQQQQ", 0x6474E551, 6, 0, 0, 0, 0, 0, 16)  # its stack is not executable
    for address, rights, data in segments:
        body += bytes(-len(body) % _PAGE)
        size = len(data)
        headers += pack(
            "<IIQQQQQQ", 1, rights, _PAGE + len(body), address, address, size, size, _PAGE
        )
        body += data
    begin = header + headers
    return begin + bytes(_PAGE - len(begin)) + body


def open_program(program: bytes, directory: str = "") -> int:
    """Have a program as a descriptor that is not inherited: execute /proc/self/fd/N, and have the
    program close N.

    directory: where a file of it is made where the kernel of this host makes none in memory

    Raises: OSError
    """
    try:
        descriptor = _create_in_memory()
    except OSError:
        if not directory:
            raise
        return _open_file(program, directory)
    try:
        os.write(descriptor, program)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _create_in_memory() -> int:
    try:
        return os.memfd_create(_NAME, os.MFD_CLOEXEC | _MFD_EXEC)
    except OSError as problem:
        if problem.errno != EINVAL:
            raise
    return os.memfd_create(_NAME, os.MFD_CLOEXEC)  # before Linux 6.3 each can be executed


def _open_file(program: bytes, directory: str) -> int:
    import tempfile

    writing, path = tempfile.mkstemp(prefix="calls.", dir=directory)
    try:
        os.fchmod(writing, 0o555)
        os.write(writing, program)
        # One that is open for writing cannot be executed.
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    finally:
        os.close(writing)
        os.unlink(path)


def run(calls: CallList, descriptors: Sequence[int], *, timeout: float) -> None:
    """Have a process of its own make these calls; it has one thread and none of our memory.

    descriptors: ours, which have the numbers from FIRST_DESCRIPTOR on there
    timeout: seconds; where a call takes longer, as on a dead file server, the process is killed

    Raises: OSError: a call failed, with what it was to do; TimeoutError
    """
    reader, writer = os.pipe()
    try:
        pid = _spawn(calls, writer, descriptors)
        waiting = select.poll()
        waiting.register(reader, select.POLLIN)
        if not waiting.poll(timeout * 1000):
            os.kill(pid, signal.SIGKILL)
            waiting.poll(1000)  # it may be in a call that cannot be ended: then it is left
            os.waitpid(pid, os.WNOHANG)
            raise TimeoutError(f"a system call took longer than {timeout:g} seconds")
        said = os.read(reader, 4096)
    finally:
        os.close(reader)
    status = os.waitpid(pid, 0)[1]
    if status:
        found = _ERRNO.search(os.fsdecode(said))
        if found:
            raise OSError(int(found[2]), f"{found[1]}: {os.strerror(int(found[2]))}")
        raise OSError(f"the list of system calls ended with status {status}")


def _spawn(calls: CallList, writer: int, descriptors: Sequence[int]) -> int:
    """Start a process that makes calls and says on a pipe, which is closed here, what failed."""
    above = FIRST_DESCRIPTOR + len(descriptors)
    copies: list[int] = []
    try:
        program = open_program(calls.program())
        copies.append(program)
        # None may have a number that another one is to have.
        copies.extend(
            fcntl.fcntl(each, fcntl.F_DUPFD_CLOEXEC, above) for each in (program, *descriptors)
        )
        processes.keep_descriptors()
        actions = [
            (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDWR, 0),
            (os.POSIX_SPAWN_DUP2, 0, 1),
            (os.POSIX_SPAWN_DUP2, writer, 2),
            *(
                (os.POSIX_SPAWN_DUP2, copy, FIRST_DESCRIPTOR + index)
                for index, copy in enumerate(copies[2:])
            ),
        ]
        path = f"/proc/self/fd/{copies[1]}"
        return os.posix_spawn(path, [_NAME], {}, file_actions=actions)
    finally:
        for each in (writer, *copies):
            os.close(each)


def explain(text: str) -> str:
    """What such a program has said, with the errno in words."""
    return _ERRNO.sub(lambda found: f"{found[1]}: {os.strerror(int(found[2]))}", text)
