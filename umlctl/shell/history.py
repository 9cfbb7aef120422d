"""Lines that a user typed at the prompt before, kept in a private file for each guest."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from prompt_toolkit.history import FileHistory

from umlctl.host.paths import state_dir, umid_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

NO_GUEST: Final = ".none"
"""A name that no guest can have."""


class LineHistory(FileHistory):
    """The lines that a user typed for a guest, or where there is none.

    If they cannot be kept, they are known until the shell ends, and the reason is told once.
    """

    def __init__(self, guest: str, tell: Callable[[str], None]) -> None:
        self._tell: Callable[[str], None] | None = tell
        path = ""
        try:
            path = f"{state_dir()}/history/{umid_of(guest) or NO_GUEST}"
        except OSError as problem:
            self._failed(problem)
        super().__init__(path)

    def load_history_strings(self) -> Iterable[str]:
        try:
            return super().load_history_strings()
        except OSError as problem:
            self._failed(problem)
            return []

    def append_string(self, string: str) -> None:
        if not string.startswith(" "):  # a user who begins a line with a blank wants it forgotten
            super().append_string(string)

    def store_string(self, string: str) -> None:
        try:
            directory, path = os.path.dirname(os.fspath(self.filename)), self.filename
            for each in (os.path.dirname(directory), directory):
                os.makedirs(each, 0o700, exist_ok=True)
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))
            super().store_string(string)
        except OSError as problem:
            self._failed(problem)

    def _failed(self, problem: OSError) -> None:
        if self._tell is not None:
            self._tell(f"what is typed here is forgotten when the shell ends: {problem}")
        self._tell = None
