from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests import fake_kernel
from umlctl.errors import HostError, NoKernel
from umlctl.kernels import find, registry

if TYPE_CHECKING:
    from collections.abc import Callable

    Program = Callable[[str, str], str]

HELP = """\
User Mode Linux v6.19.0
\tavailable at http://user-mode-linux.sourceforge.net/

mem=<Amount of desired ram>
    This controls how much "physical" memory the kernel allocates
\tExample: mem=64M

ncpus=<# of desired CPUs>
    This tells UML how many virtual processors to start.

seccomp=<on/auto/off>
    Configure whether or not SECCOMP is used.

vec[0-9]+:<option>=<value>,<option>=<value>
\t Configure a vector io network device.

time-travel
This option just enables basic time travel mode, in which the clock/timers
inside the UML instance skip forward when there's nothing to do, rather than
waiting for real time to elapse.

noreboot
    Rather than rebooting, exit always, akin to QEMU's -no-reboot option.
hostfs=<root dir>,<flags>,...
    This is used to set hostfs parameters.
"""
CONFIG = """\
#
# Linux/um 6.19.0 Kernel Configuration
#
CONFIG_UML=y
CONFIG_MCONSOLE=y
CONFIG_HOSTFS=m
CONFIG_SMP=y
CONFIG_NR_CPUS=64
CONFIG_CON_CHAN="xterm"
# CONFIG_UML_WATCHDOG is not set
"""
FLOOD = """\
y=yes
for _ in 1 2 3 4 5 6 7 8 9 10 11 12; do y=$y$y; done
while :; do echo $y; done
"""
"""Long lines: a shell takes its time for each."""
FAKE = f"""\
case $1 in
--help) cat <<'END'
{HELP}
END
;;
--showconfig) cat <<'END'
{CONFIG}
END
;;
esac
"""


@pytest.fixture(scope="module")
def real_kernel() -> str:
    return find.find()


@pytest.fixture
def program(tmp_path: Path) -> Program:
    """Writes what looks like a kernel, and runs a script; returns its path."""

    def write(name: str, text: str) -> str:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return fake_kernel.write(str(path), text, answers="")

    return write


