"""Commands of the shell, before a supervisor that answers what it is told to."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

import pytest

from tests.umlctl.shell.conftest import MEMINFO
from umlctl import exitcodes
from umlctl.client import guests
from umlctl.guest.definition import Definition
from umlctl.host import paths
from umlctl.protocol.status import Ending, State, Status
from umlctl.state import event_log, records

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.conftest import Bare
    from tests.umlctl.shell.conftest import At


# Asking


async def test_answer_is_printed_as_it_is(at: At) -> None:
    assert await at.obey("version") == 0
    assert at.out == "Linux demo\n"
    assert await at.obey("proc meminfo") == 0
    assert at.out == MEMINFO.decode()[1:]


async def test_refusal_is_said_with_its_code(at: At) -> None:
    assert await at.obey("remove ubd7") == exitcodes.REFUSED
    said = "umlctl: remove demo: ubd7: Device doesn't exist: `devices` lists those there are\n"
    assert at.err == said


@pytest.mark.parametrize("line", ["", "   ", "# a comment"])
async def test_nothing_asks_nothing(at: At, line: str) -> None:
    assert await at.obey(line) == 0
    assert at.supervisor.asked == []


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("nonsense", "there is no command 'nonsense'; `help` lists"),
        ("ver", "did you mean version?"),
        ("start", "Missing argument 'NAME|FILE': start [OPTIONS] NAME|FILE"),
        ("disk", "`disk` needs one of add, commit, reset, rm, list"),
        ("disk nonsense", "there is no command 'nonsense'"),
        ("disk add", "Missing argument 'FILE': disk add [OPTIONS] FILE"),
        (
            "nic list demo",
            "unexpected extra argument (demo): nic list [OPTIONS]; for demo it is `@d",
        ),
        ("status --nonsense", "No such option '--nonsense'"),
        ("stop --timeout soon", "'--timeout'"),
        ("shell", "there is no `shell` at the prompt"),
        ("quit --leave-guests", "there is no `quit`"),
        ("@", "needs a guest right after it"),
        ("@web", "needs a command after it"),
        ("@web list", "`list` is not asked of one guest: leave `@web` out"),
        ("@web info", "`info` is not asked of one guest"),
        ("@web start a", "`start` is not asked of one guest"),
        ("@web nonsense", "there is no command 'nonsense'"),
        ("switch", "needs a guest"),
        ("switch nobody", "no guest 'nobody'"),
        ("watch", "needs a command that asks"),
        ("watch -n x version", "needs seconds"),
        ("watch events", "needs a command that asks"),
        ("watch halt", "needs a command that asks"),
        ("help nonsense", "there is no command 'nonsense'"),
        ("version |", "needs a program"),
    ],
)
async def test_wrong_line_is_a_usage_error_and_nothing_is_sent(
    at: At, line: str, said: str
) -> None:
    assert await at.obey(line) == exitcodes.USAGE
    assert said in at.err
    assert at.supervisor.asked == []


@pytest.mark.parametrize(
    "line", ["proc", "stack", "version x", "plug disk", "remove a b", "proc ''", "watch proc"]
)
async def test_slip_of_the_tongue_is_said_here_and_not_sent(at: At, line: str) -> None:
    assert await at.obey(line) == exitcodes.USAGE
    assert at.err.count("\n") == 1
    assert at.supervisor.asked == []


@pytest.mark.parametrize("name", ["kill", "shutdown", "wait"])
@pytest.mark.parametrize("fancy", [False, True])
async def test_ending_is_said_in_words(at: At, name: str, fancy: bool) -> None:
    at.session.fancy = fancy
    at.supervisor.answer(name, {"cause": "exited", "code": 3, "text": ""})
    assert await at.obey(name) == (3 if name == "wait" else 0)
    assert at.out == "demo exited with status 3\n"
    assert await at.obey(f"{name} | tr -d ' '") == 0
    assert '"code":3' in at.out, "for programs"


async def test_files_of_disks_are_the_shells(at: At, house: str) -> None:
    await at.obey("plug disk a.img,cow=b.cow")
    await at.obey("config ubd1=a.img")
    await at.obey("plug nic user")
    await at.obey("plug disk a.img,nonsense")
    assert at.supervisor.asked == [
        f"plug disk {house}/a.img,cow={house}/b.cow",
        f"config ubd1={house}/a.img",
        "plug nic user",
        "plug disk a.img,nonsense",
    ]


async def test_record_tells_of_a_guest_that_has_ended(at: At, house: str) -> None:
    os.makedirs(paths.record_dir("gone"))
    records.save(
        records.Record(
            definition=Definition(umid="gone", kernel="/linux"),
            supervisor_pid=1,
            pid=0,
            started=0,
            boot_id="",
            since=1.0,
            ending=Ending(cause="panicked", code=255, text="no way on", time=5.0),
        )
    )
    event_log.append("gone", event_log.encode({"time": 5.0, "umid": "gone", "event": "panicked"}))
    at.session.guest = "gone"
    for at.session.fancy in (False, True):
        assert await at.obey("status") == 0
        assert "panicked: no way on" in at.out
        assert await at.obey("events") == 0
        assert "gone panicked" in at.out
        assert await at.obey("wait") == 255
        assert "gone panicked: no way on" in at.out
    assert await at.obey("status | grep -c no.way") == 0
    assert await at.obey("events > said") == 0
    with open(f"{house}/said") as file:
        assert '"panicked"' in file.read()
    assert await at.obey("version") == exitcodes.NO_GUEST
    assert at.out == ""


async def test_guest_that_is_gone_is_said(at: At) -> None:
    at.session.guest = "nobody"
    assert await at.obey("version") == exitcodes.NO_GUEST
    assert "no guest 'nobody'" in at.err


async def test_bare_kernel_refuses_what_it_lacks_as_on_the_command_line(
    at: At, bare: Callable[..., Bare]
) -> None:
    at.session.guest = bare(name="bare").path
    assert await at.obey("status") == exitcodes.REFUSED
    assert at.err.startswith(f"umlctl: status {at.session.guest}: nobody supervises this guest")


@pytest.mark.parametrize("line", ["log " + "x" * 600, "proc a\0b", "watch proc a\0b"])
async def test_what_no_datagram_can_hold_is_a_usage_error(at: At, line: str) -> None:
    assert await at.obey(line) == exitcodes.USAGE
    assert at.err.count("\n") == 1
    assert at.supervisor.asked == []


async def test_pause_and_resume_are_taken(at: At) -> None:
    await at.obey("pause 3")
    await at.obey("resume")
    assert at.supervisor.asked == ["stop 3", "go"]


async def test_insisting_is_passed_on(at: At) -> None:
    assert await at.obey("!sysrq t") == 0
    assert at.supervisor.asked == ["!sysrq t"]


async def test_reboot_takes_until_the_guest_is_ready_again(at: At) -> None:
    assert await at.obey("reboot") == 0
    assert (at.supervisor.asked, at.out) == (["reboot", "version"], "")
    at.supervisor.refuse("version", "the guest is dead", -errno.ECONNRESET)
    assert await at.obey("reboot") == exitcodes.GONE
    assert at.err == "umlctl: reboot demo: the guest is dead\n"


# Other guests, and commands of the command line


async def test_another_guest_is_asked_and_the_current_one_stays(at: At) -> None:
    at.session.guest = "nobody"
    assert await at.obey("@demo proc meminfo | grep Total") == 0
    assert at.out == "MemTotal:       1024 kB\n"
    assert await at.obey("@demo remove ubd7") == exitcodes.REFUSED
    assert at.err.startswith("umlctl: remove demo: ubd7")
    assert await at.obey("@demo !sysrq t") == 0
    assert at.supervisor.asked == ["proc meminfo", "remove ubd7", "!sysrq t"]
    assert at.session.guest == "nobody"


@pytest.mark.parametrize("line", ["version", "disk list", "watch version", "status --json"])
async def test_without_a_guest_it_is_said_how_to_come_to_one(at: At, line: str) -> None:
    at.session.guest = ""
    assert await at.obey(line) == exitcodes.NO_GUEST
    name = line.removesuffix(" version").removesuffix(" --json")
    assert f"umlctl: `{name}` needs a guest: which? There are demo; `switch NAME`" in at.err
    assert at.supervisor.asked == []


async def test_command_of_the_command_line_is_done_as_there(at: At, house: str) -> None:
    at.supervisor.table = [{"name": "ubd1", "asked": "/a.img", "observed": None}]
    assert await at.obey("disk list") == 0
    assert "/a.img" in at.out
    assert await at.obey("disk list --json | grep -c asked") == 0
    assert at.out == "1\n"
    assert await at.obey("disk list --json > said") == 0
    assert await at.obey("disk list --json >> said") == 0
    with open(f"{house}/said") as file:
        assert file.read().count('"ubd1"') == 2
    assert await at.obey("disk list > /nonexistent/said") == exitcodes.FAILED
    assert "/nonexistent/said" in at.err
    at.supervisor.refuse("remove ubd7", "Device doesn't exist", -19)
    assert await at.obey("disk rm ubd7") == exitcodes.REFUSED
    assert "Device doesn't exist" in at.err
    assert await at.obey("@nobody disk list") == exitcodes.NO_GUEST


async def test_command_of_the_kernel_has_its_options(at: At) -> None:
    assert await at.obey("version --json") == 0
    assert '"text":"Linux demo"' in at.out
    assert await at.obey("!sysrq t --json") == 0
    # Who is late with an answer is asked, besides, who holds its guest.
    assert [text for text in at.supervisor.asked if text != "status"] == ["version", "!sysrq t"]
    assert await at.obey("log --nonsense") == 0
    assert at.supervisor.asked[-1] == "log --nonsense", "a text is sent as it stands"


async def test_option_hides_no_danger(at: At) -> None:
    at.session.confirm = at.confirm
    await at.obey("sysrq --json b")
    await at.obey("kill --timeout 5")
    assert ["sysrq b" in at.asked[0], "not synced" in at.asked[1]] == [True, True]
    assert at.supervisor.asked == []


async def test_tilde_is_the_home(at: At) -> None:
    await at.obey("disk add ~/a.img")
    assert at.supervisor.asked == [f"plug disk {os.environ['HOME']}/a.img"]


async def test_doings_of_a_command_are_our_own(at: At) -> None:
    before = set(at.session.pids)
    await at.obey("disk list")
    assert len(at.session.pids - before) == 1


async def test_list_can_be_handed_on(at: At) -> None:
    at.supervisor.answer("status", {"umid": "demo", "state": "running"})
    assert await at.obey("list --json | grep -c demo") == 0
    assert await at.obey("list | grep -c NAME") == 0
    assert at.out == "1\n"


# Where answers go


async def test_answer_is_the_input_of_a_program(at: At) -> None:
    assert await at.obey("proc meminfo | grep Free | tr a-z A-Z") == 0
    assert at.out == "MEMFREE:         512 KB\n"
    assert await at.obey("proc meminfo | exit 3") == 3


async def test_answer_is_written_to_a_file(at: At, house: str) -> None:
    assert await at.obey("version > 'an answer'") == 0
    assert await at.obey("version >> 'an answer'") == 0
    assert at.out == ""
    with open(f"{house}/an answer") as file:
        assert file.read() == "Linux demo\n" * 2
    assert await at.obey("version > /nonexistent/file") == exitcodes.FAILED
    assert "No such file" in at.err
    assert await at.obey("remove ubd7 > refused") == exitcodes.REFUSED
    assert "refused" not in os.listdir(house)


# What a person is asked about


@pytest.mark.parametrize(
    ("line", "cost"),
    [
        ("halt", "not synced"),
        ("!halt", "not synced"),
        ("reboot", "not synced"),
        ("kill", "not synced"),
        ("cad", "reboots unsynced"),
        ("sysrq b", "reboot at once"),
        ("sysrq c", "crash"),
        ("remove ubd0", "root disk"),
        ("remove ubda", "root disk"),
    ],
)
async def test_dangerous_command_is_asked_about_first(at: At, line: str, cost: str) -> None:
    at.session.confirm = at.confirm
    assert await at.obey(line) == 0
    assert cost in at.asked[0]
    assert at.supervisor.asked == []
    assert "not sent" in at.err
    at.says = True
    await at.obey(line)
    assert at.supervisor.asked == ([line, "version"] if line == "reboot" else [line])


@pytest.mark.parametrize("line", ["stop", "go", "sysrq m", "sysrq", "remove ubd1", "version"])
async def test_harmless_command_is_not_asked_about(at: At, line: str) -> None:
    at.session.confirm = at.confirm
    await at.obey(line)
    assert at.asked == []
    assert at.supervisor.asked == [line]


async def test_script_is_not_asked(at: At) -> None:
    assert await at.obey("halt") == 0
    assert at.supervisor.asked == ["halt"]


# Commands of the shell itself


async def test_text_of_the_kernel_is_to_be_had(at: At) -> None:
    at.supervisor.answers["help"] = (b"Commands: ...", 0)
    assert await at.obey("help --kernel") == 0
    assert at.out == "Commands: ...\n"
    assert await at.obey("help --kernel --json") == 0
    assert '"text":"Commands: ..."' in at.out


async def test_leaving(at: At) -> None:
    await at.obey("quit")
    assert at.session.leaving


async def test_other_guest(at: At, house: str) -> None:
    os.makedirs(f"{house}/h/.uml/other")
    os.symlink(f"{house}/h/.uml/demo/mconsole", f"{house}/h/.uml/other/mconsole")
    assert await at.obey("switch other") == 0
    assert at.session.guest == "other"


async def test_help_with_one_command(at: At) -> None:
    assert await at.obey("help config") == 0
    assert "add a device" in at.out
    assert "example: config ubd1=" in at.out
    assert at.supervisor.asked == []


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("help", "repeat a command and mark what changes"),
        ("?", "talk to another guest"),
        ("proc ?", "meminfo"),
        ("config ?", "ubdN=FILE"),
        ("log ?", "enter text into the kernel log"),
        ("plug ?", "forget what is written"),
        ("plug disk ?", "forget what is written"),
        ("plug nic user,?", "HOSTPORT:GUESTPORT"),
        ("version?", "kernel name, host name"),
        ("halt ?", "not synced"),
        ("help | grep watch", "repeat a command"),
        ("help", "Consoles and logs:"),
        ("help disk add", "Usage: disk add [OPTIONS] FILE"),
        ("disk add --help", "disk add base.img --cow mine.cow"),
        ("nic ?", "Usage: nic [OPTIONS] COMMAND"),
        ("@web nic add ?", "Usage: nic add [OPTIONS]"),
        ("status --help", "--timeout SECONDS"),
    ],
)
async def test_question_is_answered_and_not_sent(at: At, line: str, said: str) -> None:
    at.session.confirm = at.confirm
    assert await at.obey(line) == 0
    assert said in at.out
    assert at.supervisor.asked == at.asked == []


@pytest.mark.parametrize("line", ["log 'is it?'", "log is it ?", "log '?'", "proc a?"])
async def test_question_mark_in_a_text_is_sent(at: At, line: str) -> None:
    await at.obey(line)
    assert at.supervisor.asked == [line.replace("'", "")]


async def test_top_has_no_dead_guests_and_list_has_them(
    at: At, monkeypatch: pytest.MonkeyPatch
) -> None:
    states: dict[str, State] = {"a": "dead", "b": "stopped", "c": "running"}
    found = [Status(umid=umid, state=state) for umid, state in states.items()]
    monkeypatch.setattr(guests, "gather", lambda: found)
    assert await at.obey("top") == 0
    assert [line.split()[0] for line in at.out.splitlines()] == ["NAME", "c", "b"]
    assert await at.obey("list") == 0
    assert [line.split()[0] for line in at.out.splitlines()] == ["NAME", "a", "b", "c"]


async def test_program_of_the_host_is_run(at: At, house: str) -> None:
    assert await at.obey("!echo of the host > said") == 0
    with open(f"{house}/said") as file:
        assert file.read() == "of the host\n"
    assert await at.obey("!sh -c 'exit 3'") == 3
    assert await at.obey("!poweroff") == exitcodes.USAGE
    assert at.supervisor.asked == []
