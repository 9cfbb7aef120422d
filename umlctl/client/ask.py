"""The one way to ask a guest, whoever supervises it and whatever becomes of that supervisor.

`conversation` is the policy, and does nothing itself. `GuestClient` asks and waits for the answer;
`umlctl.client.asynchronous` does so among other tasks. A one-shot command begins here, so this
module imports nothing that such a command can do without.
"""

from __future__ import annotations

from time import monotonic

from socketproto.blocking import DEFAULT_TIMEOUT, Connection, Link, Unreachable
from socketproto.exchange import GONE, TIMED_OUT, Outcome
from socketproto.wire import WireError
from umlctl.client.target import Target
from umlctl.host.paths import has_record
from umlctl.protocol.commands import BY_NAME, KERNEL, Command

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from typing import Final, Self

MAX_SUPERVISOR_DEATHS: Final = 5
"""How many supervisors may be killed one after another under one request."""
SEND: Final = "send"
ADOPT: Final = "adopt"
READY_QUESTION: Final = "version"
"""A question that a supervisor holds until its guest is ready."""
BARE_ADVICE: Final = {
    "plug": "; of a bare one, `umlctl config GUEST ubd1=FILE` adds a disk, `umlctl config GUEST "
    "vec0:transport=...` a NIC",
    "devices": "; of a bare one, `umlctl config GUEST ubd1` asks for a disk",
    "sync": "; `umlctl sysrq GUEST s` has a bare one sync, which says on its console when that is "
    "done",
}
"""What a client can send a bare kernel instead of a supervisor's command."""


class Deadline:
    """Until when a request is to be answered, or several together.

    Fields:
        seconds: for all of it, whatever comes; None: each answer may take as long as `left` says
    """

    def __init__(
        self,
        seconds: float | None = None,
        patience: float = DEFAULT_TIMEOUT,
        *,
        renewed: bool = False,
    ) -> None:
        """patience: how long each answer may take where `seconds` is None, seconds

        renewed: each sign of life gives the answer as long again
        """
        self.seconds = seconds
        self._end = 0.0 if seconds is None else monotonic() + seconds
        self._patience = patience
        self._renewed = renewed

    def left(self) -> tuple[float, float]:
        """How long an answer may take, and how long after each sign of life, seconds. The second is
        0 if signs of life change nothing."""
        if self._end:
            return max(0.0, self._end - monotonic()), 0.0
        return self._patience, self._patience if self._renewed else 0.0

    @property
    def is_over(self) -> bool:
        return bool(self._end) and monotonic() >= self._end


def deadline_of(command: Command | None, seconds: float | None = None) -> Deadline:
    """The deadline of a command.

    command: None if it is unknown. An answer that may take as long as the guest likes is waited for
        as long as there are signs of life.
    seconds: what the user asked for instead
    """
    return Deadline(seconds, renewed=command is not None and command.waits)


def comes_again(command: Command, link: Link, outcome: Outcome) -> bool:
    """Whether the guest reboots, so that READY_QUESTION waits until it is ready again.

    That takes a supervisor: a bare kernel has its socket long before it can be asked without harm.
    """
    return command.name == "reboot" and outcome.ok and link.served


def until_ready(deadline: Deadline) -> Deadline:
    """How long a guest that reboots may take, by the deadline of the command that had it reboot.
    Without a time of the user's, its supervisor knows how long a boot may take."""
    return deadline if deadline.seconds else Deadline(renewed=True)


def ended_instead(problem: Exception) -> Outcome:
    """What came of a guest that was to be ready again, and that nobody answers for any more, as
    READY_QUESTION would have been answered while somebody did.

    problem: NoGuest, which says what became of it
    """
    return Outcome(GONE, reason=str(problem))


def conversation(
    guest: str, text: str, link: Link, deadline: Deadline
) -> Generator[str, Outcome | Unreachable | bool, Outcome]:
    """What a client does to have a request answered; returns how that ended.

    It yields SEND, and is sent the outcome, or why no server could be asked. It yields ADOPT, and
    is sent whether the guest has another supervisor since.

    Raises: Unreachable; InDoubt
    """
    ended: Outcome | Unreachable | bool = False
    for deaths in range(1, MAX_SUPERVISOR_DEATHS + 1):
        if deadline.is_over:
            return Outcome(TIMED_OUT, reason=f"not done within {deadline.seconds:g} seconds")
        ended = yield SEND
        asked = isinstance(ended, Outcome)
        if isinstance(ended, Outcome) and not (ended.kind == GONE and link.served):
            return ended
        # The supervisor is gone; its guest may live on.
        if deaths == MAX_SUPERVISOR_DEATHS or not (yield ADOPT):
            break
        if asked and not is_repeatable(text):
            from umlctl.errors import InDoubt

            raise InDoubt(
                "its supervisor was killed before it answered; the guest runs on and has another "
                f"one, but whether this was done is not known: see `umlctl events {guest}`"
            )
    if isinstance(ended, Unreachable):
        raise ended
    assert isinstance(ended, Outcome)
    return ended


def is_repeatable(text: str) -> bool:
    """Whether a request may be sent to the next supervisor when the last one did not answer it."""
    from umlctl.errors import Refusal
    from umlctl.protocol.guard import is_query, read

    try:
        line = read(text)
    except Refusal:
        return False
    return is_query(line) or line.command.repeatable


