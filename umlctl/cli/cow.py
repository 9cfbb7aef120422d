"""`umlctl cow`: COW files, while no guest has them open."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any

import click

from umlctl import exitcodes
from umlctl.cli import cow_merge, device_options
from umlctl.cli.cow_merge import cow_argument, told, users
from umlctl.cli.main import Group
from umlctl.errors import HostError, Refused
from umlctl.output import views
from umlctl.state.file_identity import check_free, hold_of
from umlctl.state.files_in_use import taken
from umlctl.storage import cow as cows
from umlctl.storage import journal, rebase
from umlctl.storage.cow_file import check_fits, check_no_cow, open_backing, open_cow, opened
from umlctl.storage.differences import differing
from umlctl.storage.extents import allocated

if TYPE_CHECKING:
    from collections.abc import Iterable

    from umlctl.storage.cow_file import CowFile

HOLE = "hole"


@click.group(
    cls=Group,
    epilog="""\b
Examples:
  umlctl cow create demo.cow debian.img
  umlctl cow info demo.cow
  umlctl cow merge demo.cow merged.img
""",
)
def cow() -> None:
    """Make, look into and merge COW files, which hold what was written over a backing file."""


cow.add_command(cow_merge.merge_command)
cow.add_command(cow_merge.check)


@cow.command("create", epilog="\b\nExamples:\n  umlctl cow create demo.cow debian.img\n")
@cow_argument
@click.argument("backing", type=click.Path(readable=False))
def create(cow_path: str, backing: str) -> int:
    """Make COW, a new and empty COW file over BACKING, an image or a block device.

    A guest that has it for a disk writes to COW, and BACKING stays as it is: any number of COW
    files can be over one. They fit it until it changes.
    """
    what = f"cow create {cow_path}"
    with told(what, cow_path):
        with opened(backing) as descriptor:
            check_no_cow(backing, descriptor)
            if cows.described(descriptor, backing).size < cows.SECTOR_BYTES:
                raise HostError(f"{what}: {backing} is smaller than a sector, and is no disk")
        check_free("cow create", [hold_of(backing, write=False)], users())
        for left in filter(os.path.lexists, journal.both_of(cow_path)):
            raise HostError(
                f"{what}: {left} is of a merge or a reset that was interrupted; put the COW file "
                f"back that was there, and `umlctl cow check {cow_path}`"
            )
        try:
            cows.create(cow_path, backing)
        except FileExistsError:
            raise HostError(
                f"{what}: it is there already, and is not replaced: take another name"
            ) from None
    print(f"{cow_path} is empty, over {os.path.abspath(backing)}")
    return exitcodes.OK


@cow.command("info", epilog="\b\nExamples:\n  umlctl cow info demo.cow --json\n")
@cow_argument
@device_options.json_option
def info(cow_path: str, in_json: bool) -> int:
    """Show what COW says of itself, and what is in it."""
    with told(f"cow info {cow_path}", cow_path), open_cow(cow_path) as of:
        facts = _facts(of)
    if in_json:
        print(views.to_json(facts))
        return exitcodes.OK
    kind = f"{facts['version']}, as broken 64-bit kernels wrote it"
    rows = [
        ("version", kind if facts["broken"] else facts["version"]),
        ("backing file", facts["backing"]),
        ("changed", time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(facts["mtime"]))),
        ("size", f"{views.size(facts['size'])} ({facts['size']} bytes)"),
        ("written", f"{views.size(facts['written'])}{_share(facts)}"),
        ("on this host", f"{views.size(facts['allocated'])} of {views.size(facts['length'])}"),
        ("bitmap, data", f"from byte {facts['bitmap']}, from byte {facts['data']}"),
        ("problem", facts["problem"] or "none"),
    ]
    for name, value in rows:
        print(f"{name:<14}{views.printable(str(value))}")
    return exitcodes.OK


def _facts(of: CowFile) -> dict[str, Any]:
    return {
        "path": of.path,
        "version": of.header.version,
        "broken": of.header.broken,
        "backing": of.header.backing,
        "mtime": of.header.mtime,
        "size": of.header.size,
        "written": of.written(),
        "allocated": allocated(of.descriptor),
        "length": of.length,
        "alignment": of.header.align if of.header.version == 3 else None,
        "bitmap": of.layout.bitmap,
        "data": of.layout.data,
        "problem": cow_merge.problem_of(of.path) or None,
    }


def _share(facts: dict[str, Any]) -> str:
    return f", {100 * facts['written'] / facts['size']:.1f}%" if facts["size"] else ""


@cow.command("du", epilog="\b\nExamples:\n  umlctl cow du *.cow\n")
@click.argument("cow_paths", metavar="COW...", nargs=-1, required=True)
@device_options.json_option
def du(cow_paths: tuple[str, ...], in_json: bool) -> int:
    """Show how full COW files are, and what they take of this host's disk."""
    rows = []
    for path in cow_paths:
        with told(f"cow du {path}", path), open_cow(path) as of:
            facts = _facts(of)
        keys = ("path", "size", "written", "allocated", "backing")
        rows.append({key: facts[key] for key in keys})
    if in_json:
        print(views.to_json(rows))
        return exitcodes.OK
    table: list[tuple[str, ...]] = [("COW", "SIZE", "WRITTEN", "FULL", "ON DISK", "BACKING")]
    for row in rows:
        sizes = [views.size(row[key]) for key in ("size", "written")]
        full = _share(row).lstrip(", ") or "-"
        names = [views.printable(row[key]) for key in ("path", "backing")]
        table.append((names[0], *sizes, full, views.size(row["allocated"]), names[1]))
    views.columns(table)
    return exitcodes.OK


