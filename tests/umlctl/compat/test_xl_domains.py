from __future__ import annotations

import os

import pytest

from umlctl.compat import xl_domains
from umlctl.errors import NoGuest
from umlctl.protocol.status import Status

GUESTS = [
    Status(umid="web", state="running", pid=os.getpid(), started=1.0, memory_limit=64 << 20),
    Status(umid="db", state="stopped", pid=12, command=["/linux", "ncpus=2", "ncpus=4"], cpu=1.5),
    Status(umid="12", state="silent"),
    Status(umid="old", state="dead"),
]


@pytest.fixture(autouse=True)
def _guests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(xl_domains, "gather", lambda: GUESTS)


def test_domains_are_the_host_and_the_guests_that_run() -> None:
    assert [each.name for each in xl_domains.all_domains()] == ["Domain-0", "web", "db", "12"]


def test_domain_is_found_by_its_name_and_its_number() -> None:
    web = xl_domains.find(str(os.getpid()))
    assert (web.name, web.state, web.mem >> 20, web.vcpus) == ("web", "r-----", 64, 1)
    assert web.uptime > 1e9
    db = xl_domains.find("db")
    assert (db.number, db.state, db.vcpus, db.cpu, db.uptime) == (12, "--p---", 4, 1.5, 0.0)
    assert xl_domains.find("12").number == xl_domains.UNKNOWN_NUMBER  # a name comes first
    for word in ("0", "Domain-0"):
        assert xl_domains.find(word).status is None


@pytest.mark.parametrize("word", ["old", "nobody", "99", "", "-1x"])
def test_domain_that_does_not_run_is_none(word: str) -> None:
    with pytest.raises(NoGuest, match="is an invalid domain identifier"):
        xl_domains.find(word)


def test_host_is_no_guest() -> None:
    with pytest.raises(NoGuest, match="is this host"):
        xl_domains.find_guest("Domain-0")
    host = xl_domains.host()
    assert host.mem > 1 << 20
    assert host.cpu > 0
    assert host.vcpus == os.cpu_count()


def test_processors_are_those_of_the_kernels_process() -> None:
    web = xl_domains.find("web")
    assert int(xl_domains.processor(web)) < (os.cpu_count() or 1)
    before = os.sched_getaffinity(0)
    assert xl_domains.affinity(web) == "all"
    try:
        os.sched_setaffinity(0, {0})
        assert xl_domains.affinity(web) == ("0" if (os.cpu_count() or 1) > 1 else "all")
    finally:
        os.sched_setaffinity(0, before)
    assert xl_domains.affinity(web._replace(number=1 << 30)) == "all"
    assert xl_domains.processor(web._replace(number=1 << 30)) == ""
