"""`umlctl nic set`: the character of the link of a NIC."""

from __future__ import annotations

import re
from typing import Any, Final

import click

from umlctl import exitcodes
from umlctl.cli import complete, device_options, guest_nic
from umlctl.devices import families
from umlctl.errors import HostError, NoGuest, UsageError
from umlctl.networks import link
from umlctl.networks.link import PLAIN, Character
from umlctl.networks.segments import Segment
from umlctl.output import views
from umlctl.recovery import discover

_DELAY: Final = re.compile(r"(\d+(?:\.\d+)?)(us|ms|s)")
_DELAY_UNITS: Final = {"us": 1e-6, "ms": 1e-3, "s": 1.0}
_RATE: Final = re.compile(r"(\d+(?:\.\d+)?)([kmg]?)bit")
_RATE_UNITS: Final = {"": 1.0, "k": 1e3, "m": 1e6, "g": 1e9}
_LOSS: Final = re.compile(r"(\d+(?:\.\d+)?)%?")


class _Value(click.ParamType[float]):
    """A number with a unit, as tc(8) takes them."""

    def __init__(self, name: str, pattern: re.Pattern[str], units: dict[str, float]) -> None:
        self.name = name
        self._pattern = pattern
        self._units = units

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        if isinstance(value, float):
            return value
        found = self._pattern.fullmatch(str(value).lower())
        if found is None:
            self.fail(f"{value!r} is no {self.name}", param, ctx)
        unit = found[2] if self._pattern.groups > 1 else "%"
        return float(found[1]) * self._units[unit]


DELAY: Final = _Value("time as 20ms, 500us or 1.5s", _DELAY, _DELAY_UNITS)
RATE: Final = _Value("rate as 10mbit, 512kbit or 1gbit", _RATE, _RATE_UNITS)
LOSS: Final = _Value("percentage as 1% or 0.5", _LOSS, {"%": 0.01})


@click.command(
    "set",
    epilog="""\b
Examples:
  umlctl nic set demo vec0 --delay 20ms --jitter 5ms --loss 1% --rate 10mbit
  umlctl nic set demo vec0 --down             as if its cable were pulled
  umlctl nic set demo vec0 --up
  umlctl nic set demo vec0 --reset            as it was before all this
  umlctl nic set demo vec0                    what is set
""",
)
@device_options.guest_argument
@click.argument("nic", shell_complete=complete.devices(families.NIC))
@click.option("--delay", type=DELAY, metavar="TIME", help="How long a frame takes, each way.")
@click.option("--jitter", type=DELAY, metavar="TIME", help="How much longer or shorter, at random.")
@click.option("--loss", type=LOSS, metavar="PERCENT", help="How many of all frames are lost.")
@click.option("--rate", type=RATE, metavar="RATE", help="The most that passes, each way.")
@click.option("--down/--up", "down", default=None, help="Let nothing pass; let it pass again.")
@click.option("--reset", is_flag=True, help="Forget first what was set before.")
@device_options.json_option
def set_link(guest: str, nic: str, in_json: bool, reset: bool, **asked: Any) -> int:
    """Have the link of a NIC delay, lose, slow down or cut what passes, at once.

    What is not named stays as it was. All stays over reboots of the guest, and for a NIC that is
    plugged in again, until the guest ends. The NIC is on a switch; for a tap, tc(8) does the same.
    """
    record = next((each for each in discover.running() if each.definition.umid == guest), None)
    if record is None:
        raise NoGuest(f"no guest {guest!r} runs here; `umlctl list` shows those that do")
    if not guest_nic.NAME.fullmatch(nic):
        raise UsageError(f"a NIC is vecN or ethN, not {nic!r}")
    entry = guest_nic.find(record, nic, "delayed")
    if not entry.network:
        raise HostError(
            f"{guest}'s {entry.name} is on the tap {entry.tap}, which is the host's: "
            f"`sudo tc qdisc replace dev {entry.tap} root netem delay 20ms` delays what it receives"
        )
    segment = Segment(entry.network)
    now = link.of_status(segment.status(), entry.mac)
    changes = {name: value for name, value in asked.items() if value is not None}
    if changes or reset:
        now = (PLAIN if reset else now)._replace(**changes)
        link.read(link.described(now))
        segment.set_link(entry.mac, record.pid, now)
    if in_json:
        print(views.to_json({"guest": guest, "name": entry.name, "link": now._asdict()}))
    else:
        print(f"{guest} {entry.name}: {in_words(now)}")
    return exitcodes.OK


def in_words(character: Character) -> str:
    """A character for a person, in the words of the options."""
    said = []
    if character.delay or character.jitter:
        said.append(f"delay {character.delay * 1000:g}ms")
    if character.jitter:
        said.append(f"jitter {character.jitter * 1000:g}ms")
    if character.loss:
        said.append(f"loss {character.loss * 100:g}%")
    if character.rate:
        said.append(f"rate {_rate(character.rate)}")
    if character.down:
        said.append("down")
    return ", ".join(said) or "plain"


def _rate(bits: float) -> str:
    for unit, most in (("g", 1e9), ("m", 1e6), ("k", 1e3)):
        if bits >= most:
            return f"{bits / most:g}{unit}bit"
    return f"{bits:g}bit"
