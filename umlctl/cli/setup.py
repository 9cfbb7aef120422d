"""`umlctl setup`: find a UML kernel on this machine, or fetch one."""

from __future__ import annotations

import os
import sys

import click

from umlctl.cli.kernel import as_json, summary
from umlctl.errors import NoKernel
from umlctl.host import fetch, kernels

__all__ = ["setup"]


@click.command(
    epilog="""\b
Examples:
  umlctl setup                         find a kernel, or fetch one
  umlctl setup --kernel ~/linux/linux  check the kernel that you built
  export UMLCTL_KERNEL=$(umlctl setup)
"""
)
@click.option("--kernel", metavar="PATH", help="Check this kernel; look for no other.")
@click.option("--json", "in_json", is_flag=True, help="Print what the kernel can do, as JSON.")
def setup(kernel: str | None, in_json: bool) -> None:
    """Find a UML kernel, or fetch one; print its path.

    Looked for, in this order: --kernel, $UMLCTL_KERNEL, linux.uml in PATH, linux in PATH if it
    is UML, the cache. Where there is none, root installs the package user-mode-linux; anybody
    else has it downloaded and unpacked into the cache. Where the system has no such package,
    as on Ubuntu, it is Debian's that goes into the cache.
    """
    try:
        path = kernels.find(kernel)
    except NoKernel:
        if kernel is not None or os.environ.get(kernels.VARIABLE):
            raise
        path = fetch.fetch(_say)
    found = kernels.probe(path)
    if in_json:
        click.echo(as_json(found))
        return
    # For people; `$(umlctl setup)` wants the path alone.
    if sys.stdout.isatty():
        can, cannot = summary(found)
        _say(f"Linux {found.version}; it can: {can}; it cannot: {cannot}")
    if kernel is not None:
        _say(f"to use it always: export {kernels.VARIABLE}={path}")
    click.echo(path)


def _say(text: str) -> None:
    click.echo(f"umlctl setup: {text}", err=True)
