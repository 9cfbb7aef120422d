"""Files out of a running guest: what comes is the file, or an error."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.live.conftest import WHOLE
from umlctl import exitcodes

if TYPE_CHECKING:
    from pathlib import Path

    from tests.live.conftest import House

MAKE = """mkdir /tmp/c && cd /tmp/c && python3 - <<'end'
import os
files = {
    "text": b"one\\ntwo\\n",
    "empty": b"",
    "high": bytes(range(128, 256)) * 100 + b"\\n",
    "blocks": b"x" * 8189 + b"\\n",
    "long": b"".join(b"%07d\\n" % number for number in range(100_000)),
    "first": b"\\0",
    "early": b"a" * 100 + b"\\0" * 3995 + b"b\\n",
    "middle": b"x\\n" * 600 + b"\\0b\\n" + b"x\\n" * 5000,
    "open": b"no newline",
    "a b": b"blank\\n",
    "after": b"a\\n\\0b\\n",
    "last": b"a\\n\\0",
    "end": b"a\\n\\x1a\\0b\\n",
}
for name, data in files.items():
    with open(name, "wb") as file:
        file.write(data)
end
ln -s text relative; ln -s /tmp/c/text absolute; mkdir dir"""


@pytest.fixture(scope="module")
def filled(house: House, shared: str) -> str:
    """A guest with files of all sorts."""
    house.shell(shared, MAKE)
    return shared


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("text", b"one\ntwo\n"),
        ("relative", b"one\ntwo\n"),
        ("empty", b""),
        ("open", b"no newline"),
        ("a b", b"blank\n"),
        ("high", bytes(range(128, 256)) * 100 + b"\n"),
        ("blocks", b"x" * 8189 + b"\n"),
        ("long", b"".join(b"%07d\n" % number for number in range(100_000))),
    ],
)
def test_text_comes_as_it_is(
    house: House, filled: str, tmp_path: Path, name: str, wanted: bytes
) -> None:
    house.ok("collect", filled, f"/tmp/c/{name}", "--to", str(tmp_path))
    assert (tmp_path / name).read_bytes() == wanted
    assert house.status(filled)["state"] == "running"


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("first", exitcodes.TRUNCATED),
        ("early", exitcodes.TRUNCATED),
        ("middle", exitcodes.TRUNCATED),
        ("end", exitcodes.TRUNCATED),
        ("after", exitcodes.TRUNCATED),
        ("last", exitcodes.TRUNCATED),
        ("absolute", exitcodes.REFUSED),
        ("dir", exitcodes.REFUSED),
        ("none", exitcodes.REFUSED),
    ],
)
def test_what_cannot_be_had_whole_is_refused(
    house: House, filled: str, tmp_path: Path, name: str, code: int
) -> None:
    done = house.umlctl("collect", filled, f"/tmp/c/{name}", "--to", str(tmp_path))
    assert (done.returncode, done.stdout) == (code, "")
    assert f"/tmp/c/{name}: " in done.stderr
    assert not list(tmp_path.iterdir())


def test_same_file_gets_the_same_answer_each_time(
    house: House, filled: str, tmp_path: Path
) -> None:
    """However soon the kernel answers."""
    for name in ("first", "middle", "last"):
        for _ in range(200 if WHOLE else 10):
            done = house.umlctl("collect", filled, f"/tmp/c/{name}", "--to", str(tmp_path))
            assert (done.returncode, done.stdout) == (exitcodes.TRUNCATED, "")
        if name == "last":
            continue  # `proc` cannot see that; `collect` has it counted in the guest
        answers = {house.ask(filled, f"proc 1/root/tmp/c/{name}").error for _ in range(200)}
        assert answers == {exitcodes.ENODATA}


def test_data_of_a_disk_to_discard_are_out_before_it_ends(
    house: House, umid: str, tmp_path: Path
) -> None:
    image = tmp_path / "disk.img"
    with image.open("wb") as file:
        file.truncate(16 << 20)
    done = house.umlctl("start", umid, "--mem", "64M", "--disk", f"{image},discard")
    assert f"`umlctl collect {umid} PATH` copies files out" in done.stderr
    house.has_shell(umid)
    house.shell(umid, "mke2fs -q /dev/ubdb && mount /dev/ubdb /mnt && echo 42 >/mnt/result")
    house.ok("collect", umid, "/mnt/result", "--to", str(tmp_path / "out"))
    assert (tmp_path / "out" / "result").read_text() == "42\n"
