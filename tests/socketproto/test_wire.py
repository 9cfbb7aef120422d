from __future__ import annotations

from struct import pack

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from socketproto.wire import (
    HANG,
    MAGIC,
    MAX_DATA_BYTES,
    MAX_TEXT_BYTES,
    NOTIFICATION_BYTES,
    PANIC,
    REPLY_BYTES,
    REQUEST_BYTES,
    SOCKET,
    USER,
    Notification,
    Reply,
    Request,
    RequestError,
    WireError,
)

texts = st.binary(max_size=MAX_TEXT_BYTES).map(lambda data: data.replace(b"\0", b"x"))
errors = st.integers(-(2**31), 2**31 - 1)
words32 = st.integers(0, 2**32 - 1)


def request(length: int, data: bytes, magic: int = MAGIC, version: int = 2) -> bytes:
    return pack("=III", magic, version, length) + data


def reply(length: int, data: bytes, error: int = 0, more: int = 0) -> bytes:
    return pack("=iII", error, more, length) + data


def notification(kind: int, length: int, data: bytes, version: int = 2) -> bytes:
    return pack("=IIiI", MAGIC, version, kind, length) + data


# Requests


@given(texts)
def test_request_survives_the_wire(data: bytes) -> None:
    assert Request.decode(Request(data).encode()) == Request(data)


@given(texts)
def test_request_is_padded_so_that_the_kernel_reads_nothing_stale(data: bytes) -> None:
    datagram = Request(data).encode()
    assert len(datagram) == REQUEST_BYTES == 524
    assert datagram[12 + len(data) :].strip(b"\0") == b""
    assert datagram[:12] == pack("=III", 0xCAFEBABE, 2, len(data))


@given(texts)
def test_unpadded_request_is_read(data: bytes) -> None:
    assert Request.decode(request(len(data), data)).data == data


@given(texts, st.binary(max_size=40))
def test_bytes_after_the_length_are_not_read(data: bytes, after: bytes) -> None:
    assert Request.decode(request(len(data), data + after)).data == data


def test_length_shorter_than_the_data_cuts_it() -> None:
    assert Request.decode(request(3, b"version")).data == b"ver"


def test_length_may_count_the_nul() -> None:
    assert Request.decode(request(8, b"version\0")).data == b"version"


def test_request_of_511_bytes_passes() -> None:
    data = b"log " + b"x" * 507
    assert Request.decode(request(511, data)).data == data


@pytest.mark.parametrize("length", [512, 513, 524, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF])
def test_request_of_512_bytes_and_more_is_too_large(length: int) -> None:
    with pytest.raises(RequestError, match="Request too large") as caught:
        Request.decode(request(length, b"x" * 512))
    assert caught.value.error == 1


def test_request_of_another_version_is_refused_as_the_kernel_words_it() -> None:
    for version in (0, 1, 3):
        with pytest.raises(RequestError, match="only supports version 2 clients"):
            Request.decode(request(7, b"version", version=version))


@pytest.mark.parametrize("magic", [0, 0xBEBAFECA, 0xCAFEBABF])
def test_request_without_the_magic_number_is_refused(magic: int) -> None:
    with pytest.raises(RequestError, match="magic"):
        Request.decode(request(7, b"version", magic=magic))


@pytest.mark.parametrize("size", range(12))
def test_request_shorter_than_its_header_is_refused(size: int) -> None:
    with pytest.raises(RequestError, match="at least 12 bytes"):
        Request.decode(request(0, b"")[:size])


def test_request_that_lacks_data_is_refused() -> None:
    with pytest.raises(RequestError, match="says 7 bytes and has 3"):
        Request.decode(request(7, b"ver"))


def test_request_that_cannot_be_sent_is_not_made() -> None:
    with pytest.raises(WireError, match="at most 511 bytes, this one 512"):
        Request(b"x" * 512)
    with pytest.raises(WireError, match="NUL"):
        Request(b"a\0b")


@given(st.binary(max_size=600))
@example(b"")
def test_any_datagram_is_a_request_or_a_refusal_that_can_be_answered(datagram: bytes) -> None:
    try:
        data = Request.decode(datagram).data
    except RequestError as problem:
        Reply(problem.error, False, str(problem).encode())
    else:
        assert b"\0" not in data
        assert len(data) <= MAX_TEXT_BYTES
        assert data in datagram


