"""Guests of other systems: the files of their own manuals come to be sound definitions."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from umlctl.definitions import files, imported, make
from umlctl.errors import NoKernel
from umlctl.guest.readers import libvirt, linux, vkernel, xl
from umlctl.guest.readers.reading import Reading
from umlctl.kernels import find, kernel_file
from umlctl.kernels.find import ProbedKernel

FORMS = Path(__file__).parent / "forms"
"""NAME.FORM is what is read. NAME.FORM.toml is the definition, and then, as comments, what is left.
foo, nbsd, linux-domu and solaris are of the NetBSD Xen HOWTO; manual and diskless of vkernel(7),
handbook of the DragonFly handbook; howto of the UML HowTo; demo of libvirt's own page on UML."""
HERE = "/here"
PLAIN = ProbedKernel("/usr/bin/linux.uml", "6.1.176", frozenset(), {})
SMP = PLAIN._replace(config={"SMP": "y", "NR_CPUS": "8", "MODULES": "y"})


@pytest.fixture(autouse=True)
def _kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, PLAIN)


def use(monkeypatch: pytest.MonkeyPatch, kernel: ProbedKernel) -> None:
    """Have the kernel of this machine be this one."""
    monkeypatch.setattr(find, "find", lambda *_: kernel.path)
    monkeypatch.setattr(find, "probe", lambda *_: kernel)


def read(text: str, form: str) -> Reading:
    if form == "xl":
        return xl.read(text, "f.cfg", HERE)
    if form == "libvirt":
        return libvirt.read(text, "f.xml", HERE)
    words = shlex.split(text)
    return vkernel.read(words, HERE) if form == "vkernel" else linux.read(words, HERE)


def forms() -> list[str]:
    return sorted(path.name for path in FORMS.iterdir() if path.suffix != ".toml")


def whole(found: imported.Imported) -> str:
    lines = "".join(f"# {left}\n" for left in found.left)
    return found.text + re.sub("it is not a UML kernel: [^;]*", "it is not a UML kernel", lines)


@pytest.mark.parametrize("name", forms())
def test_form_becomes_the_definition_that_is_kept_here(name: str) -> None:
    form = name.rpartition(".")[2]
    text = (FORMS / name).read_text()
    found = imported.imported(read(text, form), "Read from FORM")
    assert whole(found) == (FORMS / f"{name}.toml").read_text()
    make.check(files.of_text("web", "f", found.text, ""))


def test_kernel_of_this_host_says_what_can_be_had(monkeypatch: pytest.MonkeyPatch) -> None:
    def values() -> dict[str, Any]:
        return imported.imported(vkernel.read(["-n", "4"], HERE), "x").values

    assert values() == {"modules": "locked"}
    use(monkeypatch, SMP)  # which cannot lock its modules: it has no sysctl
    assert values() == {"ncpus": 4}

    def none(*_: object) -> str:
        raise NoKernel("none")

    monkeypatch.setattr(find, "find", none)
    assert values() == {"ncpus": 4, "modules": "locked"}  # `start` says what is missing


def test_kernel_that_is_named_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(*_: object) -> ProbedKernel:
        raise AssertionError

    monkeypatch.setattr(find, "probe", run)
    monkeypatch.setattr(kernel_file, "flaw", lambda _: "")
    reading = linux.read([f"{tmp_path}/linux", "ncpus=9"], HERE)
    found = imported.imported(reading, "x")
    assert found.values == {"kernel": f"{tmp_path}/linux", "ncpus": 9}


def test_initial_disk_is_carried_over_where_it_is(tmp_path: Path) -> None:
    (tmp_path / "initrd").touch()
    for name, values in (("initrd", {"initrd": f"{tmp_path}/initrd"}), ("none", {})):
        found = imported.imported(xl.read(f'ramdisk = "{name}"', "f", str(tmp_path)), "x")
        assert found.values == values


def test_what_cannot_be_had_together_gives_way() -> None:
    reading = Reading(HERE)
    for number, (key, value) in enumerate(
        (
            ("mem", "64M"),
            ("disk", "/a,slot=3"),
            ("disk", "/b,slot=3"),
            ("append", "umid=x"),
            ("disk", "/c"),
            ("mem-dir", "relative"),
        ),
        1,
    ):
        reading.carry(key, value, f"f:{number}", key)
    found = imported.imported(reading, "x")
    assert found.values == {"mem": "64M", "disk": ("/a,slot=3", "/c")}
    assert [left.at for left in found.left] == ["f:3", "f:4", "f:6"]
    assert found.left[0].why == "ubd3 is given twice: /a,slot=3 and /b,slot=3"
    assert "umid= is not yours to set" in found.left[1].why


