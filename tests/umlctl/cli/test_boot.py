from __future__ import annotations

import errno
import json
import os
import shlex
import shutil
import sys
import tempfile
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from socketproto.exchange import ANSWERED, Outcome
from tests.umlctl.host.test_records import write_record
from umlctl import exitcodes
from umlctl.cli import again, earlier, foreground, main
from umlctl.client import background
from umlctl.guest.definition import Definition, decode, root_disk
from umlctl.host import kernels, paths, programs, records
from umlctl.protocol.status import Ending

if TYPE_CHECKING:
    from collections.abc import Callable

    Boot = Callable[..., Definition]


class Started:
    """What `run` and `start` would have booted, and what is printed."""

    def __init__(self, capfd: pytest.CaptureFixture[str]) -> None:
        self.definitions: list[Definition] = []
        self.code = 0
        self.answer: dict[str, Any] = {
            "code": 0,
            "status": {"state": "running", "pid": 4711},
            "text": "",
        }
        self.commands: list[str] = []
        self._capfd = capfd
        self.out = self.err = ""

    def main(self, *words: str) -> int:
        code = main.run(list(words))
        sys.stdout.flush()
        self.out, self.err = self._capfd.readouterr()
        return code

    def supervise(
        self, definition: Definition, log: foreground.Log, wishes: foreground.Wishes
    ) -> Ending:
        assert wishes._replace(copy=None) == foreground.Wishes()
        assert not log.in_json
        self.definitions.append(definition)
        return Ending(cause="exited", code=self.code)

    def ask_supervisor(self, command: str) -> Outcome:
        self.commands.append(command)
        verb, path = command.replace("no-wait ", "").split(" ", 1)
        assert verb == "start"
        assert os.stat(path).st_mode == 0o100600
        with open(path, "rb") as file:
            self.definitions.append(decode(file.read()))
        return Outcome(ANSWERED, data=msgspec.json.encode(self.answer))


