"""`umlctl man`: the manual pages, wherever the installation has put them."""

from __future__ import annotations

import os
import shutil
import sys
import sysconfig
from typing import Final, NoReturn

import click

from umlctl.errors import HostError, UmlctlError, UsageError

OVERVIEW_PAGE: Final = "umlctl"
OTHER_PAGES: Final = {
    "mconsole": 7,
    "umlctl.toml": 5,
    "umlctl-migrating": 7,
    "linux": 7,
    "xl": 7,
    "umlctl.3": 3,
}
"""Pages that are of no command, each with its section."""
TOPICS: Final = ("migrating",)
"""What `help` and `man` explain that is no command either."""
READERS: Final = (("man", "-l"), ("mandoc", "-a"))
"""Programs that show a page from a file, in the order of preference, each with the option for
that."""


def pages(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    """Words that name a page."""
    begin = f"{OVERVIEW_PAGE}-"
    files = [file for place in _places()[:1] for file in os.listdir(f"{place}/man1")]
    commands = [file[len(begin) : -2] for file in files if file.startswith(begin)]
    others = (name.removeprefix(begin) for name in OTHER_PAGES)
    words = {OVERVIEW_PAGE, *others, *commands}
    return sorted(word for word in words if word.startswith(incomplete))


@click.command(
    epilog="""\b
Examples:
  umlctl man            umlctl(1): the commands, files, exit codes
  umlctl man disk       a command; as `umlctl help disk`
  umlctl man mconsole   the protocol, as kernels speak it
  umlctl man umlctl.toml   guests that are written down
  umlctl man migrating  what people of other systems use now
""",
)
@click.argument("page", default=OVERVIEW_PAGE, shell_complete=pages)
def man(page: str) -> None:
    """Show a manual page of umlctl: that of a command, umlctl, mconsole, umlctl.toml or migrating.

    An installation in a directory of its own, as by pipx, has its pages where man(1) does not
    look.
    """
    _show(path_of(page))


def open_page(command: str) -> None:
    """Show the page of a command or of a topic, and do not return; return only if the page cannot
    be shown."""
    try:
        _show(path_of(f"{OVERVIEW_PAGE}-{command}"))
    except UmlctlError:
        pass


def _show(path: str) -> NoReturn:
    """Raises: HostError"""
    sys.stdout.flush()
    for program, option in READERS:
        if shutil.which(program):
            os.execvp(program, [program, option, path])  # noqa: S606 - no shell is wanted
    raise HostError(f"no program here shows manual pages: `apt install man-db`; the page is {path}")


def path_of(page: str) -> str:
    """The file of a page: in the checkout, or beside this installation's programs.

    page: umlctl, mconsole, umlctl.toml, or a command or a topic, with `umlctl-` before it or
        without

    Raises: HostError: none is installed; UsageError: there is no such page
    """
    name = page if page.partition("-")[0] == OVERVIEW_PAGE else f"{OVERVIEW_PAGE}-{page}"
    other = page if page in OTHER_PAGES else name
    number = OTHER_PAGES.get(other)
    file = f"man1/{name}.1"
    if number is not None:
        file = f"man{number}/{other.removesuffix(f'.{number}')}.{number}"
    places = _places()
    if not places:
        raise HostError("the manual was not installed: there are no pages beside its programs")
    path = f"{places[0]}/{file}"
    if "/" in page or not os.path.isfile(path):
        raise UsageError(f"there is no page {page!r}; `umlctl man` shows which there are")
    return os.path.realpath(path)


def _places() -> list[str]:
    """Directories with the manual: of the checkout, which is as new as this code, or of the
    installation."""
    checkout = f"{os.path.dirname(__file__)}/../../man"
    installed = f"{sysconfig.get_path('data')}/share/man"
    return [
        place
        for place in (checkout, installed)
        if os.path.isfile(f"{place}/man1/{OVERVIEW_PAGE}.1")
    ]
