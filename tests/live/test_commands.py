"""The commands on a real guest: through the supervisor, and on the kernel's own socket."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import time
from typing import TYPE_CHECKING

import pytest

from socketproto.blocking import Connection
from tests.live.conftest import DEAF_INIT, WHOLE, hold, unless_strict, wait_for

if TYPE_CHECKING:
    from pathlib import Path

    from tests.live.conftest import House

STACKS = 1000 if WHOLE else 200
UNWALKED = b"Received SIGSEGV in SIGSEGV handler, aborting stack trace!"
"""The kernel's whole answer to `stack` when the request meets it on its signal stack, as on a busy
host. Source: arch/um/kernel/sysrq.c, show_stack"""


def _stock_text(output: bytes) -> bytes:
    return output.removeprefix(b"OK ").removeprefix(b"ERR ")


@pytest.mark.parametrize(
    "line",
    [
        "version",
        "config con0",
        "config ubd0",
        "config ubd7",
        "config vec0",
        "proc version",
        "proc filesystems",
        "proc sys/kernel/hostname",
        "proc no/such",
        "stack 1",
        "stack",
        "stack 99999",
        "remove ubd5",
        "config ubd77=/x",
        "config nonsense=1",
        "sysrq h",
        "log from a test",
        "stopx",
        "",
    ],
)
def test_the_stock_client_and_ours_give_the_same_text(house: House, shared: str, line: str) -> None:
    stock = house.stock(shared, *line.split())
    if line.startswith("log"):
        assert stock.returncode == 0
        house.ok("log", shared, "from a test")
        return
    ours = Connection(house.public(shared))
    with ours:
        outcome = ours.request(line)
    if line:
        texts = {_stock_text(stock.stdout).strip(), outcome.data.strip()}
        assert len(texts - {UNWALKED}) <= 1
        assert stock.returncode == outcome.error & 0xFF
    assert outcome.kind in ("answered", "refused")


def test_console_is_where_programs_are_attached_to_it(house: House, shared: str) -> None:
    """The descriptors that its kernel has for it are nobody else's."""
    socket = house.status(shared)["consoles"][0]["socket"]
    assert house.ok("config", shared, "con0") == f"unix:{socket}\n"
    assert house.ok("mconsole", shared, "config con0") == f"unix:{socket}\n"
    assert _stock_text(house.stock(shared, "config", "con0").stdout) == f"unix:{socket}\n".encode()
    assert house.ok("config", house.kernel_socket(shared), "con0").startswith("fd:")


def test_console_of_the_device_table_is_where_programs_are_attached_to_it(
    house: House, shared: str
) -> None:
    socket = json.loads(house.ok("plug", shared, "console", "ssl2"))["socket"]
    try:
        assert house.ok("config", shared, "ssl2") == f"unix:{socket}\n"
        said = f"ssl2=unix:{socket}"
        entry = house.table(shared)["ssl2"]
        assert (entry["asked"], entry["kernel"]) == (said, said)
        assert entry["observed"] == {"config": f"unix:{socket}"}
        assert entry in house.status(shared)["devices"]
        assert entry in house.listed(shared)["devices"]
        assert said in house.ok("status", shared)
    finally:
        house.ok("remove", shared, "ssl2")


def test_help_lists_what_the_kernel_and_the_supervisor_know(house: House, shared: str) -> None:
    text = house.ok("help", shared)
    assert "stack <pid>" in text
    assert "shutdown [SECONDS]" in text


def test_proc_prints_the_file_and_nothing_else(house: House, shared: str) -> None:
    assert house.ok("proc", shared, "sys/kernel/hostname") == f"{shared}\n"


def test_a_guest_is_found_by_umid_by_socket_and_by_directory(house: House, shared: str) -> None:
    socket = house.public(shared)
    by_name = house.ok("version", shared)
    assert house.ok("logs", socket, "-n", "1") == house.ok("logs", shared, "-n", "1")
    assert by_name == house.ok("version", socket) == house.ok("version", os.path.dirname(socket))


def test_our_client_works_on_the_kernels_own_socket(house: House, shared: str) -> None:
    bare = house.kernel_socket(shared)
    assert house.ok("version", bare) == house.ok("version", shared)
    refused = house.umlctl("proc", bare, "kcore")
    assert refused.returncode == 1
    assert "never ends" in refused.stderr
    lacking = house.umlctl("status", bare)
    assert lacking.returncode == 1
    assert "nobody supervises" in lacking.stderr


