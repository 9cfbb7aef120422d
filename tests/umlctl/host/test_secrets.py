from __future__ import annotations

from typing import TYPE_CHECKING

from umlctl.host import secrets

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def test_what_is_secret_is_found_where_it_is(tmp_path: Path) -> None:
    home = tmp_path / "with [brackets]"
    (home / ".ssh").mkdir(parents=True)
    (home / ".config" / "chromium").mkdir(parents=True)
    (home / "public").mkdir()
    found = secrets.found([str(home)])
    assert {f"{home}/.ssh", f"{home}/.config/chromium", "/etc/shadow"} <= set(found)
    assert not any("public" in path or ".gnupg" in path for path in found)


def test_files_that_are_called_as_umlctls_own_are_not_hidden(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ours = ["umlctl-1000", "umlctl-1000-kept", "umlctl-share-0"]
    others = ["umlctl-demo.x1", "umlctl-", "umlctl-1abc", "umlctl-share-x"]
    monkeypatch.setattr(secrets, "_names", lambda at: ours + others if at == "/tmp" else [])
    found = set(secrets.found([]))
    assert found >= {f"/tmp/{name}" for name in ours}
    assert not found & {f"/tmp/{name}" for name in others}


def test_root_could_see_the_homes_of_all_and_others_their_own() -> None:
    assert secrets.homes_for("/home/me") == ["/home/me"]
    assert secrets.homes_for("") == []
    assert "/root" in secrets.homes_for("/root")


def test_list_is_shown_whole() -> None:
    assert {"~/.ssh", "/etc/shadow", "/run"} < set(secrets.LIST)
