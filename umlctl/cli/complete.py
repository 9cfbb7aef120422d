"""What a shell's completion offers."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from umlctl.host import paths

if TYPE_CHECKING:
    import click


def guests(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    """Names under which something may listen."""
    try:
        names = os.listdir(paths.public_dir())
    except OSError:
        return []
    return sorted(name for name in names if name.startswith(incomplete))