@pytest.fixture
def started(
    house: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Started:
    made = Started(capfd)
    monkeypatch.chdir(house)
    monkeypatch.setattr(kernels, "find", lambda name=None: name or "/usr/bin/linux.uml")
    plain = kernels.Kernel("/usr/bin/linux.uml", "6.1.176", frozenset(), {"UML": "y"})
    monkeypatch.setattr(kernels, "probe", lambda _path, _user="": plain)
    monkeypatch.setattr(foreground, "supervise", made.supervise)
    monkeypatch.setattr(background, "ask_supervisor", made.ask_supervisor)
    monkeypatch.setattr(earlier, "await_earlier", lambda _definition: None)
    return made


@pytest.fixture
def boot(started: Started) -> Boot:
    """The definition that `umlctl run WORDS` and `umlctl start WORDS` agree on."""

    def boot(*words: str) -> Definition:
        for verb in ("run", "start"):
            assert started.main(verb, *words) == 0, started.err
        one, other = started.definitions[-2:]
        assert one == other
        return one

    return boot


def test_defaults(boot: Boot, house: str) -> None:
    assert boot("demo") == Definition(
        umid="demo", kernel="/usr/bin/linux.uml", cwd=house, home=f"{house}/h"
    )


def test_options_become_the_definition(boot: Boot, house: str) -> None:
    words = "demo --kernel ./linux --mem 1G --init /bin/init --append a=1 --append quiet"
    words += " --cpus 0,2-3 --aslr -s -v --pidfile run/pid --timeout 2.5"
    words += " --after db --after mail"
    words += " --nic vec0:transport=tap,ifname=t --nic user,forward=8080:80"
    assert boot(*words.split()) == Definition(
        umid="demo",
        kernel="./linux",
        mem=1 << 30,
        init="/bin/init",
        append=("a=1", "quiet"),
        cpus="0,2-3",
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


def test_who_starts_a_server_is_told_how_it_comes_back(started: Started) -> None:
    assert started.main("start", "demo", "--profile", "server") == 0
    assert "`umlctl enable demo`, and `umlctl setup --systemd" in started.err
    assert started.main("start", "demo", "--profile", "lab") == 0
    assert "umlctl enable" not in started.err


def test_options_may_stand_before_and_after_the_umid(boot: Boot) -> None:
    assert boot("--mem", "64M", "demo", "--single") == boot("demo", "--single", "--mem", "64M")


def test_words_after_two_dashes_are_the_kernels(boot: Boot) -> None:
    arguments = ("quiet", "--verbose", "-s", "--", 'x="a b"', "--list", "-h")
    definition = boot("demo", "--mem", "64M", "--", *arguments)
    assert definition.arguments == arguments
    assert not definition.verbose
    assert not definition.single
    assert boot("demo", "--").arguments == ()


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


@pytest.mark.skipif(os.geteuid() != 0, reason="only root is told")
def test_root_is_told_once_and_where_it_is_true(started: Started) -> None:
    for words in (["--root", "a.img"], ["--", "root=98:0"], ["--user", "nobody"]):
        assert started.main("run", "demo", *words) == 0
        assert "reaches every file" not in started.err
    assert started.main("run", "demo") == 0
    assert "reaches every file of this host" in started.err
    for verb in ("run", "start"):
        assert started.main(verb, "demo") == 0
        assert "reaches every file" not in started.err


def test_program_that_the_guests_init_lacks_is_said_before_the_boot(
    started: Started, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(programs, "INIT_PATH", "/nowhere")
    assert started.main("run", "demo") == 0
    assert "lacks `ip`" not in started.err
    assert started.main("run", "demo", "--nic", "switch=lan") == 0
    assert "its NICs are not set up" in started.err
    assert "lacks `ip`: apt install iproute2" in started.err


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
    kernel = kernels.Kernel("/usr/bin/linux.uml", "6.19", frozenset(), config)
    monkeypatch.setattr(kernels, "probe", lambda _path, _user: kernel)
    assert boot("demo", "--ncpus", "64").ncpus == 64
    assert started.main("run", "demo", "--ncpus", "65") == 2
    assert "65 processors are too many: the kernel /usr/bin/linux.uml can have 64" in started.err
    config.clear()
    assert started.main("run", "demo", "--ncpus", "2") == 2
    assert "the kernel /usr/bin/linux.uml has no SMP" in started.err
    assert boot("demo", "--ncpus", "1").ncpus == 1


def test_what_a_kernel_makes_of_an_option_is_said(
    started: Started, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = {"SMP": "y", "NR_CPUS": "8"}
    kernel = kernels.Kernel("/usr/bin/linux.uml", "6.12.3", frozenset({"seccomp"}), config)
    monkeypatch.setattr(kernels, "probe", lambda _path, _user: kernel)
    assert started.main("start", "demo", "--aslr") == 0
    assert "--aslr" not in started.err
    assert "any program in the guest" not in started.err
    assert started.main("start", "demo", "--ncpus", "2") == 0
    assert "any program in the guest can read and change all" in started.err
    kernel = kernel._replace(version="7.3.4")
    assert started.main("start", "demo", "--aslr") == 0
    assert "--aslr does nothing: Linux 7.3.4 turns randomisation off itself" in started.err


def test_modules_are_locked_where_the_kernel_heeds_it(
    started: Started, boot: Boot, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = {"MODULES": "y", "PROC_SYSCTL": "y"}
    for release in ("5.8", "6.1.176", "10.0-rc1"):
        kernel = kernels.Kernel("/usr/bin/linux.uml", release, frozenset(), config)
        monkeypatch.setattr(kernels, "probe", lambda _path, _user, kernel=kernel: kernel)
        assert boot("demo", "--modules", "locked").modules == "locked"
    for release in ("5.7.9", "4.19", "", "x"):
        kernel = kernels.Kernel("/usr/bin/linux.uml", release, frozenset(), config)
        monkeypatch.setattr(kernels, "probe", lambda _path, _user, kernel=kernel: kernel)
        assert started.main("run", "demo", "--modules", "locked") == 2
        assert f"takes Linux 5.8 with sysctl, and /usr/bin/linux.uml is {release}" in (started.err)
        assert boot("demo", "--modules", "unlocked") == boot("demo")
    kernel = kernels.Kernel("/linux", "7.3.4", frozenset(), {"MODULES": "y", "SYSCTL": "y"})
    monkeypatch.setattr(kernels, "probe", lambda _path, _user: kernel)
    assert boot("demo", "--modules", "locked").modules == "locked"
    monkeypatch.setattr(kernels, "probe", lambda _path, _user: kernel._replace(config={}))
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


def test_foreground_guest_without_a_name_gets_one_that_is_forgotten(started: Started) -> None:
    assert started.main("run") == 0
    definition = started.definitions[-1]
    assert definition.umid == f"uml-{os.getpid()}"
    assert not definition.named
    assert started.main("run", "--", "quiet") == 0
    assert started.definitions[-1].arguments == ("quiet",)
    assert started.main("run", "demo") == 0
    assert started.definitions[-1].named


def test_code_of_the_guest_is_that_of_run(started: Started) -> None:
    started.code = 42
    assert started.main("run", "demo") == 42


def test_guest_that_started_is_told(started: Started) -> None:
    assert started.main("start", "demo") == 0
    assert started.out == "demo is running, kernel pid 4711\n"


def test_guest_that_did_not_start_is_told_with_its_code(started: Started) -> None:
    started.answer = {"code": 125, "text": "demo never started: it has no root"}
    assert started.main("start", "demo") == 125
    assert started.err.endswith("umlctl: demo never started: it has no root\n")


def test_start_tells_programs_how_it_went(started: Started) -> None:
    assert started.main("start", "demo", "--json") == 0
    told = {"umid": "demo", "status": 0, "text": "", "state": "running", "pid": 4711}
    assert json.loads(started.out) == told
    started.answer = {"code": 125, "text": "demo never started: it has no root"}
    assert started.main("start", "demo", "--json") == 125
    result = json.loads(started.out)
    assert result == told | {"status": 125, "state": None, "pid": None} | {
        "text": "demo never started: it has no root"
    }
    for words, said in ((["--mem", "much"], "much"), (["--console"], "--json and --console")):
        assert started.main("start", "demo", "--json", *words) == 2
        result = json.loads(started.out)
        assert (result["status"], result["pid"]) == (2, None)
        assert said in result["text"]
        assert said in started.err


@pytest.mark.parametrize("verb", ["run", "start"])
def test_programs_are_told_of_what_is_wrong_with_the_host(
    started: Started, house: str, verb: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open(f"{house}/file", "w"):
        monkeypatch.setenv("UMLCTL_DIR", f"{house}/file")
    monkeypatch.setattr(foreground, "supervise", lambda *_: paths.make_run_dir())
    assert started.main(verb, "demo", "--json") == exitcodes.FAILED
    result = json.loads(started.out)
    assert (result["umid"], result["status"]) == ("demo", exitcodes.FAILED)
    assert started.err.endswith(f"umlctl: {result['text']}\n")
    assert f"cannot make {house}/file" in result["text"]


def test_definition_that_cannot_be_written_down_is_told_with_its_place(
    started: Started, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> tuple[int, str]:
        raise OSError(errno.ENOSPC, "No space left on device", "/run/start-x")

    monkeypatch.setattr(tempfile, "mkstemp", full)
    assert started.main("start", "demo", "--json") == exitcodes.FAILED
    text = json.loads(started.out)["text"]
    assert text == f"demo: cannot write {paths.run_dir()}: No space left on device"


def test_guest_is_started_though_the_run_directory_goes_meanwhile(
    started: Started, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ask_and_remove(command: str) -> Outcome:
        outcome = started.ask_supervisor(command)
        shutil.rmtree(paths.run_dir())
        return outcome

    monkeypatch.setattr(background, "ask_supervisor", ask_and_remove)
    assert started.main("start", "demo") == 0, started.err
    assert started.out == "demo is running, kernel pid 4711\n"


def test_start_that_does_not_wait_asks_for_that(started: Started) -> None:
    started.answer["status"]["state"] = "booting"
    assert started.main("start", "demo", "--no-wait") == 0
    assert started.out == "demo is booting, kernel pid 4711\n"
    assert started.main("start", "demo") == 0
    assert [command.startswith("start no-wait /") for command in started.commands] == [True, False]
    assert started.main("start", "demo", "--no-wait", "--console") == exitcodes.USAGE
    assert "--no-wait does not" in started.err


def test_definition_handed_over_leaves_no_file(started: Started) -> None:
    before = set(os.listdir(paths.make_run_dir()))
    assert started.main("start", "demo") == 0
    assert set(os.listdir(paths.run_dir())) == before


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["a/b"], "a umid is made of"),
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
        (["demo", "--ncpus", "0"], "at least one processor"),
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


def test_hostfs_argument_is_said_to_be_no_jail(started: Started) -> None:
    assert started.main("start", "demo", "--append", "hostfs=/srv") == 0
    assert "hostfs=/srv keeps root in this guest from nothing" in started.err
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


def test_guest_that_is_refused_forgets_nothing(started: Started) -> None:
    started.answer = {"code": 1, "text": "no"}
    assert started.main("start", "demo", "--disk", "/d.img,discard") == 1
    assert "umlctl: no\n" in started.err
    assert "is lost when it ends" not in started.err


@pytest.mark.parametrize("verb", ["run", "start"])
def test_who_starts_a_guest_is_told_what_it_forgets(started: Started, verb: str) -> None:
    words = ("--root", "/r.img,discard", "--disk", "/keep.img", "--disk", "/d.img,discard")
    assert started.main(verb, "demo", *words) == 0
    assert "what it writes to /r.img, /d.img is lost when it ends; `umlctl collect demo" in (
        started.err
    )


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


def test_run_tells_programs_how_it_ended(started: Started) -> None:
    started.code = 7
    assert started.main("run", "ci", "--json", "--log", "ci.log") == 7
    result = json.loads(started.out)
    assert result.pop("seconds") >= 0
    place = os.path.realpath("ci.log")
    told = {"umid": "ci", "status": 7, "cause": "exited", "text": "", "log": place}
    assert result == told
    assert started.main("run", "ci", "--json", "--mem", "much") == 2
    result = json.loads(started.out)
    assert (result["status"], result["cause"], result["log"]) == (2, "failed", None)
    assert "much" in result["text"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--log", ""], "'--log': it is empty"),
        (["--log", "none/ci.log"], "cannot write the log to none/ci.log"),
        (["--json", "--console"], "--json and --console"),
    ],
)
def test_run_that_cannot_tell_boots_nothing(started: Started, words: list[str], said: str) -> None:
    assert started.main("run", "ci", *words) in (2, 7)
    assert said in started.err
    assert not started.definitions


OPTIONS = [
    [],
    ["--mem", "512M", "--root", "/tmp", "--init", "/bin/a b", "--single", "-v", "--aslr"],
    ["--nic", "switch=lan", "--nic", "user,forward=8080:80", "--disk", "a.img,ro"],
    ["--append", "quiet", "--timeout", "7", "--cpu-limit", "150", "--memory-limit", "1G"],
    ["--restart", "always", "--on-hang", "kill", "--allow-user", "root:read", "--", "a", "b=c"],
]


@pytest.mark.parametrize("options", OPTIONS)
def test_guest_that_has_ended_is_started_as_it_was_last(
    started: Started, options: list[str]
) -> None:
    assert started.main("start", "demo", *options) == 0
    first = started.definitions[-1]
    os.makedirs(paths.record_dir("demo"))
    record = records.Record(
        definition=first, supervisor_pid=1, pid=1, started=1, boot_id="gone", since=1.0
    )
    record.ending = Ending(cause="exited", code=0, time=2.0)
    records.save(record)
    os.chdir("/")
    assert started.main("start", "demo") == 0
    assert started.definitions[-1] == first
    assert "umlctl: demo: as it was started last" in started.err
    os.chdir(first.cwd)
    again_by_words = shlex.split(again.words(first))
    assert started.main("start", "demo", *again_by_words) == 0
    assert started.definitions[-1] == first
    assert "a new guest of this name" not in started.err
    assert started.main("start", "demo", "--ncpus", "1", "--mem", "77M") == 0
    assert started.definitions[-1].mem == 77 << 20
    said = "demo: a new guest of this name; it was started last with "
    assert said + (again.words(first) or "no options") in started.err
