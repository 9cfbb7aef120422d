"""The engine is smaller than this: what is wanted where, and what is offered for it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from umlctl.errors import Refusal
from umlctl.guest.specs import DISK_FLAGS, parse_disk, parse_nic
from umlctl.protocol import console_socket
from umlctl.protocol.commands import BY_NAME, COMMANDS, HOST, SYSRQ
from umlctl.protocol.guard import check, proc_harm
from umlctl.protocol.guard import read as read_line
from umlctl.shell import completion
from umlctl.shell.completion import (
    BRIDGE,
    BUILT_IN,
    CHANNEL,
    COMMAND,
    CONSOLE,
    DEVICE,
    DISK_OPTION,
    FILE,
    FREE_DEVICE,
    GUEST,
    NETWORK,
    NIC,
    NIC_OPTION,
    PID,
    PLUG_KIND,
    PROC,
    PROC_FILES,
    PROGRAM,
    REMOVABLE,
    SYSRQ_LETTER,
    TAP,
    TRANSPORT,
    VEC_OPTION,
    Facts,
    Wanted,
    offer,
    wanted,
)

FACTS = Facts(
    devices={"con0": "a console", "ubd0": "/root.img", "ubd1": "/data.img", "vec0": "user"},
    guests={"demo": "running", "web": "stopped"},
    networks=("lab", "lan"),
    taps=("tap0", "uml-demo-0"),
    bridges=("br0",),
    pids=(1, 2, 77),
)


WORDS = ("config", "vec0", "ubd1", "plug", "disk", "nic", "switch", "proc", "watch", "-n", "help")


# What is wanted


@pytest.mark.parametrize(
    ("text", "kinds", "prefix"),
    [
        # The first word
        ("", (COMMAND,), ""),
        ("ver", (COMMAND,), "ver"),
        ("   ver", (COMMAND,), "ver"),
        ("!sys", (COMMAND,), "sys"),
        ("version", (COMMAND,), "version"),
        ("version; st", (COMMAND,), "st"),
        # Another guest's
        ("@", (GUEST,), ""),
        ("@we", (GUEST,), "we"),
        ("@web ", (COMMAND,), ""),
        ("@web ver", (COMMAND,), "ver"),
        ("version; @web proc ", (PROC,), ""),
        ("log @", (), "@"),
        ("version;", (COMMAND,), ""),
        # Commands with nothing to offer
        ("version ", (), ""),
        ("halt ", (), ""),
        ("log he", (), "he"),
        ("log 'a; b", (), "b"),
        ("shutdown 3", (), "3"),
        ("nonsense wo", (), "wo"),
        # One argument of a kind
        ("sysrq ", (SYSRQ_LETTER,), ""),
        ("!sysrq ", (SYSRQ_LETTER,), ""),
        ("sysrq m ", (), ""),
        ("stack ", (PID,), ""),
        ("stack 1", (PID,), "1"),
        ("stack 1 ", (), ""),
        ("proc ", (PROC,), ""),
        ("proc mem", (PROC,), "mem"),
        ("proc  mem", (PROC,), "mem"),
        ("proc 1/root/et", (PROC,), "1/root/et"),
        ("remove ", (REMOVABLE,), ""),
        ("remove ub", (REMOVABLE,), "ub"),
        ("switch w", (GUEST,), "w"),
        ("switch web ", (), ""),
        ("help ", (COMMAND,), ""),
        ("help con", (COMMAND,), "con"),
        ("help config ", (), ""),
        # A command after another
        ("watch ", (COMMAND,), ""),
        ("watch pr", (COMMAND,), "pr"),
        ("watch proc me", (PROC,), "me"),
        ("watch -n ", (), ""),
        ("watch -n 2", (), "2"),
        ("watch -n 2 ", (COMMAND,), ""),
        ("watch -n 2 proc me", (PROC,), "me"),
        # What the kernel's `config` takes
        ("config ", (DEVICE, FREE_DEVICE), ""),
        ("config ub", (DEVICE, FREE_DEVICE), "ub"),
        ("config ubd1=", (FILE,), ""),
        ("config ubd1r=/ho", (FILE,), "/ho"),
        ("config ubd1=/cow,/ba", (FILE,), "/ba"),
        ("config ubd1=/cow:/ba", (FILE,), "/ba"),
        ("config vec0:", (VEC_OPTION,), ""),
        ("config vec0:tr", (VEC_OPTION,), "tr"),
        ("config vec0:transport=", (TRANSPORT,), ""),
        ("config vec0:transport=ta", (TRANSPORT,), "ta"),
        ("config vec0:transport=tap,", (VEC_OPTION,), ""),
        ("config vec0:transport=tap,ifname=ta", (TAP,), "ta"),
        ("config vec0:transport=bess,dst=/run/", (FILE,), "/run/"),
        ("config vec0:transport=tap,mac=02", (), "02"),
        ("config con1=", (CHANNEL,), ""),
        ("config ssl0=null,p", (CHANNEL,), "p"),
        ("config mem=-", (), "-"),
        ("config ubd1 ", (), ""),
        # What `plug` takes
        ("plug ", (PLUG_KIND,), ""),
        ("plug d", (PLUG_KIND,), "d"),
        ("plug disk ", (FILE,), ""),
        ("plug disk /home/a.i", (FILE,), "/home/a.i"),
        ("plug disk a.img,", (DISK_OPTION,), ""),
        ("plug disk a.img,ro,sl", (DISK_OPTION,), "sl"),
        ("plug disk a.img,cow=/tm", (FILE,), "/tm"),
        ("plug disk a.img,slot=", (), ""),
        ("plug disk a.img ", (), ""),
        ("plug nic ", (NIC,), ""),
        ("plug nic sw", (NIC,), "sw"),
        ("plug nic switch=", (NETWORK,), ""),
        ("plug nic switch=la", (NETWORK,), "la"),
        ("plug nic switch=lan,", (NIC_OPTION,), ""),
        ("plug nic switch=lan,ma", (NIC_OPTION,), "ma"),
        ("plug nic tap=", (TAP,), ""),
        ("plug nic tap=auto,bridge=", (BRIDGE,), ""),
        ("plug nic transport=", (TRANSPORT,), ""),
        ("plug nic transport=gre,", (VEC_OPTION, NIC_OPTION), ""),
        ("plug nic user,mac=02:", (), "02:"),
        ("plug console ", (CONSOLE,), ""),
        ("plug nonsense x", (), "x"),
        # Where the answer goes
        ("proc meminfo | ", (PROGRAM,), ""),
        ("proc meminfo | gr", (PROGRAM,), "gr"),
        ("proc meminfo | grep x /et", (FILE,), "/et"),
        ("proc meminfo > ", (FILE,), ""),
        ("proc meminfo >> /tm", (FILE,), "/tm"),
        ("log 'a | b", (), "b"),
    ],
)
def test_kinds_follow_from_what_is_typed(text: str, kinds: tuple[str, ...], prefix: str) -> None:
    assert wanted(text) == Wanted(kinds, prefix)


def test_only_what_is_before_the_cursor_counts() -> None:
    assert wanted("proc meminfo", 2) == Wanted((COMMAND,), "pr")
    assert wanted("proc meminfo", 8) == Wanted((PROC,), "mem")
    assert wanted("config ubd1=/a", len("config ub")) == Wanted((DEVICE, FREE_DEVICE), "ub")


@given(st.text(), st.integers(0, 30))
def test_anything_may_be_typed(text: str, cursor: int) -> None:
    found = wanted(text, cursor)
    assert text[:cursor].endswith(found.prefix)
    for suggestion in offer(found, FACTS, lambda prefix: [prefix + "x"]):
        assert suggestion.text.startswith(found.prefix)


@given(
    st.text(
        alphabet="config vec0:ubd1=/,transport plug disk nic switch stack proc |>;'\"!", max_size=40
    )
)
def test_every_text_of_words_it_knows_can_be_completed(text: str) -> None:
    found = wanted(text)
    assert text.endswith(found.prefix)
    offer(found, FACTS)


# What is offered


def texts(text: str, facts: Facts = FACTS, *files: str) -> list[str]:
    return [suggestion.text for suggestion in offer(wanted(text), facts, lambda _prefix: files)]


def test_every_command_of_a_guest_is_offered_with_its_meaning() -> None:
    offered = {suggestion.text: suggestion.meaning for suggestion in offer(wanted(""), FACTS)}
    for command in COMMANDS:
        if command.name not in BUILT_IN:
            assert (command.name in offered) == (command.served != HOST)
    assert set(BUILT_IN) < set(offered)
    assert offered["version"] == BY_NAME["version"].help


def test_only_what_begins_so_is_offered() -> None:
    assert texts("st") == ["stop", "stack", "status"]
    assert texts("x") == []
    assert texts("stop") == ["stop"]


def test_letters_are_offered_with_their_meaning() -> None:
    offered = offer(wanted("sysrq "), FACTS)
    assert {suggestion.text: suggestion.meaning for suggestion in offered} == SYSRQ


def test_files_of_proc_that_are_offered_can_be_read() -> None:
    assert "meminfo" in texts("proc mem")
    assert texts("proc 1/mounts") == ["1/mounts"]
    for path in PROC_FILES:
        assert proc_harm(path) == ""


def test_devices_of_the_guest_are_offered_to_be_taken_away() -> None:
    assert texts("remove ") == ["con0", "ubd0", "ubd1", "vec0"]
    assert texts("remove ubd") == ["ubd0", "ubd1"]
    assert texts("remove ", Facts()) == []
    (suggestion,) = offer(wanted("remove ubd1"), FACTS)
    assert suggestion.meaning == "/data.img"


def test_what_can_be_done_with_a_layer_is_offered() -> None:
    assert texts("layer ") == ["commit", "reset", "save"]
    assert texts("layer commit ubd") == ["ubd0", "ubd1"]
    assert texts("layer commit ubd1 ") == []


def test_free_slots_are_offered_and_those_in_use_to_be_asked_about() -> None:
    offered = texts("config ubd")
    assert offered[:3] == ["ubd0", "ubd1", "ubd2="]
    assert "ubd1=" not in offered
    assert "ubd0=" not in offered, "it is the root's"
    assert "ubd15=" in offered
    assert texts("config vec")[:2] == ["vec0", "vec1:transport="]
    assert "con1=" in texts("config con")
    assert texts("config mem") == ["mem=-", "mem=+"]


def test_what_takes_a_value_is_not_the_end_of_a_word() -> None:
    final = {each.text: each.final for each in offer(wanted("plug disk a,"), FACTS)}
    assert not final["cow="]
    assert final["ro"]
    assert not {each.final for each in offer(wanted("config vec1"), FACTS) if "=" in each.text} - {
        False
    }


def test_files_are_the_hosts() -> None:
    found = offer(wanted("plug disk /h"), FACTS, lambda prefix: [f"{prefix}ome/", f"{prefix}.img"])
    assert [(each.text, each.final) for each in found] == [("/home/", False), ("/h.img", True)]
    assert texts("config ubd1=a,b", FACTS, "bb", "c") == ["bb"]


def test_files_of_a_guest_on_the_hosts_files_are_offered() -> None:
    def files(prefix: str) -> list[str]:
        return [
            path for path in ("/srv/etc/", "/srv/etc/passwd", "/etc/") if path.startswith(prefix)
        ]

    on_tree = FACTS._replace(root="/srv/")
    offered = offer(wanted("proc 1/root/etc"), on_tree, files)
    assert [(each.text, each.final) for each in offered] == [
        ("1/root/etc/", False),
        ("1/root/etc/passwd", True),
    ]
    on_host = FACTS._replace(root="/")
    assert [each.text for each in offer(wanted("proc 1/root/"), on_host, files)] == [
        "1/root/srv/etc/",
        "1/root/srv/etc/passwd",
        "1/root/etc/",
    ]
    assert texts("proc 1/root/") == ["1/root/etc/os-release"], "an image's are not known"


def test_networks_taps_and_bridges_are_the_hosts() -> None:
    assert texts("plug nic switch=") == ["lab", "lan"]
    assert texts("plug nic switch=lan") == ["lan"]
    assert texts("plug nic tap=") == ["tap0", "uml-demo-0", "auto"]
    assert texts("plug nic tap=auto,bridge=") == ["br0"]
    assert texts("config vec1:transport=tap,ifname=tap") == ["tap0"]


def test_guests_and_pids_are_those_that_are_known() -> None:
    assert texts("switch ") == ["demo", "web"]
    assert texts("stack ") == ["1", "2", "77"]
    assert texts("stack 7") == ["77"]
    named = {each.text: each.meaning for each in offer(wanted("stack "), FACTS)}
    assert named == {"1": "the guest's init", "2": "kthreadd, the kernel's own tasks", "77": ""}


def test_consoles_that_can_be_plugged_are_offered() -> None:
    assert texts("plug console ") == list(console_socket.CONSOLES[1:])
    assert "con1" not in texts("plug console ", FACTS._replace(devices={"con1": ""}))


VALUES = {
    "slot=": "3",
    "cow=": "b.cow",
    "serial=": "S",
    "switch=": "lan",
    "tap=": "t0",
    "transport=": "gre,src=10.0.0.1,dst=10.0.0.2",
    "nic=": "3",
    "mac=": "02:00:00:00:00:01",
    "addr=": "10.0.0.2/24",
    "forward=": "1:2",
}


def test_options_that_are_offered_are_those_there_are() -> None:
    for option in texts("plug disk a.img,"):
        parse_disk(f"a.img,{option}{VALUES.get(option, '')}", "/")
    assert set(DISK_FLAGS) < set(texts("plug disk a.img,"))
    for kind in texts("plug nic "):
        parse_nic(kind + VALUES.get(kind, ""))
    for option in texts("plug nic user,"):
        if option not in ("bridge=", "host="):
            parse_nic(f"user,{option}{VALUES.get(option, '')}")


def test_what_is_offered_as_a_command_is_one_the_guard_knows() -> None:
    for command in completion._commands({}):
        if command.text in BY_NAME and BY_NAME[command.text].example:
            line = read_line(f"{command.text} {BY_NAME[command.text].example}")
            try:
                check(line)
            except Refusal as refusal:
                pytest.fail(str(refusal))


def test_programs_of_the_host_are_offered_behind_a_pipe() -> None:
    facts = Facts(programs=("grep", "gzip", "less"))
    found = wanted("proc mounts | g")
    assert [each.text for each in offer(found, facts)] == ["grep", "gzip"]
    assert offer(wanted("proc mounts | grep ex"), facts) == []
