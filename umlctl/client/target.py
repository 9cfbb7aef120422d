"""Where a guest is asked that a user named: of all modules of the client, this alone knows.

A guest is on this machine, and a name means a socket of its file system. Support for another
machine would begin here.
"""

from __future__ import annotations

from os.path import basename, exists, isfile

from umlctl import exitcodes
from umlctl.host.paths import DEFINITION_SUFFIX, find_socket, has_record
from umlctl.output import say


def named(word: str) -> str:
    """The guest that a user means: of a file that defines one, the guest that the file is named
    after, which is said; any other word as it is."""
    if not word.endswith(DEFINITION_SUFFIX) or not isfile(word):
        return word
    from umlctl.host.naming import BadUmid, check_umid

    umid = basename(word).removesuffix(DEFINITION_SUFFIX)
    try:
        check_umid(umid)
    except BadUmid:
        return word  # no guest has such a name
    say(f"{umid}: the guest of {word}", exitcodes.OK)
    return umid


class Target:
    """A guest as the user named it.

    Fields:
        name: its umid, or the path of a socket or of the directory with it
    """

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name

    @property
    def socket(self) -> str:
        """The socket where the guest is asked now; the next supervisor may have another.

        Raises: BadPlace
        """
        return find_socket(self.name)

    def is_there(self) -> bool:
        """Whether a server may answer for the guest.

        Raises: BadPlace
        """
        return exists(self.socket)

    def is_known(self) -> bool:
        """Whether there is something of the guest, or something was written down of it.

        Raises: BadPlace
        """
        return has_record(self.name) or self.is_there()
