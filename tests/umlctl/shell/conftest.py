from __future__ import annotations

from tests.umlctl.cli.conftest import supervisor

__all__ = ["supervisor"]
