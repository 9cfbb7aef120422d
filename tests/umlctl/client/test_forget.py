from __future__ import annotations

import os

import pytest

from umlctl.client import forget as module
from umlctl.errors import NoGuest
from umlctl.guest.definition import Definition
from umlctl.host import paths
from umlctl.protocol.status import Ending
from umlctl.state import records


def test_guest_that_has_ended_is_forgotten_once(house: str) -> None:
    paths.make_run_dir()
    record = records.Record(
        definition=Definition(umid="a", kernel="/linux"),
        supervisor_pid=1,
        pid=1 << 22,
        started=1,
        boot_id=records.host_boot_id(),
        since=1.0,
        ending=Ending(cause="exited", code=0, time=2.0),
    )
    os.makedirs(paths.record_dir("a"))
    records.save(record)
    module.forget("a")
    assert records.names() == []
    with pytest.raises(NoGuest, match="nothing is known"):
        module.forget("a")
