from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from umlctl.errors import UsageError
from umlctl.guest import shares
from umlctl.guest.shares import Share

NAMES = st.text(st.characters(exclude_characters="/,:\0", codec="utf-8"), min_size=1).filter(
    lambda name: name not in (".", "..")
)
PATHS = st.lists(NAMES, min_size=1, max_size=4).map(lambda names: "/" + "/".join(names))


@pytest.mark.parametrize(
    ("text", "share"),
    [
        ("/a", Share("/a", "/a")),
        ("/a:/b/../c,ro", Share("/a", "/c", readonly=True)),
        ("src:/mnt", Share("/here/src", "/mnt")),
        (".,ro", Share("/here", "/here", readonly=True)),
    ],
)
def test_share_is_read(text: str, share: Share) -> None:
    assert shares.parse(text, "/here") == share


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("/a,rw", "there can be ,ro, not 'rw'"),
        ("/a:b", "in the guest begins with /"),
        ("/a:/", "over the guest's root"),
        ("/a:/..", "over the guest's root"),
        ("/a://", "over the guest's root"),
        ("", "names no directory"),
        (":/b", "names no directory"),
        ("/a\0", "names no directory"),
    ],
)
def test_what_is_no_share_is_an_error(text: str, why: str) -> None:
    with pytest.raises(UsageError, match=why):
        shares.parse(text, "/here")


def test_relative_directory_has_to_be_of_somewhere() -> None:
    with pytest.raises(UsageError, match="the directory of the host begins with /"):
        shares.parse("src:/mnt")


@given(PATHS, PATHS, st.booleans())
def test_what_is_written_is_read(source: str, target: str, readonly: bool) -> None:
    share = Share(source, target, readonly=readonly)
    assert shares.parse(str(share)) == share


@given(st.text())
def test_any_text_is_a_share_or_an_error(text: str) -> None:
    try:
        found = shares.parse(text, "/here")
    except UsageError:
        return
    assert shares.parse(str(found)) == found
