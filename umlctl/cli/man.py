"""`umlctl man`: the manual pages, wherever the installation has put them."""

from __future__ import annotations

import os
import shutil
import sys
import sysconfig
from typing import Final

import click

from umlctl.errors import HostError

PAGES: Final = {"umlctl": 1, "umlctl-console": 1, "umlctl-shell": 1, "mconsole": 7}
"""The pages, and the section of each."""
READERS: Final = (("man", "-l"), ("mandoc", "-a"))
"""Programs that show a page from a file, in the order of preference, and the option for that."""


@click.command(
    epilog="""\b
Examples:
  umlctl man                  umlctl(1): every command and option
  umlctl man umlctl-shell     the prompt
  umlctl man mconsole         the protocol, as kernels speak it
""",
)
@click.argument("page", default="umlctl", type=click.Choice(list(PAGES)))
def man(page: str) -> None:
    """Show a manual page of umlctl.

    An installation in a directory of its own, as by pipx, has its pages where man(1) does not
    look.
    """
    path = path_of(page)
    sys.stdout.flush()
    for program, option in READERS:
        if shutil.which(program):
            os.execvp(program, [program, option, path])  # noqa: S606 - no shell is wanted
    raise HostError(f"no program here shows manual pages: `apt install man-db`; the page is {path}")


def path_of(page: str) -> str:
    """The file of a page: beside this installation's programs, or in the checkout.

    Raises: HostError
    """
    section = PAGES[page]
    name = f"{page}.{section}"
    installed = f"{sysconfig.get_path('data')}/share/man/man{section}/{name}"
    checkout = f"{os.path.dirname(__file__)}/../../man/{name}"
    for path in (installed, checkout):
        if os.path.isfile(path):
            return os.path.realpath(path)
    raise HostError(f"the page {name} was not installed: it is neither {installed} nor {checkout}")
