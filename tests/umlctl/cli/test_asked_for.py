from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import pytest
from msgspec.structs import replace

from tests.umlctl.state.test_records import keep
from umlctl.definitions import files
from umlctl.guest.definition import Definition, root_disk
from umlctl.kernels import find, modules

if TYPE_CHECKING:
    from tests.umlctl.cli.conftest import Boot, Started


def test_defaults(boot: Boot, house: str) -> None:
    assert boot("demo") == Definition(
        umid="demo", kernel="/usr/bin/linux.uml", cwd=house, home=f"{house}/h"
    )


def test_options_become_the_definition(boot: Boot, house: str) -> None:
    words = "demo --kernel ./linux --mem 1G --init /bin/init --append a=1 --append quiet"
    words += " --cpus 0,2-3 --numa 0 --aslr -s -v --pidfile run/pid --timeout 2.5"
    words += " --after db --after mail"
    words += " --nic vec0:transport=tap,ifname=t --nic user,forward=8080:80"
    assert boot(*words.split()) == Definition(
        umid="demo",
        kernel="./linux",
        mem=1 << 30,
        init="/bin/init",
        append=("a=1", "quiet"),
        cpus="0,2-3",
        numa=0,
        aslr=True,
        single=True,
        verbose=True,
        pidfile=f"{house}/run/pid",
        timeout=2.5,
        after=("db", "mail"),
        nics=("vec0:transport=tap,ifname=t", "user,nic=1,forward=8080:80"),
        cwd=house,
        home=f"{house}/h",
    )


@pytest.mark.parametrize(
    ("words", "kept"),
    [
        (["--overlay", "demo"], "memory"),
        (["demo", "--overlay"], "memory"),
        (["demo", "--overlay=memory"], "memory"),
        (["--overlay=kept", "demo"], "{house}/kept"),
        (["demo", "--", "--overlay"], ""),
    ],
)
def test_option_without_a_value_leaves_the_name_alone(
    boot: Boot, house: str, monkeypatch: pytest.MonkeyPatch, words: list[str], kept: str
) -> None:
    monkeypatch.setattr(modules, "overlay_flaw", lambda _kernel: "")
    probe = find.probe
    monkeypatch.setattr(
        find, "probe", lambda *given: probe(*given)._replace(config={"EXT4_FS": "y"})
    )
    made = boot(*words)
    assert (made.umid, made.overlay) == ("demo", kept.format(house=house))


@pytest.mark.parametrize(
    ("words", "kept"),
    [
        (["--virtual-time", "demo"], "basic"),
        (["demo", "--virtual-time=inf-cpu"], "inf-cpu"),
        (["demo", "--", "--virtual-time"], ""),
    ],
)
def test_clock_that_does_not_wait_leaves_the_name_alone(
    boot: Boot, monkeypatch: pytest.MonkeyPatch, words: list[str], kept: str
) -> None:
    config = {"UML_TIME_TRAVEL_SUPPORT": "y"}
    probe = find.probe
    monkeypatch.setattr(find, "probe", lambda *given: probe(*given)._replace(config=config))
    made = boot(*words)
    assert (made.umid, made.virtual_time) == ("demo", kept)


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        ("--profile lab", "--nic user"),
        ("--profile server", "--nic tap=auto,bridge=br0 --restart on-failure"),
        ("--profile server:br1", "--nic tap=auto,bridge=br1 --restart on-failure"),
        ("--profile lab --nic switch=a", "--nic switch=a"),
        ("--profile lab --restart always", "--nic user --restart always"),
        ("--profile server --restart no", "--nic tap=auto,bridge=br0"),
        ("--profile lab -- eth0=mcast", "-- eth0=mcast"),
        ("--profile lab --append vec3:transport=fd,fd=3", "--append vec3:transport=fd,fd=3"),
    ],
)
def test_profile_is_a_word_for_options_and_these_win(boot: Boot, words: str, meant: str) -> None:
    assert boot("demo", *words.split()) == boot("demo", *meant.split())


