from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.damage import damaged
from umlctl.state.checksum import Damaged, seal, unseal

objects = st.dictionaries(st.text(), st.text() | st.integers() | st.none(), min_size=1)


@given(objects)
def test_object_is_what_was_sealed_and_can_be_read_with_its_seal(value: dict[str, object]) -> None:
    plain = json.dumps(value).encode()
    sealed = seal(plain)
    assert unseal(sealed) == plain
    assert json.loads(sealed).items() >= {k: v for k, v in value.items() if k != "crc"}.items()


@given(st.dictionaries(st.text(min_size=1), st.integers(), min_size=1))
def test_damage_never_goes_unnoticed(value: dict[str, int]) -> None:
    """What can still be read says the same."""
    value.pop("crc", None)
    plain = json.dumps({"a": 1, **value}).encode()
    for data in damaged(seal(plain)):
        try:
            found = json.loads(unseal(data))
        except ValueError:
            continue
        assert found.items() >= json.loads(plain).items()


def test_object_without_a_seal_is_taken_as_it_is() -> None:
    for data in (b"", b"{", b'{"name": "lan"}\n', b'{"crc":"1"}', b"\0" * 100):
        assert unseal(data) == data


def test_object_that_was_changed_is_refused() -> None:
    with pytest.raises(Damaged, match="damaged, or was changed by hand"):
        unseal(seal(b'{"a":1}').replace(b"1,", b"2,"))
