"""`umlctl examples`: definitions to begin with."""

from __future__ import annotations

from importlib import resources
from typing import TYPE_CHECKING

import click

from umlctl import exitcodes
from umlctl.definitions.files import SUFFIX
from umlctl.errors import UsageError
from umlctl.output import views

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable


def names() -> list[str]:
    """The examples, sorted."""
    found = (each.name for each in _place().iterdir() if each.name.endswith(SUFFIX))
    return sorted(name.removesuffix(SUFFIX) for name in found)


def text_of(name: str) -> str:
    """Raises: UsageError: there is no such example"""
    if name not in names():
        raise UsageError(f"there is no example {name!r}; there are {', '.join(names())}")
    return (_place() / f"{name}{SUFFIX}").read_text()


def _place() -> Traversable:
    return resources.files("umlctl.definitions") / "examples"


def _about(name: str) -> str:
    """An example in a line: its first."""
    return text_of(name).partition("\n")[0].removeprefix("# ")


@click.command(
    epilog="""\b
Examples:
  umlctl examples
  umlctl examples diskless >web.toml && umlctl start ./web.toml
  umlctl examples lab-router | umlctl define - router
""",
)
@click.argument(
    "name",
    required=False,
    shell_complete=lambda _ctx, _param, begun: [each for each in names() if each.startswith(begun)],
)
@click.option("--json", "in_json", is_flag=True, help="Print JSON.")
def examples(name: str | None, in_json: bool) -> int:
    """List definitions to begin with, or print the one that is called NAME."""
    if name is not None:
        text = text_of(name)
        print(views.to_json({"name": name, "text": text}) if in_json else text.rstrip("\n"))
    elif in_json:
        print(views.to_json([{"name": each, "about": _about(each)} for each in names()]))
    else:
        views.columns([("NAME", "ABOUT"), *((each, _about(each)) for each in names())])
    return exitcodes.OK
