from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from umlctl.errors import UsageError
from umlctl.guest.cmdline import (
    CONSOLE_IN_DESCRIPTOR,
    FAST_BOOT,
    MAX_COMMAND_LINE_BYTES,
    UNKNOWN,
    Traits,
    build,
    console_elsewhere,
    danger,
    descriptors,
    has_agent,
    merge,
    recover,
)
from umlctl.guest.definition import Definition, check, is_device
from umlctl.guest.words import unquoted

VDE = "vec0:transport=vde,vnl=vde:///run/sw"


def line(
    *devices: str,
    addresses: str = "",
    wrapped: bool = False,
    traits: Traits = UNKNOWN,
    **fields: Any,
) -> list[str]:
    """The command line with these devices, in the kernel's words."""
    definition = check(Definition(**{"umid": "demo", "kernel": "/linux", **fields}))
    return build(
        definition,
        uml_dir="/run/k",
        notify="/run/g/demo/notify",
        init="/run/demo/init",
        devices=devices,
        nics=addresses,
        wrapped=wrapped,
        traits=traits,
    )


def value(words: list[str], key: str) -> str:
    """The value of the one argument of this name."""
    found = [word.partition("=")[2] for word in words if word.partition("=")[0] == key]
    assert len(found) == 1, (key, words)
    return found[0]


def for_kernel(words: list[str]) -> list[str]:
    """Those before our init program, which stands last."""
    where = words.index("init=/bin/sh") if "init=/bin/sh" in words else len(words)
    return words[:where]


def test_defaults_are_those_of_the_measurements() -> None:
    assert line() == [
        "mem=262144K",
        "umid=demo",
        "uml_dir=/run/k",
        "mconsole=notify:/run/g/demo/notify",
        "hostname=demo",
        *FAST_BOOT,
        "con=none",
        "ssl=none",
        "con0=fd:17,fd:18",
        "console=tty0",
        "printk.time=1",
        "ssl63=fd:19,null",
        "root=/dev/root",
        "rootfstype=hostfs",
        "rootflags=/",
        "ro",
        "ubd0r=/dev/null",
        "init=/bin/sh",
        "--",
        "/run/demo/init",
    ]


@pytest.mark.parametrize(
    ("release", "left_out"), [((6, 1), False), ((7, 2), True), ((7, 3), False)]
)
def test_what_benchmarks_raid_is_left_out_and_what_sets_it_up_is_not(
    release: tuple[int, int], left_out: bool
) -> None:
    words = line(traits=Traits(release, seccomp=True))
    assert ("raid6_init" in value(words, "initcall_blacklist").split(",")) == left_out
    known = recover(["/linux", *words], "/")
    assert known.arguments == (), "what is ours is not taken for the user's"


@pytest.mark.parametrize(
    ("append", "told"),
    [
        ((), ["kunit.enable=0"]),
        (("kunit.enable=1",), ["kunit.enable=1"]),
        (("kunit_shutdown=poweroff",), []),
        (("kunit.filter_glob=list*",), []),
    ],
)
def test_kernel_runs_its_own_tests_only_where_somebody_speaks_of_them(
    append: tuple[str, ...], told: list[str]
) -> None:
    found = line(traits=Traits((7, 3), seccomp=True, kunit=True), append=append)
    assert [word for word in found if "kunit.enable" in word] == told
    assert not any("kunit.enable=0" in word for word in line())


@pytest.mark.parametrize(
    ("asked", "told"), [("", []), ("basic", ["time-travel"]), ("inf-cpu", ["time-travel=inf-cpu"])]
)
def test_clock_that_does_not_wait_is_asked_for(asked: str, told: list[str]) -> None:
    assert [word for word in line(virtual_time=asked) if "time-travel" in word] == told


