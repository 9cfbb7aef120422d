"""What a shell's completion offers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from umlctl.host import paths

if TYPE_CHECKING:
    import click


def guests(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    """Names under which something may listen."""
    try:
        names = paths.guest_names()
    except paths.BadPlace:
        return []
    return [name for name in names if name.startswith(incomplete)]


def switches(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    """Switches that run, and those that are defined."""
    from umlctl.host import networks, segments

    names = {name for name in segments.names() if paths.PRIVATE not in name}
    names |= {each.name for each in networks.load_all() if each.kind == networks.SWITCH}
    return sorted(name for name in names if name.startswith(incomplete))


def bridges(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    """Bridges of this host."""
    from umlctl.errors import HostError
    from umlctl.host import taps

    try:
        return sorted(each.name for each in taps.bridges() if each.name.startswith(incomplete))
    except HostError:
        return []


def networks(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Switches and bridges."""
    return sorted({*switches(ctx, param, incomplete), *bridges(ctx, param, incomplete)})


def profiles(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """The profiles; once a ':' is typed, with the bridges."""
    from umlctl.guest.profile import LAB, SERVER

    name, colon, bridge = incomplete.partition(":")
    if colon and name == SERVER:
        return [f"{SERVER}:{each}" for each in bridges(ctx, param, bridge)]
    return [each for each in (LAB, SERVER) if each.startswith(incomplete)]


def recorded(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    """Guests of which something was written down, dead or alive."""
    from umlctl.host import records

    names = [record.definition.umid for record in records.load_all()]
    return [name for name in names if name.startswith(incomplete)]


def enabled(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    """Guests that are started without being asked for."""
    from umlctl.host import enabled as found

    return [each.umid for each in found.load_all() if each.umid.startswith(incomplete)]
