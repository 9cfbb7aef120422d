from __future__ import annotations

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from umlctl.compat import xl_tables
from umlctl.compat.xl_domains import Domain
from umlctl.protocol.status import Device, Status

HOST = Domain("Domain-0", 0, "r-----", 4 << 30, 2, 45526.84, 25158.0, None)


def web(*devices: Device, **fields: object) -> Domain:
    status = Status(umid="web", state="running", kernel="/linux", devices=list(devices))
    made = Domain("web", 4478, "--p---", 64 << 20, 2, 0.6, 90061.0, status)
    return made._replace(**fields)  # type: ignore[arg-type]


DISK = Device(
    name="ubd1",
    asked="d.img",
    observed={},
    holds=[{"path": "/d.img", "write": True}, {"path": "/b"}],
)
NIC = Device(name="vec0", asked="switch=lan", mac="c2:90:4c:26:41:0b", network="lan")


def test_list_has_the_columns_of_xl() -> None:
    assert xl_tables.domains([HOST, web()]) == (
        "Name                                        ID   Mem VCPUs\tState\tTime(s)\n"
        "Domain-0                                     0  4096     2     r-----   45526.8\n"
        "web                                       4478    64     2     --p---       0.6"
    )


def test_disks_are_numbered_as_those_of_xen() -> None:
    assert xl_tables.disks(web(DISK, NIC)).splitlines() == [
        "Vdev  BE  handle state evt-ch ring-ref BE-path" + " " * 23,
        "51728 0   4478   4     -1     -1       /d.img                        ",
    ]


def test_nics_have_their_addresses() -> None:
    assert xl_tables.nics(web(DISK, NIC)).splitlines() == [
        "Idx BE Mac Addr.         handle state evt-ch   tx-/rx-ring-ref BE-path" + " " * 23,
        "0   0  c2:90:4c:26:41:0b      0     6     -1    -1/-1          lan" + " " * 27,
    ]


def test_each_processor_has_a_row() -> None:
    assert xl_tables.processors([(web(), "1", "0,1"), (HOST, "", "all")]).splitlines() == [
        "Name                                ID  VCPU   CPU State   Time(s) Affinity (Hard / Soft)",
        "web                               4478     0     1   -b-       0.3  0,1 / all",
        "web                               4478     1     1   -b-       0.3  0,1 / all",
        "Domain-0                             0     0     -   r--   22763.4  all / all",
        "Domain-0                             0     1     -   r--   22763.4  all / all",
    ]


def test_uptime_is_as_long_as_it_is() -> None:
    assert xl_tables.uptimes([HOST, web()]).splitlines() == [
        "Name                                ID Uptime",
        "Domain-0                             0  6:59:18",
        "web                               4478 1 day,  1:01:01",
    ]
    two_days = web(uptime=2 * 86400.0)
    assert xl_tables.uptimes([two_days], short=True) == " up 2 days,  0:00, web (4478)"


def test_facts_are_in_two_columns() -> None:
    assert xl_tables.facts([("host", "vm"), ("nr_cpus", 2)]) == (
        "host                   : vm\nnr_cpus                : 2"
    )


def test_list_at_length_is_json() -> None:
    host, guest = json.loads(xl_tables.domains_at_length([HOST, web(DISK, NIC)]))
    assert host["domid"] == 0
    assert guest["config"]["c_info"]["name"] == "web"
    assert guest["config"]["b_info"]["target_memkb"] == 65536
    assert guest["config"]["disks"] == [{"pdev_path": "/d.img", "vdev": "xvdb", "readwrite": 1}]
    assert guest["config"]["nics"] == [{"devid": 0, "mac": NIC.mac, "bridge": "lan"}]


@pytest.mark.parametrize("text", ["xvdb", "hdb", "sdb", "ubdb", "ubd1", "51728", "0xca10"])
def test_disk_is_known_by_its_names_and_numbers(text: str) -> None:
    assert xl_tables.disk_name(web(DISK, NIC), text) == "ubd1"


@pytest.mark.parametrize(
    ("text", "slot"),
    [
        *(("xvda", 0), ("hdb", 1), ("sdp", 15), ("ubd3", 3), ("xbd1", 1), ("", -1)),
        *(("xvdq", None), ("ubd16", None), ("xvdb1", None), ("fd0", None), ("xvd", None)),
    ],
)
def test_disk_has_the_slot_that_its_name_says(text: str, slot: int | None) -> None:
    assert xl_tables.slot_of(text) == slot


@given(st.text(max_size=8))
def test_any_other_name_is_no_device(text: str) -> None:
    if not re.search(r"[b1]|c[aA]10", text):
        assert xl_tables.disk_name(web(DISK), text) == ""
    assert xl_tables.nic_name(web(DISK), text) == ""


@pytest.mark.parametrize("text", ["0", "vec0", NIC.mac, NIC.mac.upper()])
def test_nic_is_known_by_its_number_and_its_address(text: str) -> None:
    assert xl_tables.nic_name(web(DISK, NIC), text) == "vec0"
    assert xl_tables.nic_name(web(), text) == ""
    assert xl_tables.nic_name(HOST, text) == ""
