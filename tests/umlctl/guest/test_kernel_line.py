from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from umlctl.devices import ubd, vec
from umlctl.errors import UsageError
from umlctl.guest import cmdline, kernel_line, words
from umlctl.guest.definition import devices

HOWTO = [
    "mem=2048M",
    "umid=TEST",
    "ubd0=Filesystem.img",
    "vec0:transport=tap,ifname=tap0,depth=128,gro=1",
    "root=/dev/ubda",
    "con=null",
    "con0=null,fd:2",
    "con1=fd:0,fd:1",
]
ODD = (
    *("umid=", "umid=b", "uml_dir=/x", "uml_dir=", "mconsole=notify:/n", "--", "mem=x", "ubd1="),
    *("ubd=", "eth0=daemon,,unix,/s", "vec1:x", "ssl3=fd:9,null", 'a="b c"', "a b", ""),
)
WORDS = st.lists(st.sampled_from([*HOWTO, *ODD]) | st.text(max_size=8))


def test_line_of_the_howto_is_understood() -> None:
    made = kernel_line.definition(HOWTO, "TEST", "/linux", "/vm", "/home/me")
    assert (made.umid, made.mem, made.named) == ("TEST", 2048 << 20, True)
    assert cmdline.console_elsewhere(made) == "con0=null,fd:2"
    assert not cmdline.has_agent(made)
    assert kernel_line.devices(HOWTO) == [
        ubd.parse("ubd0=Filesystem.img"),
        vec.parse("vec0:transport=tap,ifname=tap0,depth=128,gro=1"),
    ]
    assert kernel_line.descriptors(HOWTO) == [0, 1, 2]


def test_kernel_without_words_has_what_it_takes_by_itself() -> None:
    made = kernel_line.definition([], "abc", "/linux", "/vm", "")
    assert (made.mem, made.named) == (64 << 20, False)
    assert cmdline.console_elsewhere(made) == "con0=fd:0,fd:1"
    assert kernel_line.devices([]) == [ubd.parse("ubd0=root_fs")]


def test_what_counts_is_what_counts_for_the_kernel() -> None:
    line = [
        "umid=a",
        "umid=b",
        "uml_dir=/x",
        "uml_dir=/y",
        "mconsole=notify:/n",
        "--",
        "mconsole=notify:/m",
    ]
    assert kernel_line.read(line) == ("a", "/y", "/n")
    assert kernel_line.read([]) == ("", "", "")


def test_what_a_supervisor_needs_stands_before_what_is_for_init() -> None:
    assert kernel_line.supervised(["mem=64M", "--", "x"], "a", "/k", "/n") == [
        *("mem=64M", "umid=a", "uml_dir=/k", "mconsole=notify:/n", "--", "x")
    ]
    assert kernel_line.supervised(["umid=b"], "b", "/k", "/n") == [
        *("umid=b", "uml_dir=/k", "mconsole=notify:/n")
    ]


@given(WORDS)
def test_any_line_is_read_and_stays_as_it_was(line: list[str]) -> None:
    told = kernel_line.read(line)
    made = kernel_line.definition(line, told.umid or "a", "/linux", "/vm", "")
    devices(made)
    kernel_line.devices(line)
    assert all(number >= 0 for number in kernel_line.descriptors(line))
    try:
        longer = kernel_line.supervised(line, "a", "/k", "/n")
    except UsageError:
        assert any(word.startswith(("umid=", "uml_dir=")) for word in words.split(line)[1])
        return
    assert kernel_line.read(longer) == (told.umid or "a", "/k", "/n")
    for_kernel, for_init = words.split(line)
    assert words.split(longer)[0][: len(for_kernel)] == for_kernel
    assert words.split(longer)[1] == for_init
