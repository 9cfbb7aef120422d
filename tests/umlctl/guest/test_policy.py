from __future__ import annotations

from typing import Any

import pytest

from umlctl.guest import policy
from umlctl.guest.definition import Definition


def definition(**fields: Any) -> Definition:
    return Definition(umid="demo", kernel="/linux", **fields)


@pytest.mark.parametrize(
    ("restart", "panic", "hang", "failed", "well"),
    [
        ("no", "nothing", "nothing", "nothing", "nothing"),
        ("on-failure", "restart", "restart", "restart", "nothing"),
        ("always", "restart", "restart", "restart", "restart"),
    ],
)
def test_restart_says_it_for_all_events(
    restart: str, panic: str, hang: str, failed: str, well: str
) -> None:
    asked = definition(restart=restart)
    assert policy.on_panic(asked) == panic
    assert policy.on_hang(asked) == hang
    assert policy.on_exit(asked, failed=True) == failed
    assert policy.on_exit(asked, failed=False) == well


@pytest.mark.parametrize("action", policy.ACTIONS)
def test_what_is_said_of_one_event_counts(action: str) -> None:
    asked = definition(restart="always", on_panic=action, on_hang=action, on_exit=action)
    assert policy.on_panic(asked) == policy.on_hang(asked) == action
    assert policy.on_exit(asked, failed=True) == policy.on_exit(asked, failed=False) == action


def test_pauses_grow_to_a_bound() -> None:
    pauses = [policy.pause(tries) for tries in range(40)]
    assert pauses[:3] == [0.5, 1.0, 2.0]
    assert pauses == sorted(pauses)
    assert pauses[-1] == policy.MAX_RESTART_INTERVAL


def test_once_is_never_again() -> None:
    asked = definition(restart="always", on_panic="restart", on_hang="kill")
    once = definition(**{"on_hang": "kill", **policy.actions_once(asked)})
    assert policy.on_panic(once) == "nothing"
    assert policy.on_hang(once) == "kill"
    assert policy.on_exit(once, failed=True) == "nothing"
