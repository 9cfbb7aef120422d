from __future__ import annotations

import json
import os
import shlex
from typing import TYPE_CHECKING

from tests.umlctl.state.test_records import ended, write_record
from umlctl import exitcodes
from umlctl.definitions import files
from umlctl.host import paths
from umlctl.state import records

if TYPE_CHECKING:
    from tests.umlctl.cli.conftest import Started


def test_command_line_is_printed_and_nothing_is_started(started: Started, house: str) -> None:
    files.save("web", 'mem = "64M"\nnic = ["switch=lan", "tap=t0"]\ndisk = ["/a,cow=/b", "/c,ro"]')
    assert started.main("dumpargs", "web", "--", "quiet") == 0
    assert started.err == f"umlctl: web: as {files.own_path('web')} has it\n"
    words = shlex.split(started.out)
    assert words[0] == "/usr/bin/linux.uml"
    assert {"umid=web", "mem=65536K", "quiet", "ubd1=/b,/a", "ubd2r=/c"} <= set(words)
    port = paths.network_port("lan")
    assert any(word.startswith(f"vec0:transport=bess,dst={port},mac=") for word in words)
    assert any(word.startswith("vec1:transport=tap,ifname=t0,mac=") for word in words)
    assert started.main("dumpargs", "web", "--json", "--mem", "1G") == 0
    assert "mem=1048576K" in json.loads(started.out)
    assert started.definitions == []
    assert not os.path.exists(f"{house}/u/run")
    assert not os.path.exists("/b")


def test_guest_that_nobody_defined_is_one_by_its_options(started: Started) -> None:
    assert started.main("dumpargs", "demo", "--disk", "a,discard") == 0
    assert f"ubd1={paths.record_dir('demo')}/ubd1.cow,{os.getcwd()}/a" in started.out
    assert started.main("dumpargs", "demo", "--nic", "switch=../x") == exitcodes.USAGE


def test_guest_that_nobody_defined_is_as_it_was_started_and_runs(started: Started) -> None:
    write_record(umid="demo", mem=77 << 20, append=("quiet",))
    for _ in range(2):
        assert started.main("dumpargs", "demo") == 0
        assert {"mem=78848K", "quiet"} <= set(shlex.split(started.out))
        assert started.main("dumpargs", "demo", "--mem", "1G") == 0
        assert "quiet" not in shlex.split(started.out)
        record = records.load("demo")
        assert record is not None
        record.ending = ended(0, 2.0)
        records.save(record)