def test_several_processors_have_the_kernel_watch_its_processes_by_seccomp() -> None:
    traits = Traits((7, 3), seccomp=True)
    assert value(line(ncpus=2, traits=traits), "seccomp") == "on"
    assert value(line(ncpus=2, traits=traits, append=("seccomp=auto",)), "seccomp") == "auto"
    assert "seccomp=on" not in line(ncpus=1, traits=traits)
    assert value(line(seccomp=True, traits=traits), "seccomp") == "on"
    assert "seccomp=on" not in line(seccomp=True, traits=traits._replace(seccomp=False))
    assert "seccomp=on" not in line(ncpus=2, traits=traits._replace(seccomp=False))


def test_quiet_is_never_ours() -> None:
    """It mutes the answers to `stack` and `sysrq`."""
    assert "quiet" not in line(single=True, verbose=True)


def test_switches_add_their_words() -> None:
    words = line(single=True, verbose=True)
    assert {"single", "ignore_loglevel"} <= set(words)
    assert "sysctl.kernel.modules_disabled=1" in line(modules="locked")
    assert not any(word.startswith("sysctl") for word in line(modules="unlocked"))


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ('con1="port:9000"', "port: it listens"),
        ("con0x1=port:9000", "port: it listens"),
        ("con1=xterms", "xterm: it needs"),
        ("vec0:transport=raw,ifname=e,bpffile=/p", "bpffile: it loads a program"),
        ("vec9:bpfflash=0", "bpfflash: it lets the guest load"),
        ("vec0:ifup=/p,transport=tap", "ifup: it runs a program"),
        ("con=port:9000", "port: it listens on every address"),
        ("ssl3=null,xterm", "xterm: it needs a display"),
        ("vec0:transport=vde,vnl=cmd://id", "vnl: another network than vde:///DIRECTORY"),
        ("vec0:vnl=vlan://1{cmd://id},transport=vdex", "vnl: another"),
        ("vec0:transport=vde,vnl=vde:///a,vnl=/file", "vnl: another"),
        ('vec0:transport=vde,vnl="vde:///a"', "vnl: another"),
    ],
)
def test_argument_that_is_dangerous_to_the_host_is_known(word: str, said: str) -> None:
    assert danger(word).startswith(said)


@pytest.mark.parametrize(
    "word", ["quiet", "console=port:1", "con1=pts", "con0=fd:3,fd:4", "bpffile=/p", "vec0", "", VDE]
)
def test_argument_of_another_kind_is_not(word: str) -> None:
    assert danger(word) == ""


@given(st.text())
def test_any_argument_is_dangerous_or_not(word: str) -> None:
    said = danger(word)
    assert not said or said.partition(":")[0] in word


def test_descriptors_that_the_users_words_name_are_known() -> None:
    definition = check(
        Definition(
            umid="demo",
            kernel="/linux",
            nics=("transport=fd,fd=4,nic=0", "user,nic=1", "vec2:transport=fd,fd=5"),
            append=("con0=null,fd:2", "con1=fd:0,fd:1", 'ssl3="fd:9"'),
            arguments=("vec3:transport=fd,fd=6", "console=fd:8", "--", "con2=fd:7"),
        )
    )
    numbers = sorted(number for _, number in descriptors(definition))
    assert numbers == [0, 1, 2, 4, 5, 6, 9]
    assert descriptors(Definition(umid="demo", kernel="/linux")) == []


# The root


def test_directory_is_a_root_to_write_with_its_own_init() -> None:
    words = line(root="/srv/tree/")
    assert value(words, "rootflags") == "/srv/tree"
    assert value(words, "rootfstype") == "hostfs"
    assert "rw" in words
    assert not any(word.startswith("init=") for word in words)
    assert value(line(root="/"), "rootflags") == "/"


def test_image_is_the_first_disk() -> None:
    words = line("ubd0=/root.img", "ubd1=/data.img", root="/root.img")
    assert value(words, "root") == "/dev/ubda"
    assert value(words, "ubd0") == "/root.img"
    assert value(words, "ubd1") == "/data.img"
    assert "rw" in words
    assert "rootfstype=hostfs" not in words


def test_directory_can_be_a_root_to_read() -> None:
    words = line(root="/srv/tree/,ro")
    assert value(words, "rootflags") == "/srv/tree"
    assert "ro" in words
    assert "rw" not in words


