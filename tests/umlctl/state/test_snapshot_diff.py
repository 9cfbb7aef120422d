from __future__ import annotations

import os
from pathlib import Path

from tests.snapshots import disk, take, write
from umlctl.state.snapshot_diff import Difference, by_disk


def test_what_was_written_since_differs(house: str) -> None:
    made, plain = disk(house), f"{house}/plain.img"
    Path(plain).write_bytes(b"\0" * (3 << 20) + b"x" * 4096)
    one = take("one", {"demo": [made, plain]}, time=1.0)
    assert [each.bytes for each in by_disk(one, None)] == [0, 0]
    write(made, 50, b"new")
    with open(plain, "r+b") as file:
        file.seek(1 << 20)
        file.write(b"new")
        file.seek(3 << 20)
        file.write(b"y" * 600)
    two = take("two", {"demo": [made, plain]}, time=2.0)
    assert list(by_disk(one, None)) == [
        Difference("demo", "ubd1", 512),
        Difference("demo", "ubd2", 1536),
    ]
    assert list(by_disk(one, two)) == list(by_disk(one, None))
    assert [each.bytes for each in by_disk(two, two)] == [0, 0]


def test_what_cannot_be_compared_is_said(house: str) -> None:
    made = disk(house)
    one = take("one", {"demo": [made]})
    two = take("two", {"other": [disk(house, "other")]})
    assert list(by_disk(one, two)) == [Difference("demo", "ubd1", None, "two has no such disk")]
    os.unlink(made.cow)
    (row,) = by_disk(one, None)
    assert row.bytes is None
    assert "No such file" in row.note