def test_name_that_no_guest_can_have_is_left() -> None:
    found = imported.imported(xl.read('name = "a b"', "f", HERE), "x")
    assert found.name == ""
    assert "--name gives another" in str(found.left[0])


ANYTHING = st.text(st.characters(codec=None), max_size=20)
WORDS = st.one_of(
    ANYTHING,
    st.sampled_from(
        (
            *(
                "mem=1M",
                "ubd0=a",
                "ubd0=a,b",
                "ubdar=x",
                "root=/dev/ubda",
                "root=/dev/ubdb1",
                "init=",
            ),
            *("eth0=slirp", "vec0:transport=tap,ifname=t", "con0=fd:1", "--", "rootflags=/x", "rw"),
            *(
                "rootfstype=hostfs",
                "initrd=x",
                "ncpus=99999",
                "umid=..",
                "x=a b",
                "mem=9999999999G",
            ),
            *(
                "--help",
                "sysctl.kernel.modules_disabled=1",
                "S",
                "rootfstype=ext4",
                "/linux",
                "eth=",
            ),
        )
    ),
)


@given(st.lists(WORDS, max_size=12))
def test_any_command_line_of_linux_becomes_a_sound_definition(words: list[str]) -> None:
    sound(linux.read(words, HERE))


VALUES = st.one_of(
    ANYTHING,
    st.sampled_from(
        (
            *(
                "auto:bridge0",
                "auto:10.0.0.1:10.0.0.2/24=02:00:00:00:00:01",
                "/var/run/vknet",
                "tap0",
            ),
            *(
                "map,3",
                "any",
                "99999",
                "1g",
                "4:1:1",
                "a=b:c=d",
                "boot.netif.ip=1.2.3.4",
                "f:serial",
            ),
            *("boot.netif.netmask=255.0.0.0", "x,y", "/a:b:c", "boot.netif.name=vke7", "::/"),
        )
    ),
)


@given(st.lists(st.tuples(st.sampled_from(sorted(vkernel.WITH_VALUE + "svUtzh")), VALUES)))
def test_any_command_line_of_vkernel_becomes_a_sound_definition(
    options: list[tuple[str, str]],
) -> None:
    words = []
    for letter, value in options:
        words += [f"-{letter}", value] if letter in vkernel.WITH_VALUE else [f"-{letter}"]
    sound(vkernel.read(words, HERE))


KEYS = st.sampled_from(
    sorted({*xl._TAKES, *xl.EVENTS, "root", "extra", "cmdline", "maxmem", "pci"})
)
XL_VALUES = st.one_of(
    ANYTHING,
    st.sampled_from(
        (
            *("phy:/a,0x301,w", "file:/b,xvda,r", "/c,raw,hdc,ro", ",hdc:cdrom,r", "target=/a,b"),
            *("mac=02:00:00:00:00:01,bridge=b", "vifname=a", "/dev/xvda1 ro", "restart", "0-3,^1"),
            *(
                "coredump-destroy",
                "-s -v x=1 /a",
                "root=/dev/xvdb",
                "always",
                "7",
                "hda:x",
                "0x99999",
            ),
        )
    ),
)


@given(st.lists(st.tuples(KEYS, st.lists(XL_VALUES, max_size=3)), max_size=8))
def test_any_file_of_xl_becomes_a_sound_definition(pairs: list[tuple[str, list[str]]]) -> None:
    def quoted(text: str) -> str:
        plain = text.replace("\\", "\\\\").replace("'", "\\'").replace("\n", "\\n")
        return f"'{plain}'"

    lines = []
    for key, values in pairs:
        texts = [quoted(value) for value in values]
        value = texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]"
        lines.append(f"{key} = {value}")
    sound(xl.read("\n".join(lines), "f", HERE))


def sound(reading: Reading) -> None:
    """See that a definition comes out, and that nothing of it was lost without a word."""
    asked = len(reading.items) + len(reading.left)
    found = imported.imported(reading, "x")
    make.check(files.of_text(found.name or "x", "f", found.text, ""))
    kept = sum(len(each) if isinstance(each, tuple) else 1 for each in found.values.values())
    assert kept + len(found.left) >= asked
    for left in found.left:
        assert str(left).isprintable() or not str(left).isascii()
