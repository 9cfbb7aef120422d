from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from umlctl.output.proc_tables import _READERS, devices, plugged, symbols, table
from umlctl.protocol.status import Console, Device

FILES = {
    "meminfo": (
        "\nMemTotal:         246920 kB\nMemFree:          219000 kB\nHugePages_Total:       0\n",
        [
            ["WHAT", "SIZE", "KB"],
            ["MemTotal", "241.1M", "246920"],
            ["MemFree", "213.9M", "219000"],
            ["HugePages_Total", "", "0"],
        ],
    ),
    "mounts": (
        "/dev/root / hostfs ro,relatime 0 0\nnone /mnt/a\\040b tmpfs rw 0 0\n",
        [
            ["ON", "SOURCE", "TYPE", "OPTIONS"],
            ["/", "/dev/root", "hostfs", "ro,relatime"],
            ["/mnt/a b", "none", "tmpfs", "rw"],
        ],
    ),
    "partitions": (
        "\nmajor minor  #blocks  name\n\n  98       16      65536 ubdb\n",
        [["NAME", "SIZE", "MAJOR", "MINOR"], ["ubdb", "64.0M", "98", "16"]],
    ),
    "interrupts": (
        "           CPU0\n  0:        531  SIGVTALRM, timer, timer\n  4:          0\n",
        [["IRQ", "CPU0", "WHAT"], ["0", "531", "SIGVTALRM, timer, timer"], ["4", "0", ""]],
    ),
    "softirqs": (
        "                    CPU0       CPU1\n          HI:          1          2\n",
        [["IRQ", "CPU0", "CPU1", "WHAT"], ["HI", "1", "2", ""]],
    ),
    "cpuinfo": (
        "processor\t: 0\nvendor_id\t: User Mode Linux\n\n",
        [["WHAT", "VALUE"], ["processor", "0"], ["vendor_id", "User Mode Linux"]],
    ),
    "diskstats": (
        "  98      16 ubdb 104 0 2048 12 7 0 64 3 0 15 16 0 0 0 0 0 0\n",
        [
            ["NAME", "READS", "READ", "WRITES", "WRITTEN", "IN FLIGHT", "BUSY MS"],
            ["ubdb", "104", "1.0M", "7", "32.0K", "0", "15"],
        ],
    ),
    "1/net/dev": (
        "Inter-|   Receive\n face |bytes\n  vec0: 2048 3 1 0 0 0 0 0 1024 5 0 0 0 0 0 0\n",
        [
            ["NAME", "RECEIVED", "PACKETS", "ERRORS", "SENT", "PACKETS", "ERRORS"],
            ["vec0", "2.0K", "3", "1", "1.0K", "5", "0"],
        ],
    ),
    "vmstat": ("nr_free_pages 54000\npgfault 12\n", None),
}


@pytest.mark.parametrize("path", FILES)
def test_file_of_the_kernel_is_a_table(path: str) -> None:
    text, rows = FILES[path]
    found = table(path, text)
    assert found is not None
    if rows is not None:
        assert found == rows


def test_path_may_be_written_otherwise() -> None:
    text = FILES["mounts"][0]
    assert table("/1/mounts", text) == table(" mounts", text) == table("mounts", text)


@pytest.mark.parametrize("path", ["uptime", "sys/kernel/hostname", "dev", "root", ""])
def test_other_file_is_none(path: str) -> None:
    assert table(path, "1 2 3\n") is None


@given(st.sampled_from(sorted(_READERS)), st.text())
def test_rubbish_is_no_table_or_one_with_even_rows(name: str, text: str) -> None:
    rows = table(name, text)
    if rows is not None:
        assert {len(row) for row in rows} == {len(rows[0])}


@given(st.sampled_from(sorted(FILES)), st.data())
def test_file_that_is_cut_off_harms_nobody(path: str, data: st.DataObject) -> None:
    text = FILES[path][0]
    rows = table(path, text[: data.draw(st.integers(0, len(text)))])
    if rows is not None:
        assert {len(row) for row in rows} == {len(rows[0])}


def test_symbols_of_a_trace_are_found() -> None:
    text = " [<60048bdf>] userspace+0x451/0x570\n [<6002c320>] ? interrupt_end+0x0/0xd5 60c28418\n"
    found = [text[begin:end] for begin, end in symbols(text)]
    assert found == [
        "[<60048bdf>]",
        "userspace+0x451/0x570",
        "[<6002c320>]",
        "interrupt_end+0x0/0xd5",
    ]


def test_device_table_says_what_is_in_the_guest() -> None:
    there = {"block": "ubdb", "size": 1 << 20}
    disk = Device(name="ubd1", asked="/a.img", observed=there)
    nic = Device(name="vec0", asked="user", observed={"operstate": "up"})
    lost = Device(name="ubd2", asked="/b.img", problem="the file is gone")
    assert devices([disk, nic, lost])[1:] == [
        ["ubd1", "/dev/ubdb, 1.0M", "/a.img", ""],
        ["vec0", "vec0", "user", ""],
        ["ubd2", "-", "/b.img", "the file is gone"],
    ]
    assert plugged(disk) == "ubd1 is in the guest as /dev/ubdb, 1.0M"
    assert plugged(nic) == "vec0 is in the guest"
    assert "umlctl console GUEST 1" in plugged(Console(name="con1", socket="/s"))