@given(words32, words32, words32, st.binary(max_size=600))
def test_any_header_is_a_request_or_a_refusal(
    magic: int, version: int, length: int, data: bytes
) -> None:
    try:
        Request.decode(request(length, data, magic, version))
    except RequestError:
        assert (magic, version) != (MAGIC, 2) or length > MAX_TEXT_BYTES or length > len(data)
    else:
        assert (magic, version) == (MAGIC, 2)


# Replies


@given(errors, st.booleans(), texts)
def test_reply_survives_the_wire(error: int, more: bool, data: bytes) -> None:
    assert Reply.decode(Reply(error, more, data).encode()) == Reply(error, more, data)


@given(errors, texts)
def test_length_of_a_reply_counts_the_nul(error: int, data: bytes) -> None:
    datagram = Reply(error, False, data).encode()
    assert datagram == pack("=iII", error, 0, len(data) + 1) + data + b"\0"
    assert len(datagram) <= REPLY_BYTES == 524


def test_full_reply_holds_511_bytes() -> None:
    data = b"x" * 511
    assert Reply.decode(reply(512, data + b"\0", more=1)) == Reply(0, True, data)


@pytest.mark.parametrize("error", [0, 1, -1, -2, -16, -19, -22, -(2**31), 2**31 - 1])
def test_error_of_a_reply_is_signed(error: int) -> None:
    assert Reply.decode(reply(1, b"\0", error)).error == error


@pytest.mark.parametrize("more", [1, 2, 0xFFFFFFFF])
def test_any_more_that_is_not_zero_is_more(more: int) -> None:
    assert Reply.decode(reply(1, b"\0", more=more)).more is True


def test_reply_ends_at_its_first_nul() -> None:
    assert Reply.decode(reply(6, b"ab\0cd\0")).data == b"ab"


def test_reply_without_a_nul_is_read_whole() -> None:
    assert Reply.decode(reply(2, b"OK")).data == b"OK"
    assert Reply.decode(reply(0, b"")).data == b""


def test_bytes_after_the_length_of_a_reply_are_not_read() -> None:
    assert Reply.decode(reply(3, b"OK\0stale words")).data == b"OK"


@pytest.mark.parametrize("length", [3, 512, 513, 0x7FFFFFFF, 0xFFFFFFFF])
def test_reply_that_says_more_than_it_has_is_no_reply(length: int) -> None:
    with pytest.raises(WireError, match=f"says {length} bytes and has 2"):
        Reply.decode(reply(length, b"OK"))


def test_reply_that_says_more_than_fits_is_no_reply() -> None:
    with pytest.raises(WireError):
        Reply.decode(reply(513, b"x" * 513))
    with pytest.raises(WireError, match="at most 511"):
        Reply.decode(reply(512, b"x" * 512))


@pytest.mark.parametrize("size", range(12))
def test_reply_shorter_than_its_header_is_no_reply(size: int) -> None:
    with pytest.raises(WireError, match="at least 12 bytes"):
        Reply.decode(reply(0, b"")[:size])


def test_bare_text_of_a_kernel_that_misread_us_is_told() -> None:
    said = b"ERR Version 0 mconsole clients are not supported by this driver"
    with pytest.raises(WireError, match="ERR Version 0 mconsole clients are not supported"):
        Reply.decode(said + b"\0")


def test_reply_that_cannot_be_sent_is_not_made() -> None:
    with pytest.raises(WireError, match="at most 511 bytes, not 512"):
        Reply(0, False, b"x" * 512)
    with pytest.raises(WireError, match="NUL"):
        Reply(0, False, b"a\0b")
    for error in (-(2**31) - 1, 2**31):
        with pytest.raises(WireError, match="32 bits"):
            Reply(error, False, b"")


@given(st.binary(max_size=600))
@example(b"ERR " * 4)
def test_any_datagram_is_a_reply_or_a_wire_error(datagram: bytes) -> None:
    try:
        found = Reply.decode(datagram)
    except WireError:
        return
    assert found.data in datagram
    assert b"\0" not in found.data


