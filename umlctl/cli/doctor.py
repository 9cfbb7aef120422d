"""`umlctl doctor`: what keeps guests from running here, or from running well."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Final

import click

from umlctl import exitcodes
from umlctl.checks import guest as of_guest
from umlctl.checks import table
from umlctl.checks.findings import FATAL, NOTE, WARNING
from umlctl.cli import complete
from umlctl.errors import UsageError
from umlctl.output import views

if TYPE_CHECKING:
    from umlctl.checks.findings import Check, Finding, Severity
    from umlctl.checks.table import Found

_STYLES: Final = {FATAL: "bold red", WARNING: "bold yellow", NOTE: "bold cyan"}
_REMEDY_STYLE: Final = "green"
_REMEDY: Final = "mend it: "
_WIDTH: Final = len(WARNING) + 2


@click.command(
    epilog="""\b
Examples:
  umlctl doctor                        this host, and all that guests take of it
  umlctl doctor web                    one guest
  umlctl doctor --net                  what each kind of NIC takes
  umlctl doctor --exec && umlctl exec -- make check
  umlctl doctor --json | jq -r '.findings[] | select(.severity == "fatal") | .remedy'
"""
)
@click.argument("guest", required=False, shell_complete=complete.guests)
@click.option("--net", "network", is_flag=True, help="Look at what networks take alone.")
@click.option("--exec", "execution", is_flag=True, help="Look at what `umlctl exec` takes alone.")
@click.option("--json", "in_json", is_flag=True, help="Print an object.")
def doctor(guest: str | None, *, network: bool, execution: bool, in_json: bool) -> int:
    """Say what keeps guests from running here, or from running well, and what mends it.

    The worst comes first. What is fatal keeps all guests from starting, a warning is of what does
    not work, a note is good to know. With GUEST that guest is looked at. Nothing is changed.
    The exit code is 0 if guests run here, or that guest does, and 7 if not.
    """
    if guest is not None:
        if network or execution:
            raise UsageError("--net and --exec look at this host, and GUEST is one guest")
        checks = of_guest.checks(guest)
    else:
        subjects = {table.NETWORK} if network else set()
        subjects |= table.OF_EXEC if execution else set()
        checks = table.of_subjects(subjects or None)
    found = table.run(checks)
    facts, confined = table.facts(), table.confined()
    if in_json:
        print(
            views.to_json(_as_json(guest, checks, found) | {"facts": facts, "confined": confined})
        )
    else:
        _show([each.finding for each in found])
        print(_judgement(guest, checks, [each.finding.severity for each in found]))
        print(_versions(facts))
        print(_confinement(facts["landlock"], confined))
    return exitcodes.OK if table.is_usable(found) else exitcodes.FAILED


def _as_json(guest: str | None, checks: tuple[Check, ...], found: list[Found]) -> dict[str, object]:
    return {
        "usable": table.is_usable(found),
        "guest": guest,
        "findings": [
            {"subject": each.check.subject, "check": each.check.name, **each.finding._asdict()}
            for each in found
        ],
        "checked": [{"subject": check.subject, "check": check.name} for check in checks],
    }


def _show(findings: list[Finding]) -> None:
    """Print findings, in colours on a terminal: two lines each, what is wrong and what mends it."""
    if not sys.stdout.isatty():
        for each in findings:
            print(f"{each.severity:<{_WIDTH}}{_problem(each)}")
            print(f"{'':<{_WIDTH}}{_REMEDY}{views.printable(each.remedy)}")
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    shown = Table(box=None, show_header=False, pad_edge=False)
    shown.add_column(width=_WIDTH - 1)
    shown.add_column(overflow="fold")
    for each in findings:
        remedy = Text(_REMEDY).append(views.printable(each.remedy), _REMEDY_STYLE)
        shown.add_row(Text(each.severity, _STYLES[each.severity]), _problem(each))
        shown.add_row("", remedy)
    if findings:
        Console(highlight=False, markup=False, emoji=False).print(shown)


def _problem(finding: Finding) -> str:
    return views.printable(f"{finding.what}; {finding.why}")


def _judgement(guest: str | None, checks: tuple[Check, ...], found: list[Severity]) -> str:
    """What all findings come to, and what was looked at."""
    if FATAL in found:
        what = f"{views.printable(guest)} is of no use" if guest else "no guest starts here"
        return f"{what} until what is fatal is mended"
    subjects = ", ".join(dict.fromkeys(check.subject for check in checks))
    looked = f"{subjects} ({len(checks)} checks)"
    if not found:
        return f"nothing is wrong with {looked}"
    counts = [(found.count(each), each) for each in (WARNING, NOTE) if each in found]
    told = " and ".join(f"{count} {each}{'s' if count > 1 else ''}" for count, each in counts)
    return f"nothing is fatal; {told} of {looked}"


def _versions(facts: dict[str, object]) -> str:
    guests = f"guests run Linux {facts['kernel_version']}" if facts["kernel"] else "no UML kernel"
    return (
        f"umlctl {facts['umlctl']}, Python {facts['python']}, this host runs Linux "
        f"{facts['host_kernel']}, {guests}"
    )


def _confinement(landlock: object, confined: dict[str, str]) -> str:
    """What confines guests here, and how those are confined that run."""
    can = f"guests can be confined here by Landlock {landlock}"
    said = can if landlock else "no guest can be confined here"
    guests = ", ".join(f"{views.printable(umid)} {mode}" for umid, mode in confined.items())
    return f"{said}; those that run: {guests}" if guests else said
