"""`umlctl kernel`: the UML kernels of this machine and what they can do."""

from __future__ import annotations

import json
import sys
import time
from typing import TYPE_CHECKING

import click

from umlctl import exitcodes
from umlctl.cli import complete, kernel_build, kernel_kept
from umlctl.cli.main import Group
from umlctl.devices import lines, ubd
from umlctl.errors import NoKernel, UsageError
from umlctl.guest import specs
from umlctl.kernels import find, modules, registered, registry

if TYPE_CHECKING:
    from collections.abc import Sequence

    from umlctl.kernels.find import Candidate, ProbedKernel

__all__ = ["abilities", "as_json", "kernel"]

_HEADINGS = ("KERNEL", "VERSION", "SOURCE", "CAN", "CANNOT")


@click.group(cls=Group)
def kernel() -> None:
    """Show the UML kernels of this machine, keep some by name, and build them."""


kernel.add_command(kernel_build.build_kernel)


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
        _columns([_HEADINGS, *(_row(*found) for found in probed)])


@kernel.command(
    "add",
    epilog="""\b
Examples:
  umlctl kernel add ~/src/linux --name mine      a build tree: its kernel and modules
  umlctl kernel add ./linux-6.19 --default
""",
)
@click.argument("source", metavar="FILE|TREE", shell_complete=complete.kernels)
@click.option("--name", metavar="NAME", help="What to call it.  [default: its version]")
@click.option("--default", "usual", is_flag=True, help="Take it where no kernel is named.")
@click.option("--json", "in_json", is_flag=True, help="Print it as `kernel show` does.")
def add(source: str, name: str | None, usual: bool, in_json: bool) -> int:
    """Keep a copy of a kernel and its modules by a name, which --kernel takes.

    A tree may be built again: guests that have the copy reboot into what they were started with.
    Adding another by the same name keeps the one before, for `kernel rollback`.
    """
    return kernel_kept.keep(find.probe(find.find(source)), name, usual=usual, in_json=in_json)


@kernel.command("rm", epilog="\b\nExamples:\n  umlctl kernel rm mine\n")
@click.argument("names", nargs=-1, required=True, shell_complete=complete.added_kernels)
def rm(names: tuple[str, ...]) -> int:
    """Remove kernels that were added. One that a guest has, or is to have, is refused."""
    for name in dict.fromkeys(names):
        registry.remove(name, kernel_kept.in_use())
        print(f"the kernel {name} is removed")
    return exitcodes.OK


@kernel.command(
    "show", epilog="\b\nExamples:\n  umlctl kernel show mine\n  umlctl kernel show . --json\n"
)
@click.argument(
    "source", metavar="[NAME|FILE|TREE]", required=False, shell_complete=complete.kernels
)
@click.option("--json", "in_json", is_flag=True, help="Print an object.")
def show(source: str | None, in_json: bool) -> int:
    """Show a kernel: what it can do, its modules, and where it came from.

    Without NAME, the one that `run` takes.
    """
    probed = find.probe(find.find(source))
    kept = next((each for each in registry.load_all() if each.path == probed.path), None)
    there = modules.of_release(probed)
    if in_json:
        more = {"modules": there or None, "registered": kept and kept._asdict()}
        print(json.dumps(_facts(probed) | more, indent=2))
        return exitcodes.OK
    can, cannot = abilities(probed)
    rows = [
        ("kernel", probed.path),
        ("version", probed.version),
        ("can", can),
        ("cannot", cannot),
        ("modules", there or "none"),
    ]
    if kept is not None:
        rows.append(("name", f"{kept.name}{', the default' if kept.is_default else ''}"))
        rows.append(("from", kept.origin or "-"))
        rows.append(("added", time.strftime("%F %T", time.localtime(kept.added))))
    for key, value in rows:
        print(f"{key:<8}  {value}")
    return exitcodes.OK


@kernel.command(
    "default",
    epilog="\b\nExamples:\n  umlctl kernel default mine\n  umlctl kernel default --none\n",
)
@click.argument("name", required=False, shell_complete=complete.added_kernels)
@click.option("--none", "nothing", is_flag=True, help="Take none of them unless it is named.")
def default(name: str | None, nothing: bool) -> int:
    """Have an added kernel be taken where none is named; without NAME, say which is."""
    if name and nothing:
        raise UsageError("a NAME, or --none, not both")
    if name or nothing:
        registry.set_default(name or "")
    usual = registered.default()
    print(f"{usual} is taken where no kernel is named" if usual else "no added kernel is taken")
    return exitcodes.OK


@kernel.command("rollback", epilog="\b\nExamples:\n  umlctl kernel rollback mine\n")
@click.argument("name", shell_complete=complete.added_kernels)
@click.option("--json", "in_json", is_flag=True, help="Print it as `kernel show` does.")
def rollback(name: str, in_json: bool) -> int:
    """Have a name be the kernel that it was before the last one was added."""
    found = registry.roll_back(name)
    version = find.probe(found.path).version
    kernel_kept.show(found, in_json, f"{name} is Linux {version} again, {found.path}")
    return exitcodes.OK


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
    can, cannot = abilities(found)
    if not sys.stdout.isatty():  # no blank inside a column, for awk
        can, cannot = can.replace(", ", ","), cannot.replace(", ", ",")
    return (found.path, found.version, candidate.source, can, cannot)


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