@given(errors, words32, st.integers(0, 600), st.binary(max_size=600))
def test_any_reply_header_is_a_reply_or_a_wire_error(
    error: int, more: int, length: int, data: bytes
) -> None:
    try:
        found = Reply.decode(reply(length, data, error, more))
    except WireError:
        assert length > min(len(data), MAX_TEXT_BYTES)
    else:
        assert (found.error, found.more) == (error, more != 0)
        assert data[:length].startswith(found.data)


# Notifications


@given(st.sampled_from([SOCKET, PANIC]), texts)
def test_words_of_the_kernel_lose_the_nul_that_it_counts(kind: int, data: bytes) -> None:
    found = Notification.decode(notification(kind, len(data) + 1, data + b"\0"))
    assert found == Notification(kind, data)


def test_panic_is_read_as_the_kernel_sends_it() -> None:
    datagram = notification(PANIC, 22, b"sysrq triggered crash\0")
    assert len(datagram) == 38
    assert Notification.decode(datagram) == Notification(PANIC, b"sysrq triggered crash")


@given(st.binary(max_size=MAX_DATA_BYTES))
def test_user_bytes_are_kept_as_they_are(data: bytes) -> None:
    made = Notification(USER, data)
    assert Notification.decode(made.encode()) == made
    assert len(made.encode()) == 16 + len(data) <= NOTIFICATION_BYTES == 528


@given(st.binary(max_size=16))
def test_malformed_hang_of_the_watchdog_is_a_hang(garbage: bytes) -> None:
    datagram = notification(HANG, 2, b"", version=0)[:12] + garbage
    assert Notification.decode(datagram) == Notification(HANG, b"")


def test_hang_of_24_bytes_as_the_watchdog_sends_it() -> None:
    datagram = notification(HANG, 2, b"\x7f\x01\xfe\0\0\0\0\0", version=0)
    assert len(datagram) == 24
    assert Notification.decode(datagram).kind == HANG


def test_notification_that_says_more_than_it_has_gives_what_it_has() -> None:
    assert Notification.decode(notification(USER, 900, b"ready")).data == b"ready"
    assert Notification.decode(notification(USER, 2, b"ready")).data == b"re"


def test_unknown_kind_is_passed_on() -> None:
    for kind in (-1, 4, 77):
        assert Notification.decode(notification(kind, 1, b"a")) == Notification(kind, b"a")


@pytest.mark.parametrize("size", range(12))
def test_notification_shorter_than_its_kind_is_no_notification(size: int) -> None:
    with pytest.raises(WireError, match="at least 12 bytes"):
        Notification.decode(notification(USER, 0, b"")[:size])


@pytest.mark.parametrize("size", range(12, 16))
def test_notification_without_its_length_is_no_notification(size: int) -> None:
    with pytest.raises(WireError, match="16 bytes before its data"):
        Notification.decode(notification(USER, 0, b"")[:size])


def test_notification_without_the_magic_number_is_no_notification() -> None:
    with pytest.raises(WireError, match="magic"):
        Notification.decode(b"\0" * 16)


def test_notification_too_long_for_the_wire_is_not_made() -> None:
    with pytest.raises(WireError, match="at most 512 bytes, not 513"):
        Notification(USER, b"x" * 513)


@given(st.binary(max_size=600) | st.binary(max_size=600).map(pack("=I", MAGIC).__add__))
def test_any_datagram_is_a_notification_or_a_wire_error(datagram: bytes) -> None:
    try:
        found = Notification.decode(datagram)
    except WireError:
        return
    assert found.data in datagram
    assert len(found.data) <= MAX_DATA_BYTES


# All of them


def test_datagrams_are_values() -> None:
    assert Request(b"a") == Request(b"a") != Request(b"b")
    assert Reply(0, False, b"a") != Reply(1, False, b"a")
    assert len({Reply(0, True, b"a"), Reply(0, True, b"a"), Notification(0, b"a")}) == 2
    assert Request(b"") != Notification(0, b"")
    assert repr(Reply(1, False, b"x")) == "Reply(data=b'x', error=1, more=False)"


def test_datagrams_are_frozen() -> None:
    for record in (Request(b"a"), Reply(0, False, b"a"), Notification(0, b"a")):
        with pytest.raises(AttributeError, match="frozen"):
            record.data = b"b"
