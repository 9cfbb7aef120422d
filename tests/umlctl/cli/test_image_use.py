from __future__ import annotations

import io
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from umlctl import exitcodes
from umlctl.cli import image_guest
from umlctl.kernels import modules
from umlctl.state import image_store
from umlctl.storage import ext4

if TYPE_CHECKING:
    from tests.umlctl.cli.conftest import Supervisor

SHADOW = "root:*:1::::::\nme:!:1::::::\n"


@pytest.fixture
def image(supervisor: Supervisor, house: str) -> str:
    """The path of an image `mine`, with users."""
    os.makedirs(f"{house}/tree/etc")
    Path(f"{house}/tree/etc/shadow").write_text(SHADOW)
    os.chmod(f"{house}/tree/etc/shadow", 0o600)
    words = ("image", "build", "mine", "--from", f"{house}/tree", "--size", "8M")
    assert supervisor.main(*words) == 0
    return image_store.path_of("mine")


def test_password_is_anothers_and_all_else_stays(
    supervisor: Supervisor, image: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("secret\n"))
    assert supervisor.main("image", "passwd", "mine", "me") == 0
    assert supervisor.out == "me has another password in mine\n"
    said = (ext4.contents(image, "/etc/shadow") or b"").decode()
    assert said.startswith("root:*:1::::::\nme:$6$")
    assert "secret" not in said
    assert supervisor.main("image", "passwd", "mine", "me", "--lock") == 0
    assert supervisor.out == "me can log in by no password in mine\n"
    said = (ext4.contents(image, "/etc/shadow") or b"").decode()
    assert said == SHADOW.replace("me:!", "me:*")
    assert ext4.status(image, "/etc/shadow") == (0o600, 0, 0)


def test_password_that_cannot_be_set_is_said(
    supervisor: Supervisor, image: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = Path(image).read_bytes()
    monkeypatch.setattr(sys, "stdin", io.StringIO("x\ny\n"))
    assert supervisor.main("image", "passwd", "mine", "you") == exitcodes.FAILED
    assert "there is no user you in it" in supervisor.err
    monkeypatch.setattr(sys, "stdin", io.StringIO(""))
    assert supervisor.main("image", "passwd", "mine") == exitcodes.USAGE
    assert "no password to read" in supervisor.err
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"\xff\n"), "utf-8"))
    assert supervisor.main("image", "passwd", "mine") == exitcodes.USAGE
    assert "is no text" in supervisor.err
    assert Path(image).read_bytes() == before
    Path(image).write_bytes(b"XFSB".ljust(8192, b"\0"))
    assert supervisor.main("image", "passwd", "mine", "--lock") == exitcodes.FAILED
    assert "it is an XFS file system, and no ext4" in supervisor.err


def test_shell_is_that_of_a_guest(
    supervisor: Supervisor, image: str, house: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[object] = []

    def shell(*words: object) -> int:
        asked.append(words)
        return 5

    monkeypatch.setattr(image_guest, "shell", shell)
    assert supervisor.main("image", "shell", "mine", "--nic", "user", "--", "ls", "-l") == 5
    Path(f"{house}/cd.iso").write_bytes(bytes(32769) + b"CD001" + bytes(8192))
    assert supervisor.main("image", "shell", f"{house}/cd.iso") == 5
    assert asked == [
        (image, ("ls", "-l"), 0, "rw", ("user",)),
        (f"{house}/cd.iso", (), 0, "ro", ()),
    ]


@pytest.mark.parametrize(
    ("begin", "said"),
    [
        (b"", "is nothing that is known, and no file system"),
        (b"QFI\xfb", "is a qcow2 image, and no file system; `qemu-img convert"),
    ],
)
def test_shell_takes_a_file_system(
    supervisor: Supervisor, house: str, begin: bytes, said: str
) -> None:
    Path(f"{house}/x").write_bytes(begin.ljust(8192, b"\0"))
    assert supervisor.main("image", "shell", f"{house}/x") == exitcodes.FAILED
    assert said in supervisor.err
    assert supervisor.main("image", "shell", f"{house}/none") == exitcodes.FAILED
    assert "there is no file" in supervisor.err


def test_modules_that_are_not_whole_leave_the_image_as_it_was(
    supervisor: Supervisor, image: str, house: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def put(_what: str, path: str, _kernel: str, source: str, release: str) -> None:
        with open(path, "r+b") as file:
            file.write(f"{source} {release}".encode())
        if source == "/bad":
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(image_guest, "put_modules_in", put)
    before = Path(image).read_bytes()
    monkeypatch.setattr(modules, "of_release", lambda _kernel: "/bad")
    assert supervisor.main("image", "modules", "mine") == exitcodes.FAILED
    assert "No space left on device; make room there" in supervisor.err
    monkeypatch.setattr(modules, "of_release", lambda _kernel: "")
    assert supervisor.main("image", "modules", "mine") == exitcodes.FAILED
    assert "has no modules of" in supervisor.err
    os.mkdir(f"{house}/large")
    with open(f"{house}/large/x.ko", "xb") as file:
        file.truncate(9 << 20)
    monkeypatch.setattr(modules, "of_release", lambda _kernel: f"{house}/large")
    assert supervisor.main("image", "modules", "mine") == exitcodes.FAILED
    assert "they take 9.0M" in supervisor.err
    assert "`umlctl image resize mine SIZE` gives it more" in supervisor.err
    assert Path(image).read_bytes() == before
    monkeypatch.setattr(modules, "of_release", lambda _kernel: "/good")
    assert supervisor.main("image", "modules", "mine", "--json") == 0
    assert Path(image).read_bytes().startswith(b"/good ")
    assert "modules" in image_store.load("mine").recipe
