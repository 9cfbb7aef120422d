"""Passwords of users in an image: the line of /etc/shadow, or of /etc/passwd, that has one."""

from __future__ import annotations

import ctypes
import ctypes.util
from typing import Final

from umlctl.errors import HostError

LOCKED: Final = "*"
"""What no password is."""
_PREFIX: Final = b"$6$"
"""SHA-512, which every libcrypt knows. Source: crypt(5)"""
MAX_BYTES: Final = 512
"""The longest password. Source: CRYPT_MAX_PASSPHRASE_SIZE of crypt(3)"""


def hashed(password: str) -> str:
    """A password as /etc/shadow has it, by this host's libcrypt.

    Raises: HostError: there is none, or it does not take the password
    """
    encoded = password.encode("utf-8", "surrogateescape")  # as it was read
    if not encoded or len(encoded) >= MAX_BYTES or b"\0" in encoded or b"\n" in encoded:
        raise HostError(f"a password has 1 to {MAX_BYTES - 1} bytes in one line")
    name = ctypes.util.find_library("crypt") or "libcrypt.so.1"
    try:
        library = ctypes.CDLL(name)
        salt, crypt = library.crypt_gensalt, library.crypt
    except (OSError, AttributeError) as problem:
        raise HostError(f"passwords take {name}, which is not here as it has to be") from problem
    salt.restype = crypt.restype = ctypes.c_char_p
    salt.argtypes = [ctypes.c_char_p, ctypes.c_ulong, ctypes.c_char_p, ctypes.c_int]
    crypt.argtypes = [ctypes.c_char_p, ctypes.c_char_p]
    found: bytes | None = crypt(encoded, salt(_PREFIX, 0, None, 0))
    if not found or not found.startswith(_PREFIX):
        raise HostError(f"{name} takes no such password")
    return found.decode("ascii")


def with_password(table: bytes, user: str, word: str) -> bytes | None:
    """A table with another password of a user; None: it has no such user.

    table: /etc/shadow or /etc/passwd
    word: see `hashed`, or LOCKED
    """
    lines = table.split(b"\n")
    for number, line in enumerate(lines):
        fields = line.split(b":")
        if len(fields) > 1 and fields[0] == user.encode():
            fields[1] = word.encode()
            lines[number] = b":".join(fields)
            return b"\n".join(lines)
    return None
