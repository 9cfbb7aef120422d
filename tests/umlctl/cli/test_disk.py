from __future__ import annotations

import errno
import json
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from tests.cows import make
from umlctl import exitcodes
from umlctl.protocol.status import Device

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.conftest import Bare
    from tests.umlctl.cli.conftest import Supervisor

ENTRY: dict[str, Any] = {
    "name": "ubd1",
    "asked": "/a.img,ro",
    "kernel": "ubd1r=/a.img",
    "boot": False,
    "observed": {"block": "ubdb", "size": 64 << 20, "partitions": []},
}
LOST: dict[str, Any] = {
    "name": "ubd2",
    "asked": "/b.img",
    "kernel": "ubd2=/b.img",
    "boot": False,
    "observed": None,
    "problem": "ubd2: out of memory",
}
NIC: dict[str, Any] = {
    "name": "vec0",
    "asked": "user",
    "kernel": "vec0:transport=bess,dst=/s",
    "boot": True,
    "observed": {},
}

# Adding


@pytest.mark.parametrize(
    ("options", "sent"),
    [
        ("", ""),
        ("--slot 3", ",slot=3"),
        ("--ro", ",ro"),
        ("--sync --no-trim --shared --raw", ",sync,no-trim,shared,raw"),
        ("--cow ../c.cow", ",cow={above}/c.cow"),
        ("--discard --serial S-1", ",discard,serial=S-1"),
    ],
)
def test_options_become_the_words_of_plug(
    supervisor: Supervisor, house: str, options: str, sent: str
) -> None:
    text = f"plug disk {house}/a.img{sent}".replace("{above}", house.rpartition("/")[0])
    supervisor.answer(text, ENTRY)
    assert supervisor.main("disk", "add", "demo", "a.img", *options.split()) == 0, supervisor.err
    assert supervisor.asked == [text]
    assert supervisor.out == "ubd1 is in demo as /dev/ubdb, 64.0M\n"


def test_disk_that_was_not_looked_for_is_told_without_its_size(supervisor: Supervisor) -> None:
    supervisor.answer("!plug disk /a.img", ENTRY | {"observed": None})
    assert supervisor.main("disk", "add", "demo", "/a.img", "--force") == 0
    assert supervisor.out == "ubd1 is in demo, -\n"


def test_added_disk_as_json(supervisor: Supervisor) -> None:
    supervisor.answer("plug disk /a.img", ENTRY)
    assert supervisor.main("disk", "add", "demo", "/a.img", "--json") == 0
    assert json.loads(supervisor.out) == msgspec.structs.asdict(Device(**ENTRY))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "Missing argument 'GUEST'"),
        (["demo"], "Missing argument 'FILE'"),
        (["demo", "a", "b"], "unexpected extra argument"),
        (["demo", "a", "--slot", "16"], "range"),
        (["demo", "a", "--slot", "x"], "not a valid integer"),
        (["demo", "a", "--timeout", "0"], "is not a number of seconds above 0"),
        (["demo", "a", "--nonsense"], "No such option"),
        (["demo", "a", "--cow", "b", "--discard"], "take one"),
        (["demo", "a", "--cow", "b", "--ro"], "take one"),
        (["demo", "a", "--raw", "--discard"], "`raw` is for"),
        (["demo", "a,ro"], "takes no ',' in the file"),
        (["demo", "a:b"], "takes no ':' in the file"),
        (["demo", "a", "--cow", "b,c"], "takes no ',' in the COW file"),
        (["demo", "a", "--serial", "1,ro"], "takes no ',' in the serial number"),
        (["demo", "a", "--serial", "x" * 600], "511 bytes"),
    ],
)
def test_wrong_command_line_is_a_usage_error_and_nothing_is_sent(
    supervisor: Supervisor, words: list[str], said: str
) -> None:
    assert supervisor.main("disk", "add", *words) == exitcodes.USAGE
    assert said in supervisor.err
    assert supervisor.out == ""
    assert supervisor.asked == []