def test_initial_disk_takes_the_place_of_the_hosts_files() -> None:
    guest = Definition(umid="demo", kernel="/k", initrd="/i.gz")
    words = build(guest, uml_dir="/d", notify="/n", init="/our/init")
    assert "initrd=/i.gz" in words
    assert "root=98:0" in words
    assert not any("hostfs" in word or "/our/init" in word for word in words)
    image = build(
        msgspec.structs.replace(guest, root="/r.img"),
        uml_dir="/d",
        notify="/n",
        init="",
        devices=["ubd0=/r.img"],
    )
    assert {"initrd=/i.gz", "root=/dev/ubda", "rw"} <= set(image)
    assert {"root=98:0", "initrd=/i.gz"} <= set(recover(["/k", *words], "/").arguments)


@pytest.mark.parametrize("root", ["host", "/srv/root/"])
@pytest.mark.parametrize("init", ["", "/sbin/mine"])
@pytest.mark.parametrize("kept", ["memory", "/kept"])
def test_overlay_is_laid_by_our_init_which_then_starts_the_guests(
    root: str, init: str, kept: str
) -> None:
    guest = Definition(umid="demo", kernel="/k", root=root, init=init, overlay=kept)
    devices = [f"ubd15={kept}/overlay.img"] if kept != "memory" else []
    traits = Traits((6, 1), seccomp=False, overlay_module="/m/overlay.ko")
    words = build(
        guest, uml_dir="/d", notify="/n", init="/g/demo/init", devices=devices, traits=traits
    )
    assert {"rootflags=/", "rootfstype=hostfs", "ro"} <= set(words)
    assert words[-3:] == ["init=/bin/sh", "--", "/g/demo/init"]
    told = dict(word.partition("=")[::2] for word in words if word.startswith("UMLCTL_"))
    assert told == {
        "UMLCTL_OVERLAY": "memory" if kept == "memory" else "/dev/ubdp",
        "UMLCTL_OVERLAY_MODULE": "/m/overlay.ko",
        **({"UMLCTL_ROOT": "/srv/root"} if root != "host" else {}),
        **({"UMLCTL_INIT": init} if init else {}),
    }
    again = recover(["/k", *words], "/")
    assert (again.root, again.init, again.overlay) == (root, init, kept)
    assert not [word for word in again.arguments if "UMLCTL" in word or "ubd15" in word]


def test_init_among_the_kernels_arguments_comes_after_ours() -> None:
    guest = Definition(umid="demo", kernel="/k", overlay="memory", arguments=("init=/mine", "a"))
    words = build(guest, uml_dir="/d", notify="/n", init="/g/demo/init")
    assert "UMLCTL_INIT=/mine" in words
    assert [word for word in words if word.startswith("init=")] == ["init=/bin/sh"]


HOWTO = "ubd0=/r.img root=/dev/ubda con=null con0=null,fd:2 con1=fd:0,fd:1"


@pytest.mark.parametrize(
    ("arguments", "kept"),
    [
        (HOWTO, []),
        ("root=/dev/ubda", ["systemd.wants=getty@tty0.service"]),
        ("root=98:1", ["systemd.wants=getty@tty0.service"]),
        ("ubd0=/r.img", ["root=98:0", "systemd.wants=getty@tty0.service"]),
        ("ubda=/r.img", ["root=98:0", "systemd.wants=getty@tty0.service"]),
        ("ubd0r=/r.img", ["root=98:0", "systemd.wants=getty@tty0.service"]),
        ("initrd=/i.gz init=/i", ["root=98:0"]),
        ("rootfstype=ext4 single", ["root=98:0"]),
        ("rootflags=/srv init=/i", ["root=/dev/root", "rootfstype=hostfs"]),
        ("rootflags=/srv rootfstype=hostfs init=/i", ["root=/dev/root"]),
        ("root=/dev/root rootfstype=hostfs rootflags=/srv rw init=/i", []),
    ],
)
def test_root_of_the_users_arguments_leaves_nothing_of_ours(
    arguments: str, kept: list[str]
) -> None:
    """Least of all the host's files, or an init that stands among them."""
    given = [word for word in arguments.split() if not is_device(word)]
    words = line(arguments=tuple(arguments.split()))
    own = ("ro", "rw", "init=", "initrd", "ssl63", "UMLCTL", "systemd", "--", "/")
    assert [word for word in words if word.startswith(own)] == kept + [
        word for word in given if word.startswith(own)
    ]
    definition = Definition(umid="demo", kernel="/linux", arguments=tuple(arguments.split()))
    assert not has_agent(definition)