def test_json_tells_the_outcome(house: House, shared: str) -> None:
    good = json.loads(house.ok("version", shared, "--json"))
    assert good["outcome"] == "answered"
    bad = house.umlctl("remove", shared, "ubd5", "--json")
    assert bad.returncode == 1
    assert json.loads(bad.stdout)["error"] == -19


def test_a_batch_answers_each_line_in_order(house: House, shared: str) -> None:
    done = house.umlctl("mconsole", shared, "-", stdin="version\nnonsense\n\n# no\nproc version\n")
    lines = done.stdout.splitlines()
    assert lines[0].startswith("OK Linux shared")
    assert lines[1].startswith("ERR Unknown command")
    assert lines[2] == "OK "
    assert lines[3].startswith("Linux version")
    assert done.returncode == 1


def test_a_batch_survives_a_thousand_commands(house: House, shared: str) -> None:
    out = house.ok("mconsole", shared, "-", stdin="version\n" * 1000)
    assert set(out.splitlines()) == {"OK " + house.ok("version", shared).strip()}
    assert len(out.splitlines()) == 1000


def unstamped(answer: bytes) -> bytes:
    """What the kernel prints without the times, which the supervisor leaves out."""
    return re.sub(rb"^\[ *\d+\.\d{6}\] ", b"", answer, flags=re.MULTILINE)


@pytest.mark.parametrize("reading", [True, False])
def test_a_thousand_stacks_come_back_whole_through_the_stock_client(
    house: House, shared: str, reading: bool
) -> None:
    with Connection(house.kernel_socket(shared)) as direct:
        reference = max((unstamped(direct.request("stack 1").data) for _ in range(20)), key=len)
    with Connection(house.public(shared)) as never_reads:
        link = never_reads.link
        link.open()
        if not reading:
            from socketproto.blocking import encode

            for _ in range(20):
                link.send(encode("stack 1"))
        script = 'for i in $(seq "$1"); do uml_mconsole "$2" stack 1 || exit 1; done'
        done = subprocess.run(
            ["sh", "-c", script, "sh", str(STACKS), shared],
            env=house.env,
            capture_output=True,
            check=True,
            timeout=100,
        )
    answers = [answer.strip() for answer in done.stdout.split(b"OK ")[1:]]
    assert len(answers) == STACKS
    assert set(answers) <= {reference.strip(), UNWALKED}
    assert answers.count(UNWALKED) < STACKS // 10


def test_a_thousand_stacks_come_back_whole_from_the_bare_kernel(house: House, shared: str) -> None:
    with Connection(house.kernel_socket(shared)) as direct:
        answers = [unstamped(direct.request("stack 1").data).strip() for _ in range(STACKS)]
    reference = max(answers, key=len)
    batch = house.ok("mconsole", house.kernel_socket(shared), "-", stdin="stack 1\n" * STACKS)
    answers += [unstamped(answer).strip() for answer in batch.encode().split(b"OK ")[1:]]
    assert len(answers) == 2 * STACKS
    assert set(answers) <= {reference, UNWALKED}
    assert answers.count(UNWALKED) < STACKS // 10


@unless_strict("the file is of this host, and was not given to the guest")
def test_a_long_file_comes_back_whole(house: House, umid: str, tmp_path: Path) -> None:
    """Longer than the kernel's send buffer, which drops what it cannot hold."""
    text = "".join(f"line {number:06}\n" for number in range(100_000))
    long = tmp_path / "long"
    long.write_text(text)
    init = tmp_path / "init"
    init.write_text("#!/bin/sh\nwhile :; do sleep 1; done\n")  # leaves our /tmp to be seen
    init.chmod(0o755)
    house.start(umid, "--init", str(init))
    assert house.ok("proc", umid, f"1/root{long}") == text
    assert house.status(umid)["state"] == "running"


def test_a_log_line_reaches_the_console_at_once(house: House, shared: str) -> None:
    house.ok("log", shared, "a word", "from us")
    assert "a word from us" in house.ok("logs", shared)
    words = "x" * 700
    house.ok("mconsole", shared, "log " + words[:500])
    assert words[:500] in house.ok("logs", shared, "-n", "3")


def test_status_says_what_scripts_need(house: House, shared: str) -> None:
    status = house.status(shared)
    assert status["umid"] == shared
    assert status["state"] == "running"
    assert status["memory"] > 1 << 20
    assert status["cpu"] > 0
    assert status["reboots"] == 0
    assert status["last_panic"] is None
    assert os.path.samefile(status["sockets"]["mconsole"], house.public(shared))
    assert os.readlink(f"/proc/{status['pid']}/exe").endswith("linux.uml")
    assert house.listed(shared)["pid"] == status["pid"]


