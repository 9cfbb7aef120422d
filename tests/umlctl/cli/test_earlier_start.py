from __future__ import annotations

import os
import shlex
from typing import TYPE_CHECKING

import pytest

from tests.umlctl.state.test_records import ended, keep
from umlctl import exitcodes
from umlctl.cli import earlier_start
from umlctl.host import paths, processes
from umlctl.protocol.status import Ending
from umlctl.state import records

if TYPE_CHECKING:
    from tests.umlctl.cli.conftest import Started


OPTIONS = [
    [],
    ["--mem", "512M", "--root", "/tmp", "--init", "/bin/a b", "--single", "-v", "--aslr"],
    ["--nic", "switch=lan", "--nic", "user,forward=8080:80", "--disk", "a.img,ro"],
    ["--append", "quiet", "--timeout", "7", "--cpu-limit", "150", "--memory-limit", "1G"],
    ["--restart", "always", "--on-hang", "kill", "--allow-user", "root:read", "--", "a", "b=c"],
]


@pytest.mark.parametrize("options", OPTIONS)
def test_guest_that_has_ended_is_started_as_it_was_last(
    started: Started, options: list[str]
) -> None:
    assert started.main("start", "demo", *options) == 0
    first = started.definitions[-1]
    os.makedirs(paths.record_dir("demo"))
    record = records.Record(
        definition=first, supervisor_pid=1, pid=1, started=1, boot_id="gone", since=1.0
    )
    record.ending = Ending(cause="exited", code=0, time=2.0)
    records.save(record)
    os.chdir("/")
    assert started.main("start", "demo") == 0
    assert started.definitions[-1] == first
    assert "umlctl: demo: as it was started last" in started.err
    os.chdir(first.cwd)
    again_by_words = shlex.split(earlier_start.words(first))
    assert started.main("start", "demo", *again_by_words) == 0
    assert started.definitions[-1] == first
    assert "a new guest of this name" not in started.err
    assert started.main("start", "demo", "--ncpus", "1", "--mem", "77M") == 0
    assert started.definitions[-1].mem == 77 << 20
    said = "demo: a new guest of this name; it was started last with "
    assert said + (earlier_start.words(first) or "no options") in started.err


def test_what_was_started_as_linux_is_no_guest_to_be_started_again(started: Started) -> None:
    keep("demo", own_line=True, ending=ended(0, 2.0))
    assert earlier_start.last("demo") is None
    assert started.main("start", "demo") == 0
    assert "demo: a new guest of this name; the last one was started as `linux`" in started.err
    keep("demo", ending=ended(0, 2.0))
    assert earlier_start.last("demo") is not None


def test_words_of_what_was_started_as_linux_are_its_own(started: Started) -> None:
    keep("demo", own_line=True, ending=ended(0, 2.0))
    assert started.main("show", "demo") == exitcodes.REFUSED
    assert "demo was started as `linux`, whose words are its own" in started.err
    assert started.main("dumpargs", "demo") == 0  # as `start` would start it now
    pid = os.getpid()
    alive = {"pid": pid, "started": processes.start_time(pid), "boot_id": records.host_boot_id()}
    keep("demo", own_line=True, **alive)
    assert started.main("dumpargs", "demo") == exitcodes.REFUSED
    assert "`umlctl import linux -- WORDS` makes a definition" in started.err