@pytest.mark.parametrize(
    "arguments",
    [
        "ubd0=/dev/null",
        "ubd1=/a.img",
        "rootfstype=hostfs",
        "root=/dev/root rootfstype=hostfs rootflags=/",
        "root=/dev/root ro",
        "rootfstype=hostfs ubd0=/a.img",
        "-- root=/dev/ubda",
    ],
)
def test_arguments_that_name_the_hosts_files_have_our_init(arguments: str) -> None:
    words = line(arguments=tuple(arguments.split()))
    assert words[words.index("--") :][:2] == ["--", "/run/demo/init"]
    assert [value(words, key) for key in ("rootfstype", "rootflags")] == ["hostfs", "/"]


def test_arguments_are_details_of_a_root_that_is_an_image() -> None:
    words = line("ubd0=/r.img", root="/r.img", arguments=("root=/dev/ubda1", "rootflags=noatime"))
    assert [word for word in words if word.startswith(("root", "r"))] == [
        "rw",
        "root=/dev/ubda1",
        "rootflags=noatime",
    ]


@pytest.mark.parametrize(
    ("fields", "asked"),
    [
        ({"root": "/r.img"}, True),
        ({"root": "/srv/"}, True),
        ({}, False),
        ({"root": "/r.img", "init": "/bin/sh"}, False),
        ({"root": "/r.img", "single": True}, False),
        ({"root": "/r.img", "append": ("systemd.wants=other.service",)}, False),
        ({"root": "/r.img", "append": ("systemd.unit=rescue.target",)}, False),
        ({"root": "/r.img", "append": ("con0=pts",)}, False),
        ({"root": "/r.img", "append": ("init=/bin/sh",)}, False),
    ],
)
def test_systemd_is_asked_for_a_login_on_the_console(
    fields: dict[str, Any], *, asked: bool
) -> None:
    assert ("systemd.wants=getty@tty0.service" in line(**fields)) == asked


def test_init_of_the_user_is_run() -> None:
    for root in ("host", "/srv/", "/root.img"):
        assert value(line(root=root, init="/tmp/test.sh"), "init") == "/tmp/test.sh"


def test_own_init_of_an_ordinary_user_is_started_by_ours() -> None:
    """Whose set-user-ID programs would make it nobody."""
    for words in (
        line(init="/tmp/test.sh", wrapped=True),
        line(arguments=("init=/tmp/test.sh", "quiet", "--", "a"), wrapped=True),
        line(append=("quiet", "init=/tmp/test.sh"), wrapped=True),
    ):
        assert value(words, "init") == "/run/demo/init"
        assert value(words, "UMLCTL_INIT") == "/tmp/test.sh"
    for words in (
        line(root="/srv/tree/", init="/sbin/init", wrapped=True),
        line(root="/srv/tree/", arguments=("init=/sbin/init",), wrapped=True),
        line(arguments=("root=/dev/ubda", "init=/sbin/init"), wrapped=True),
        line(arguments=("init=/sbin/init",)),
    ):
        assert value(words, "init") == "/sbin/init"
        assert "UMLCTL_INIT=" not in " ".join(words)


@pytest.mark.parametrize(
    ("fields", "end"),
    [
        ({}, ["init=/bin/sh", "--", "/run/demo/init", "a", "b=c"]),
        ({"init": "/i"}, ["quiet", "--", "a", "b=c"]),
        ({"root": "/srv/"}, ["quiet", "--", "a", "b=c"]),
    ],
)
def test_what_is_for_init_alone_is_never_before_our_own(
    fields: dict[str, Any], end: list[str]
) -> None:
    words = line(arguments=("quiet", "--", "a", "b=c"), **fields)
    assert words[-len(end) :] == end
    assert words.count("--") == 1