@pytest.fixture(autouse=True)
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without kernels; sh is still found."""
    monkeypatch.delenv("UMLCTL_KERNEL", raising=False)
    monkeypatch.setenv("UMLCTL_DIR", f"{tmp_path}/u")
    monkeypatch.setenv("PATH", f"{tmp_path}/bin")
    monkeypatch.setenv("XDG_CACHE_HOME", f"{tmp_path}/cache")
    tools = tmp_path / "bin"
    tools.mkdir()
    for tool in ("cat", "sleep", "unshare", "mount"):
        (tools / tool).symlink_to(shutil.which(tool) or f"/bin/{tool}")


def cached(program: Program, package: str, text: str = FAKE) -> str:
    return program(f"cache/umlctl/kernels/{package}/usr/bin/linux.uml", text)


def test_nothing_found_names_setup() -> None:
    with pytest.raises(NoKernel, match=r"no linux\.uml or linux in PATH.*`umlctl setup`"):
        find.find()


def test_order_is_explicit_variable_path_cache(
    program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_cache = cached(program, "user-mode-linux_6.1um4_amd64")
    assert find.find() == in_cache
    linux = program("bin/linux", FAKE)
    assert find.find() == linux
    linux_uml = program("bin/linux.uml", FAKE)
    assert find.find() == linux_uml
    variable = program("by-variable", FAKE)
    monkeypatch.setenv("UMLCTL_KERNEL", variable)
    assert find.find() == variable
    explicit = program("explicit", FAKE)
    assert find.find(explicit) == explicit
    assert find.candidates() == [
        ("$UMLCTL_KERNEL", variable),
        ("PATH", linux_uml),
        ("PATH", linux),
        ("cache", in_cache),
    ]


def test_kernel_is_found_by_the_name_that_it_was_added_by(
    house: str, program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = program("bin/linux.uml", FAKE)
    added = registry.add(find.probe(program("mine", FAKE)), "mine", (), lambda _: None)
    assert find.find() == elsewhere
    assert find.find("mine") == added.path
    monkeypatch.chdir(os.path.dirname(elsewhere))
    assert find.find("linux.uml") == elsewhere
    registry.set_default("mine")
    assert find.find() == added.path
    assert find.candidates() == [("default:mine", added.path), ("PATH", elsewhere)]
    registry.set_default("")
    assert find.candidates() == [("PATH", elsewhere), ("registered:mine", added.path)]
    monkeypatch.setenv("UMLCTL_KERNEL", "mine")
    assert find.find() == added.path
    assert find.candidates()[0] == ("$UMLCTL_KERNEL", added.path)


def test_newest_of_the_cache_is_first(program: Program) -> None:
    old = cached(program, "user-mode-linux_6.9um1_amd64")
    new = cached(program, "user-mode-linux_6.12um1_amd64")
    assert [path for _, path in find.candidates()] == [new, old]


def test_what_is_being_unpacked_is_not_found(program: Program) -> None:
    cached(program, ".new-x/tree")
    cached(program, ".new-y")
    assert find.candidates() == []


def test_same_file_by_two_names_is_listed_once(program: Program, tmp_path: Path) -> None:
    real = program("bin/linux.uml", FAKE)
    (tmp_path / "bin/linux").symlink_to(real)
    assert find.candidates() == [("PATH", real)]


def test_relative_names_become_absolute(
    program: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = program("build/linux", FAKE)
    monkeypatch.chdir(tmp_path / "build")
    assert find.find("./linux") == path
    assert find.find("linux") == path
    monkeypatch.setenv("PATH", "")
    with pytest.raises(NoKernel):
        find.find()


def test_directory_where_a_kernel_was_built_names_it(
    program: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = program("tree/linux", FAKE)
    assert find.find(f"{tmp_path}/tree") == path
    monkeypatch.chdir(tmp_path / "tree")
    assert find.find(".") == path
    monkeypatch.setenv("UMLCTL_KERNEL", str(tmp_path / "tree"))
    assert find.find() == path
    assert find.candidates()[0].path == path


def test_name_without_slash_is_looked_up_in_path(program: Program) -> None:
    path = program("bin/my-kernel", FAKE)
    assert find.find("my-kernel") == path


def test_named_kernel_that_is_not_there_is_not_replaced(
    program: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program("bin/linux.uml", FAKE)
    with pytest.raises(NoKernel, match="--kernel /nowhere/linux: no such file"):
        find.find("/nowhere/linux")
    with pytest.raises(NoKernel, match="the directory has no kernel"):
        find.find(str(tmp_path))
    with pytest.raises(NoKernel, match="not a file"):
        find.find("/dev/null")
    (tmp_path / "data").touch(mode=0o644)
    with pytest.raises(NoKernel, match="not executable"):
        find.find(f"{tmp_path}/data")
    monkeypatch.setenv("UMLCTL_KERNEL", "/nowhere/linux")
    with pytest.raises(NoKernel, match=r"\$UMLCTL_KERNEL /nowhere/linux: no such file"):
        find.find()


def test_finding_runs_nothing(program: Program, tmp_path: Path) -> None:
    trap = f": > {tmp_path}/ran\n"
    program("bin/linux", trap)
    assert find.find() == f"{tmp_path}/bin/linux"
    program("bin/linux.uml", trap)
    cached(program, "user-mode-linux_6.1um4_amd64", trap)
    find.find()
    find.find(program("linux", trap))
    assert not (tmp_path / "ran").exists()


def test_kernel_is_found_behind_a_program_of_its_name(
    program: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As behind umlctl's own `linux`."""
    (tmp_path / "first").mkdir()
    (tmp_path / "first" / "linux").symlink_to("/bin/ls")
    behind = program("bin/linux", FAKE)
    monkeypatch.setenv("PATH", f"{tmp_path}/first:{os.environ['PATH']}")
    assert find.find() == behind


def test_other_program_called_linux_is_passed_over(program: Program, tmp_path: Path) -> None:
    (tmp_path / "bin/linux").symlink_to("/bin/ls")
    with pytest.raises(NoKernel, match=r"passed over: .*linux is not a UML kernel: it is another"):
        find.find()
    in_cache = cached(program, "user-mode-linux_6.1um4_amd64")
    assert find.find() == in_cache


def test_umlctl_by_the_name_linux_is_no_kernel(program: Program, tmp_path: Path) -> None:
    (tmp_path / "bin/linux").symlink_to(program("tool/umlctl", "#!/bin/sh\n"))
    assert find.candidates() == []
    with pytest.raises(NoKernel, match=r"none in [^ ]*;"):
        find.find()


def test_probe_reads_version_options_and_configuration(program: Program) -> None:
    kernel = find.probe(program("linux", FAKE))
    assert kernel.version == "6.19.0"
    assert kernel.options == {"mem", "ncpus", "seccomp", "vec", "time-travel", "noreboot", "hostfs"}
    assert kernel.config["CON_CHAN"] == "xterm"
    assert "UML_WATCHDOG" not in kernel.config
    assert kernel.capabilities == {
        "mconsole": "yes",
        "hostfs": "module",
        "noreboot": "yes",
        "smp": "yes",
        "seccomp": "yes",
    }
    assert kernel.transports == ()
    assert kernel.most_cpus == 64
    assert {"ubd", "eth", "watchdog"} < set(kernel.missing)
    assert set(kernel.missing) | set(kernel.capabilities) == set(find.CAPABILITIES)


