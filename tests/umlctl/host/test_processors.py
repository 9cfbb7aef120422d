from __future__ import annotations

import os
import platform
import subprocess
from pathlib import Path

import pytest

from umlctl.errors import HostError
from umlctl.host import processors
from umlctl.host.processors import ALL, Share

ONE = min(os.sched_getaffinity(0))


@pytest.fixture
def nodes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A host with two NUMA nodes, and one that has memory alone."""
    for name, cpus in (("node0", "0-1"), ("node1", "2-3"), ("node2", "")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "cpulist").write_text(f"{cpus}\n")
    (tmp_path / "has_memory").write_text("0-2\n")
    monkeypatch.setattr(processors, "NODES", str(tmp_path))
    monkeypatch.setattr(processors, "allowed", lambda: frozenset({0, 1, 2}))
    return tmp_path


def test_processors_are_those_of_the_cpuset_whatever_this_process_has() -> None:
    before = os.sched_getaffinity(0)
    all_of_them = processors.allowed()
    assert before <= all_of_them
    os.sched_setaffinity(0, {ONE})
    try:
        assert processors.allowed() == all_of_them
        assert os.sched_getaffinity(0) == {ONE}
    finally:
        os.sched_setaffinity(0, before)


@pytest.mark.parametrize(
    ("cpus", "ncpus", "node", "share"),
    [
        ("", 1, None, ALL),
        ("any", 1, None, ALL),
        ("1-2", 1, None, Share(frozenset({1, 2}))),
        ("map,1", 2, None, Share(frozenset({1, 2}))),
        ("", 1, 0, Share(frozenset({0, 1}), 0)),
        ("1", 1, 0, Share(frozenset({1}), 0)),
        ("map", 1, 1, Share(frozenset({2}), 1)),
        ("", 1, 2, Share(None, 2)),
    ],
)
def test_share_is_what_was_asked_for(
    nodes: Path, cpus: str, ncpus: int, node: int | None, share: Share
) -> None:
    assert processors.share(cpus, ncpus, node) == share


@pytest.mark.parametrize(
    ("cpus", "node", "said"),
    [
        ("3", None, "this host has no CPU 3 for guests; there is 0-2"),
        ("2", 0, "NUMA node 0 has no CPU 2 for guests; there is 0-1"),
        ("3", 1, "NUMA node 1 has no CPU 3 for guests; there is 2"),
        ("", 3, "no such NUMA node with memory; there is 0-2"),
    ],
)
def test_what_this_host_has_not_is_refused(
    nodes: Path, cpus: str, node: int | None, said: str
) -> None:
    with pytest.raises(HostError, match=said):
        processors.share(cpus, 1, node)


def test_host_without_nodes_says_so(nodes: Path) -> None:
    (nodes / "has_memory").unlink()
    with pytest.raises(HostError, match="--numa 0: this host has no NUMA nodes; leave it out"):
        processors.share("", 1, 0)


def test_processes_have_their_share_and_this_one_keeps_its_own() -> None:
    before = os.sched_getaffinity(0)

    def started() -> str:
        return subprocess.run(
            ["cat", "/proc/self/status"], check=True, capture_output=True, text=True
        ).stdout

    assert f"Cpus_allowed_list:\t{ONE}\n" in processors.with_share(Share(frozenset({ONE})), started)
    assert os.sched_getaffinity(0) == before
    assert processors.with_share(ALL, os.getpid) == os.getpid()


@pytest.mark.skipif(
    not Path("/sys/devices/system/node/has_memory").exists(), reason="a host without NUMA"
)
def test_memory_is_of_a_node() -> None:
    def started() -> str:
        return subprocess.run(
            ["cat", "/proc/self/numa_maps"], check=True, capture_output=True, text=True
        ).stdout

    with_memory = Path("/sys/devices/system/node/has_memory").read_text().strip()
    node = int(with_memory.partition("-")[0].partition(",")[0])
    assert f" bind:{node} " in processors.with_share(Share(None, node), started)
    assert " bind:" not in started()


def test_node_whose_memory_cannot_be_had_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(HostError, match="--numa 1023: its memory cannot be had here"):
        processors.with_share(Share(None, 1023), os.getpid)
    monkeypatch.setattr(os, "uname", lambda: platform.uname()._replace(machine="vax"))
    with pytest.raises(HostError, match="not known how"):
        processors.with_share(Share(None, 0), os.getpid)