def test_name_among_kernel_arguments_is_the_guests(started: Started, boot: Boot) -> None:
    for words in (["--", "umid=demo", "quiet"], ["--append", "umid=demo", "--", "quiet"]):
        assert started.main("run", *words) == 0
        assert started.definitions[-1].umid == "demo"
        assert started.definitions[-1].named
        assert started.definitions[-1].arguments == ("quiet",)
    assert boot("demo", "--", "umid=demo").arguments == ()


def test_memory_among_kernel_arguments_is_the_guests(boot: Boot) -> None:
    assert boot("demo", "--append", "mem=64M").mem == 64 << 20
    assert boot("demo", "--mem", "1G", "--", "mem=64M", "mem=65536k").mem == 64 << 20


def test_init_on_the_hosts_files_is_taken_from_here(boot: Boot, house: str) -> None:
    assert boot("demo", "--init", "test.sh").init == f"{house}/test.sh"
    assert boot("demo", "--root", "a.img", "--init", "bin/sh").init == "bin/sh"


def test_directory_can_be_a_root_to_read(boot: Boot, house: str) -> None:
    os.mkdir("tree")
    assert boot("demo", "--root", "tree").root == f"{house}/tree/"
    assert boot("demo", "--root", "tree,ro").root == f"{house}/tree/,ro"
    assert boot("demo", "--root", "tree.img,ro").root == f"{house}/tree.img,ro"


@pytest.mark.parametrize("options", ["discard", "cow=a.cow", "ro,discard"])
def test_directory_that_is_a_root_is_kept_as_it_is_by_an_overlay(
    started: Started, options: str
) -> None:
    os.mkdir("tree")
    assert started.main("start", "demo", "--root", f"tree,{options}") == 2
    assert (
        f"the root tree is a directory, and '{options}' is for disks: `--root tree,ro` only reads "
        "it; `--root tree --overlay` forgets what is written, `--overlay=DIR` keeps it apart"
    ) in started.err
    assert started.definitions == []


def test_root_image_takes_the_options_of_a_disk(boot: Boot, house: str) -> None:
    definition = boot("demo", "--root", "base.img,cow=a.cow,sync")
    assert definition.root == f"{house}/base.img,cow=a.cow,sync"
    assert str(root_disk(definition)) == f"{house}/base.img,slot=0,sync,cow={house}/a.cow"


def test_memory_can_be_made_elsewhere(boot: Boot, house: str) -> None:
    assert boot("demo", "--mem-dir", "tmp").mem_dir == f"{house}/tmp"


