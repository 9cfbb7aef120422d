from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from umlctl.errors import UsageError
from umlctl.guest.readers import vkernel

if TYPE_CHECKING:
    from umlctl.guest.readers.reading import Reading

LOCKED = ("modules", "locked")


def read(*words: str) -> Reading:
    return vkernel.read(words, "/here")


def carried(*words: str) -> list[tuple[str, Any]]:
    return [(item.key, item.value) for item in read(*words).items]


def left(*words: str) -> str:
    return "\n".join(str(each) for each in read(*words).left)


@pytest.mark.parametrize(
    ("words", "items"),
    [
        ("kernel -U", [("kernel", "/here/kernel")]),
        ("-U -m 64m", [("mem", "64M")]),
        ("-Um1G", [("mem", "1G")]),
        ("-U -m 67108864", [("mem", "67108864")]),
        ("-U -n 4", [("ncpus", 4)]),
        ("-U -n 1", []),
        ("-U -s -v", [("single", True), ("verbose", True)]),
        ("-Usv", [("single", True), ("verbose", True)]),
        ("-U -p p", [("pidfile", "/here/p")]),
        ("-U -l any", []),
        ("-U -l 3", [("cpus", "3")]),
        ("-U -l map -n 4", [("ncpus", 4), ("cpus", "0-3")]),
        ("-U -l map,2 -n 1", [("cpus", "2")]),
        ("-U -l map", [("cpus", "0-1")]),
        ("-U -r a -r b:s", [("root", "/here/a"), ("disk", "/here/b,serial=s")]),
        ("-U -c a -R b", [("root", "/here/a,ro"), ("disk", "/here/b,discard")]),
        ("-U -R a -c b", [("root", "/here/a,discard"), ("disk", "/here/b,ro")]),
        ("-U -I auto", [("nic", "tap=auto")]),
        ("-U -I auto:bridge0", [("nic", "tap=auto,bridge=bridge0")]),
        ("-U -I /dev/tap3", [("nic", "tap=tap3")]),
        ("-U -I tap3=02:00:00:00:00:0A", [("nic", "tap=tap3,mac=02:00:00:00:00:0a")]),
        ("-U -I auto:10.0.0.1:10.0.0.2/24",
         [("nic", "tap=auto,addr=10.0.0.2/24,host=10.0.0.1/24")]),
        ("-U -I /var/run/vknet", [("nic", "switch=vknet")]),
        ("-U -I /var/run/vknet:0.0.0.0:10.2.0.2/16", [("nic", "switch=vknet,addr=10.2.0.2/16")]),
        ("-U -I auto -e boot.netif.ip=10.0.0.2:boot.netif.netmask=255.0.0.0",
         [("nic", "tap=auto,addr=10.0.0.2/8")]),
        ("", [LOCKED]),
    ],
)  # fmt: skip
def test_option_is_carried_over(words: str, items: list[tuple[str, Any]]) -> None:
    assert carried(*words.split()) == items


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("-t", "argument 1: -t: not carried over: UML always has the host's precise timers"),
        ("-s -z", "argument 2: -z: not carried over: the pages of a guest's memory are zero"),
        ("-i /m", "argument 1: -i /m: not carried over: the file of a guest's memory has no name"),
        ("-n 2:1:1", "not the same here: UML fakes no threads and cores"),
        ("-n 17", "no number from 1 to 16"),
        ("-l x", "it is any, map, map,CPU or a CPU"),
        ("-m 1x", "it is no size"),
        ("-h", "`umlctl help run`"),
        ("-r /a,b", "no ',' in the file of a disk"),
        ("-e a", "it is no NAME=VALUE"),
        ("-e a=1:a=2", "-e a=2: not carried over: a is given already"),
        ("-e kern.x=1", "it is a variable of DragonFly's kernel"),
        ('-e vfs.root.mountfrom="hammer:vkd0s1d"', "mountfrom=hammer:vkd0s1d: not carried over: "),
        ("-e boot.nfsroot.path=/x", "UML brings no network up before it has its root"),
        ("-e boot.netif.ip=1.2.3.4", "there is no NIC vke0 without an address"),
        ("-e boot.netif.netmask=255.0.0.0", "there is no boot.netif.ip"),
        ("-I auto -e boot.netif.ip=1.2.3.4:boot.netif.netmask=x", "it is no netmask"),
        ("-I tap0:bridge0", "tap0 is there already, and is left as it is"),
        ("-I auto:1:2:3", "it has more than two addresses"),
        ("-s more", "argument 2: more: not carried over: vkernel takes options alone"),
    ],
)
def test_what_is_left_is_said_with_its_argument(words: str, said: str) -> None:
    assert said in left(*words.split())


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("-x",), "argument 1: -x: vkernel has no option -x"),
        (("-s", "-m"), "argument 2: -m takes a value, and none follows it"),
        (("-\x1b",), "has no option -\\x1b"),
    ],
)
def test_what_vkernel_would_refuse_is_an_error(words: tuple[str, ...], said: str) -> None:
    with pytest.raises(UsageError) as caught:
        read(*words)
    assert said in str(caught.value)


def test_end_of_options_is_seen() -> None:
    assert "argument 3: -v" in left("-s", "--", "-v")


@given(st.lists(st.one_of(st.text(max_size=8), st.sampled_from(["-s", "-m", "1g", "-I", "a:b"]))))
def test_any_words_are_read_or_refused(words: list[str]) -> None:
    try:
        said = [each.at for each in vkernel.read(words, "/here").left]
    except UsageError as problem:
        said = [str(problem)]
    assert all(each.startswith("argument ") for each in said)
