from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from umlctl.errors import UsageError
from umlctl.protocol.commands import BY_NAME, SYSRQ
from umlctl.shell.completion import BUILT_IN, DISK_OPTIONS, NIC_KINDS, NIC_OPTIONS, PROC_FILES
from umlctl.shell.explain import about, names, of_the_host, overview, question, topic, unknown
from umlctl.synonyms import HARMFUL


@pytest.mark.parametrize(
    ("before", "asked"),
    [
        ("", []),
        ("   ", []),
        ("stop; ", []),
        ("version", ["version"]),
        ("version ", ["version"]),
        ("!halt ", ["halt"]),
        ("proc ", ["proc"]),
        ("config ", ["config"]),
        ("log ", ["log"]),
        ("plug ", ["plug"]),
        ("stop; proc ", ["proc"]),
        ("watch -n 2 proc ", ["proc"]),
        ("watch proc", ["proc"]),
        ("watch ", ["watch"]),
        ("plug disk ", ["plug", "disk"]),
        ("plug disk a.img,", ["plug", "disk"]),
        ("plug nic user,", ["plug", "nic"]),
        ("plug disk a", None),
        ("plug what ", None),
        ("log is it", None),
        ("log is it ", None),
        ("log 'is it", None),
        ("proc mem", None),
        ("nonsense", None),
        ("version | ", None),
        ("version > ", None),
        ("help ", None),
        ("disk ", ["disk"]),
        ("disk add", ["disk", "add"]),
        ("disk add ", ["disk", "add"]),
        ("start ", ["start"]),
        ("disk add a", None),
        ("disk nonsense ", None),
        ("@web proc ", ["proc"]),
        ("@web ", []),
        ("@web", None),
    ],
)
def test_question_mark_asks_about_the_command_before_it(
    before: str, asked: list[str] | None
) -> None:
    assert topic(before) == asked


@given(st.text(alphabet="plug disk nic watch -n2proc;|>'!?,=", max_size=30))
def test_whatever_is_asked_about_is_explained(before: str) -> None:
    asked = topic(before)
    if asked is not None:
        assert about(asked)


def test_every_command_is_explained_and_listed_with_its_meaning() -> None:
    listed = "\n".join(overview())
    for name in names():
        assert about([name])
        assert f"    {name} " in listed
    for name, meaning in BUILT_IN.items():
        assert meaning in listed, name
    with pytest.raises(UsageError):
        about(["nonsense"])


def test_topic_is_explained() -> None:
    assert about(["migrating"])[0] == "From vkernel"


def test_what_fits_behind_a_command_is_explained() -> None:
    for words, options in (
        (["plug"], [*DISK_OPTIONS, *NIC_KINDS, *NIC_OPTIONS]),
        (["plug", "disk"], list(DISK_OPTIONS)),
        (["plug", "nic"], [*NIC_KINDS, *NIC_OPTIONS]),
        (["proc"], list(PROC_FILES)),
        (["sysrq"], list(SYSRQ)),
        (["config"], ["ubdN=FILE", "vecN:transport=KIND,KEY=VALUE...", "mem=-SIZE, mem=+SIZE"]),
    ):
        said = [line.strip().split("  ")[0] for line in about(words)]
        for option in options:
            assert option in said, (words, option)


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("ver", "did you mean version?"),
        ("ls", "did you mean list?"),
        ("resume", "did you mean go?"),
        ("poweroff", "did you mean shutdown?"),
        ("inspect", "did you mean status?"),
        ("ssh", "did you mean console?"),
        ("dsk", "did you mean disk?"),
        ("boot", "did you mean start?"),
        ("shell", "there is no `shell` at the prompt: this is one, and `switch GUEST`"),
        ("frobnicate", "`help` lists the commands"),
        ("", "`help` lists the commands"),
    ],
)
def test_word_that_is_no_command_leads_to_what_was_meant(word: str, said: str) -> None:
    assert said in unknown(word)


def test_help_of_a_command_has_its_options_and_examples_without_the_guest() -> None:
    said = about(["disk", "add"])
    assert said[0] == "Usage: disk add [OPTIONS] FILE"
    assert "  --ro               Read-only; others may read the file too." in said
    assert any(line.strip().startswith("disk add data.img  ") for line in said)
    assert any("--timeout SECONDS" in line for line in about(["status"]))


@pytest.mark.parametrize(
    ("line", "asked"),
    [
        ("version", None),
        ("help", []),
        ("help disk add", ["disk", "add"]),
        ("help --kernel", None),
        ("disk add --help", ["disk", "add", "--help"]),
        ("disk add a -h", ["disk", "add", "a", "-h"]),
        ("version --help", ["version", "--help"]),
        ("watch --help", ["watch", "--help"]),
        ("log text --help", None),
        ("run -- --help", None),
        ("proc ?", ["proc"]),
    ],
)
def test_line_that_asks_for_an_explanation(line: str, asked: list[str] | None) -> None:
    assert question(line, line.split()) == asked
    if asked is not None:
        assert about(asked)


@given(st.sampled_from(names()), st.integers(1, 8))
def test_a_beginning_never_leads_to_harm(name: str, length: int) -> None:
    word = name[:length]
    if word not in names():
        said = unknown(word)
        assert not any(f"did you mean {each}?" in said for each in HARMFUL)


@pytest.mark.parametrize(
    ("line", "program"),
    [
        ("!ls -l", "ls -l"),
        ("  ! ls", " ls"),
        ("!/sbin/reboot", "/sbin/reboot"),
        ("!halt", ""),
        ("!sysrq t", ""),
        ("!quit", ""),
        ("halt", ""),
        ("!", ""),
        ("! ", ""),
        ("", ""),
    ],
)
def test_exclamation_mark_runs_programs_of_the_host_and_insists_on_commands(
    line: str, program: str
) -> None:
    assert of_the_host(line) == program


@pytest.mark.parametrize("line", ["!poweroff", "!rm x", "! halt", "! reboot", "!restart", "!pause"])
def test_what_could_be_meant_for_the_guest_is_not_done_to_the_host(line: str) -> None:
    with pytest.raises(UsageError, match="could be meant for the guest"):
        of_the_host(line)


def test_command_that_the_host_has_no_program_for_is_no_program_of_the_host(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("shutil.which", lambda _name: None)
    with pytest.raises(UsageError, match="`disk` without `!` is the command"):
        of_the_host("!disk add a.img")
    assert of_the_host("!nonsense") == "nonsense", "the host's shell says so"
    monkeypatch.setattr("shutil.which", lambda name: f"/bin/{name}")
    assert of_the_host("!ps aux") == "ps aux"


def test_no_command_of_a_guest_is_run_on_the_host() -> None:
    for name in [*BUILT_IN, *BY_NAME]:
        assert of_the_host(f"!{name} x") == ""
