"""State on disk that is damaged while nobody looks: nothing but what was in it is lost."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from tests.live.conftest import House, ended_with, kill_supervisor, processes_of

if TYPE_CHECKING:
    from collections.abc import Callable

DAMAGES: Final[tuple[tuple[str, Callable[[bytes], bytes | None]], ...]] = (
    ("version", lambda _data: b""),
    ("help", lambda data: data[:30]),
    ("adopt", lambda data: data[:-3]),
    ("devices", lambda data: b"\0" * len(data)),
    ("status", lambda data: data.replace(b'"pid":', b'"pid":1')),
    ("adopt", lambda _data: b'{"version":2,"guest":{}}'),
    ("devices", lambda _data: None),
)
"""A command that comes next, and what has become of the record until then."""


def record(house: House, umid: str) -> Path:
    return Path(f"{house.state}/guests/{umid}/record.json")


def events(house: House, umid: str) -> list[dict[str, Any]]:
    """What has happened to a guest."""
    return [json.loads(line) for line in house.ok("events", umid, "--json").splitlines()]


def names(found: list[dict[str, Any]]) -> list[str]:
    return [event["event"] for event in found]


def test_guest_whose_record_is_lost_is_as_it_was(house: House, umid: str, tmp_path: Path) -> None:
    """Its kernel knows nothing of policies, of a pid file, nor of a disk's options."""
    image = tmp_path / "image"
    image.write_bytes(b"\0" * (1 << 20))
    pidfile = tmp_path / "pid"
    house.start(umid, "--restart", "on-failure", "--pidfile", str(pidfile))
    house.ok("disk", "add", umid, str(image), "--ro", "--slot", "5")
    path = record(house, umid)
    before = json.loads(path.read_bytes())
    for data in (b"{", None):
        kill_supervisor(house, umid)
        if data is None:
            path.unlink()
        else:
            path.write_bytes(data)
        house.ok("adopt", umid)
        assert "record lost" in names(events(house, umid))[-2:]
        after = json.loads(path.read_bytes())
        assert after["definition"] == before["definition"]
        assert [entry["asked"] for entry in after["devices"]] == [f"{image},slot=5,ro"]
    house.ok("kill", umid)
    assert not pidfile.exists()


def test_guest_is_adopted_however_its_record_is_damaged(
    house: House, umid: str, tmp_path: Path
) -> None:
    """The copy too: by any command, with its devices; its history and the log say what was lost."""
    for name in ("first", "second"):
        (tmp_path / name).write_bytes(b"\0" * (1 << 20))
    house.start(umid, "--disk", str(tmp_path / "first"), "--nic", f"switch={umid}")
    house.has_shell(umid)
    house.ok("disk", "add", umid, str(tmp_path / "second"), "--slot", "7")
    house.ok("nic", "add", umid, "--user")
    house.ok("console", umid, "1")
    kernel = house.status(umid)["pid"]
    before = {name: entry["kernel"] for name, entry in house.table(umid).items()}
    path = record(house, umid)
    copy = Path(f"{house.run}/g/{umid}/record.json")
    for command, damage in DAMAGES:
        kill_supervisor(house, umid)
        data = damage(path.read_bytes())
        for each in (path, copy):
            if data is None:
                each.unlink()
            else:
                each.write_bytes(data)
        done = house.umlctl(command, *([] if command == "adopt" else [umid]))
        assert done.returncode == 0, done
        assert "Traceback" not in done.stderr
        status = house.status(umid)
        assert (status["state"], status["pid"]) == ("running", kernel)
        after = {name: entry["kernel"] for name, entry in house.table(umid).items()}
        assert after == before, command
        *_, adopted, lost, ready = events(house, umid)
        assert names([adopted, lost, ready]) == ["adopted", "record lost", "ready"]
        assert ("it is kept as" in lost["text"]) == (data is not None)
        assert lost["text"] in Path(f"{house.state}/supervisor.log").read_text()
    refused = house.umlctl("start", f"{umid}b", "--disk", str(tmp_path / "first"))
    assert f"{umid} as its ubd1" in refused.stderr
    house.ok("nic", "rm", umid, "1")
    house.ok("disk", "rm", umid, "7")
    house.shell(umid, "echo 9 >/proc/exitcode")
    house.ok("console", umid, stdin="exit\n")
    done = house.umlctl("wait", umid)
    assert ended_with(9, done.returncode, done.stdout), "and how it ends is known"


def test_disk_of_a_guest_without_record_and_supervisor_is_not_free(
    house: House, umid: str, tmp_path: Path
) -> None:
    """Two kernels that write one image destroy it."""
    image = tmp_path / "image"
    image.write_bytes(b"\0" * (1 << 20))
    with house.running(umid, "--disk", str(image)) as process:
        process.kill()
        process.wait()
        record(house, umid).write_bytes(b"{")
        other = house.umlctl("run", f"{umid}b", "--mem", "64M", "--disk", str(image))
        assert f"{image} is written by {umid} as its ubd1" in other.stderr
    house.ok("kill", umid)


def test_guest_without_record_and_supervisor_can_be_killed(house: House, umid: str) -> None:
    with house.running(umid) as process:
        process.kill()
        process.wait()
        record(house, umid).write_bytes(b"{")
        done = house.umlctl("kill", umid)
        assert done.returncode == 0, done
    assert not processes_of(f"umid={umid}")
    assert house.listed(umid)["ending"]["cause"] == "killed"
    story = [name for name in names(events(house, umid)) if name != "user"]
    assert story[-5:] == ["adopted", "record lost", "ready", "kill", "ended"]


def test_dead_guest_whose_record_is_damaged_is_said_once_and_kept(house: House, umid: str) -> None:
    with house.running(umid):
        pass
    path = record(house, umid)
    path.write_bytes(path.read_bytes()[:40])
    listed = house.umlctl("list", "--json")
    assert listed.returncode == 0
    assert umid not in [row["umid"] for row in json.loads(listed.stdout)]
    assert f"the record of {umid} cannot be read" in listed.stderr
    assert "`umlctl adopt` sets it aside" in listed.stderr
    status = house.umlctl("status", umid)
    assert status.returncode != 0
    assert f"the record of {umid} cannot be read" in status.stderr
    house.ok("adopt")
    assert f"the record of {umid}" not in house.umlctl("list").stderr
    assert (
        f"the record of {umid} cannot be read" in Path(f"{house.state}/supervisor.log").read_text()
    )
    (kept,) = path.parent.glob("record.json.unreadable-*")
    assert kept.read_bytes().startswith(b'{"definition"')
    house.ok("logs", umid)
    assert names(events(house, umid))[-2:] == ["ended", "record lost"]


def test_record_that_is_damaged_under_its_supervisor_is_written_anew(
    house: House, umid: str
) -> None:
    house.start(umid)
    house.is_settled(umid)
    path = record(house, umid)
    path.write_bytes(b"{")
    for command in ("list", "adopt"):
        done = house.umlctl(command)
        assert done.returncode == 0
        assert "its supervisor writes it anew" in done.stderr
    house.ok("console", umid, "1")
    assert house.umlctl("list").stderr == ""
    assert json.loads(path.read_bytes())["definition"]["umid"] == umid
