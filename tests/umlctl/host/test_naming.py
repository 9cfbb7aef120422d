from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from umlctl.host import naming, paths
from umlctl.host.naming import BadNetwork, BadUmid, check_network, check_umid, of_process


@pytest.mark.parametrize("umid", ["a", "demo", "a.b_c+d-1", "X", "0", "n" * 63, "locks"])
def test_name_is_a_umid(house: str, umid: str) -> None:
    assert check_umid(umid) == umid


@pytest.mark.parametrize(
    ("umid", "said"),
    [
        ("", "empty"),
        (".", "begin with '.'"),
        ("..", "begin with '.'"),
        (".hidden", "begin with '.'"),
        ("-v", "begin with '-'"),
        ("a/b", "not '/'"),
        ("a b", "not ' '"),
        ("a\n", r"not '\\n'"),
        ("a\0", r"not '\\x00'"),
        ("grün", "not 'ü'"),
        ("a~", "not '~'"),
        ("a,b", "not ','"),
        ("n" * 64, "at most 63 characters, this one 64"),
        ("demo.lock", "cannot end with .lock"),
    ],
)
def test_name_that_kernel_or_socket_cannot_take_is_refused(
    house: str, umid: str, said: str
) -> None:
    with pytest.raises(BadUmid, match=said):
        check_umid(umid)


@pytest.mark.parametrize("letter", ["l", "ü"])
def test_name_is_refused_if_its_socket_would_have_too_long_a_path(
    monkeypatch: pytest.MonkeyPatch, letter: str
) -> None:
    monkeypatch.setenv("UMLCTL_DIR", "/" + letter * (60 // len(letter.encode())))
    fits = 107 - len(os.fsencode(paths.kernel_socket("")))
    assert check_umid("n" * fits)
    with pytest.raises(BadUmid, match=r"1 bytes too long for a unix socket.*a shorter umid, or"):
        check_umid("n" * (fits + 1))


def test_shorter_name_is_not_asked_for_where_none_would_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UMLCTL_DIR", "/" + "l" * 125)
    with pytest.raises(BadUmid, match=r"too long.*; take a shorter UMLCTL_DIR"):
        check_umid("ab")


@pytest.mark.parametrize("uid", [0, 4294967294])
def test_every_name_fits_where_nothing_is_set(monkeypatch: pytest.MonkeyPatch, uid: int) -> None:
    monkeypatch.delenv("UMLCTL_DIR", raising=False)
    monkeypatch.setenv("HOME", "/" + "h" * 125)
    monkeypatch.setattr(os, "getuid", lambda: uid)
    assert check_umid("n" * 63)
    assert check_network("n" * 32)
    assert len(paths.guest_socket("n" * 63) + "~") <= 107


@given(st.text(max_size=70))
def test_umid_is_one_harmless_path_component(umid: str) -> None:
    try:
        check_umid(umid)
    except BadUmid:
        return
    assert os.path.basename(os.path.normpath(paths.record_dir(umid))) == umid
    assert umid.isascii()
    assert umid.isprintable()
    assert 0 < len(umid) <= 63


@pytest.mark.parametrize("name", ["a", "lan", "g1.0", "a.b_c+d-1", "n" * 32])
def test_name_is_a_networks(house: str, name: str) -> None:
    assert check_network(name) == name


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("", "a network's name cannot be empty"),
        ("..", "begin with '.'"),
        ("-v", "begin with '-'"),
        ("a/b", "not '/'"),
        ("a,b", "not ','"),
        ("a=b", "not '='"),
        ("n" * 33, "at most 32 characters, this one 33"),
    ],
)
def test_name_that_a_network_cannot_have_is_refused(house: str, name: str, said: str) -> None:
    with pytest.raises(BadNetwork, match=said):
        check_network(name)


def test_network_whose_socket_would_have_too_long_a_path_is_refused(
    short: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UMLCTL_DIR", f"{short}/{'ü' * 26}")
    fits = 107 - len(os.fsencode(paths.network_control("") + "~"))
    assert 1 < fits < 32
    for length in range(1, 33):
        if length <= fits:
            assert check_network("n" * length)
        else:
            with pytest.raises(BadNetwork, match="too long for a unix socket"):
                check_network("n" * length)


def test_guest_of_a_process_has_a_name(house: str) -> None:
    assert check_umid(of_process(4194304)) == "exec-4194304"


def test_names_that_are_made_up_are_names(house: str) -> None:
    made = [
        naming.of_process(4194304),
        naming.of_kept(4194304),
        naming.of_program(4194304, 1),
        naming.of_program(4194304, 2),
    ]
    assert [naming.check_umid(name) for name in made] == made
    assert len(set(made)) == len(made)
