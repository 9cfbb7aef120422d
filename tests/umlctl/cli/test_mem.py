from __future__ import annotations

import errno
import json
from typing import TYPE_CHECKING

import pytest

from umlctl import exitcodes

if TYPE_CHECKING:
    from tests.umlctl.cli.conftest import Supervisor

MEMINFO = b"\nMemTotal:  262144 kB\nMemFree:  65536 kB\nMemAvailable:  131072 kB\nDirectMap\n"
TAKEN = {"name": "mem", "asked": "mem=-64M", "kernel": "mem=-64M", "boot": False, "observed": None}


@pytest.fixture(autouse=True)
def tells(supervisor: Supervisor) -> None:
    supervisor.answers["proc meminfo"] = (MEMINFO, 0)


def test_memory_is_shown(supervisor: Supervisor) -> None:
    for words in ((), ("show",)):
        assert supervisor.main("mem", "demo", *words) == 0
        assert supervisor.out == "demo: 256.0M in all, 128.0M available\n"
    supervisor.table = [TAKEN]
    assert supervisor.main("mem", "demo") == 0
    assert supervisor.out == "demo: 256.0M in all, 128.0M available, 64.0M taken\n"
    assert set(supervisor.asked) == {"proc meminfo", "devices"}


def test_memory_as_json(supervisor: Supervisor) -> None:
    supervisor.table = [TAKEN]
    assert supervisor.main("mem", "demo", "--json") == 0
    assert json.loads(supervisor.out) == {
        "total": 256 << 20,
        "free": 64 << 20,
        "available": 128 << 20,
        "taken": 64 << 20,
    }


@pytest.mark.parametrize(
    ("change", "sent"),
    [("-64M", "mem=-64M"), ("+64m", "mem=+64M"), ("-1G", "mem=-1G"), ("+65536k", "mem=+64M")],
)
def test_memory_is_taken_and_given_back(supervisor: Supervisor, change: str, sent: str) -> None:
    assert supervisor.main("mem", "demo", change) == 0, supervisor.err
    assert supervisor.asked == [f"config {sent}", "proc meminfo", "devices"]
    assert supervisor.out.startswith("demo: 256.0M in all")


def test_change_is_forced(supervisor: Supervisor) -> None:
    assert supervisor.main("mem", "demo", "-64M", "--force") == 0
    assert supervisor.asked[0] == "!config mem=-64M"


@pytest.mark.parametrize("change", ["64M", "-1", "-0", "+", "-64T", "all", "--nonsense"])
def test_what_is_no_change_is_a_usage_error_and_nothing_is_sent(
    supervisor: Supervisor, change: str
) -> None:
    assert supervisor.main("mem", "demo", change) == exitcodes.USAGE
    assert supervisor.asked == []


def test_refusal_is_the_supervisors_word(supervisor: Supervisor) -> None:
    supervisor.refuse("config mem=-1G", "mem: 1048576K is too much", -errno.ENOMEM)
    assert supervisor.main("mem", "demo", "-1G") == exitcodes.REFUSED
    assert (supervisor.out, supervisor.err) == ("", "umlctl: demo: mem: 1048576K is too much\n")


@pytest.mark.parametrize("said", [b"", b"MemTotal:\n", b"MemTotal: much kB\n", b"\xff"])
def test_guest_that_does_not_tell_is_an_error(supervisor: Supervisor, said: bytes) -> None:
    supervisor.answers["proc meminfo"] = (said, 0)
    assert supervisor.main("mem", "demo", "--json") == exitcodes.FAILED
    assert supervisor.err == "umlctl: demo: the guest does not say how much memory it has\n"
