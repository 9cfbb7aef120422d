"""What can go wrong, as one tree.

    UmlctlError          says what was asked, what happened and what to do next
      UsageError         the command line or a definition is wrong; nothing was done
      NoGuest            no such guest, or nobody listens on its socket
      GuestInUse         the umid belongs to a running guest
      NotOnBareKernel    nobody supervises the guest, and its kernel alone has no such command
      Refusal            a request that is not passed on, for what it would do to the guest
      Refused            the supervisor or the kernel said no, or did not answer
      InDoubt            the supervisor died under the request, and the guest runs on
      NeverStarted       the kernel did not become ready
        Unprepared       a guest could not do what is to be done before a command in it
      GuestEnded         the guest ended, or began anew, before a command in it had ended
      NotExecuted        a guest has no such command, or cannot execute it
      TimedOut           what was to be over by some time was not
      HostError          a file, a privilege, a download, a program of this host
        UnfitHost        this host lacks or forbids what guests need; `umlctl doctor` knows more
          NoKernel       there is no UML kernel to run

The command line prints the message and ends with the error's `code`.
"""

from __future__ import annotations

from umlctl import exitcodes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final

SEE_DOCTOR: Final = "`umlctl doctor` says what else is amiss"
"""What is said behind an error whose cause is one that `umlctl doctor` looks for."""


class UmlctlError(Exception):
    """The root; `code` is the exit code."""

    code: int = exitcodes.FAILED


class UsageError(UmlctlError):
    code = exitcodes.USAGE


class NoGuest(UmlctlError):
    code = exitcodes.NO_GUEST


class GuestInUse(UmlctlError):
    code = exitcodes.REFUSED


class NotOnBareKernel(UmlctlError):
    code = exitcodes.REFUSED


class Refusal(UmlctlError):
    """The message is the answer, `error` its number."""

    code = exitcodes.REFUSED

    def __init__(self, message: str, error: int) -> None:
        super().__init__(message)
        self.error = error


class Refused(UmlctlError):
    """The message is theirs."""

    def __init__(self, message: str, code: int = exitcodes.REFUSED) -> None:
        super().__init__(message)
        self.code = code


class InDoubt(UmlctlError):
    code = exitcodes.GONE


class NeverStarted(UmlctlError):
    code = exitcodes.NEVER_STARTED


class Unprepared(NeverStarted):
    pass


class GuestEnded(UmlctlError):
    """Fields:
    ending: of the guest, as `umlctl.protocol.status` has it; None: it was rebooted, or none is seen
    console: the end of what its console has printed
    """

    code = exitcodes.GONE

    def __init__(self, message: str, ending: Any = None, console: str = "") -> None:
        super().__init__(message)
        self.ending = ending
        self.console = console


class NotExecuted(UmlctlError):
    """`code` is that of a shell: whether there is none, or it cannot be executed."""

    def __init__(self, message: str, code: int = exitcodes.NOT_EXECUTED) -> None:
        super().__init__(message)
        self.code = code


class TimedOut(UmlctlError):
    code = exitcodes.TIMED_OUT


class HostError(UmlctlError):
    code = exitcodes.FAILED


class UnfitHost(HostError):
    """Fields:
    problem: the message without the hint
    """

    def __init__(self, problem: str) -> None:
        super().__init__(f"{problem}; {SEE_DOCTOR}")
        self.problem = problem


class NoKernel(UnfitHost):
    pass
