"""`umlctl edit`: a definition in an editor, checked before it replaces the old one."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from typing import Final

import click

from umlctl import exitcodes
from umlctl.cli import complete
from umlctl.definitions import files, make
from umlctl.errors import HostError, UmlctlError, UsageError
from umlctl.host.files import write_atomically
from umlctl.output import say

EDITOR_VARIABLES: Final = ("VISUAL", "EDITOR")
USUAL_EDITORS: Final = ("sensible-editor", "editor", "vi", "nano")


@click.command(
    epilog="""\b
Examples:
  umlctl edit web
  EDITOR=nano umlctl edit web && umlctl restart --reload web
""",
)
@click.argument("guest", metavar="NAME", shell_complete=complete.defined)
def edit(guest: str) -> int:
    """Edit the definition of the guest NAME with $VISUAL or $EDITOR.

    What you write is checked when the editor ends, and replaces the definition if it is sound. If
    not, it can be edited again; what was written is kept until then.
    """
    name = guest
    if files.is_path(name):
        raise UsageError(
            f"edit takes the name of a guest, and {name} is a file: edit it, and `umlctl define`"
        )
    path = files.path_of(name)
    if not path:
        raise files.undefined(name)
    if path != files.own_path(name) and os.geteuid():
        raise HostError(
            f"{path} is the system's, and root changes it; `umlctl define {path}` gives you one "
            f"of your own, which comes before it"
        )
    before = files.read(path)
    draft = f"{os.path.dirname(path)}/.{name}.draft{files.SUFFIX}"
    try:
        if os.path.lexists(draft):
            say(f"going on with {draft}, which an earlier edit has left", exitcodes.OK)
        else:
            write_atomically(draft, before.encode())
    except OSError as problem:
        raise HostError(f"cannot write {draft}: {problem.strerror}") from problem
    text = _edited(name, draft, before, os.path.dirname(path))
    if text != before:
        if files.read(path) != before:
            raise UsageError(
                f"{path} was changed meanwhile, and is left as it is; what you wrote is in {draft}"
            )
        try:
            write_atomically(path, text.encode())
        except OSError as problem:
            raise HostError(
                f"cannot write {path}: {problem.strerror}; what you wrote is in {draft}"
            ) from problem
    os.unlink(draft)
    print(f"{name} is as it was" if text == before else f"{name} is defined anew in {path}")
    return exitcodes.OK


def _edited(name: str, draft: str, before: str, base: str) -> str:
    """What the user has made of a definition; it is sound, or as it was.

    base: the directory that relative paths are taken from

    Raises: UmlctlError: it is not, and the draft is kept
    """
    while True:
        _run_editor(draft)
        try:
            text = files.read(draft)
            if text != before:
                make.check(files.of_text(name, draft, text, base, kept=files.own_path(name)))
        except UmlctlError as problem:
            if not (sys.stdin.isatty() and sys.stderr.isatty()):
                raise UsageError(
                    f"{problem}\nNothing is changed; `umlctl edit {name}` goes on with the draft"
                ) from None
            say(str(problem), problem.code)
            if not click.confirm("Edit it again?", default=True, err=True):
                raise UsageError(
                    f"nothing is changed; `umlctl edit {name}` goes on with {draft}"
                ) from None
            continue
        return text


def _run_editor(path: str) -> None:
    """Have the user edit a file.

    Raises: HostError
    """
    named = next(filter(None, (os.environ.get(name) for name in EDITOR_VARIABLES)), "")
    usual = next(filter(shutil.which, USUAL_EDITORS), "")
    try:
        editor = shlex.split(named) or [usual]
    except ValueError:
        editor = [named]
    if not editor[0]:
        raise HostError("there is no editor: set EDITOR to one")
    try:
        code = subprocess.run([*editor, path], check=False).returncode
    except OSError as problem:
        raise HostError(f"cannot run the editor {editor[0]}: {problem.strerror}") from problem
    if code:
        raise HostError(
            f"the editor {editor[0]} ended with {code}: nothing is changed; the draft is in {path}"
        )
