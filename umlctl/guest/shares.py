"""Directories of this host that a guest has as its own, in the words of `--share`. Pure.

DIR[:PATH][,ro]
"""

from __future__ import annotations

import os.path
from typing import Final, NamedTuple

from umlctl.errors import UsageError

READONLY: Final = "ro"


class Share(NamedTuple):
    """A directory of the host's that is the guest's too.

    Fields:
        source: on the host; target: in the guest
        readonly: it cannot be written there
    """

    source: str
    target: str
    readonly: bool = False

    def __str__(self) -> str:
        where = "" if self.target == self.source else f":{self.target}"
        return f"{self.source}{where}{f',{READONLY}' if self.readonly else ''}"


def parse(text: str, here: str = "") -> Share:
    """What is asked for.

    here: the directory that a relative path on the host is taken from; empty: there is none

    Raises: UsageError
    """
    words, _, option = text.partition(",")
    if option not in ("", READONLY):
        raise UsageError(f"share {text}: behind the directory there can be ,ro, not {option!r}")
    source, _, target = words.partition(":")
    if not source or "\0" in text:
        raise UsageError(f"share {text!r}: it names no directory")
    source = os.path.normpath(os.path.join(here, source))
    if not source.startswith("/"):
        raise UsageError(f"share {text}: the directory of the host begins with /")
    target = target or source
    if not target.startswith("/"):
        raise UsageError(f"share {text}: where it is to be in the guest begins with /")
    target = os.path.normpath(target)
    if not target.strip("/"):
        raise UsageError(f"share {text}: nothing can be mounted over the guest's root")
    return Share(source, target, readonly=option == READONLY)