def test_what_is_ours_cannot_be_set_behind_what_is_for_init_alone() -> None:
    for word in ("umid=other", "uml_dir=/tmp", "mconsole=notify:/x"):
        with pytest.raises(UsageError, match="not yours to set"):
            line(arguments=("--", word))


def test_console_is_named_so_that_the_kernel_adds_none() -> None:
    assert value(for_kernel(line()), "console") == "tty0"
    assert value(line(append=("console=ttyS0",)), "console") == "ttyS0"


# Disks and NICs


def test_there_is_always_a_ubd0() -> None:
    """Without one the kernel makes a device that it panics on."""
    assert value(line(), "ubd0r") == "/dev/null"
    assert value(line("ubd1=/a"), "ubd0r") == "/dev/null"
    assert value(line("ubd0=/a"), "ubd0") == "/a"


@pytest.mark.parametrize("disk", ["ubd0r=/a", "ubda=/a", "ubdar=/a"])
def test_first_disk_by_any_name_is_the_ubd0(disk: str) -> None:
    assert [word for word in line(disk) if word.startswith("ubd")] == [disk]


def test_devices_are_those_that_the_host_has_ready() -> None:
    """What the definition and the user's arguments ask for has become the kernel's words."""
    asked = ("ubd1=/a", "vec0:transport=bess,dst=/s,mac=02:00:00:00:00:01", "eth1=mcast")
    for fields in (
        {"disks": ("/a,slot=1",), "nics": ("switch=lan,nic=0", "eth1=mcast")},
        {"arguments": ("ubdb=/b", "vec0:transport=fd,fd=3", "eth1=mcast")},
        {"append": ("ubd1r=/b", "eth1=mcast")},
    ):
        words = line(*asked, **fields)
        made = [word for word in words if word.startswith(("ubd", "vec", "eth"))]
        assert made == ["ubd0r=/dev/null", *asked]


def test_addresses_of_nics_are_for_our_own_init() -> None:
    words = line(addresses="vec0,10.0.0.2/24")
    assert value(words, "UMLCTL_NICS") == "vec0,10.0.0.2/24"
    assert not any(word.startswith("UMLCTL_NICS") for word in line(addresses=""))
    for root in ("/srv/", "/root.img"):
        assert "UMLCTL_NICS=vec0,10.0.0.2/24" not in line(root=root, addresses="vec0,10.0.0.2/24")


def test_modules_of_the_kernel_are_for_our_own_init() -> None:
    traits = Traits((6, 1), seccomp=False, modules="/usr/lib/uml/modules")
    assert value(line(traits=traits), "UMLCTL_MODULES") == "/usr/lib/uml/modules"
    found = recover(["/linux", *line(traits=traits)], "/")
    assert found.arguments == ()
    others: list[dict[str, Any]] = [{"root": "/srv/"}, {"root": "/root.img"}, {"init": "/i"}]
    for fields in others:
        assert "UMLCTL_MODULES" not in " ".join(line(traits=traits, **fields))
    assert "UMLCTL_MODULES" not in " ".join(line(traits=traits._replace(modules="/a b")))


def test_modules_to_be_loaded_are_told_to_our_own_init() -> None:
    traits = Traits((6, 1), seccomp=False, modules="/m", load=("kernel/a.ko", "kernel/b.ko"))
    assert value(line(traits=traits), "UMLCTL_LOAD") == "kernel/a.ko;kernel/b.ko"
    assert recover(["/linux", *line(traits=traits)], "/").arguments == ()
    assert "UMLCTL_LOAD" not in " ".join(line(traits=traits._replace(load=())))


# What the user gives