def test_refusal_is_the_supervisors_word(supervisor: Supervisor) -> None:
    supervisor.refuse("plug disk /a.img", "ubd1: /a.img is empty", -errno.EINVAL)
    assert supervisor.main("disk", "add", "demo", "/a.img") == exitcodes.REFUSED
    assert (supervisor.out, supervisor.err) == ("", "umlctl: demo: ubd1: /a.img is empty\n")
    supervisor.refuse("plug disk /a.img", "ubd1: the guest is dead", -errno.ECONNRESET)
    assert supervisor.main("disk", "add", "demo", "/a.img") == exitcodes.GONE
    supervisor.refuse("plug disk /a.img", "", -errno.EIO)
    assert supervisor.main("disk", "add", "demo", "/a.img") == exitcodes.REFUSED
    assert supervisor.err == "umlctl: demo: error -5\n"


def test_silence_is_a_timeout(supervisor: Supervisor) -> None:
    supervisor.server.answer = lambda *_: []
    code = supervisor.main("disk", "add", "demo", "/a.img", "--timeout", "0.05")
    assert code == exitcodes.TIMED_OUT
    assert supervisor.err.startswith("umlctl: plug demo: timed out")


def test_guest_that_is_not_there_is_named(supervisor: Supervisor) -> None:
    for words in (("add", "none", "/a"), ("rm", "none", "ubd1"), ("list", "none")):
        assert supervisor.main("disk", *words) == exitcodes.NO_GUEST
        assert supervisor.err.startswith("umlctl: no guest 'none'; `umlctl list`")


def test_kernel_without_a_supervisor_cannot_be_plugged(
    supervisor: Supervisor, bare: Callable[..., Bare]
) -> None:
    server = bare(lambda *_: [], name="kernel")
    assert supervisor.main("disk", "add", server.path, "/a.img") == exitcodes.REFUSED
    assert "nobody supervises this guest, and a bare kernel has no `plug`" in supervisor.err
    assert not server.commands


@pytest.mark.parametrize("said", [b"", b"{", b"\xff"])
def test_answer_that_is_none_is_an_error(supervisor: Supervisor, said: bytes) -> None:
    supervisor.answers |= {"plug disk /a.img": (said, 0), "devices": (said, 0)}
    for words in (("add", "demo", "/a.img"), ("list", "demo")):
        assert supervisor.main("disk", *words) == exitcodes.FAILED
        assert supervisor.err == "umlctl: demo: the answer is none that umlctl knows\n"


# Removing


@pytest.mark.parametrize("name", ["ubd1", "1", "ubdb", "/dev/ubdb"])
def test_disk_is_removed_by_any_of_its_names(supervisor: Supervisor, name: str) -> None:
    assert supervisor.main("disk", "rm", "demo", name) == 0
    assert supervisor.asked == ["remove ubd1"]
    assert supervisor.out == "ubd1 is out of demo\n"


def test_removal_is_told_to_programs(supervisor: Supervisor) -> None:
    for words, name in (
        (("disk", "rm", "demo", "1"), "ubd1"),
        (("nic", "rm", "demo", "0"), "vec0"),
    ):
        assert supervisor.main(*words, "--json") == 0
        assert json.loads(supervisor.out) == {"guest": "demo", "name": name}


@pytest.mark.parametrize("name", ["vec0", "ubd16", "16", "ubd", "sda", "con1", "ubd1r"])
def test_what_is_no_disk_is_not_removed(supervisor: Supervisor, name: str) -> None:
    assert supervisor.main("disk", "rm", "demo", name) == exitcodes.USAGE
    assert supervisor.err.startswith("umlctl: ")
    assert supervisor.asked == []


def test_disk_that_is_mounted_stays(supervisor: Supervisor) -> None:
    supervisor.refuse("remove ubd1", "ubd1 is mounted in the guest on /data", -errno.EBUSY)
    assert supervisor.main("disk", "rm", "demo", "ubd1") == exitcodes.REFUSED
    assert supervisor.err == "umlctl: demo: ubd1 is mounted in the guest on /data\n"
    assert supervisor.out == ""