@cow.command("map", epilog="\b\nExamples:\n  umlctl cow map demo.cow\n")
@cow_argument
@device_options.json_option
def show_map(cow_path: str, in_json: bool) -> int:
    """Show where each part of the disk is: in COW, or in its backing file; in bytes.

    A part of COW that holds nothing, as the guest has discarded it, is a hole, and reads as zeros.
    """
    with told(f"cow map {cow_path}", cow_path), open_cow(cow_path) as of:
        _show_runs(("START", "LENGTH", "IN", "OFFSET"), _parts(of), in_json=in_json)
    return exitcodes.OK


def _parts(of: CowFile) -> Iterable[tuple[Any, ...]]:
    done = 0
    for start, end in of.runs():
        if start > done:
            yield done, start - done, "backing", done
        done = start
        for first, last in (*of.data(start, end), (end, end)):
            if first > done:
                yield done, first - done, HOLE, of.layout.data + done
            if last > first:
                yield first, last - first, "cow", of.layout.data + first
            done = last
    if of.size > done:
        yield done, of.size - done, "backing", done


@cow.command(
    "diff",
    epilog="""\b
Examples:
  umlctl cow diff demo.cow
  umlctl cow diff before.cow after.cow --json
""",
)
@cow_argument
@click.argument("other", required=False, type=click.Path(readable=False))
@device_options.json_option
def diff(cow_path: str, other: str | None, in_json: bool) -> int:
    """Show where the disk of COW differs from its backing file, or from OTHER, in bytes.

    OTHER is a COW file over the same backing file. What was written and is as it was before does
    not differ.
    """
    what = f"cow diff {cow_path}"
    with told(what, cow_path), open_cow(cow_path) as of, open_backing(of) as backing:
        check_fits(of, backing, of.header.backing)
        if other is None:
            found = differing(of, None, backing)
            _show_ranges(found, in_json=in_json)
            return exitcodes.OK
        with open_cow(other) as second, open_backing(second) as under:
            if not os.path.samestat(os.fstat(backing), os.fstat(under)):
                raise HostError(
                    f"{what}: {other} is over {second.header.backing}, and {cow_path} over "
                    f"{of.header.backing}: merge both, and `cmp` compares what comes out"
                )
            check_fits(second, under, second.header.backing)
            _show_ranges(differing(of, second, backing), in_json=in_json)
    return exitcodes.OK


def _show_ranges(found: Iterable[tuple[int, int]], *, in_json: bool) -> None:
    rows = ((start, end - start) for start, end in found)
    _show_runs(("START", "LENGTH"), rows, in_json=in_json)


def _show_runs(
    headings: tuple[str, ...], rows: Iterable[tuple[Any, ...]], *, in_json: bool
) -> None:
    """As they come: there may be millions."""
    if not in_json:
        print(" ".join(f"{each:>15}" for each in headings))
        for row in rows:
            print(" ".join(f"{each:>15}" for each in row))
        return
    names = [each.lower() for each in headings]
    before = "["
    for row in rows:
        line = views.to_json(dict(zip(names, row, strict=True)))
        print(f"{before}\n{line}", end="")
        before = ","
    print("[]" if before == "[" else "\n]")


@cow.command(
    "rebase",
    epilog="""\b
Examples:
  umlctl cow rebase demo.cow                      its backing file was touched, or copied
  umlctl cow rebase demo.cow /new/place/debian.img
""",
)
@cow_argument
@click.argument("backing", required=False, type=click.Path(readable=False))
@click.option(
    "--yes", is_flag=True, help="Take a backing file that was changed after COW was made."
)
def rebase_command(cow_path: str, backing: str | None, yes: bool) -> int:
    """Have COW fit BACKING, or the backing file that it has, after that was moved or changed.

    What differs is shown. That the bytes are as they were is for you to know: over others, what
    is in COW is worth nothing. BACKING has to be as large as the one that COW was made over.
    """
    what = f"cow rebase {cow_path}"
    if said := journal.interrupted(cow_path):
        raise HostError(f"{what}: {said}")
    access = taken("cow rebase", cow_path, users, write=True, backing=backing or "")
    with told(what, cow_path), access as pair:
        found = rebase.differences(pair.of, pair.backing, pair.name)
        for each in found:
            print(views.printable(f"{each.what}: {_shown(each.recorded)} -> {_shown(each.now)}"))
        if any(each.what == "mtime" for each in found) and not yes:
            raise Refused(
                f"{what}: {pair.name} was changed after the COW file was made, and nothing is done "
                "yet; if its bytes are as they were, say it again with --yes"
            )
        rebase.rebase(pair.of, found)
        done = "fits now" if found else "fits as it is"
        print(f"{cow_path} {done}, over {views.printable(os.path.abspath(pair.name))}")
    return exitcodes.OK


def _shown(value: str | int) -> str:
    if isinstance(value, str):
        return value
    return f"{value} ({time.strftime('%Y-%m-%d %H:%M:%S', time.localtime(value))})"