def test_processors_are_as_many_as_the_kernel_can_have(
    started: Started, boot: Boot, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = {"SMP": "y", "NR_CPUS": "64"}
    kernel = find.ProbedKernel("/usr/bin/linux.uml", "6.19", frozenset(), config)
    monkeypatch.setattr(find, "probe", lambda _path, _user: kernel)
    assert boot("demo", "--ncpus", "64").ncpus == 64
    assert started.main("run", "demo", "--ncpus", "65") == 2
    assert "65 processors are too many: the kernel /usr/bin/linux.uml can have 64" in started.err
    config.clear()
    assert started.main("run", "demo", "--ncpus", "2") == 2
    assert "the kernel /usr/bin/linux.uml has no SMP" in started.err
    assert boot("demo", "--ncpus", "1").ncpus == 1


def test_modules_are_locked_where_the_kernel_heeds_it(
    started: Started, boot: Boot, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = {"MODULES": "y", "PROC_SYSCTL": "y"}
    for release in ("5.8", "6.1.176", "10.0-rc1"):
        kernel = find.ProbedKernel("/usr/bin/linux.uml", release, frozenset(), config)
        monkeypatch.setattr(find, "probe", lambda _path, _user, kernel=kernel: kernel)
        assert boot("demo", "--modules", "locked").modules == "locked"
    for release in ("5.7.9", "4.19", "", "x"):
        kernel = find.ProbedKernel("/usr/bin/linux.uml", release, frozenset(), config)
        monkeypatch.setattr(find, "probe", lambda _path, _user, kernel=kernel: kernel)
        assert started.main("run", "demo", "--modules", "locked") == 2
        assert f"takes Linux 5.8 with sysctl, and /usr/bin/linux.uml is {release}" in (started.err)
        assert boot("demo", "--modules", "unlocked") == boot("demo")
    kernel = find.ProbedKernel("/linux", "7.3.4", frozenset(), {"MODULES": "y", "SYSCTL": "y"})
    monkeypatch.setattr(find, "probe", lambda _path, _user: kernel)
    assert boot("demo", "--modules", "locked").modules == "locked"
    monkeypatch.setattr(find, "probe", lambda _path, _user: kernel._replace(config={}))
    assert boot("demo", "--modules", "locked").modules == "locked"


def test_root_is_a_directory_an_image_or_the_host(boot: Boot, house: str) -> None:
    os.mkdir(f"{house}/tree")
    assert boot("demo", "--root", "tree").root == f"{house}/tree/"
    assert boot("demo", "--root", "tree/").root == f"{house}/tree/"
    assert boot("demo", "--root", "debian.img").root == f"{house}/debian.img"
    assert boot("demo", "--root", "host").root == "host"
    assert boot("demo", "--root", "./host").root == f"{house}/host"


def test_disks_are_numbered_and_absolute(boot: Boot, house: str) -> None:
    texts = ("a.img", "ubd1r=/b", "d.img,cow=c.cow,serial=S", "ubd5=c.cow,d.img", "ubdgr=e,f")
    disks = [word for text in texts for word in ("--disk", text)]
    assert boot("demo", *disks).disks == (
        f"{house}/a.img,slot=2",
        "/b,slot=1,ro",
        f"{house}/d.img,slot=3,cow={house}/c.cow,serial=S",
        f"{house}/d.img,slot=5,cow={house}/c.cow",
        f"ubd6r={house}/e,{house}/f",
    )


def test_nics_are_numbered(boot: Boot) -> None:
    texts = ("user", "vec0:transport=fd,fd=3", "switch=lan,nic=2", "tap=auto,bridge=br0")
    nics = [word for text in texts for word in ("--nic", text)]
    assert boot("demo", *nics).nics == (
        "user,nic=1",
        "vec0:transport=fd,fd=3",
        "switch=lan,nic=2",
        "tap=auto,nic=3,bridge=br0",
    )


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["a/b"], "there is no file a/b; a guest is named without"),
        (["n" * 64], "at most 63"),
        (["demo", "--mem", "lots"], "a size is a number"),
        (["demo", "--mem", "1M"], "at least 24M"),
        (["demo", "--disk", "ubd16=/a"], "from 0 to 15"),
        (["demo", "--disk", "ubd1=/a", "--disk", "ubd1=/b"], "given twice"),
        (["demo", "--root", "x.img", "--disk", "ubd0=/b"], "given twice"),
        (["demo", "--disk", "c.cow,d.img"], "not 'd.img'"),
        (["demo", "--disk", "a.img,discard,cow=b"], "not both"),
        (["demo", "--nic", "tap"], "tap needs a name"),
        (["demo", "--nic", "tap0"], "a NIC is"),
        (["demo", "--nic", "vec0:transport=tap"], "tap needs ifname="),
        (["demo", "--nic", "user,nic=0", "--nic", "switch=a,nic=0"], "given twice"),
        (["demo", "--", "vec0:transport=tap"], "tap needs ifname="),
        (["demo", "--append", "a b"], "each as a word of its own"),
        (["demo", "--append", 'x=a"b'], "each as a word of its own"),
        (["demo", "--", 'x="y'], "each as a word of its own"),
        (["demo", "--", "", "quiet"], "a kernel argument is empty; leave it out"),
        (["demo", "--", "umid=other"], "the guest is demo, and umid=other has another name"),
        (["demo", "--console", "--", "con0=null,fd:2"], "a kernel argument has it elsewhere"),
        (["demo", "--append", "mem=lots"], "a size is a number"),
        (["demo", "--cpus", "all"], "cpus are a list"),
        (["demo", "--ncpus", "0"], "0 is not in the range"),
        (["demo", "--root", "x.img,slot=3,nonsense"], "not 'nonsense'"),
        (["demo", "--timeout", "0"], "is not a number of seconds above 0"),
        (["demo", "--timeout", "soon"], "not a valid number of seconds"),
        (["demo", "--profile", "desk"], "a profile is lab, server or server:BRIDGE"),
        (["demo", "--after", "demo"], "cannot come after itself"),
        (["demo", "--after", "a/b"], "a umid is made of"),
        (["demo", "--disk", "\udcff.img"], "UTF-8"),
        (["demo", "--", "a\nb"], "cannot have a blank"),
    ],
)
def test_wrong_option_is_a_usage_error_and_nothing_is_started(
    started: Started, words: list[str], said: str
) -> None:
    for verb in ("run", "start"):
        assert started.main(verb, *words) == 2
        assert said in started.err
    assert not started.definitions


