from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from umlctl.testing import kept_output
from umlctl.testing.kept_output import KeptOutput


def keep(path: Path, pieces: list[bytes]) -> tuple[bytes, str]:
    """What is in the file in the end, and what is shown of the end."""
    with KeptOutput(str(path)) as output:
        for piece in pieces:
            output.add(piece)
        output.finish()
        return path.read_bytes(), output.last()


def test_all_of_what_is_short_is_kept(tmp_path: Path) -> None:
    assert keep(tmp_path / "f", [b"one\n", b"two\xff"]) == (b"one\ntwo\xff", "one\ntwo\\xff")


@given(st.lists(st.binary(max_size=60).map(lambda raw: raw.replace(b"[", b"(")), max_size=12))
def test_beginning_and_end_are_kept(pieces: list[bytes]) -> None:
    whole = b"".join(pieces)
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as place:
        for name, size in (("MAX_HEAD_BYTES", 30), ("MAX_TAIL_BYTES", 40), ("SHOWN_BYTES", 20)):
            patch.setattr(kept_output, name, size)
        found, last = keep(Path(place) / "f", pieces)
    assert found.startswith(whole[:30])
    assert found.endswith(whole[-30:])
    assert last == whole[-20:].decode("utf-8", "backslashreplace")
    if b"[" in found:
        head, _, rest = found.partition(b"\n[")
        count, _, tail = rest.partition(b" bytes are left out]\n")
        assert len(head) + int(count) + len(tail) == len(whole)
    else:
        assert found == whole