@pytest.mark.parametrize(
    ("given", "gone"),
    [
        ("mem=1G", "mem=262144K"),
        ("con=pts", "con=none"),
        ("con0=xterm", "con0=fd:17,fd:18"),
        ("ssl=pty", "ssl=none"),
        ("root=/dev/ubdb", "root=/dev/root"),
        ("root=/dev/ubdb", "rootfstype=hostfs"),
        ("rw", "ro"),
        ("init=/bin/bash", "init=/bin/sh"),
        ("hostname=other", "hostname=demo"),
        ("lpj=1", FAST_BOOT[1]),
    ],
)
def test_argument_of_the_user_wins(given: str, gone: str) -> None:
    for words in (line(append=(given,)), line(arguments=(given,))):
        assert for_kernel(words)[-1] == given
        assert gone not in words


def test_ro_and_rw_of_the_user_are_both_kept_in_order() -> None:
    assert for_kernel(line(arguments=("rw", "ro")))[-2:] == ["rw", "ro"]
    assert "rw" not in line(root="/root.img", append=("ro",))


def test_arguments_stand_last_as_they_were_given() -> None:
    words = line(append=("a=1", "b"), arguments=("systemd.unit=x", 'c="d e"', "a=2"))
    assert for_kernel(words)[-5:] == ["a=1", "b", "systemd.unit=x", 'c="d e"', "a=2"]


@pytest.mark.parametrize("word", ["umid=x", "uml_dir=/tmp", "mconsole=notify:/x", "umid"])
def test_arguments_that_find_the_guest_again_are_not_the_users(word: str) -> None:
    with pytest.raises(UsageError, match="not yours to set"):
        line(append=(word,))
    with pytest.raises(UsageError, match="not yours to set"):
        line(arguments=(word,))


def test_mistyped_disk_is_named() -> None:
    with pytest.raises(UsageError, match="did you mean ubd"):
        line(arguments=("udb1=/a",))


words = st.sampled_from(
    ["mem=1M", "mem=2M", "ubd0=/a", "ubd0r=/b", "ubda=/e", "vec0:x=y", "vec0:z", "ro", "rw", "con"]
)


@given(st.lists(words, max_size=5, unique=True), st.lists(words, max_size=5))
def test_merge_keeps_all_of_the_user_and_only_other_defaults(
    defaults: list[str], user: list[str]
) -> None:
    merged = merge(defaults, user)
    kept = merged[: len(merged) - len(user)]
    assert merged[len(kept) :] == user
    assert [word for word in defaults if word in kept] == kept
    about = ["mem", "ubd0", "vec0", "con"]
    for word in kept:
        topic = next((topic for topic in about if word.startswith(topic)), "")
        assert not topic or not any(other.startswith(topic) for other in user)


# Limits


def test_line_may_have_4095_bytes() -> None:
    short = len(" ".join(line())) + 1
    assert (
        len(" ".join(line(append=("x" * (MAX_COMMAND_LINE_BYTES - short - 1),))))
        == MAX_COMMAND_LINE_BYTES - 1
    )
    with pytest.raises(UsageError, match=r"has 4096 bytes; 4095 is the most"):
        line(append=("x" * (MAX_COMMAND_LINE_BYTES - short),))


def test_length_is_counted_in_bytes() -> None:
    with pytest.raises(UsageError, match="4095 is the most"):
        line(append=("ü" * 2000,))


# Words


def parse(text: str) -> tuple[list[str], list[str]]:
    """What the kernel reads in a command line, for itself and for init: `next_arg` of
    lib/cmdline.c, byte by byte, and `parse_args` of kernel/params.c, called twice."""
    told: tuple[list[str], list[str]] = ([], [])
    rest, which = text.encode().lstrip(BLANKS), 0
    while rest:
        quoted = in_quote = rest.startswith(b'"')
        rest = rest[quoted:]
        i, equals = 0, 0
        while i < len(rest) and (in_quote or rest[i] not in BLANKS):
            equals = equals or (i if rest[i : i + 1] == b"=" else 0)
            in_quote ^= rest[i : i + 1] == b'"'
            i += 1
        word, rest = rest[:i], rest[i + 1 :].lstrip(BLANKS)
        if quoted and word.endswith(b'"'):
            word = word[:-1]
        if equals and word[equals + 1 : equals + 2] == b'"':
            word = word[: equals + 1] + word[equals + 2 :].removesuffix(b'"')
        if word == b"--":
            which += 1
            if which == 2:
                break
        else:
            told[which].append(word.decode("utf-8", "surrogateescape"))
    return told


