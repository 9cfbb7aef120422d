from __future__ import annotations

import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from umlctl.errors import HostError, UsageError
from umlctl.networks.forwards import parse_forward


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("8080:80", "tcp:127.0.0.1:8080:80"),
        ("tcp:8080:80", "tcp:127.0.0.1:8080:80"),
        ("udp:53:5353", "udp:127.0.0.1:53:5353"),
        ("0.0.0.0:8080:80", "tcp:0.0.0.0:8080:80"),
        ("udp:192.168.1.2:1:65535", "udp:192.168.1.2:1:65535"),
        ("8080:10.0.2.16:80", "tcp:127.0.0.1:8080:10.0.2.16:80"),
        ("udp:0.0.0.0:8080:10.0.2.16:80", "udp:0.0.0.0:8080:10.0.2.16:80"),
    ],
)
def test_forward_is_understood(text: str, said: str) -> None:
    forward = parse_forward(text)
    assert str(forward) == said
    assert parse_forward(said) == forward


@pytest.mark.parametrize(
    "text",
    [
        *("", "80", "tcp", "tcp:", "tcp:80", "sctp:1:2", "1:2:3", "a.b:1:2", "::1:8080:80"),
        *("0:80", "80:0", "65536:80", "-1:80", "80:8o", "1:2:3:4:5", "1.2.3:80:80", "80:1.2.3.:80"),
        *("\u0661:80", "1e3:80", "8080:80\0", "1.2.3.4\0:1:2", "99999999999999:1", "1:00665570"),
    ],
)
def test_what_is_no_forward_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match=r"forward|port|address"):
        parse_forward(text)


@given(st.text(st.sampled_from("0123456789.:tcpud-"), max_size=40) | st.text(max_size=30))
def test_text_is_a_forward_or_refused(text: str) -> None:
    try:
        forward = parse_forward(text)
    except UsageError:
        return
    assert parse_forward(str(forward)) == forward


@pytest.mark.parametrize("kind", ["tcp", "udp"])
def test_port_in_use_is_seen_beforehand(kind: str) -> None:
    with socket.socket(
        socket.AF_INET, socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM
    ) as user:
        user.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        user.bind(("127.0.0.1", 0))
        if kind == "tcp":
            user.listen()
        port = user.getsockname()[1]
        forward = parse_forward(f"{kind}:{port}:80")
        with pytest.raises(HostError, match=rf"{kind} port {port} of 127.0.0.1: Address already"):
            forward.check_free()
    forward.check_free()
