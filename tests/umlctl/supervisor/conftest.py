"""The process of the tests, which supervises guests here as a supervisor's own does."""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING

import pytest

from tests.conftest import PR_SET_CHILD_SUBREAPER

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def _leaves_orphans_to_init() -> Iterator[None]:
    """Who supervises a guest inherits all orphans below; other tests' are not for this process."""
    yield
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)