def test_no_guest_of_that_name_is_an_error_with_its_code(house: House) -> None:
    done = house.umlctl("version", "nobody")
    assert done.returncode == 3
    assert "umlctl list" in done.stderr


def test_a_stopped_guest_takes_only_what_is_safe(house: House, umid: str, tmp_path: Path) -> None:
    init = tmp_path / "init"
    init.write_text(DEAF_INIT)
    init.chmod(0o755)
    house.start(umid, "--init", str(init))
    wait_for(lambda: '"deaf"' in house.ok("events", umid, "--json"), "it does not end by itself")
    house.ok("stop", umid)
    assert house.status(umid)["state"] == "stopped"
    assert house.ok("proc", umid, "uptime")
    for words in (["config", umid, "ubd1=/etc/passwd"], ["reboot", umid]):
        refused = house.umlctl(*words)
        assert refused.returncode == 1
        assert "the guest is paused" in refused.stderr
    house.ok("go", umid)
    assert house.status(umid)["state"] == "running"
    house.ok("stop", umid)
    house.ok("cad", umid)  # which it takes when it runs again
    house.ok("halt", umid)
    wait_for(lambda: house.listed(umid)["state"] == "dead", "it has ended")
    assert house.listed(umid)["ending"]["text"] == "halted by a user, not synced"


def test_sync_comes_back_when_the_kernel_has_said_that_it_is_done(house: House, umid: str) -> None:
    house.start(umid)
    before = house.ok("logs", umid).count("Emergency Sync complete")
    assert house.ok("sync", umid) == ""
    assert house.ok("logs", umid).count("Emergency Sync complete") == before + 1
    done = house.umlctl("mconsole", umid, "sync")
    assert (done.returncode, done.stdout) == (0, ""), done
    house.ok("stop", umid)
    paused = house.umlctl("sync", umid)
    assert paused.returncode == 1
    assert "the guest is paused, and writes nothing" in paused.stderr
    house.ok("go", umid)
    bare = house.umlctl("sync", house.kernel_socket(umid))
    assert bare.returncode == 1
    assert "`umlctl sysrq GUEST s` has a bare one sync" in bare.stderr


def test_who_loses_what_was_not_written_is_told_and_programs_are_not(
    house: House, umid: str
) -> None:
    house.start(umid)
    told = house.umlctl("reboot", umid)
    assert (told.returncode, told.stdout) == (0, ""), told
    assert f"{umid} was reset, and its file systems were not synced; `umlctl sync" in told.stderr
    assert "not synced" not in house.umlctl("reboot", umid, "--json").stderr
    assert house.umlctl("mconsole", umid, "reboot").stderr == ""
    told = house.umlctl("halt", umid)
    assert f"{umid} was halted, and its file systems were not synced" in told.stderr


def test_guest_is_started_again_after_its_shutdown(house: House, umid: str) -> None:
    house.start(umid, "--mem", "80M")
    before = house.status(umid)["pid"]
    told = house.ok("shutdown", "-R", umid, "20")
    assert told.startswith(f"{umid} shut down\n{umid} is running, kernel pid ")
    status = house.status(umid)
    assert status["pid"] != before
    assert status["memory_limit"] == 80 << 20
    house.ok("shutdown", "-H", umid)
    assert house.listed(umid)["state"] == "dead"


@pytest.mark.parametrize("words", [("wait",), ("mconsole", "wait")])
def test_deadline_of_wait_is_kept_whatever_comes(
    house: House, shared: str, words: tuple[str, ...]
) -> None:
    late = house.umlctl(words[0], shared, *words[1:], "--timeout", "1.5")
    assert (late.returncode, "timed out" in late.stderr) == (4, True), late


def test_long_refusal_is_an_error_to_the_stock_client(
    house: House, shared: str, tmp_path: Path
) -> None:
    missing = "/".join([str(tmp_path), *("d" * 100,) * 4, "none.img"])
    refused = house.stock(shared, "config", f"ubd9={missing}")
    assert len(refused.stdout) > 511
    assert (refused.returncode, refused.stdout[:4]) == (256 - 2, b"ERR ")


def test_paused_guest_is_called_so_and_what_ends_a_pause_is_said(house: House, umid: str) -> None:
    house.start(umid)
    done = house.umlctl("pause", umid)
    assert done.returncode == 0
    assert f"{umid} is paused; `umlctl go {umid}` resumes it" in done.stderr
    assert f"`umlctl shutdown {umid}` ends it" in done.stderr
    assert house.status(umid)["state"] == "stopped"
    assert "paused for" in house.ok("status", umid)
    assert next(r for r in house.ok("list").splitlines() if umid in r).split()[1] == "paused"
    house.ok("resume", umid)
    assert house.status(umid)["state"] == "running"


