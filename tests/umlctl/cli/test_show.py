from __future__ import annotations

import json
from typing import TYPE_CHECKING

from tests.umlctl.state.test_records import keep, write_record
from umlctl import exitcodes
from umlctl.cli.show import compare
from umlctl.definitions import files
from umlctl.guest.definition import Definition
from umlctl.state import records

if TYPE_CHECKING:
    from tests.umlctl.cli.conftest import Started


def test_definition_is_shown_with_where_it_is(started: Started) -> None:
    base = files.save("base", 'mem = "1G"\n')
    path = files.save("web", '# mine\nextends = "base"\nncpus = 2\n')
    assert started.main("show", "web") == 0
    assert started.out == f'# {path}\n# extends {base}\n# mine\nextends = "base"\nncpus = 2\n'
    assert started.main("show", path, "--json") == 0
    assert json.loads(started.out) == {
        "umid": "web",
        "file": path,
        "extends": [base],
        "values": {"mem": "1G", "ncpus": 2},
    }


def test_guest_that_is_not_defined_is_shown_as_it_was_started(started: Started) -> None:
    write_record(umid="old", mem=77 << 20, nics=("user,nic=0",))
    assert started.main("show", "old") == 0
    assert started.out == (
        "# old is not defined; it was started last with\n"
        'kernel = "/linux"\nmem = "77M"\nnic = ["user,nic=0"]\n'
    )
    assert started.main("show", "old", "--json") == 0
    assert json.loads(started.out)["file"] is None
    assert started.main("show", "nobody") == exitcodes.NO_GUEST
    assert started.main("show", "old", "--diff") == exitcodes.NO_GUEST


def test_what_was_changed_since_is_shown(started: Started) -> None:
    path = files.save("web", 'kernel = "/linux"\nmem = "1G"\nsingle = true\n')
    for _ in range(2):
        assert started.main("show", "web", "--diff") == exitcodes.NO_GUEST
        assert "web does not run: `umlctl start web` has it as it is written" in started.err
        keep("web", boot_id="gone")
    write_record(umid="web", mem=64 << 20, after=("db",))
    assert started.main("show", "web", "--diff") == 0
    assert started.out == (
        "mem: runs with 64M, written is 1G\n"
        "single: runs with the default, written is true\n"
        "after: runs with db, written is the default\n"
    )
    assert "`umlctl restart --reload web` has it as it is written" in started.err
    assert started.main("show", "web") == 0
    assert started.err == (
        "umlctl: web: does not run as it is written; `umlctl show web --diff` says how\n"
    )
    assert started.main("show", "web", "--diff", "--json") == 0
    assert json.loads(started.out) == {
        "umid": "web",
        "file": path,
        "changed": {
            "mem": ["64M", "1G"],
            "single": [None, True],
            "after": [["db"], None],
        },
        "devices": [],
    }
    files.save("web", 'kernel = "/linux"\nmem = "64M"\nafter = ["db"]\n')
    assert started.main("show", "web", "--diff") == 0
    assert started.out == "web runs as it is written\n"
    assert started.main("show", "web") == 0
    assert started.err == ""
    files.save("web", 'kernel = "/linux"\nroot = "/tmp"\ninitrd = "/b"')
    assert started.main("show", "web") == 0
    assert "web: does not run as it is written" in started.err


def test_devices_that_were_plugged_since_are_shown(started: Started) -> None:
    write_record(umid="web")
    record = records.load("web")
    assert record is not None
    record.devices = [records.DeviceEntry(name="ubd3", asked="/a", kernel="ubd3=/a")]
    record.removed = ["vec0"]
    records.save(record)
    files.save("web", 'kernel = "/linux"\n')
    assert started.main("show", "web", "--diff") == 0
    assert "plugged or taken out since it was started: ubd3, vec0\n" in started.out


def test_what_is_the_same_is_no_difference() -> None:
    one = Definition(umid="web", kernel="/k", cwd="/a", home="/h", arguments=("a",))
    assert compare(one, one) == []
    other = Definition(umid="web", kernel="/k", append=("a",), named=False)
    assert compare(one, other) == []
    assert [each.key for each in compare(one, Definition(umid="web", kernel="/j"))] == [
        "kernel",
        "append",
    ]
