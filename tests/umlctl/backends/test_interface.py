"""What holds of a family unless it says otherwise."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

import pytest

from tests.umlctl.backends.conftest import SYSFS, entry
from umlctl.backends.interface import Backend, Owner, has_sysfs
from umlctl.guest.specs import parse_disk

if TYPE_CHECKING:
    from tests.umlctl.backends.conftest import Answers

PLAIN = Backend("new")
NOBODY = Owner("demo", "/none", "/none/console.log")


def test_device_takes_nothing_of_the_host() -> None:
    there = entry("new0")
    PLAIN.check("new0=x", 1)
    PLAIN.check_again(there)
    PLAIN.renew(there, 1)
    said = [PLAIN.note(there), PLAIN.undo(there, NOBODY), PLAIN.release(there, NOBODY)]
    assert said == ["", "", ""]
    assert list(PLAIN.numbers()) == []
    with pytest.raises(NotImplementedError):
        PLAIN.prepare(parse_disk("/a"), 0, NOBODY, ())


async def test_device_is_what_its_kernel_says_of_it(kernel: Answers) -> None:
    assert await PLAIN.observe(entry("new0"), kernel) is None
    kernel["config new0"] = "words\n"
    assert await PLAIN.observe(entry("new0"), kernel) == {"config": "words"}


async def test_open_device_stays_open_and_the_kernel_says_why(kernel: Answers) -> None:
    assert not await PLAIN.lets_go("new0", kernel)
    assert await PLAIN.why_open("new0", "Device is in use", kernel) == "new0: Device is in use"
    assert kernel.asked == []
    assert PLAIN.stand_in("new0") == ""


@pytest.mark.parametrize(
    ("said", "error", "words"),
    [
        ("Failed to parse", -errno.EINVAL, "Failed to parse"),
        ("", -errno.EISDIR, "Is a directory"),
        ("", 1, "the kernel cannot, and does not say why; its log may"),
    ],
)
def test_refusal_is_told_in_words(said: str, error: int, words: str) -> None:
    assert PLAIN.explain(said, error) == words


@pytest.mark.parametrize(
    ("mounts", "there"),
    [(SYSFS, True), ("none /proc proc rw 0 0\n", False), ("none /sys tmpfs rw 0 0\n", False)],
)
async def test_guest_may_have_no_sysfs(kernel: Answers, mounts: str, there: bool) -> None:
    kernel["proc 1/mounts"] = mounts
    assert await has_sysfs(kernel) is there
