from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from umlctl.devices.needs import SOCKET, Need
from umlctl.devices.parse import parse, parse_name
from umlctl.devices.vhost import Lent
from umlctl.errors import UsageError


@pytest.mark.parametrize(
    ("text", "kind", "socket"),
    [
        ("virtio_uml.device=/run/fs.sock:26", "virtio", "/run/fs.sock"),
        ("virtio_uml.device=/run/fs.sock:26:3", "virtio", "/run/fs.sock"),
        ("vfio_uml.device=0000:00:1f.7", "vfio", ""),
    ],
)
def test_device_is_read_and_printed(text: str, kind: str, socket: str) -> None:
    device = parse(text)
    assert isinstance(device, Lent)
    assert (device.kind, device.socket, str(device)) == (kind, socket, text)
    assert device == parse(str(device))
    assert device.needs() == ((Need(SOCKET, socket),) if socket else ())


@pytest.mark.parametrize(
    "text",
    [
        "virtio_uml.device",
        "virtio_uml.device=",
        "virtio_uml.device=/run/fs.sock",
        "virtio_uml.device=/run/fs.sock:",
        "virtio_uml.device=/run/fs.sock:0",
        "virtio_uml.device=/run/fs.sock:x",
        "virtio_uml.device=fs.sock:26",
        "virtio_uml.device=/a:26:3:4",
        "virtio_uml.devices=/a:26",
        "vfio_uml.device=00:1f.7",
        "vfio_uml.device=0000:00:1f.8",
    ],
)
def test_what_is_none_is_an_error(text: str) -> None:
    with pytest.raises(UsageError):
        parse(text)


@given(st.text(max_size=40))
def test_any_value_is_read_as_it_stands_or_an_error(value: str) -> None:
    for option in ("virtio_uml.device", "vfio_uml.device"):
        try:
            assert str(parse(f"{option}={value}")) == f"{option}={value}"
        except UsageError:
            continue


@pytest.mark.parametrize("name", ["virtio0", "virtio_uml.device", "vfio0"])
def test_it_cannot_be_taken_away(name: str) -> None:
    with pytest.raises(UsageError, match="takes no such device away"):
        parse_name(name)
