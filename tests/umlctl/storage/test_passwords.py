from __future__ import annotations

import ctypes

import pytest
from hypothesis import given
from hypothesis import strategies as st

from umlctl.errors import HostError
from umlctl.storage.passwords import hashed, with_password


def test_password_is_as_libcrypt_has_it() -> None:
    found = hashed("pass wörd")
    assert found.startswith("$6$")
    crypt = ctypes.CDLL("libcrypt.so.1").crypt
    crypt.restype = ctypes.c_char_p
    assert crypt("pass wörd".encode(), found.encode()) == found.encode()
    assert hashed("pass wörd") != found
    assert hashed("\udcff").startswith("$6$")  # as it is read where no locale is set


@pytest.mark.parametrize("password", ["", "a\nb", "a\0b", "x" * 512])
def test_what_is_no_password_is_refused(password: str) -> None:
    with pytest.raises(HostError, match="1 to 511 bytes in one line"):
        hashed(password)


def test_host_without_libcrypt_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def none(_name: str) -> None:
        raise OSError("no such file")

    monkeypatch.setattr(ctypes, "CDLL", none)
    with pytest.raises(HostError, match="passwords take libcrypt"):
        hashed("x")


def test_only_the_line_of_the_user_is_another() -> None:
    table = b"root:*:1::::::\nme:!:1::::::\nrooter:x:1\n"
    assert with_password(table, "me", "$6$x") == table.replace(b"me:!:", b"me:$6$x:")
    assert with_password(table, "you", "x") is None
    assert with_password(b"me", "me", "x") is None


@given(st.binary(), st.sampled_from(["root", "me"]))
def test_any_table_is_read(table: bytes, user: str) -> None:
    found = with_password(table, user, "*")
    if found is not None:
        assert with_password(found, user, "*") == found
        assert found.count(b"\n") == table.count(b"\n")
