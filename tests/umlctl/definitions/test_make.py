from __future__ import annotations

import os
import re

import pytest

from umlctl.definitions import files, make
from umlctl.errors import NoKernel, UsageError
from umlctl.guest.definition import Definition
from umlctl.kernels import find

WRONG = [
    # text, line, key, what is said
    ('mem = "1M"', 1, "mem", "at least 24M"),
    ('memory-limit = "1M"', 1, "memory-limit", "at least 24M"),
    ("\ncpu-limit = 1000000", 2, "cpu-limit", "percent of one processor"),
    ('cpus = "a"', 1, "cpus", "a list such as 0 or 0,2-3"),
    ("numa = 9999", 1, "numa", "a number from 0 to 1023"),
    ('disk = ["/a",\n"/b,nope"]', 2, "disk", "slot=N, ro, sync"),
    ('disk = [\n"/a,slot=1",\n"/b,slot=1"]', 3, "disk", "ubd1 is given twice"),
    ('nic = ["user", "switch="]', 1, "nic", "switch=NAME"),
    ('nic = ["vec0:transport=tap,ifname=a,ifup=/a"]', 1, "nic", "refused"),
    ('append = ["quiet",\n"con0=port:80"]', 2, "append", "--force"),
    ('append = ["a b"]', 1, "append", "one word"),
    ('append = ["quiet",\n"umid=web"]', 2, "append", "it is the guest's name"),
    ('append = ["udb1=/a"]', 1, "append", "did you mean ubd?"),
    ('append = ["root=/dev/x"]\nroot = "/tmp"', 2, "root", "give one of the two"),
    ('root = "/tmp"\nmem="64M"\nappend = ["root=/dev/x"]', 3, "append", "give one of the two"),
    ('root = "/i.img"\noverlay = "memory"', 2, "overlay", "/i.img,discard forgets"),
    (
        'root = "/tmp"\nappend = ["hostfs=/srv,append"]',
        2,
        "append",
        "--root /srv has that as the root",
    ),
    ('append = ["hostfs=/srv"]', 1, "append", "and --share DIR a directory in the guest"),
    ('overlay = "d,e"', 1, "overlay", "cannot have a comma"),
    ('overlay = "memory"\ninitrd = "i"', 2, "initrd", "another root is asked for"),
    ('initrd = "i"\nroot = "/tmp"', 2, "root", "another one is asked for by initrd"),
    ('initrd = "i"\nappend = ["initrd=j"]', 2, "append", "a kernel argument has another"),
    ('profile = "x"', 1, "profile", "lab, server or server:BRIDGE"),
    ('user = "nobody"\nnic = ["user"]', 2, "nic", "nobody"),
    ('after = ["web"]', 1, "after", "cannot come after itself"),
    ('after = ["a", "b/c"]', 1, "after", "letters, digits"),
    ('allow-user = ["root:write"]', 1, "allow-user", "read or"),
    ("hang-after = 0.5", 1, "hang-after", "a second at least"),
    ('confine = "off"\nrw = ["/tmp"]', 2, "rw", "confine"),
]


def of_text(text: str) -> files.Written:
    return files.of_text("web", "web.toml", text, "/d")


@pytest.mark.parametrize(("text", "line", "key", "said"), WRONG)
def test_what_cannot_be_had_is_told_with_its_place(
    text: str, line: int, key: str, said: str, house: str
) -> None:
    with pytest.raises(UsageError) as caught:
        make.check(of_text(text))
    assert str(caught.value).startswith(f"web.toml:{line}: {key}: "), caught.value
    assert said in str(caught.value)


def test_what_is_sound_is_not_looked_for(house: str) -> None:
    make.check(of_text('kernel = "nowhere"\nroot = "no.img"\ndisk = ["no.img"]\nmem = "64M"'))


def test_name_is_looked_at_too(house: str) -> None:
    written = of_text("")._replace(umid="bad name")
    with pytest.raises(UsageError, match=r"^web\.toml: a umid is made of letters"):
        make.check(written)


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> find.ProbedKernel:
    found = find.ProbedKernel("/linux", "6.1.176", frozenset(), {"UML": "y"})
    monkeypatch.setattr(find, "find", lambda name=None: name or "/linux")
    monkeypatch.setattr(find, "probe", lambda _path, _user="": found)
    return found


def test_file_makes_a_definition_by_itself(house: str, kernel: find.ProbedKernel) -> None:
    path = f"{house}/web.toml"
    with open(path, "w") as file:
        file.write(
            'mem = "1G"\ncpus = "any"\ndisk = ["a.img"]\nprofile = "lab"\ninit = "t"\n'
            "single = true\n"
        )
    assert make.of_written(files.needed(path)) == Definition(
        umid="web",
        kernel="/linux",
        mem=1 << 30,
        disks=(f"{house}/a.img,slot=1",),
        nics=("user,nic=0",),
        init=f"{house}/t",
        single=True,
        cwd=house,
        home=f"{house}/h",
    )


def test_kernel_must_be_able_to(house: str, kernel: find.ProbedKernel) -> None:
    with pytest.raises(UsageError, match="2 processors are too many"):
        make.of_written(of_text("ncpus = 2"))
    with pytest.raises(UsageError, match=r"--seccomp takes Linux 6\.16 or later, and /linux is"):
        make.of_written(of_text("seccomp = true"))
    with pytest.raises(UsageError, match=r"--virtual-time takes .*`umlctl kernel build --with"):
        make.of_written(of_text('virtual-time = "basic"'))
    kernel.config["UML_TIME_TRAVEL_SUPPORT"] = "y"  # type: ignore[index]
    assert make.of_written(of_text('virtual-time = "inf-cpu"')).virtual_time == "inf-cpu"
    with pytest.raises(UsageError, match="--initrd takes CONFIG_BLK_DEV_INITRD, and /linux has"):
        make.of_written(of_text('initrd = "i"'))
    with pytest.raises(UsageError, match="/linux has no overlay file system for it: it is built"):
        make.of_written(of_text('overlay = "memory"'))
    kernel.config["OVERLAY_FS"] = "y"  # type: ignore[index] # it is the fixture's own
    assert make.of_written(of_text('overlay = "memory"')).overlay == "memory"
    with pytest.raises(UsageError, match="/linux has no ext4, which --overlay=DIR takes"):
        make.of_written(of_text('overlay = "kept"'))
    with pytest.raises(UsageError, match="root=/dev/nfs takes CONFIG_ROOT_NFS, and /linux"):
        make.of_written(of_text('append = ["root=/dev/nfs"]'))


def test_kernel_that_is_not_there_is_told(house: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("UMLCTL_KERNEL", raising=False)
    with pytest.raises(NoKernel, match=re.escape("/d/linux")):
        make.of_written(of_text('kernel = "./linux"'))


def test_user_is_for_root(house: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(UsageError, match="--user is for root"):
        make.of_written(of_text('user = "nobody"'))
