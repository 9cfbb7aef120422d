"""What can go wrong, as one tree.

    UmlctlError          says what was asked, what happened and what to do next
      UsageError         the command line or a definition is wrong; nothing was done
      NoGuest            no such guest, or nobody listens on its socket
      GuestInUse         the umid belongs to a running guest
      NeverStarted       the kernel did not become ready
      HostError          a file, a privilege, a download, a program of this host
        NoKernel         there is no UML kernel to run

The command line prints the message and ends with the error's `code`.
"""

from __future__ import annotations

from umlctl import exitcodes


class UmlctlError(Exception):
    """The root; `code` is the exit code."""

    code: int = exitcodes.FAILED


class UsageError(UmlctlError):
    code = exitcodes.USAGE


class NoGuest(UmlctlError):
    code = exitcodes.NO_GUEST


class GuestInUse(UmlctlError):
    code = exitcodes.REFUSED


class NeverStarted(UmlctlError):
    code = exitcodes.NEVER_STARTED


class HostError(UmlctlError):
    code = exitcodes.FAILED


class NoKernel(HostError):
    pass
