"""Where a guest is asked that a person named: of all that a face does, this alone knows.

A guest is on this machine, and a name means a socket of its file system. Another machine would
begin here.
"""

from __future__ import annotations

from os.path import exists

from umlctl.host.paths import find_socket, has_record


class Target:
    """A guest as it was named.

    Fields:
        name: its umid, or the path of a socket or of the directory with it
    """

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name

    @property
    def socket(self) -> str:
        """Where it is asked now; the next supervisor may have another place.

        Raises: BadPlace
        """
        return find_socket(self.name)

    def is_there(self) -> bool:
        """Somebody may answer for it.

        Raises: BadPlace
        """
        return exists(self.socket)

    def is_known(self) -> bool:
        """Something is there of it, or was written down of it.

        Raises: BadPlace
        """
        return has_record(self.name) or self.is_there()
