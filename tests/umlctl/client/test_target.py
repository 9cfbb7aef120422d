from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from tests.umlctl.state.test_records import write_record
from umlctl.client.target import Target, named
from umlctl.host import paths
from umlctl.host.paths import BadPlace


def test_name_means_a_guest_of_this_user_wherever_it_is_asked_from(house: str) -> None:
    paths.make_run_dir()
    os.makedirs(paths.guest_dir("demo"))
    target = Target("demo")
    assert not target.is_there()
    assert target.is_known(), "something is there of it"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as supervisor:
        supervisor.bind(paths.guest_socket("demo"))
        assert target.socket == paths.guest_socket("demo")
        assert target.is_there()


def test_path_means_its_socket_or_that_in_its_directory(short: str) -> None:
    os.mkdir(f"{short}/demo")
    Path(f"{short}/demo/mconsole").touch()
    for name in (f"{short}/demo", f"{short}/demo/mconsole"):
        assert Target(name).socket == f"{short}/demo/mconsole"
        assert Target(name).is_known()
    assert not Target(f"{short}/none").is_known()


def test_guest_that_was_written_down_is_known_and_nobody_answers(house: str) -> None:
    write_record()
    assert Target("demo").is_known()
    assert not Target("demo").is_there()
    assert not Target("another").is_known()


def test_place_that_cannot_be_used_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UMLCTL_DIR", "not/absolute")
    with pytest.raises(BadPlace):
        Target("demo").is_there()


def test_file_of_a_definition_means_the_guest_of_its_name(
    short: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(short)
    Path("web.toml").touch()
    os.mkdir("sub.toml")
    assert named("web.toml") == named(f"{short}/web.toml") == "web"
    assert capsys.readouterr().err == (
        f"umlctl: web: the guest of web.toml\numlctl: web: the guest of {short}/web.toml\n"
    )
    for word in ("web", "none.toml", "sub.toml", f"{short}/demo", ""):
        assert named(word) == word
    for word in ("./.toml", "./...toml", "./a b.toml"):
        Path(word).touch()
        assert named(word) == word
    assert capsys.readouterr().err == ""
