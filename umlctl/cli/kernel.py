"""`umlctl kernel`: the UML kernels of this machine and what they can do."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import click

from umlctl.cli.main import Group
from umlctl.devices import lines, ubd
from umlctl.errors import NoKernel
from umlctl.guest import specs
from umlctl.kernels import find

if TYPE_CHECKING:
    from collections.abc import Sequence

    from umlctl.kernels.find import Candidate, ProbedKernel

__all__ = ["abilities", "as_json", "kernel"]

_HEADINGS = ("KERNEL", "VERSION", "SOURCE", "CAN", "CANNOT")


@click.group(cls=Group)
def kernel() -> None:
    """Show the UML kernels of this machine."""


@kernel.command(
    "list",
    epilog="""\b
Examples:
  umlctl kernel list
  umlctl kernel list --json | jq -r '.[] | select(.capabilities.smp) | .path'
""",
)
@click.option("--json", "in_json", is_flag=True, help="Print an array of objects.")
def list_kernels(in_json: bool) -> None:
    """List the kernels that `run` would find, the one it takes first.

    What each can do is what it says itself, in --showconfig and --help; umlctl run --kernel
    PATH takes another than the first.
    """
    probed = [_probe(candidate) for candidate in find.candidates()]
    if in_json:
        click.echo(json.dumps([_entry(*found) for found in probed], indent=2))
    elif not probed:
        click.echo("no UML kernel found; `umlctl setup` fetches one", err=True)
    elif sys.stdout.isatty():
        _table([_row(*found) for found in probed])
    else:
        # No blank inside a column, for awk.
        rows = ([cell.replace(", ", ",") for cell in _row(*found)] for found in probed)
        _columns([_HEADINGS, *rows])


def as_json(found: ProbedKernel) -> str:
    return json.dumps(_facts(found), indent=2)


def abilities(found: ProbedKernel) -> tuple[str, str]:
    """What a kernel can do and what it cannot, each as a line of names."""
    details = {"eth": "/".join(found.transports), "smp": f"{found.most_cpus} CPUs"}
    can = []
    for name, state in found.capabilities.items():
        detail = details.get(name) or ("" if state == "yes" else state)
        can.append(f"{name}({detail})" if detail else name)
    return ", ".join(can) or "-", ", ".join(found.missing) or "-"


def _probe(candidate: Candidate) -> tuple[Candidate, ProbedKernel | NoKernel]:
    try:
        return candidate, find.probe(candidate.path)
    except NoKernel as error:
        return candidate, error


def _facts(found: ProbedKernel) -> dict[str, object]:
    return {
        "path": found.path,
        "version": found.version,
        "capabilities": found.capabilities,
        "missing": found.missing,
        "transports": found.transports,
        "most_cpus": found.most_cpus,
        "limits": {"ubd": ubd.SLOTS, "vec": specs.MAX_NICS, **lines.LINE_COUNTS},
        "options": sorted(found.options),
    }


def _entry(candidate: Candidate, found: ProbedKernel | NoKernel) -> dict[str, object]:
    if isinstance(found, NoKernel):
        return {"path": candidate.path, "source": candidate.source, "error": found.problem}
    return _facts(found) | {"source": candidate.source}


def _row(candidate: Candidate, found: ProbedKernel | NoKernel) -> tuple[str, ...]:
    if isinstance(found, NoKernel):
        return (candidate.path, "-", candidate.source, "-", found.problem)
    return (found.path, found.version, candidate.source, *abilities(found))


def _table(rows: list[tuple[str, ...]]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in _HEADINGS:
        table.add_column(heading, overflow="fold")
    for row in rows:
        table.add_row(*(cell.replace("[", r"\[") for cell in row))
    Console().print(table)


def _columns(rows: list[Sequence[str]]) -> None:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        line = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        click.echo(line.rstrip())
