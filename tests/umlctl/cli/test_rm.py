from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import pytest

from umlctl.cli import main
from umlctl.client import unsupervised
from umlctl.guest.definition import Definition
from umlctl.host import paths, processes
from umlctl.protocol.status import Ending
from umlctl.state import enabled, records

if TYPE_CHECKING:
    from collections.abc import Callable

    Keep = Callable[..., None]


@pytest.fixture
def keep(house: str) -> Keep:
    paths.make_run_dir()

    def keep(umid: str, *, lives: bool = False, unseen: bool = False) -> None:
        pid = os.getpid() if lives else 1 << 22
        record = records.Record(
            definition=Definition(umid=umid, kernel="/linux"),
            supervisor_pid=1,
            pid=pid,
            started=(processes.start_time(pid) or 0) if lives else 1,
            boot_id=records.host_boot_id(),
            since=1.0,
            ending=None if lives or unseen else Ending(cause="exited", code=0, time=2.0),
        )
        os.makedirs(paths.record_dir(umid), exist_ok=True)
        records.save(record)

    return keep


def said(capfd: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    code = main.run(list(words))
    sys.stdout.flush()
    return code, *capfd.readouterr()


def test_guests_that_have_ended_are_forgotten(
    keep: Keep, capfd: pytest.CaptureFixture[str]
) -> None:
    for umid in ("a", "b", "c"):
        keep(umid)
    assert said(capfd, "rm", "a", "b") == (0, "a is forgotten\nb is forgotten\n", "")
    assert records.names() == ["c"]
    assert not os.path.exists(f"{paths.run_dir()}/g/a.lock")


def test_guest_that_runs_is_not_forgotten_and_the_others_are(
    keep: Keep, capfd: pytest.CaptureFixture[str]
) -> None:
    keep("dead")
    keep("alive", lives=True)
    code, out, err = said(capfd, "rm", "alive", "nobody", "dead")
    assert (code, out) == (1, "dead is forgotten\n")
    assert "alive runs; `umlctl shutdown alive` ends it" in err
    assert "nothing is known of a guest 'nobody'" in err
    assert records.names() == ["alive"]


def test_guest_that_is_enabled_stays_so(keep: Keep, capfd: pytest.CaptureFixture[str]) -> None:
    keep("web")
    assert said(capfd, "enable", "web")[0] == 0
    assert said(capfd, "rm", "web")[0] == 0
    assert [each.umid for each in enabled.load_all()] == ["web"]


@pytest.mark.parametrize("name", ["..", "../x", "/", ""])
def test_name_that_is_nobodys_removes_nothing(
    keep: Keep, capfd: pytest.CaptureFixture[str], name: str
) -> None:
    keep("web")
    assert said(capfd, "rm", name)[0] != 0
    assert records.names() == ["web"]


def test_guest_that_died_unseen_is_seen_to_by_a_supervisor_and_then_forgotten(
    keep: Keep, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    keep("web", unseen=True)
    seen: list[str] = []

    def see_to(umid: str) -> bool:
        seen.append(umid)
        keep(umid)
        return False

    monkeypatch.setattr(unsupervised, "ask_to_adopt", see_to)
    assert said(capfd, "rm", "web") == (0, "web is forgotten\n", "")
    assert (seen, records.names()) == (["web"], [])


@pytest.mark.parametrize(
    ("back", "why"), [(True, "its policy has it started again"), (False, "no supervisor has seen")]
)
def test_guest_that_died_unseen_and_is_not_seen_to_is_not_forgotten(
    keep: Keep,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    back: bool,
    why: str,
) -> None:
    keep("web", unseen=True)
    monkeypatch.setattr(unsupervised, "ask_to_adopt", lambda _umid: back)
    code, _, err = said(capfd, "rm", "web")
    assert (code, why in err) == (1 if back else 7, True)
    assert records.names() == ["web"]