BLANKS = b"\t\n\v\f\r \xa0"
"""What isspace() of lib/ctype.c has."""
pieces = st.one_of(
    st.sampled_from(['"', " ", "=", "--", "\t", "\0", "\xa0", "à", "ü", "☃", "\u2028", "'", "\\"]),
    st.text(max_size=3),
)
texts = st.lists(pieces, max_size=6).map("".join)
given_words = st.one_of(
    texts,
    st.builds('{}="{}"'.format, st.sampled_from(["x", "a.b", "init", "umid"]), texts),
    st.builds("{}={}".format, st.sampled_from(["x", "init", "root", "ubd1", "con1"]), texts),
)


@example("/", "", ['x=a"b'], [], ("", "/init", ""))
@example("/", "", [], ['x="y'], ("", "/init", ""))
@example("/", "", [], [], ('/q"x.img', "/init", ""))
@example("/voilà/", "", [], [], ("", "/init", ""))
@given(
    st.one_of(texts.map("/{}/".format), st.just("host"), texts.map("/{},ro".format)),
    texts,
    st.lists(given_words, max_size=3),
    st.lists(given_words, max_size=4),
    st.tuples(texts, texts, texts),
)
def test_kernel_reads_each_word_as_one_or_gets_none(
    root: str, program: str, append: list[str], arguments: list[str], others: tuple[str, str, str]
) -> None:
    """Whatever a definition, a file or a directory has in its name."""
    disk, init, directory = others
    try:
        words = build(
            check(
                Definition(
                    umid="demo",
                    kernel="/linux",
                    root=root,
                    init=program,
                    append=tuple(append),
                    arguments=tuple(arguments),
                )
            ),
            uml_dir=f"/run/{directory}",
            notify=f"/run/{directory}/notify",
            init=init,
            devices=[f"ubd1={disk}"],
            nics=directory,
        )
    except UsageError:
        return
    meant = [unquoted(word) for word in words]
    where = meant.index("--") if "--" in meant else len(meant)
    assert parse(" ".join(words)) == (meant[:where], meant[where + 1 :])
    for word in (*append, *arguments):
        assert word == "--" or is_device(word) or unquoted(word) in meant


@pytest.mark.parametrize("disk", ["/a b", '/q"x.img', "/voilà.img", "/a\tb", "/\x01"])
def test_disk_that_the_kernel_would_misread_can_be_added_later(disk: str) -> None:
    with pytest.raises(UsageError, match=r"cannot have .*; add it with `umlctl disk add`"):
        line(f"ubd1={disk}")


@pytest.mark.parametrize(
    "fields",
    [{"root": "/srv/a b/"}, {"init": "/bin/a b"}, {"root": '/srv/a"b/'}, {"init": '/bin/a"b'}],
)
def test_path_that_the_kernel_would_misread_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=r"cannot have a (blank|quote)"):
        line(**fields)


@pytest.mark.parametrize("name", ["/bücher", "/☃", "/日本", "/it's", "/a\\b", "/a;b"])
def test_names_of_any_language_are_taken(name: str) -> None:
    assert f"ubd1={name}" in line(f"ubd1={name}")
    assert f"rootflags={name}" in line(root=f"{name}/")
    assert parse(" ".join(line(root=f"{name}/", arguments=(f"x={name}",))))[0][-1] == f"x={name}"


@pytest.mark.parametrize("word", ["--version", "--help", "--showconfig", "--version=1"])
def test_what_a_kernel_prints_and_ends_with_is_refused(word: str) -> None:
    for arguments in ((word,), ("--", word)):
        with pytest.raises(UsageError, match="would print it and end"):
            line(arguments=arguments)


