"""`umlctl cow merge` and `check`: COW files made one with their backing files, or seen to fit."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from typing import TYPE_CHECKING, Any

import click

from umlctl import exitcodes
from umlctl.cli import device_options
from umlctl.errors import HostError, UmlctlError, UsageError
from umlctl.output import say, views
from umlctl.recovery import discover
from umlctl.state import leases
from umlctl.state.files_in_use import check_lone, taken
from umlctl.storage import cow, journal, merge, reset
from umlctl.storage.cow_file import check_fits, open_backing, open_cow

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from umlctl.state.leases import Use

PROGRESS_BYTES = 4 << 20
"""How many bytes the progress bar is told of at once: it costs more than a sector."""

cow_argument = click.argument("cow_path", metavar="COW", type=click.Path(readable=False))


def users() -> list[Use]:
    """The devices of all guests that run."""
    return leases.devices_of(discover.running())


@contextlib.contextmanager
def told(what: str, path: str) -> Iterator[None]:
    """What the host says no to is an error with what was asked, and what is left of it.

    Raises: HostError
    """
    try:
        yield
    except OSError as problem:
        more = journal.interrupted(path)
        reason = problem.strerror or str(problem)
        if problem.errno in (errno.ENOSPC, errno.EDQUOT):
            reason += "; make room there, and say it again"
        raise HostError(f"{what}: {reason}{'; ' if more else ''}{more}") from problem


@contextlib.contextmanager
def progress(what: str, total: int) -> Iterator[Callable[[int], None]]:
    """A bar on a terminal, with the rate and the time left; what is called with each step."""
    if not sys.stderr.isatty():
        yield lambda _count: None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    bar = Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(binary_units=True),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    )
    waiting = 0
    with bar:
        task = bar.add_task(views.printable(what), total=total)

        def advance(count: int) -> None:
            nonlocal waiting
            waiting += count
            if waiting >= PROGRESS_BYTES:
                bar.advance(task, waiting)
                waiting = 0

        yield advance


@click.command(
    "merge",
    epilog="""\b
Examples:
  umlctl cow merge demo.cow merged.img       a new image, with what the guest wrote
  umlctl cow merge --in-place demo.cow       the backing file gets it, and demo.cow is empty then
""",
)
@cow_argument
@click.argument("image", required=False, type=click.Path(readable=False))
@click.option("--in-place", is_flag=True, help="Into the backing file; COW is left empty over it.")
def merge_command(cow_path: str, image: str | None, in_place: bool) -> int:
    """Merge COW and its backing file into IMAGE, a new file, or into the backing file itself.

    IMAGE is whole or is not there, whatever happens. A merge in place that is interrupted has lost
    nothing, and `cow check` finishes it. It is refused where other COW files are known over the
    same backing file: no kernel would take them any more.
    """
    if bool(image) == in_place:
        raise UsageError("cow merge takes IMAGE, a new file, or --in-place, and not both")
    if image:
        _into_new(cow_path, image)
    else:
        into_backing(cow_path)
    return exitcodes.OK


def _into_new(path: str, image: str) -> None:
    what = f"cow merge {path} {image}"
    if os.path.lexists(image):
        raise HostError(f"{what}: {image} is there already, and is not replaced: take another name")
    with told(what, path), taken("cow merge", path, users, write=False) as pair:
        with progress(f"merge {path}", pair.of.size) as advance:
            size = merge.into_new(pair.of, pair.backing, image, advance)
        print(f"{image} has {views.size(size)}: {path} and {pair.name}")


def into_backing(path: str) -> int:
    """Merge in place, or finish that; how many bytes there were.

    Raises: HostError
    """
    what = f"cow merge --in-place {path}"
    access = taken("cow merge", path, users, write=True, write_backing=True)
    with told(what, path), access as pair:
        if not journal.interrupted(path):
            check_lone(what, path, pair.name)
        try:
            with progress(f"merge {path}", pair.of.written()) as advance:
                merged = merge.into_backing(pair.of, pair.backing, advance)
        except KeyboardInterrupt:
            if more := journal.interrupted(path):
                say(more, exitcodes.FAILED)
            raise
        print(f"{pair.name} has {views.size(merged)} of {path}, which is empty now")
        return merged


@click.command("check", epilog="\b\nExamples:\n  umlctl cow check demo.cow\n")
@cow_argument
@device_options.json_option
def check(cow_path: str, in_json: bool) -> int:
    """See whether a kernel takes COW, and whether all is there; ends with 7 if not.

    A merge into its backing file, or a reset, that was interrupted is finished.
    """
    said = journal.interrupted(cow_path)
    finished = bool(said)
    if finished and not in_json:
        say(f"{said.partition(' was ')[0]} was interrupted; finishing it", 0)
    if os.path.lexists(journal.reset_of(cow_path)):
        access = taken("cow check", cow_path, users, write=True)
        with told(f"cow check {cow_path}", cow_path), access as pair:
            reset.finish(pair.of)
    if os.path.lexists(journal.journal_of(cow_path)):
        with contextlib.redirect_stdout(sys.stderr):
            into_backing(cow_path)
    problem = problem_of(cow_path)
    if in_json:
        found: dict[str, Any] = {"path": cow_path, "problem": problem or None, "finished": finished}
        print(views.to_json(found))
    elif problem:
        say(f"cow check: {problem}", exitcodes.FAILED)
    else:
        print(f"{cow_path} is sound, and fits its backing file")
    return exitcodes.FAILED if problem else exitcodes.OK


def problem_of(path: str) -> str:
    """Why no kernel would take a COW file, or what is missing of it; empty if all is well."""
    try:
        if said := journal.interrupted(path):
            return said
        with told(f"cow check {path}", path), open_cow(path) as of, open_backing(of) as backing:
            check_fits(of, backing, of.header.backing)
            cow.encode(of.header)
    except UmlctlError as problem:
        return str(problem)
    return ""
