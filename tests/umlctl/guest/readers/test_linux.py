from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from umlctl.guest.readers import linux

if TYPE_CHECKING:
    from umlctl.guest.readers.reading import Reading


def read(*words: str) -> Reading:
    return linux.read(words, "/here")


def carried(*words: str) -> list[tuple[str, Any]]:
    return [(item.key, item.value) for item in read(*words).items]


def left(*words: str) -> str:
    return "\n".join(str(each) for each in read(*words).left)


@pytest.mark.parametrize(
    ("words", "items"),
    [
        ("linux", []),
        ("linux.uml quiet", [("append", "quiet")]),
        ("./linux", [("kernel", "/here/linux")]),
        ("quiet", [("append", "quiet")]),
        ("mem=64m", [("mem", "64M")]),
        ("mem=65536kB", [("mem", "65536K")]),
        ("mem=x", [("append", "mem=x")]),
        ("ncpus=1", []),
        ("ncpus=2", [("ncpus", 2)]),
        ("initrd=i", [("initrd", "/here/i")]),
        ("init=/bin/sh", [("init", "/bin/sh")]),
        ("single ignore_loglevel", [("single", True), ("verbose", True)]),
        ("sysctl.kernel.modules_disabled=1", [("modules", "locked")]),
        ("ubd0=a", [("root", "/here/a")]),
        ("ubd0r=a", [("root", "/here/a,ro")]),
        ("ubd0r=/dev/null root=/dev/root rootfstype=hostfs", []),
        ("ubda=a,b root=/dev/ubda", [("root", "/here/b,cow=/here/a")]),
        ("ubd0=a ubd1=b root=/dev/ubd0", [("root", "/here/a"), ("disk", "/here/b,slot=1")]),
        ("ubd0=a root=/dev/ubda1", [("append", "root=/dev/ubda1"), ("disk", "/here/a,slot=0")]),
        ("ubd1=a root=/dev/ubdb", [("append", "root=/dev/ubdb"), ("disk", "/here/a,slot=1")]),
        ("ubd0=a ro rootfstype=ext4",
         [("append", "ro"), ("append", "rootfstype=ext4"), ("root", "/here/a")]),
        ("rootfstype=hostfs rootflags=/srv rw", [("root", "/srv/")]),
        ("root=/dev/root rootflags=/srv ro", [("root", "/srv/,ro")]),
        ("rootfstype=hostfs rootflags=/ ro", []),
        ("rootfstype=hostfs hostfs=/srv/a,append rw",
         [("root", "/srv/a/"), ("append", "hostfs=/,append")]),
        ("rootfstype=hostfs rootflags=/b hostfs=/srv/a/", [("root", "/srv/a/b/,ro")]),
        ("root=98:0 rootflags=x", [("append", "root=98:0"), ("append", "rootflags=x")]),
        ("vec0:transport=tap,ifname=t", [("nic", "vec0:transport=tap,ifname=t")]),
        ("eth0=tuntap,t", [("nic", "eth0=tuntap,t")]),
        ("eth0=slirp", [("nic", "user")]),
        ("con=null ssl1=pts", [("append", "con=null"), ("append", "ssl1=pts")]),
        ("console=tty1", [("append", "console=tty1")]),
        ("a -- b=c mem=1G", [("append", w) for w in ("a", "--", "b=c", "mem=1G")]),
    ],
)  # fmt: skip
def test_argument_is_carried_over(words: str, items: list[tuple[str, Any]]) -> None:
    assert carried(*words.split()) == items


def test_quotes_that_a_shell_has_taken_are_given_back() -> None:
    assert carried("dyndbg=file a +p") == [("append", 'dyndbg="file a +p"')]


def test_umid_is_the_name() -> None:
    assert read("umid=web", "quiet").name == "web"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("linux uml_dir=/t", "argument 2: uml_dir=/t: not carried over: the supervisor gives"),
        ("con0=null,fd:2", "the first console is the supervisor's"),
        ("con1=fd:0,fd:1", "inherits no descriptors"),
        ("con1=xterm", "no window and no TCP port"),
        ("ssl=port:4000", "no window and no TCP port"),
        ("--showconfig", "the kernel prints something and ends"),
        ("ubd0=", "it is no disk"),
        ("ubd0=a ubd0=b", "argument 1: ubd0=a: not carried over: it is given again later"),
        ("eth0=slirp", "not the same here: the program slirp is not started"),
        ("eth0=tuntap,,,10.0.0.1", "`tap=auto,host=10.0.0.1/24` makes one, as root"),
        ("eth0=tuntap", "`tap=auto` makes one, as root"),
        ("vec0:transport=x", "`umlctl nic add` has other words for it"),
        ("rootfstype=hostfs rw", "this machine's own files are a root to read"),
    ],
)
def test_what_is_left_is_said_with_its_argument(words: str, said: str) -> None:
    assert said in left(*words.split())


@given(st.lists(st.text(st.characters(codec=None), max_size=12), max_size=8))
def test_any_words_are_read_and_none_is_lost(words: list[str]) -> None:
    found = linux.read(words, "/here")
    said = len(found.items) + len(found.left)
    taken = sum(
        word.startswith(("umid=", "root", "ro", "rw", "linux", "vmlinux")) for word in words
    )
    assert said + taken >= len([word for word in words if word != "ncpus=1"])
