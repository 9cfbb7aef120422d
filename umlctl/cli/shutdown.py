"""`umlctl shutdown` of all guests of this user, or of several, whichever supervisor each has."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from umlctl import exitcodes
from umlctl.client import unsupervised
from umlctl.client.ask import deadline_of
from umlctl.errors import NoGuest, UmlctlError, UsageError
from umlctl.guest import dependencies
from umlctl.host import paths
from umlctl.output import say, views
from umlctl.protocol.commands import BY_NAME, MAX_SECONDS, SHUTDOWN_TIMEOUT
from umlctl.protocol.status import Ending, read_ending
from umlctl.recovery import discover
from umlctl.state import records

FORCED_END_TIMEOUT: Final = 60.0
"""How long a supervisor may take beyond that to sync, halt and in the end kill a guest, seconds."""
UNSEEN_CAUSE: Final = "not seen to end"
"""The cause of an ending that no supervisor has told of: the guest may not have ended."""
ORDERLY_CAUSES: Final = ("shut down", "exited")


def is_seconds(word: str) -> bool:
    """Whether a word is a number, and so no guest: the last word of a command may be one."""
    try:
        float(word)
    except ValueError:
        return False
    return True


def shut_all_down(words: list[str], in_json: bool, timeout: float | None) -> int:
    """End all guests; return the exit code.

    Raises: UsageError
    """
    seconds = seconds_of(words)
    after = _running()
    if not after and not in_json:
        say("no guest runs", exitcodes.OK)
        return exitcodes.OK
    return _shut_down(after, seconds, in_json, timeout)


def shut_down(names: list[str], words: list[str], in_json: bool, timeout: float | None) -> int:
    """End several guests; return the exit code. If one is unknown, none is ended.

    Raises: UsageError, NoGuest
    """
    seconds = seconds_of(words)
    running = _running()
    code = exitcodes.OK
    wanted = dict.fromkeys(names)
    for name in [name for name in wanted if name not in running]:
        said = unsupervised.epitaph(name)
        if not said:
            raise NoGuest(
                f"no guest {name!r}, so none is shut down; `umlctl list` shows the guests"
            )
        code = say(said, exitcodes.NO_GUEST)
    after = {
        name: tuple(each for each in running[name] if each in wanted)
        for name in wanted
        if name in running
    }
    return _shut_down(after, seconds, in_json, timeout) or code


def _shut_down(
    after: dict[str, tuple[str, ...]], seconds: float, in_json: bool, timeout: float | None
) -> int:
    """End guests side by side, first those that come after others; return the exit code.

    after: the guests that each comes after, by its name
    seconds: how long the own shutdown of each may take
    timeout: how long each may take, seconds; None: as long as its supervisor gives signs of life
    """
    import trio

    results: list[dict[str, Any]] = []

    async def end(umid: str) -> None:
        began = trio.current_time()
        text = f"it is still there after {seconds + FORCED_END_TIMEOUT:g} seconds"
        ending = Ending(cause=UNSEEN_CAUSE, code=exitcodes.TIMED_OUT, text=text)
        with trio.move_on_after(seconds + FORCED_END_TIMEOUT):
            ending = await _ending(umid, seconds, timeout)
        result = {
            "umid": umid,
            "in_order": ending.powered_down or (ending.cause in ORDERLY_CAUSES and not ending.text),
            "seconds": round(trio.current_time() - began, 3),
            "ending": ending,
        }
        results.append(result)
        _tell(result)

    async def end_all() -> None:
        async with trio.open_nursery() as nursery:
            dependencies.in_order(dependencies.ends(after), end, nursery.start_soon)

    trio.run(end_all)
    if in_json:
        print(views.to_json(results))
    return exitcodes.OK if all(each["in_order"] for each in results) else exitcodes.FAILED


def seconds_of(words: list[str]) -> float:
    """How long a shutdown may take, by what stands behind the guests; 30 if nothing does.

    Raises: UsageError
    """
    try:
        seconds = float(words[0]) if words else SHUTDOWN_TIMEOUT
        if len(words) > 1 or not 0 <= seconds <= MAX_SECONDS:
            raise ValueError
    except ValueError:
        raise UsageError(
            f"after the guests, shutdown takes a number of seconds, not {' '.join(words)!r}"
        ) from None
    return seconds


def _running() -> dict[str, tuple[str, ...]]:
    """Guests that have a supervisor, each with the guests that it comes after.

    A bare kernel is left to the user who has started it by hand.
    """
    for record in discover.without_supervisor():
        if unsupervised.ask_to_adopt(record.definition.umid, everyone=True):
            break  # all others were taken over with it
    found = {
        record.definition.umid: record.definition.after
        for record in records.load_all()
        if records.lives(record)
    }
    names = [name for name in paths.guest_names() if name not in found]
    return found | {name: () for name in names if unsupervised.is_served(name)}


async def _ending(umid: str, seconds: float, timeout: float | None) -> Ending:
    """Have a guest's supervisor end it; return how it ended."""
    from umlctl.client.asynchronous import AsyncGuestClient

    try:
        with AsyncGuestClient(umid) as guest:
            outcome = await guest.ask(
                f"shutdown {seconds:g}", deadline_of(BY_NAME["shutdown"], timeout)
            )
        if outcome.ok:
            return read_ending(outcome.data)
        text = f"its supervisor did not end it: {outcome}"
    except UmlctlError as problem:
        record = records.load(umid)
        if record is not None and record.ending is not None:
            return record.ending  # it ended a moment before it was asked to
        _, why = unsupervised.out_of_reach(umid)
        text = why or f"its supervisor cannot be asked: {problem}"
    except msgspec.DecodeError:
        text = "its supervisor's answer is no ending"
    return Ending(cause=UNSEEN_CAUSE, code=exitcodes.GONE, text=text)


def _tell(result: dict[str, Any]) -> None:
    words = views.ending_text(result["ending"])
    if result["in_order"]:
        say(f"{result['umid']}: {words}, after {result['seconds']:.1f}s", exitcodes.OK)
    else:
        say(f"{result['umid']}: did not end in order: {words}", exitcodes.FAILED)