def test_init_is_told_all_words_or_none() -> None:
    assert len(parse(" ".join(line(arguments=("--", *["a"] * 126))))[1]) == 127
    with pytest.raises(UsageError, match="127 words, not 128"):
        line(arguments=("--", *["a"] * 127))
    with pytest.raises(UsageError, match="a second `--`"):
        line(arguments=("--", "a", "--", "b"))


def test_word_of_init_is_no_device() -> None:
    assert line(arguments=("--", "ubd1=/a"))[-2:] == ["/run/demo/init", "ubd1=/a"]


# The way back


@pytest.mark.parametrize(
    ("fields", "devices"),
    [
        ({}, []),
        ({"mem": 64 << 20, "verbose": True, "ncpus": 2, "single": True}, ["ubd1=/d"]),
        ({"init": "/bin/sh"}, []),
        ({"modules": "locked"}, []),
        ({"append": ("quiet", "--", "a", "init=/b")}, ["ubd1=/d"]),
        ({"append": ("init=/bin/sh", "--", "-c", "a")}, []),
        ({"root": "/srv/root/", "arguments": ("--", "a")}, []),
        ({"root": "/srv/root/", "init": "/init"}, []),
        ({"root": "/srv/root/,ro"}, []),
        ({"append": ("root=98:1", "quiet"), "arguments": ("rw",)}, ["ubd1=/r.img"]),
        ({"append": ("ubd0=/r.img",)}, ["ubd0=/r.img"]),
        ({"root": "/r.img"}, ["ubd0=/r.img"]),
        ({"root": "/r.img,ro"}, ["ubd0r=/r.img"]),
        ({"root": "/r.img,cow=/r.cow"}, ["ubd0=/r.cow,/r.img"]),
        ({"append": ("quiet", "a=b"), "arguments": ("panic=1",)}, ["vec0:transport=tap,ifname=t"]),
    ],
)
@pytest.mark.parametrize("wrapped", [False, True])
def test_definition_is_found_again_in_what_runs(
    fields: dict[str, Any], devices: list[str], *, wrapped: bool
) -> None:
    words = line(*devices, addresses="vec0,10.0.0.1", wrapped=wrapped, **fields)
    found = recover(["/linux", *words], "/there")
    assert (found.umid, found.kernel, found.cwd) == ("demo", "/linux", "/there")
    given = Definition(umid="demo", kernel="/linux", **fields)
    assert (found.mem, found.root, found.init) == (given.mem, given.root, given.init)
    assert has_agent(found) == has_agent(given)
    # What is a device of the command line again is not among what only the kernel hears.
    others = [word for word in devices if not word.startswith("ubd0")]
    again = line(
        *devices, addresses="vec0,10.0.0.1", wrapped=wrapped, **_fields(found, without=others)
    )
    assert sorted(again) == sorted(words)


def _fields(definition: Definition, without: list[str]) -> dict[str, Any]:
    names = ("mem", "root", "init")
    kept = tuple(word for word in definition.arguments if word not in without)
    return {name: getattr(definition, name) for name in names} | {"arguments": kept}


@pytest.mark.parametrize(
    "words", [[], ["linux"], ["linux", "umid=a"], ["sh", "-c", "umid=a uml_dir=/k mconsole=x"]]
)
def test_what_was_not_started_here_has_no_definition(words: list[str]) -> None:
    with pytest.raises(UsageError, match="no kernel that was started here"):
        recover(words, "/")


@pytest.mark.parametrize(
    ("arguments", "elsewhere"),
    [
        ((), ""),
        (("con0=null",), "con0=null"),
        (("con0=pts", f"con0=fd:{CONSOLE_IN_DESCRIPTOR},fd:18"), ""),
        (("con1=pts", "con=null"), ""),
        (("--", "con0=null"), ""),
    ],
)
def test_console_that_the_user_has_put_elsewhere_is_known(
    arguments: tuple[str, ...], elsewhere: str
) -> None:
    definition = Definition(umid="demo", kernel="/linux", arguments=arguments)
    assert console_elsewhere(definition) == elsewhere
