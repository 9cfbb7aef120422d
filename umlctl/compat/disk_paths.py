"""`config ubdN=` as `uml_mconsole` sends it: the files are those of its own directory."""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

BLANKS: Final = " \t\n\v\f\r"
"""What the original takes for blanks, whatever the locale."""


def absolute(text: str, *, strictly: bool) -> str:
    """A command with absolute paths of disks.

    strictly: as the original does: only `,` stands between a COW file and its backing file, a path
        whose directory is not there stays as it is, and one in / stays too
    """
    device = text[len("config") :].lstrip(BLANKS)
    if not text.startswith("config") or not device.startswith("ubd") or "=" not in device:
        return text
    heading, _, files = text.partition("=")
    at = files.find(",")
    if at < 0 and not strictly:
        at = files.find(":")
    if at < 0:
        return f"{heading}={_absolute(files, strictly)}"
    # The original goes to the directory of the backing file first, and says so first.
    backing = _absolute(files[at + 1 :], strictly)
    return f"{heading}={_absolute(files[:at], strictly)}{files[at]}{backing}"


def _absolute(path: str, strictly: bool) -> str:
    directory, slash, name = path.rpartition("/")
    here = os.getcwd()
    if not slash:
        return f"{here}/{path}"
    if os.path.isdir(directory) and os.access(directory, os.X_OK):
        return f"{os.path.realpath(directory)}/{name}"
    if strictly:
        sys.stderr.write(f"absolutize : Can't cd to '{directory}', {_why(directory)}\n")
        return path
    return os.path.join(here, path)


def _why(directory: str) -> str:
    try:
        os.chdir(directory)
    except OSError as problem:
        return problem.strerror or str(problem)
    return ""