def test_probe_of_the_real_kernel(real_kernel: str) -> None:
    kernel = find.probe(real_kernel)
    assert kernel.version[0].isdigit()
    assert kernel.config["UML"] == "y"
    assert {"mconsole", "ubd", "hostfs", "vec", "noreboot"} <= set(kernel.capabilities)
    assert {"mem", "umid", "uml_dir", "mconsole", "ubd", "con", "ssl", "vec"} <= kernel.options


@pytest.mark.parametrize(
    ("script", "complaint"),
    [
        ("exit 0", "said 'nothing'"),
        ("echo 'linux: bad option' >&2; exit 2", "said 'linux: bad option'"),
        ("exec sleep 60", "did not end within"),
        (FLOOD, "printed more than"),
        ("kill -SEGV $$", "said '(nothing|Segmentation fault.*)'"),
        ("printf '\\377\\000\\n'", "does not say that it is a UML kernel"),
        ("echo; echo; echo User Mode Linux", "does not say that it is a UML kernel"),
        ("echo left", "said 'left'"),
    ],
)
def test_program_that_only_looks_like_a_kernel_is_refused(
    program: Program, script: str, complaint: str
) -> None:
    path = program("linux", f"{script}\n")
    seconds = 0.2 if "end within" in complaint else 20
    with pytest.raises(NoKernel, match=f"{complaint}.*umlctl setup") as caught:
        find.probe(path, timeout=seconds)
    assert path in str(caught.value)
    assert isinstance(caught.value, HostError)


def test_children_of_a_hostile_program_are_killed(program: Program, tmp_path: Path) -> None:
    held = tmp_path / "held"
    os.mkfifo(held)
    reader = os.open(held, os.O_RDONLY | os.O_NONBLOCK)
    path = program("linux", f"exec 3>{held}\nsleep 60 &\n{FLOOD}\n")
    with pytest.raises(NoKernel, match="printed more than"):
        find.probe(path, timeout=20)
    os.set_blocking(reader, True)
    # The end of file comes when the last process that holds the other end is gone.
    assert os.read(reader, 1) == b""
    os.close(reader)


@pytest.mark.usefixtures("crowded")
def test_kernel_is_asked_in_a_process_that_has_many_files_open(real_kernel: str) -> None:
    assert find.probe(real_kernel, timeout=20).version


def test_hostile_program_changes_nothing_while_it_is_asked(
    program: Program, tmp_path: Path
) -> None:
    (tmp_path / "kept").write_text("x")
    script = f"(echo y >>{tmp_path}/kept)\nmount -t tmpfs none {tmp_path} 2>&1; echo done"
    with pytest.raises(NoKernel, match="does not say"):
        find.probe(program("linux", script))
    assert (tmp_path / "kept").read_text() == "x"
    assert str(tmp_path) not in Path("/proc/self/mounts").read_text()


def test_kernel_for_a_newer_release_is_told_from_another_program(program: Program) -> None:
    said = "/lib/libc.so.6: version \\`GLIBC_2.38' not found (required by /x/linux)"
    with pytest.raises(NoKernel, match=r"it needs a newer C library \(GLIBC_2\.38\)"):
        find.probe(program("linux", f'echo "/x/linux: {said}"; exit 1'))


def test_kernel_is_asked_once_and_again_when_it_is_another(
    program: Program, tmp_path: Path
) -> None:
    asked = tmp_path / "asked"
    os.mkfifo(asked)
    reader = os.open(asked, os.O_RDONLY | os.O_NONBLOCK)
    path = program("linux", f"echo >{asked}\n{FAKE}")

    def times() -> int:
        try:
            return len(os.read(reader, 100))
        except BlockingIOError:
            return 0

    first = find.probe(path)
    assert times() == 2, "for its help, and for its configuration"
    assert find.probe(path) == first
    assert times() == 0
    fake_kernel.write(path, f"echo >{asked}\n{FAKE.replace('v6.19', 'v6.20')}", answers="")
    assert find.probe(path).version == "6.20.0"
    assert times() == 2
    os.unlink(path)
    with pytest.raises(NoKernel, match="there is no such file"):
        find.probe(path)
    os.close(reader)


def test_kernel_is_asked_where_nothing_can_be_kept(
    program: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = program("linux", FAKE)
    for place in ("/proc/none", "/dev/null", str(tmp_path / "linux")):
        monkeypatch.setenv("XDG_CACHE_HOME", place)
        assert find.probe(path).version == find.probe(path).version == "6.19.0"


def test_import_is_cheap() -> None:
    code = "import sys, umlctl.kernels.find; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    assert not {"subprocess", "shutil", "dataclasses", "select", "mmap"} & set(loaded)