@pytest.mark.parametrize(
    "words",
    [
        ["--nic", "transport=raw,ifname=e0,bpffile=/p"],
        ["--append", "vec0:transport=raw,ifname=e0,bpfflash=0"],
        ["--", "quiet", "vec0:transport=tap,ifname=e0,ifup=/p"],
        ["--", 'con1="null,port:9000"'],
        ["--", "con1=null,port:9000"],
    ],
)
def test_what_is_dangerous_to_the_host_must_be_insisted_on(
    started: Started, boot: Boot, words: list[str]
) -> None:
    for verb in ("run", "start"):
        assert started.main(verb, "demo", *words) == 2
        assert "refused unless you insist" in started.err
    assert not started.definitions
    definition = boot("demo", "--force", *words)
    given = [*definition.nics, *definition.append, *definition.arguments]
    assert words[-1].rpartition(",")[2] in " ".join(given)


def test_kernel_that_is_not_there_is_an_error(
    started: Started, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    monkeypatch.setenv("UMLCTL_KERNEL", "/nowhere/linux")
    assert started.main("run", "demo") == 7
    assert "/nowhere/linux" in started.err


def test_who_insists_has_a_disk_as_it_stands(boot: Boot, house: str) -> None:
    for name, data in (("q.qcow2", b"QFI\xfb"), ("a.img", b"")):
        with open(f"{house}/{name}", "wb") as file:
            file.write(data.ljust(4096, b"\0"))
    words = "demo --disk q.qcow2 --disk a.img --disk q.qcow2,ro --root q.qcow2 -- root=/dev/ubdb"
    assert not any("raw" in disk for disk in boot(*words.split()).disks)
    insisted = boot(*words.replace("demo", "demo --force").split())
    assert [disk.endswith(",raw") for disk in insisted.disks] == [True, False, False]
    assert insisted.root == f"{house}/q.qcow2,raw"


def test_definition_is_started_by_its_name_and_by_its_file(started: Started, house: str) -> None:
    path = files.save("web", 'mem = "77M"\ndisk = ["/a"]\nappend = ["quiet"]\n')
    with open("test.toml", "w") as file:
        file.write('extends = "web"\ninit = "t.sh"\n')
    for verb in ("run", "start"):
        assert started.main(verb, "web") == 0
        assert f"umlctl: web: as {path} has it\n" in started.err
        assert started.main(verb, "./test.toml") == 0
        assert "umlctl: test: as ./test.toml has it\n" in started.err
        by_name, by_file = started.definitions[-2:]
        assert by_name == Definition(
            umid="web",
            kernel="/usr/bin/linux.uml",
            mem=77 << 20,
            disks=("/a,slot=1",),
            append=("quiet",),
            cwd=os.path.dirname(path),
            home=f"{house}/h",
        )
        assert (by_file.umid, by_file.mem, by_file.init) == ("test", 77 << 20, f"{house}/t.sh")
        assert by_file.cwd == house


def test_command_line_wins_over_the_file(started: Started, boot: Boot, house: str) -> None:
    files.save("web", 'mem = "77M"\ndisk = ["/a"]\nappend = ["quiet"]\nsingle = true\n')
    words = ["web", "--mem", "99M", "--disk", "b", "--verbose", "--", "debug"]
    assert boot(*words) == Definition(
        umid="web",
        kernel="/usr/bin/linux.uml",
        mem=99 << 20,
        disks=(f"{house}/b,slot=1",),
        append=("quiet",),
        arguments=("debug",),
        single=True,
        verbose=True,
        cwd=house,
        home=f"{house}/h",
    )
    assert boot("web", "--append", "debug").append == ("debug",)


def test_wrong_definition_starts_nothing(started: Started) -> None:
    path = files.save("web", 'mem = "77M"\nnic = [\n"user",\n"x"]\n')
    for verb in ("run", "start"):
        for options in ([], ["--json"]):
            assert started.main(verb, "web", *options) == 2
            assert f"umlctl: {path}:4: nic: a NIC is user" in started.err
        assert json.loads(started.out)["status"] == 2
    assert started.definitions == []


def test_run_once_does_not_start_it_again(started: Started) -> None:
    files.save("web", 'restart = "always"\non-panic = "restart"\non-hang = "kill"\n')
    assert started.main("run", "web", "--once") == 0
    once = started.definitions[-1]
    assert (once.restart, once.on_panic, once.on_hang) == ("no", "nothing", "kill")
    assert started.main("run", "web") == 0
    assert started.definitions[-1].restart == "always"


def test_what_was_asked_for_is_saved_and_is_the_same_again(started: Started) -> None:
    words = ["--mem", "99M", "--disk", "b,ro", "--root", "c.img,cow=d", "--append", "quiet"]
    words += ["--timeout", "7", "--single", "--nic", "user,forward=8080:80", "--after", "db"]
    assert started.main("start", "web", "--save", *words) == 0
    path = files.own_path("web")
    assert f"web: defined in {path}" in started.err
    first = started.definitions[-1]
    os.chdir("/")
    assert started.main("start", "web") == 0
    again = started.definitions[-1]
    assert again.root == f"{first.cwd}/c.img,cow={first.cwd}/d"
    assert replace(again, root=first.root, cwd=first.cwd) == first
    assert started.main("start", "web", "--save", "--mem", "1G") == 2
    assert f"web is defined already, in {path}" in started.err
    assert len(started.definitions) == 2


def test_guest_without_options_is_saved_as_it_runs(started: Started) -> None:
    assert started.main("start", "web", "--save") == 0
    with open(files.own_path("web")) as file:
        assert file.read() == ""
    keep("old", definition=Definition(umid="old", kernel="/k", mem=99 << 20), boot_id="gone")
    assert started.main("start", "old", "--save") == 0
    with open(files.own_path("old")) as file:
        assert file.read() == 'kernel = "/k"\nmem = "99M"\n'


def test_guest_that_was_not_started_is_not_saved(started: Started) -> None:
    started.answer = {"code": 125, "status": None, "text": "web: no"}
    assert started.main("start", "web", "--save") == 125
    assert files.names() == []


def test_file_is_saved_with_what_was_given_beside_it(started: Started, house: str) -> None:
    with open("test.toml", "w") as file:
        file.write('mem = "77M"\ninit = "t.sh"\n')
    assert started.main("start", "test.toml", "--save", "--mem", "99M", "--", "quiet") == 0
    with open(files.own_path("test")) as file:
        assert file.read() == f'mem = "99M"\ninit = "{house}/t.sh"\nappend = ["quiet"]\n'
