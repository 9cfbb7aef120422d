from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from tests.umlctl.state.test_records import write_record
from umlctl.host import landlock, programs, room
from umlctl.kernels import find

if TYPE_CHECKING:
    from tests.umlctl.cli.conftest import Started


@pytest.mark.skipif(os.geteuid() != 0, reason="only root is told")
def test_root_is_told_once_and_where_it_is_true(
    started: Started, monkeypatch: pytest.MonkeyPatch
) -> None:
    for words in (["--root", "a.img"], ["--", "root=98:0"], ["--user", "nobody"]):
        assert started.main("run", "demo", *words) == 0
        assert "reaches every file" not in started.err
    monkeypatch.setattr(landlock, "unable", lambda: "")
    assert started.main("run", "demo") == 0
    assert "reaches every file" not in started.err, "its kernel is confined"
    assert started.main("run", "demo", "--confine", "off") == 0
    assert "reaches every file of this host" in started.err
    for verb in ("run", "start"):
        assert started.main(verb, "demo", "--confine", "off") == 0
        assert "reaches every file" not in started.err


@pytest.mark.skipif(os.geteuid() != 0, reason="only root is told")
def test_root_is_told_where_no_kernel_can_be_confined(
    started: Started, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(landlock, "unable", lambda: "its kernel has no Landlock")
    assert started.main("run", "demo") == 0
    assert "reaches every file of this host" in started.err


def test_program_that_the_guests_init_lacks_is_said_before_the_boot(
    started: Started, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(programs, "INIT_PATH", "/nowhere")
    assert started.main("run", "demo") == 0
    assert "lacks `ip`" not in started.err
    assert started.main("run", "demo", "--nic", "switch=lan") == 0
    assert "its NICs are not set up" in started.err
    assert "lacks `ip`: apt install iproute2" in started.err


def test_what_a_kernel_makes_of_an_option_is_said(
    started: Started, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = {"SMP": "y", "NR_CPUS": "8"}
    kernel = find.ProbedKernel("/usr/bin/linux.uml", "6.12.3", frozenset({"seccomp"}), config)
    monkeypatch.setattr(find, "probe", lambda _path, _user: kernel)
    assert started.main("start", "demo", "--aslr") == 0
    assert "--aslr" not in started.err
    assert "any program in the guest" not in started.err
    assert started.main("start", "demo", "--ncpus", "2") == 0
    assert "several processors any program in the guest can read and change all" in started.err
    assert started.main("start", "demo", "--seccomp") == 0
    assert "with --seccomp any program in the guest can read and change all" in started.err
    assert "its clock runs far ahead" not in started.err
    kernel.config["UML_TIME_TRAVEL_SUPPORT"] = "y"  # type: ignore[index] # it is ours
    assert started.main("start", "demo", "--virtual-time") == 0
    assert "while it is idle its clock runs far ahead" in started.err
    kernel = kernel._replace(version="7.3.4")
    assert started.main("start", "demo", "--aslr") == 0
    assert "--aslr does nothing: Linux 7.3.4 turns randomisation off itself" in started.err


def test_hostfs_argument_is_said_to_be_no_jail(started: Started) -> None:
    assert started.main("start", "demo", "--root", "a.img", "--append", "hostfs=/srv") == 0
    assert "hostfs=/srv keeps root in this guest from nothing" in started.err
    assert "`exec`, `cp` and --share do not work" in started.err
    assert started.main("start", "demo", "--append", "hostfs=/,append") == 0
    assert "hostfs=/,append keeps root in this guest from nothing: `..` leads out" in started.err
    assert "do not work" not in started.err
    assert started.main("start", "demo", "--append", "quiet") == 0
    assert "hostfs=" not in started.err


@pytest.mark.parametrize(
    ("mine", "others", "said"),
    [
        ("shared", "shared/", True),
        ("shared/below", "shared/", True),
        ("shared", "shared/below/", True),
        ("link", "shared/", True),
        ("shared,ro", "shared/", False),
        ("shared", "shared/,ro", False),
        ("shared", "other/", False),
    ],
)
def test_who_shares_a_root_to_write_with_a_guest_is_told(
    started: Started, house: str, mine: str, others: str, said: bool
) -> None:
    for name in ("shared/below", "other"):
        os.makedirs(name)
    os.symlink("shared", "link")
    write_record("first", root=f"{house}/{others}")
    for verb in ("run", "start"):
        assert started.main(verb, "demo", "--root", mine) == 0, started.err
        assert ("first writes to" in started.err) is said
        assert (f"--root {house}/{mine}/,ro only reads" in started.err) is said


def test_more_memory_than_is_left_is_told_unless_it_is_wanted_or_refused(
    started: Started, house: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    gigabyte = 1 << 30
    monkeypatch.setattr(room, "look", lambda _path: room.Space(2 * gigabyte, gigabyte))
    write_record("first", mem=gigabyte)
    assert started.main("start", "demo", "--mem", "64M") == 0
    said = "it may have 64M of memory, a guest that runs 1024M more than now, and 1024M are free"
    assert said in started.err
    os.makedirs(f"{house}/u/config", 0o700)
    for wanted in ("true", "false"):
        with open(f"{house}/u/config/umlctl.toml", "w") as file:
            file.write(f"[host]\novercommit = {wanted}\n")
        assert started.main("start", "demo", "--mem", "64M") == 0
        assert "it may have" not in started.err
    with open(f"{house}/u/config/umlctl.toml", "w") as file:
        file.write("[host]\novercommit = true\n")
    assert started.main("start", "demo", "--mem", "4G") == 0
    assert "it may have 4096M of memory" in started.err, "it can never have that"


@pytest.mark.parametrize("verb", ["run", "start"])
def test_who_starts_a_guest_is_told_what_it_forgets(started: Started, verb: str) -> None:
    words = ("--root", "/r.img,discard", "--disk", "/keep.img", "--disk", "/d.img,discard")
    assert started.main(verb, "demo", *words) == 0
    assert (
        "what it writes to /r.img, /d.img is lost when it ends; `umlctl snapshot create demo"
        in (started.err)
    )
