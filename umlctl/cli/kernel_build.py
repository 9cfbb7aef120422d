"""`umlctl kernel build`: a UML kernel, built of its source."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from typing import TYPE_CHECKING, Final

import click
from click.shell_completion import CompletionItem

from umlctl.cli import kernel_kept
from umlctl.errors import HostError, UsageError
from umlctl.kernels import build, configuration, find, registered, registry, source
from umlctl.output import views

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from umlctl.kernels.build import Build

SPOKEN_INTERVAL: Final = 15.0
"""Between two lines that say how far it is, where there is no terminal, seconds."""
MAX_NAMED: Final = 8
"""How many settings are named that were not taken."""


_LISTED: Final = "\n".join(
    f"  {name:<12}  {feature.help}" for name, feature in configuration.FEATURES.items()
)


def _features(
    _ctx: click.Context, _param: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """What --with can end with."""
    before, comma, begun = incomplete.rpartition(",")
    given = before.split(",")
    return [
        CompletionItem(f"{before}{comma}{name}", help=feature.help)
        for name, feature in configuration.FEATURES.items()
        if name.startswith(begun) and name not in given
    ]


@click.command(
    "build",
    epilog=f"""\b
Features of --with:
{_LISTED}
\b
Examples:
  umlctl kernel build --with kunit,time-travel         Debian's source
  umlctl kernel build --release trixie-backports --with smp --name smp
  umlctl kernel build ~/src/linux --config .kunitconfig
""",
)
@click.argument(
    "origin",
    metavar="[TREE|linux-source[-VERSION]]",
    default=source.PACKAGE,
    type=click.Path(),
)
@click.option(
    "--with",
    "features",
    multiple=True,
    metavar="FEATURE[,FEATURE]...",
    help="What it is to have; see below.",
    shell_complete=_features,
)
@click.option(
    "--config",
    "own",
    metavar="FILE",
    help="Settings of a kernel's configuration, a line each, which win.",
)
@click.option(
    "--release", metavar="NAME", help="Take the source of this release of Debian, as trixie or sid."
)
@click.option(
    "--jobs",
    type=click.IntRange(min=1),
    metavar="J",
    help="Compile J files at a time. [default: the number of processors]",
)
@click.option("--name", metavar="NAME", help="What to call it.  [default: version and features]")
@click.option("--default", "usual", is_flag=True, help="Take it where no kernel is named.")
@click.option("--json", "in_json", is_flag=True, help="Print it as `kernel show` does.")
def build_kernel(
    origin: str,
    features: tuple[str, ...],
    own: str | None,
    release: str | None,
    jobs: int | None,
    name: str | None,
    usual: bool,
    in_json: bool,
) -> int:
    """Build a UML kernel, and keep it by a name, which --kernel takes.

    Without TREE, Debian's package of the source is taken, which takes no root. It takes 5 to 10
    minutes, and the same command goes on with a build that was interrupted. What is built stands in
    the cache, and a tree is left as it is; one that is configured is built in place, as it is
    configured.
    """
    wanted = configuration.check_features([n for text in features for n in text.split(",")])
    settings = _read_settings(own)
    _check_name(name)
    build.check_tools()
    if source.is_package(origin):
        found = source.of_package(origin, release or "", _say)
    elif release:
        raise UsageError("--release is for Debian's package of the source, and not for a tree")
    else:
        found = source.of_tree(origin)
    plan = build.plan(found, wanted, settings)
    began = time.monotonic()
    kernel = _perform(plan, jobs or len(os.sched_getaffinity(0)))
    _say(f"built in {views.duration(time.monotonic() - began)}; what it is made of stays, for the "
         f"next build, in {plan.objects}")  # fmt: skip
    probed = find.probe(kernel)
    called = name or "-".join((registry.name_for(probed), *wanted))
    said = " ".join((found.title, *(("with", ", ".join(wanted)) if wanted else ())))
    return kernel_kept.keep(probed, called, usual=usual, in_json=in_json, origin=said)


def _read_settings(path: str | None) -> Mapping[str, str]:
    """Raises: UsageError, HostError"""
    if path is None:
        return {}
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            return configuration.read(file.read(), path)
    except FileNotFoundError:
        raise UsageError(f"--config {path} does not exist") from None
    except OSError as problem:
        raise HostError(f"cannot read --config {path}: {problem.strerror}") from problem


def _check_name(name: str | None) -> None:
    """See that a name can be had before all is built.

    Raises: UsageError
    """
    if name is not None and not registered.is_name(name):
        raise UsageError(
            f"no name for a kernel: {name!r}; letters, digits and . _ + - make one, 64 at most"
        )


def _perform(plan: Build, jobs: int) -> str:
    """Configure and compile; the kernel's file.

    Raises: HostError
    """
    with build.alone(plan) as lock:
        lacks = build.configure(plan, lock)
        if lacks:
            _say(f"of --config, the source did not take {_named(lacks)}: it has no such settings, "
                 "or what they depend on is not set")  # fmt: skip
        _say(f"building {plan.source.title} in {plan.objects}")
        with _progress(build.TYPICAL_STEPS if build.is_first(plan) else None) as advance:
            try:
                return build.compile_all(plan, jobs, lock, advance)
            except KeyboardInterrupt:
                _say("interrupted; the same command goes on with it")
                raise


def _named(symbols: Sequence[str]) -> str:
    shown = ", ".join(f"CONFIG_{symbol}" for symbol in symbols[:MAX_NAMED])
    return shown + (f" and {len(symbols) - MAX_NAMED} more" if len(symbols) > MAX_NAMED else "")


@contextlib.contextmanager
def _progress(total: int | None) -> Iterator[Callable[[int, str], None]]:
    """A bar on a terminal, else a line now and then; what is called with each step.

    total: about how many there will be; None: nobody knows
    """
    if not sys.stderr.isatty():
        yield _spoken(total)
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    bar = Progress(
        TextColumn("building"),
        BarColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[last]}", markup=False),
        console=Console(stderr=True),
        transient=True,
    )
    with bar:
        task = bar.add_task("", total=total, last="")

        def advance(done: int, name: str) -> None:
            bar.update(task, completed=_within(done, total), last=views.printable(name))

        yield advance


def _spoken(total: int | None) -> Callable[[int, str], None]:
    """What says now and then how far it is."""
    said = time.monotonic()

    def advance(done: int, name: str) -> None:
        nonlocal said
        if time.monotonic() - said >= SPOKEN_INTERVAL:
            said = time.monotonic()
            of = f" of about {total}" if total is not None else ""
            _say(f"{_within(done, total)}{of} files, {views.printable(name)}")

    return advance


def _within(done: int, total: int | None) -> int:
    """How many are done, of a total that is but a guess."""
    return done if total is None else min(done, total)


def _say(text: str) -> None:
    click.echo(f"umlctl kernel build: {text}", err=True)
