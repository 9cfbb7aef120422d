"""ELF files of some bytes, with sections and a build ID."""

from __future__ import annotations

from struct import pack


def elf(*sections: str, build_id: bytes = b"") -> bytes:
    """A file with these sections, which are empty but for the build ID."""
    names = ["", ".shstrtab", *sections, *([".note.gnu.build-id"] if build_id else [])]
    text = b"\0".join(name.encode() for name in names) + b"\0"
    note = pack("<III", 4, len(build_id), 3) + b"GNU\0" + build_id
    begin = 64
    rows = b""
    at = 0
    for name in names:
        where, size = begin, 0
        if name == ".shstrtab":
            size = len(text)
        elif name == ".note.gnu.build-id":
            where, size = begin + len(text), len(note)
        rows += pack("<I20xQQ24x", at, where, size)
        at += len(name) + 1
    head = b"\x7fELF\x02\x01" + bytes(34)
    head += pack("<Q10xHHH", begin + len(text) + len(note), 64, len(names), 1)
    return head.ljust(64, b"\0") + text + note + rows