def test_what_is_forgotten_is_said(supervisor: Supervisor, house: str) -> None:
    supervisor.answer(f"plug disk {house}/a.img,discard", ENTRY)
    assert supervisor.main("disk", "add", "demo", "a.img", "--discard") == 0
    assert "is lost when it ends; `umlctl snapshot create demo NAME` keeps it" in supervisor.err


# Listing


def test_disks_are_listed(supervisor: Supervisor) -> None:
    supervisor.table = [ENTRY, NIC, LOST]
    assert supervisor.main("disk", "list", "demo") == 0
    assert [line.split(maxsplit=4) for line in supervisor.out.splitlines()] == [
        ["DISK", "GUEST", "SIZE", "ASKED", "NOTE"],
        ["ubd1", "/dev/ubdb", "64.0M", "/a.img,ro"],
        ["ubd2", "-", "-", "/b.img", "ubd2: out of memory"],
    ]
    assert supervisor.main("disk", "list", "demo", "--json") == 0
    assert json.loads(supervisor.out) == [ENTRY, LOST]


def test_guest_without_disks_has_an_empty_list(supervisor: Supervisor) -> None:
    assert supervisor.main("disk", "list", "demo", "--json") == 0
    assert json.loads(supervisor.out) == []


def test_disk_with_a_cow_file_is_listed_with_what_is_in_it(
    supervisor: Supervisor, house: str
) -> None:
    made = make(house, 64, [3, 4])
    rows = [f"ubd1={made.cow},{made.backing}", f"ubd2={made.cow}", f"ubd3d={made.cow}"]
    rows += [f"ubd4={made.backing}", f"ubd5={house}/none"]
    supervisor.table = [{**ENTRY, "name": row[:4], "asked": row, "kernel": row} for row in rows]
    assert supervisor.main("disk", "list", "demo") == 0
    found = [line.partition(" are in its COW file") for line in supervisor.out.splitlines()[1:]]
    assert [bool(said) for _, said, _ in found] == [True, True, False, False, False]
    assert found[0][0].endswith(" 1.0K")
    assert found[0][2] == " (3.1%)"
    assert supervisor.main("disk", "list", "demo", "--json") == 0
    first, second, *others = json.loads(supervisor.out)
    assert first["cow"] == second["cow"]
    assert {key: first["cow"][key] for key in ("path", "backing", "size", "written")} == {
        "path": made.cow,
        "backing": made.backing,
        "size": 64 * 512,
        "written": 1024,
    }
    assert not any("cow" in each for each in others)


# COW files


@pytest.mark.parametrize("word", ["ubd1", "1", "/dev/ubd1"])
def test_cow_file_of_a_disk_is_merged_and_emptied(supervisor: Supervisor, word: str) -> None:
    found = {"name": "ubd1", "cow": "/c.cow", "backing": "/b.img", "bytes": 3 << 20}
    supervisor.answer("layer commit ubd1", found)
    supervisor.answer("layer reset ubd1", found)
    assert supervisor.main("disk", "commit", "demo", word) == 0
    assert supervisor.out == "/b.img has 3.0M of ubd1, whose COW file is empty now\n"
    assert supervisor.main("disk", "reset", "demo", word) == 0
    assert supervisor.out == "ubd1 is as /b.img has it; 3.0M are forgotten\n"
    for verb in ("commit", "reset"):
        assert supervisor.main("disk", verb, "demo", word, "--json") == 0
        assert json.loads(supervisor.out) == found


def test_cow_file_that_cannot_be_merged_is_said_why(supervisor: Supervisor) -> None:
    supervisor.refuse("layer commit ubd1", "ubd1 is mounted in the guest on /mnt", -errno.EBUSY)
    assert supervisor.main("disk", "commit", "demo", "ubd1") == exitcodes.REFUSED
    assert supervisor.err == "umlctl: demo: ubd1 is mounted in the guest on /mnt\n"
    for verb in ("commit", "reset"):
        assert supervisor.main("disk", verb, "demo", "vec0") == exitcodes.USAGE
    supervisor.answer("layer reset ubd1", ["no", "object"])
    assert supervisor.main("disk", "reset", "demo", "ubd1") == exitcodes.FAILED
    assert "none that umlctl knows" in supervisor.err
