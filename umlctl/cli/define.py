"""`umlctl define` and `undefine`: guests that are written down in files."""

from __future__ import annotations

import json
import os
import sys
from typing import Final

import click

from umlctl import exitcodes
from umlctl.cli import complete
from umlctl.definitions import files, make
from umlctl.errors import UsageError
from umlctl.guest.schema import schema
from umlctl.guest.written import MAX_TEXT_BYTES
from umlctl.host import naming
from umlctl.output import say

STANDARD_INPUT: Final = "-"


@click.command(
    epilog="""\b
Examples:
  umlctl define web.toml                       and then: umlctl start web
  umlctl define web.toml web2                  under another name
  umlctl examples lab | umlctl define - lab    one to begin with; then: umlctl edit lab
  umlctl define --schema >guest.schema.json    for an editor
""",
)
@click.argument("file", required=False, metavar="FILE", shell_complete=complete.definitions)
@click.argument("name", required=False)
@click.option("--schema", "wants_schema", is_flag=True, help="Print the JSON schema of a FILE.")
def define(file: str | None, name: str | None, wants_schema: bool) -> int:
    """Write a guest down: keep FILE as the definition of the guest NAME.

    It is checked first, and replaces what was there. NAME is the file's own, without .toml, if it
    is left out. `-` is standard input.
    """
    if wants_schema:
        if file is not None:
            raise UsageError("--schema stands alone: it prints what every definition can have")
        print(schema_text(), end="")
        return exitcodes.OK
    if file is None:
        raise click.MissingParameter(param_hint="'FILE'", param_type="argument")
    if file == STANDARD_INPUT:
        if name is None:
            raise UsageError("standard input has no name: umlctl define - NAME")
        text = files.decoded("standard input", sys.stdin.buffer.read(MAX_TEXT_BYTES + 1))
    else:
        text = files.read(file)
    umid = os.path.basename(file).removesuffix(files.SUFFIX) if name is None else name
    try:
        naming.check_umid(umid)
    except naming.BadUmid as problem:
        raise UsageError(f"{problem}; umlctl define FILE NAME gives it another") from None
    # Where it will be kept, a relative path would be another.
    shown = "standard input" if file == STANDARD_INPUT else file
    make.check(files.of_text(umid, shown, text, "", kept=files.own_path(umid)))
    old = os.path.lexists(files.own_path(umid))
    path = files.save(umid, text)
    print(f"{umid} is defined anew in {path}" if old else f"{umid} is defined in {path}")
    return exitcodes.OK


def schema_text() -> str:
    """The JSON schema of a definition, as it is published."""
    return json.dumps(schema(), indent=2, ensure_ascii=False) + "\n"


@click.command(epilog="\b\nExamples:\n  umlctl undefine web\n")
@click.argument("name", shell_complete=complete.defined)
def undefine(name: str) -> int:
    """Remove the definition of the guest NAME; if it runs, it runs on.

    How it was started last is kept, and `umlctl show NAME` prints that.
    """
    if files.is_path(name):
        raise UsageError(f"undefine takes the name of a guest, and {name} is a file: remove that")
    path = files.remove(name)
    print(f"{name} is not defined any more; {path} is removed")
    left = files.path_of(name)
    if left:
        say(f"{name}: {left} defines it now", exitcodes.OK)
    return exitcodes.OK
