"""The guests that are enabled, each as it is defined now."""

from __future__ import annotations

from umlctl.definitions import files, make
from umlctl.errors import UmlctlError
from umlctl.state import enabled
from umlctl.state.enabled import Enabled


def enabled_guests() -> list[Enabled]:
    """Every guest that is enabled, by name: as its definition has it, or, without one, as it was
    when it was enabled.

    Raises: BadPlace
    """
    return [_current(each) for each in enabled.load_all()]


def _current(found: Enabled) -> Enabled:
    try:
        written = files.find(found.umid) if not files.is_path(found.umid) else None
        if written is None:
            return found
        return Enabled(found.umid, make.of_written(written))
    except UmlctlError as problem:
        return Enabled(found.umid, None, str(problem))