def test_a_pause_ends_by_itself(house: House, umid: str) -> None:
    house.start(umid)
    refused = house.umlctl("stop", umid, "soon")
    assert refused.returncode == 1
    assert "takes a number of seconds, not 'soon'" in refused.stderr
    house.ok("stop", umid, "3600")
    assert house.status(umid)["resume"] > time.time()
    house.ok("go", umid)
    house.ok("stop", umid, "0.2")
    wait_for(lambda: house.status(umid)["state"] == "running", "it is resumed")
    assert house.status(umid)["resume"] is None
    bare = house.umlctl("stop", house.kernel_socket(umid), "1")
    assert bare.returncode == 1
    assert "nobody supervises" in bare.stderr
    assert house.status(umid)["state"] == "running"


def test_what_others_do_to_the_kernel_itself_is_seen(house: House, umid: str) -> None:
    house.start(umid)
    kernel = house.kernel_socket(umid)
    house.ok("stop", kernel)
    wait_for(lambda: house.status(umid)["state"] == "stopped", "it is seen to be stopped")
    for _ in range(50):
        house.ok("proc", umid, "uptime")
        assert house.status(umid)["state"] == "stopped"
    house.ok("go", kernel)
    wait_for(lambda: house.status(umid)["state"] == "running", "it is seen to run")


def test_requests_wait_while_the_kernel_is_held(house: House, umid: str) -> None:
    """As by a debugger; and it can be ended all the same."""
    house.start(umid)
    pid = house.status(umid)["pid"]
    hold(pid)
    assert house.status(umid)["state"] == "suspended"
    late = house.umlctl("version", umid, "--timeout", "0.2")
    assert late.returncode == 4
    asked = subprocess.Popen(
        house.command("proc", umid, "uptime"), env=house.env, stdout=subprocess.PIPE, stderr=-1
    )
    assert asked.stderr is not None
    by = f"its process is stopped by a signal; `kill -CONT {pid}` lets it go on"
    assert asked.stderr.readline().decode() == f"umlctl: {umid} is waited for: {by}\n"
    wait_for(lambda: "kill -CONT" in str(house.listed(umid)["trouble"]), "it is said why")
    assert asked.poll() is None
    os.kill(pid, signal.SIGCONT)
    assert asked.communicate()[0].strip()
    assert house.status(umid)["state"] == "running"
    debugged = house.umlctl("gdb", umid, "--", "-batch", "-ex", "info signals SIGALRM")
    if shutil.which("gdb") is None:
        assert debugged.returncode == 7, debugged
        assert "its package is called gdb" in debugged.stderr
    else:
        assert debugged.returncode == 0, debugged
        assert re.search(r"^SIGALRM\s+No\s+No\s+Yes", debugged.stdout, re.MULTILINE), debugged
    assert house.ok("version", umid)
    hold(pid)
    assert house.umlctl("shutdown", umid, "0.1").returncode == 7
    assert house.listed(umid)["ending"]["cause"] == "killed"


def test_config_plugs_a_disk_that_is_seen_and_refuses_a_missing_tap(
    house: House, umid: str, tmp_path: Path
) -> None:
    house.start(umid)
    disk = tmp_path / "disk.img"
    disk.write_bytes(b"\0" * (1 << 20))
    house.ok("config", umid, f"ubd1={disk}")
    assert "1024 ubdb" in house.ok("proc", umid, "partitions")
    missing = house.umlctl("config", umid, "vec0:transport=tap,ifname=nowhere")
    assert missing.returncode == 1
    if os.path.isdir("/sys/class/net"):
        assert "there is no tap nowhere; an administrator can: sudo ip tuntap" in missing.stderr
    else:
        assert "there is no /sys/class/net" in missing.stderr
    house.ok("remove", umid, "ubd1")
    assert "ubdb" not in house.ok("proc", umid, "partitions")


def test_slip_of_the_tongue_is_counted_and_what_is_dangerous_is_written_down(
    house: House, shared: str
) -> None:
    before = house.status(shared)["refused"]
    for text in ("proc", "nonsense", "plug disk", "version x", "plug disk relative.img", "start x"):
        assert not house.ask(shared, text).ok, text
    assert not house.ask(shared, "proc kcore").ok
    assert house.status(shared)["refused"] == before + 7
    noted = [json.loads(line) for line in house.ok("events", shared, "--json").splitlines()]
    requests = [event["request"] for event in noted if event["event"] == "refused"]
    assert requests[-1] == "proc kcore"
    assert not {"proc", "nonsense", "plug disk", "version x", "start x"} & set(requests)
