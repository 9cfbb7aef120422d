"""A program that passes for a UML kernel where the file is looked at, and runs a script.

It is an ELF file of a few hundred bytes: `execve("/bin/sh", [argv[0], SCRIPT, argv[1], ...])`.
"""

from __future__ import annotations

import os
from struct import pack
from typing import Final

BASE: Final = 0x400000
HEADERS: Final = 64 + 56
MARKS: Final = b"User Mode Linux v uml_dir= "
ANSWERS: Final = """\
case $1 in
--help) printf 'User Mode Linux v6.1.0\\n'; exit;;
--showconfig) printf 'CONFIG_UML=y\\n'; exit;;
esac
"""
"""What a kernel answers when it is asked what it is."""


def elf(script: str, marks: bytes = MARKS) -> bytes:
    """The program: x86-64 machine code, and the strings that it names."""
    parts = (
        b"\x48\x8b\x0c\x24",  # mov rcx, [rsp]: argc
        b"\x48\x8d\x54\xcc\x10",  # lea rdx, [rsp+rcx*8+16]: envp
        b"\x48\x8b\x44\x24\x08",  # mov rax, [rsp+8]: argv[0]
        b"\x48\x89\x04\x24",  # mov [rsp], rax: argv begins where argc was
        b"\x48\x8d\x05SCRI",  # lea rax, [rip+SCRIPT]
        b"\x48\x89\x44\x24\x08",  # mov [rsp+8], rax
        b"\x48\x89\xe6",  # mov rsi, rsp
        b"\x48\x8d\x3dSHEL",  # lea rdi, [rip+SHELL]
        b"\xb8\x3b\x00\x00\x00\x0f\x05",  # execve
        b"\xbf\x7f\x00\x00\x00\xb8\x3c\x00\x00\x00\x0f\x05",  # exit(127)
    )
    code = b"".join(parts)
    for name, where in ((b"SHEL", len(code)), (b"SCRI", len(code) + len(b"/bin/sh\0"))):
        at = code.index(name)
        code = code.replace(name, pack("<i", where - (at + 4)))
    body = code + b"/bin/sh\0" + os.fsencode(script) + b"\0" + marks
    size = HEADERS + len(body)
    header = b"\x7fELF\x02\x01\x01" + bytes(9)
    header += pack("<HHIQQQIHHHHHH", 2, 62, 1, BASE + HEADERS, 64, 0, 0, 64, 56, 1, 64, 0, 0)
    return header + pack("<IIQQQQQQ", 1, 5, 0, BASE, BASE, size, size, 4096) + body


def write(path: str, script: str, *, answers: str = ANSWERS) -> str:
    """Write such a kernel; its path."""
    with open(f"{path}.sh", "w") as file:
        file.write(answers + script)
    with open(path, "wb") as program:
        program.write(elf(f"{path}.sh"))
    os.chmod(path, 0o755)
    return path
