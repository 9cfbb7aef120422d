from __future__ import annotations

import inspect
import json
import typing
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from umlctl.protocol import status as of
from umlctl.protocol.status import Console, Device, Ending, State, Status, Viewer, read_status
from umlctl.state.records import DeviceEntry

KEYS = [field.encode_name for field in msgspec.structs.fields(Status)]
OWN_OF_SUPERVISOR = {"host", "note"}
"""What only who looks at the host's side of a device can say."""
OWN_OF_RECORD = {"told"}
"""What is between a supervisor and a confined kernel: people have their own paths."""

texts = st.text(max_size=5)
numbers = st.integers(0, 2**31)
times = st.floats(0, 1e10)
facts = st.dictionaries(texts, st.none() | numbers | texts | st.lists(texts), max_size=3)
devices = st.builds(
    Device,
    name=texts,
    asked=texts,
    kernel=texts,
    boot=st.booleans(),
    observed=st.none() | facts,
    host=facts,
    problem=texts,
    shared=st.booleans(),
)
viewers = st.builds(Viewer, pid=numbers, uid=numbers, since=times, keyboard=st.booleans())
consoles = st.builds(Console, name=texts, socket=texts, viewers=st.lists(viewers, max_size=2))
endings = st.builds(Ending, cause=texts, code=numbers, text=texts, time=times)
statuses = st.builds(
    Status,
    umid=texts,
    state=st.sampled_from(typing.get_args(State)),
    since=times,
    pid=st.none() | numbers,
    cpu=st.none() | times,
    sockets=st.dictionaries(texts, texts, max_size=2),
    devices=st.lists(devices, max_size=2),
    consoles=st.lists(consoles, max_size=2),
    last_event=st.none() | facts,
    ending=st.none() | endings,
)


@given(statuses)
def test_every_status_has_all_keys_and_is_read_as_it_was(status: Status) -> None:
    said = msgspec.json.encode(status)
    assert list(json.loads(said)) == KEYS
    assert read_status(said) == status


def test_what_is_not_known_is_null_or_empty() -> None:
    said = json.loads(msgspec.json.encode(Status(umid="demo", state="silent")))
    known = {"umid": "demo", "state": "silent", "since": 0.0}
    empty: dict[str, Any] = {"sockets": {}, "devices": [], "consoles": [], "command": []}
    assert said == dict.fromkeys(KEYS) | known | empty


@pytest.mark.parametrize("kind", [Status, Device, Console, Viewer, Ending])
def test_every_field_is_explained(kind: type[msgspec.Struct]) -> None:
    explained = (inspect.getdoc(kind) or "").partition("Fields:\n")[2]
    rows = [line.partition(":")[0] for line in explained.splitlines() if line[4:5].isalpha()]
    names = {name.strip() for row in rows for name in row.split(",")}
    assert names >= {field.name for field in msgspec.structs.fields(kind)}


def test_every_state_is_explained() -> None:
    with open(of.__file__) as file:
        explained = file.read().partition("\nSTATES")[0].rpartition(']\n"""')[2]
    rows = [line.partition(":")[0] for line in explained.splitlines() if ": " in line]
    assert {name for row in rows for name in row.split(", ")} == of.STATES


def test_device_is_shown_with_all_that_is_recorded_of_it() -> None:
    recorded = {field.name for field in msgspec.structs.fields(DeviceEntry)} - OWN_OF_RECORD
    assert {field.name for field in msgspec.structs.fields(Device)} == recorded | OWN_OF_SUPERVISOR


def test_device_is_shown_without_what_is_empty() -> None:
    device = Device(name="ubd1", asked="/d")
    always = {"name": "ubd1", "asked": "/d", "kernel": "", "boot": False, "observed": None}
    assert json.loads(msgspec.json.encode(device)) == always


@pytest.mark.parametrize(
    "data",
    [
        b"null",
        b"[]",
        b"{}",
        b'{"state": 3}',
        b'{"state": "running", "since": "noon"}',
        b'{"state": "running", "cpu": []}',
        b'{"state": "running", "devices": [{}]}',
        b'{"state": "dancing", "devices": [{}]}',
        b'{"state": "dead", "ending": {"cause": 1}}',
        b'{"state": "\xff"}',
        b'{"state":' + b"[" * 100_000,
    ],
)
def test_answer_that_is_no_status_is_refused(data: bytes) -> None:
    with pytest.raises(msgspec.DecodeError):
        read_status(data)


def test_status_of_an_older_supervisor_has_what_it_says() -> None:
    found = read_status(b'{"umid": "a", "state": "running", "pid": 3}')
    assert (found.umid, found.state, found.pid, found.reboots) == ("a", "running", 3, None)


def test_state_that_only_a_newer_supervisor_knows_is_unknown() -> None:
    found = read_status(b'{"umid": "a", "state": "dancing", "pid": 3, "new": 1}')
    assert (found.umid, found.state, found.pid) == ("a", "unknown", 3)


@pytest.mark.parametrize("data", [b"", b"3", b"{}", b'{"cause": 1, "code": 0}', b"[" * 100_000])
def test_answer_that_is_no_ending_is_refused(data: bytes) -> None:
    with pytest.raises(msgspec.DecodeError):
        of.read_ending(data)


@pytest.mark.parametrize("data", [b"", b"3", b"{}", b'[{"asked": "/a"}]', b"[" * 100_000])
def test_answer_that_is_no_device_table_is_refused(data: bytes) -> None:
    for read in (of.read_devices, of.read_device, of.read_console):
        with pytest.raises(msgspec.DecodeError):
            read(data)


@given(st.lists(devices, max_size=3))
def test_device_table_is_read_as_it_was(table: list[Device]) -> None:
    assert of.read_devices(msgspec.json.encode(table)) == table
    for device in table:
        assert of.read_device(msgspec.json.encode(msgspec.structs.asdict(device))) == device


def test_ending_is_read() -> None:
    said: dict[str, Any] = {"cause": "killed", "code": 137, "text": "by uid 0", "time": 5.5}
    assert of.read_ending(json.dumps(said).encode()) == Ending(**said)