def prepare(link: Link, text: str, *, force: bool) -> str:
    """The text as this server wants it: a supervisor knows '!', a bare kernel has no guard.

    Raises: Unreachable; NotOnBareKernel; Refusal: a bare kernel would not survive it
    """
    link.open()
    if link.served:
        return "!" + text if force else text
    name = text.partition(" ")[0]
    command = BY_NAME.get(name)
    if command is not None and command.served != KERNEL:
        from umlctl.errors import NotOnBareKernel

        raise NotOnBareKernel(
            f"nobody supervises this guest, and a bare kernel has no `{name}`; "
            f"guests of `umlctl run` and `umlctl start` have{BARE_ADVICE.get(name, '')}"
        )
    if text.startswith("!"):
        return prepare(link, text[1:].lstrip(), force=True)
    if name == "stop" and text.strip() != name:
        from umlctl.errors import NotOnBareKernel

        raise NotOnBareKernel(
            "nobody supervises this guest, who would resume it in time; `stop` alone is until `go`"
        )
    # A kernel takes any name that begins with one of its own: `proc/kcore` reads kcore.
    if not force and (command is None or name in ("proc", "sysrq", "config")):
        from umlctl.protocol.guard import check, read

        if command is not None or name.startswith(tuple(BY_NAME)):
            check(read(text))
    if text.startswith("log ") and not text.endswith("\n"):
        text += "\n"  # the kernel shows a line only when it ends
    return text


class GuestClient:
    """A guest, for a caller that waits for each answer.

    Fields:
        name: as the user named the guest: its umid, or the path of a socket
        link: to the server that answers for it
    """

    def __init__(self, name: str, *, looks: bool = False) -> None:
        """looks: the guest is only looked at, and is not to be adopted"""
        self.name = name
        self._looks = looks
        self._target = Target(name)
        self._connection = Connection(self._target.socket)
        self.link = self._connection.link

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def is_bare(self) -> bool:
        """Whether a bare kernel answers, which no supervisor serves; False if nothing answers."""
        return is_bare(self.link)

    def ask(
        self,
        text: str,
        deadline: Deadline | None = None,
        *,
        force: bool = False,
        each: Callable[[bytes], None] | None = None,
        idle: Callable[[], object] | None = None,
    ) -> Outcome:
        """Send one command and wait for its outcome; if the supervisor dies, ask the next one.

        each, idle: as `socketproto.blocking.Connection.request` has them

        Raises: NoGuest, NotOnBareKernel, Refusal, InDoubt, UsageError; OSError: this process lacks
        what it takes
        """
        deadline = deadline or Deadline()
        steps = conversation(self.name, text, self.link, deadline)
        try:
            step = next(steps)
            while True:
                if step == ADOPT:
                    adopted = not self._looks and adopt(self.name)
                    self.link.redirect(self._target.socket)
                    step = steps.send(adopted)
                    continue
                ended: Outcome | Unreachable
                try:
                    line = prepare(self.link, text, force=force)
                    timeout, renew = deadline.left()
                    ended = self._connection.request(
                        line, timeout, renew=renew, each=each, idle=idle
                    )
                except Unreachable as problem:
                    ended = problem
                step = steps.send(ended)
        except StopIteration as end:
            outcome: Outcome = end.value
            return outcome
        except Unreachable as problem:
            from umlctl.errors import NoGuest

            why = str(problem) if self._looks else absent(self.name, problem)
            raise NoGuest(why) from None
        except WireError as problem:
            from umlctl.errors import UsageError

            raise UsageError(str(problem)) from None


def is_bare(link: Link) -> bool:
    """Whether a bare kernel answers on a socket, which no supervisor serves; False if nothing
    does."""
    try:
        link.open()
    except Unreachable:
        return False
    return not link.served


def adopt(guest: str) -> bool:
    """Have a guest whose supervisor is gone supervised again; True if it is."""
    if not has_record(guest):
        return False
    from umlctl.client.unsupervised import ask_to_adopt

    return ask_to_adopt(guest)


def absent(guest: str, problem: Unreachable) -> str:
    """Why no server answers for a guest, for a person: what became of it, if that is known."""
    if has_record(guest):
        from umlctl.client.unsupervised import epitaph

        said = epitaph(guest)
        if said:
            return said
    # A missing socket says no more than that there is no such guest.
    named = "/" not in guest and problem.is_missing
    return f"no guest {guest!r}{'' if named else f': {problem}'}; `umlctl list` shows the guests"


def as_text(command: Command, words: list[str]) -> str:
    """A command as it is sent. Paths of disks are the client's, so they are made absolute."""
    text = " ".join(words)
    if (command.name == "config" and text.startswith("ubd") and "=" in text) or (
        command.name == "plug" and words[:1] == ["disk"]
    ):
        text = _absolute(text)
    return f"{command.name} {text}" if text else command.name


def wrong_words(command: Command, words: list[str]) -> str:
    """What is wrong with the words after a command; empty if nothing is."""
    if len(words) < command.required:
        return f"{command.name} needs {command.args}"
    if len(words) > command.most and not command.takes_rest:
        return f"{command.name} takes {command.args or 'no argument'}, not {words[-1]!r}"
    if words and not all(words) and not (command.takes_rest and "".join(words).strip()):
        return f"{command.name} takes {command.args}, not an empty text"
    return ""


def _absolute(text: str) -> str:
    """A request with absolute paths of disks: the kernel may run in another directory than the
    client."""
    from os import getcwd

    from umlctl.errors import UsageError

    try:
        if text.startswith("ubd"):
            from umlctl.devices.ubd import parse

            return str(parse(text).absolute(getcwd()))
        from umlctl.guest.specs import parse_disk

        what, _, spec = text.partition(" ")
        return f"{what} {parse_disk(spec.strip(), getcwd())}"
    except UsageError:
        return text  # the guest says what is wrong, in its own words
