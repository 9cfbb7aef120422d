from __future__ import annotations

import json
import os
import signal

import pytest

from tests.umlctl.recovery.test_bare import Kernel, kernel
from umlctl import exitcodes
from umlctl.client import bare
from umlctl.host import processes

__all__ = ["kernel"]


def test_process_that_is_not_known_is_not_ended(kernel: Kernel) -> None:
    kernel.write_pid(os.getpid())
    assert bare.end("kill", "demo", kernel.socket, [], False) is None


def test_kernel_is_killed_by_what_ends_all_of_it(
    kernel: Kernel, capsys: pytest.CaptureFixture[str]
) -> None:
    assert bare.end("kill", "demo", kernel.socket, [], True) == exitcodes.OK
    ending = json.loads(capsys.readouterr().out)
    assert (ending["cause"], ending["code"]) == ("killed", exitcodes.SIGNALLED + signal.SIGTERM)
    assert kernel.close() == -signal.SIGTERM


def test_kernel_that_does_not_shut_down_is_killed_and_that_is_a_failure(
    kernel: Kernel, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bare, "ANSWER_TIMEOUT", 0.01)
    monkeypatch.setattr(bare, "SYNC_TIMEOUT", 0.01)
    code = bare.end("shutdown", "demo", kernel.socket, ["0.01"], False)
    assert code == exitcodes.FAILED
    assert "not seen to sync" in capsys.readouterr().out
    assert processes.start_time(kernel.process.pid) is None or kernel.close() == -signal.SIGTERM


@pytest.mark.parametrize("seconds", ["soon", "-1", "nan", "1e7"])
def test_wrong_number_of_seconds_ends_nobody(
    kernel: Kernel, capsys: pytest.CaptureFixture[str], seconds: str
) -> None:
    code = bare.end("shutdown", "demo", kernel.socket, [seconds], False)
    assert code == exitcodes.USAGE
    assert "takes a number of seconds" in capsys.readouterr().err
    assert kernel.process.poll() is None
