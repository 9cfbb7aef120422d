"""What a hostile guest tries on its host, as tables: as its own root on the files that it sees,
and as code in its kernel's process, which a module that root loads can be.

Each try is made in a guest that is confined to what it may write, in one that is confined
strictly, and, to see that it is one, in one that is not confined.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

from tests.escape import is_ready, program, results
from tests.live.conftest import House, a_house, kill_supervisor, wait_for
from tests.live.tries import (
    ASKED,
    CREAT,
    FILES,
    LANDLOCK,
    OFF,
    OTHERS,
    READING,
    READING_OTHERS,
    READS,
    ROOT,
    SECRET,
    SOCKETS,
    STREAM,
    STRICT,
    UNIX,
    WRITES,
    WRITING,
    WRONLY,
    World,
    answers,
    changed,
    changed_by_code,
    have_no_namespaces,
    in_words,
    lay_out,
    of_host,
    something_else,
    succeeded,
    surroundings,
    told,
)
from umlctl.host import processes

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.skipif(not LANDLOCK, reason="this host cannot confine a guest")


@pytest.fixture(scope="module")
def own_house() -> Iterator[House]:
    with a_house() as home:
        yield home


@pytest.fixture(scope="module")
def worlds(own_house: House) -> Iterator[dict[str, World]]:
    with surroundings(own_house, (WRITES, STRICT, OFF)) as found:
        yield found


def test_tries_of_root_are_those_that_would_harm(worlds: dict[str, World]) -> None:
    """Where it is not confined."""
    assert changed(worlds[OFF], WRITING) == WRITING.keys()
    assert told(worlds[OFF], READING) == READING.keys()
    assert told(worlds[OFF], READING_OTHERS) == READING_OTHERS.keys()


@pytest.mark.parametrize("mode", [WRITES, STRICT])
def test_root_of_a_guest_changes_nothing(worlds: dict[str, World], mode: str) -> None:
    assert changed(worlds[mode], WRITING) == set()


@pytest.mark.parametrize("mode", [WRITES, STRICT])
def test_root_of_a_guest_reads_no_secret(worlds: dict[str, World], mode: str) -> None:
    assert told(worlds[mode], READING) == set()


def test_root_of_a_guest_that_is_confined_strictly_reads_nothing_else(
    worlds: dict[str, World],
) -> None:
    assert told(worlds[STRICT], READING_OTHERS) == set()
    assert "read" in told(worlds[WRITES], READING_OTHERS)


def test_tries_of_code_are_those_that_would_harm(worlds: dict[str, World]) -> None:
    """Where it is not confined."""
    root_alone = set() if ROOT else {"write what the root of another leads to"}
    assert changed_by_code(worlds[OFF], FILES).keys() == FILES.keys() - root_alone
    assert {"a key", "its own record, to be changed"} <= succeeded(worlds[OFF], READS).keys()
    reached = succeeded(worlds[OFF], SOCKETS).keys()
    wanted = {"its own supervisor", "another guest", "a service by TCP", "a switch", "all consoles"}
    assert wanted <= reached
    assert succeeded(worlds[OFF], ASKED) == dict.fromkeys(ASKED, 0)


@pytest.mark.parametrize("mode", [WRITES, STRICT])
def test_code_in_a_kernel_changes_nothing(worlds: dict[str, World], mode: str) -> None:
    assert changed_by_code(worlds[mode], FILES) == {}


@pytest.mark.parametrize("mode", [WRITES, STRICT])
def test_code_in_a_kernel_reads_no_secret(worlds: dict[str, World], mode: str) -> None:
    assert succeeded(worlds[mode], READS) == {}


@pytest.mark.parametrize("mode", [WRITES, STRICT])
def test_code_in_a_kernel_reaches_no_process_but_its_own(
    worlds: dict[str, World], mode: str
) -> None:
    assert succeeded(worlds[mode], OTHERS) == {}


@pytest.mark.parametrize("mode", [WRITES, STRICT])
def test_code_in_a_kernel_reaches_no_socket(worlds: dict[str, World], mode: str) -> None:
    assert succeeded(worlds[mode], SOCKETS) == {}


@pytest.mark.parametrize("mode", [WRITES, STRICT])
def test_code_in_a_kernel_changes_nothing_of_the_host(worlds: dict[str, World], mode: str) -> None:
    assert succeeded(worlds[mode], of_host(worlds[mode])) == {}


@pytest.mark.parametrize("mode", [WRITES, STRICT, OFF])
def test_adopted_guest_says_how_it_is_confined(house: House, umid: str, mode: str) -> None:
    """Even where nothing is left of its record."""
    house.start(umid, "--confine", mode)
    house.is_settled(umid)
    before = house.status(umid)
    assert before["confined"] == mode
    for lost in (False, True):
        kill_supervisor(house, umid)
        if lost and mode != OFF:
            Path(f"{house.state}/guests/{umid}/record.json").unlink()
            Path(f"{house.run}/g/{umid}/record.json").unlink()
        house.ok("adopt", umid)
        after = house.status(umid)
        for fact in ("pid", "confined", "own_mounts"):
            assert after[fact] == before[fact], (fact, lost)
    assert f"{umid},{mode}\n" in house.ok("list", "--format", "csv", "--columns", "name,confine")


def test_what_is_secret_later_is_hidden_too_and_the_run_directory_again(
    empty_house: House,
) -> None:
    house, umid = empty_house, f"hidden-{os.getpid()}"
    house.start(umid, "--confine", WRITES)
    status = house.status(umid)
    if not status["own_mounts"]:
        pytest.skip("this host gives no mounts of its own to a kernel")
    seen = f"/proc/{status['pid']}/root"
    keys, supervisor = f"{house.home}/.aws", f"{house.run}/supervisor/mconsole"
    os.makedirs(keys, exist_ok=True)
    Path(f"{keys}/credentials").write_bytes(SECRET)
    wait_for(lambda: not os.path.exists(f"{seen}{keys}/credentials"), "it is hidden")
    shutil.rmtree(house.run)
    wait_for(lambda: os.path.exists(supervisor), "it is made anew")
    wait_for(lambda: not os.path.exists(seen + supervisor), "it is hidden again")
    house.ok("reboot", umid)
    wait_for(lambda: house.umlctl("version", umid).returncode == 0, "it is back")


# As code of a guest that an old kernel has let go of.

ESCAPED: Final[dict[str, tuple[Any, ...]]] = {
    "open for writing": (2, "{w.victim}/file", WRONLY),
    "make a file": (2, "{w.victim}/new", CREAT | WRONLY, 0o600),
    "make a directory": (83, "{w.victim}/made", 0o700),
    "make a link": (86, "{w.victim}/other", "{w.victim}/link"),
    "change a mode": (90, "{w.victim}/file", 0o4777),
    "truncate": (76, "{w.victim}/file", 1),
    "rename": (82, "{w.victim}/other", "{w.victim}/renamed"),
    "remove a directory": (84, "{w.victim}/empty"),
    "a service of this host's user": (41, UNIX, STREAM, 0),
    "signal": (62, "{w.other}", 0),
    "trace": (101, 0x4206, "{w.other}", 0),
}


def escape(world: World, mode: str, others: list[int]) -> list[int] | None:
    """What code got that runs on when the kernel's main process is killed alone, in a guest whose
    processes have no pid namespace to end with; None if none does.

    others: two processes to be traced, one for each that might run on
    """
    house, umid = world.house, f"escape-{mode}-{os.getpid()}"
    for name, other in zip("ab", others, strict=True):  # the one or the other runs at the moment
        its = world._replace(victim=f"{world.victim}/{name}", other=other)
        lay_out(its.victim)
        calls = [[in_words(word, its) for word in each] for each in ESCAPED.values()]
        path = f"{house.path}/given/{name}"
        Path(path).write_bytes(program(calls))
        os.chmod(path, 0o755)
    house.start(umid, "--confine", mode)
    house.has_shell(umid)
    status = house.status(umid)
    pid, shim = status["pid"], processes.parent(status["pid"])
    house.shell(umid, f"mount -t hostfs none /mnt -o {house.path}/given")
    house.shell(umid, "/mnt/a & /mnt/b &")
    wait_for(lambda: any(map(is_ready, processes.descendants(pid))), "it has begun")
    children = [each for each in processes.descendants(pid) if is_ready(each)]
    stopped = [shim, status["supervisor_pid"]]
    for each in stopped:
        os.kill(each, signal.SIGSTOP)
    try:
        os.kill(pid, signal.SIGKILL)
        wait_for(
            lambda: all(
                results(each, len(ESCAPED)) is not None or processes.start_time(each) is None
                for each in children
            ),
            "each has made its calls, or has ended",
        )
        found = [results(each, len(ESCAPED)) for each in children]
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)
        for each in stopped:
            os.kill(each, signal.SIGCONT)
    house.umlctl("kill", umid)
    return next((each for each in found if each is not None), None)


@pytest.fixture
def bare_house(tmp_path: Path) -> Iterator[House]:
    """A home on a host that has no unshare(1)."""
    with a_house() as home:
        have_no_namespaces(home, tmp_path / "bin")
        yield home


def test_code_whose_kernel_has_no_mounts_of_its_own_is_answered_by_nobody(
    bare_house: House,
) -> None:
    """It finds all sockets of its user there: who serves them knows it by a mark."""
    with surroundings(bare_house, (WRITES, STRICT)) as found:
        for mode in (WRITES, STRICT):
            world = found[mode]
            assert "could have no mounts of its own" in bare_house.ok("status", world.own)
            refused = dict.fromkeys(ASKED, -errno.EPERM)
            assert answers(world, ASKED) == refused
            heard = {*ASKED, "another guest's kernel", "the background supervisor"}
            assert succeeded(world, SOCKETS).keys() <= heard
            assert changed_by_code(world, FILES) == {}
            assert succeeded(world, OTHERS) == {}
            assert succeeded(world, of_host(world)) == {}
        assert succeeded(found[STRICT], READS).keys() <= {"its own record, to be changed"}


def test_code_that_is_let_go_of_is_confined_as_before(bare_house: House) -> None:
    house = bare_house
    os.mkdir(f"{house.path}/given")
    with something_else() as first, something_else() as second:
        world = World(house, f"{house.path}/victim", "", "", 0, 0, 0, "", "", 0)
        free = escape(world, OFF, [first, second])
        if free is not None:
            made = zip(ESCAPED, free, strict=True)
            assert {name: result for name, result in made if result < 0} == {}
        found = escape(world, WRITES, [first, second])
        got = zip(ESCAPED, found or [], strict=False)
        assert {name: result for name, result in got if result >= 0} == {}
