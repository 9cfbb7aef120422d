from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.umlctl.backends.conftest import entry
from umlctl.backends.memory import MEMORY

if TYPE_CHECKING:
    from tests.umlctl.backends.conftest import Answers

MEMINFO = "MemTotal: 512 kB\nMemFree: 100 kB\nMemAvailable: 120 kB\nHugetlb: 0 kB\nDirectMap\n"


async def test_memory_is_told_in_bytes(kernel: Answers) -> None:
    kernel["proc meminfo"] = MEMINFO
    found = await MEMORY.observe(entry("mem"), kernel)
    assert found == {"total": 512 << 10, "free": 100 << 10, "available": 120 << 10}


@pytest.mark.parametrize("answer", ["", "MemTotal: much kB\n", MEMINFO.replace("Free", "Full")])
async def test_guest_that_does_not_tell_all_of_it_tells_nothing(
    kernel: Answers, answer: str
) -> None:
    kernel["proc meminfo"] = answer
    assert await MEMORY.observe(entry("mem"), kernel) is None


async def test_kernel_that_refuses_tells_nothing(kernel: Answers) -> None:
    assert await MEMORY.observe(entry("mem"), kernel) is None
