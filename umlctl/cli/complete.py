"""What a shell's completion offers."""

from __future__ import annotations

import os
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from umlctl.devices.families import kind_of
from umlctl.host import naming, paths
from umlctl.host.paths import BadPlace

if TYPE_CHECKING:
    from collections.abc import Callable

    import click
    from click.shell_completion import CompletionItem

ANSWER_TIMEOUT: Final = 1.0
"""How long a guest may take to say which devices it has, seconds."""


def guests(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    """Names under which a server may listen."""
    try:
        names = paths.guest_names()
    except BadPlace:
        return []
    return [name for name in names if name.startswith(incomplete)]


def of_guests(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Files of this host, and guests with the colon behind which those of a guest are."""
    from click.shell_completion import CompletionItem

    names = [CompletionItem(f"{name}:") for name in guests(ctx, param, incomplete)]
    return [*names, CompletionItem(incomplete, type="file")]


def helpful(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """What `help` can be asked about: commands, topics, and guests."""
    import click

    from umlctl.cli.man import TOPICS

    root = ctx.find_root().command
    commands = root.list_commands(ctx) if isinstance(root, click.Group) else []
    found = {name for name in (*commands, *TOPICS) if name.startswith(incomplete)}
    return sorted(found | set(guests(ctx, param, incomplete)))


def switches(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    """Switches that run, and switches that are defined."""
    from umlctl.networks import definitions, segments

    try:
        names = {name for name in segments.names() if naming.PRIVATE_MARK not in name}
        names |= {each.name for each in definitions.load_all() if each.kind == definitions.SWITCH}
    except BadPlace:
        return []
    return sorted(name for name in names if name.startswith(incomplete))


def bridges(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    """Bridges of this host."""
    from umlctl.errors import HostError
    from umlctl.networks import interfaces

    try:
        return sorted(
            each.name for each in interfaces.bridges() if each.name.startswith(incomplete)
        )
    except HostError:
        return []


def networks(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Switches and bridges."""
    return sorted({*switches(ctx, param, incomplete), *bridges(ctx, param, incomplete)})


def captured(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Whose frames can be captured: networks and guests."""
    return sorted({*networks(ctx, param, incomplete), *guests(ctx, param, incomplete)})


def profiles(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """The profiles; once a ':' is typed, with the bridges."""
    from umlctl.guest.profile import LAB, SERVER

    name, colon, bridge = incomplete.partition(":")
    if colon and name == SERVER:
        return [f"{SERVER}:{each}" for each in bridges(ctx, param, bridge)]
    return [each for each in (LAB, SERVER) if each.startswith(incomplete)]


def recorded(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    """Guests that have a record, dead or alive."""
    from umlctl.state import records

    try:
        names = [record.definition.umid for record in records.load_all()]
    except BadPlace:
        return []
    return [name for name in names if name.startswith(incomplete)]


def defined(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    """Guests that are written down."""
    from umlctl.definitions import files as found

    try:
        return [name for name in found.names() if name.startswith(incomplete)]
    except BadPlace:
        return []


def definitions(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """The same, and files that may have a definition."""
    paths_there = [
        path for path in files(incomplete) if path.endswith((".toml", "/")) or "/" in incomplete
    ]
    return sorted({*defined(ctx, param, incomplete), *paths_there})


def startable(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """The same, and guests that have been started before."""
    known = recorded(ctx, param, incomplete)
    return sorted({*known, *definitions(ctx, param, incomplete)})


def known(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Guests that are written down, or have been started before."""
    return sorted({*recorded(ctx, param, incomplete), *defined(ctx, param, incomplete)})


def snapshotted(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    """Guests that there are snapshots of."""
    from umlctl.state import snapshots

    try:
        names = {guest for each in snapshots.load_all() for guest in (each.guest, *each.guests)}
    except BadPlace:
        return []
    return sorted(name for name in names if name.startswith(incomplete))


def snapshots(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    """Snapshots of the guest that was named before."""
    from umlctl.state import snapshots as found

    try:
        names = {each.name for each in found.load_all(str(ctx.params.get("guest") or ""))}
    except BadPlace:
        return []
    return sorted(name for name in names if name.startswith(incomplete))


def images(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    """Images that were built here."""
    from umlctl.state import image_store

    try:
        return [name for name in image_store.names() if name.startswith(incomplete)]
    except BadPlace:
        return []


def kernels(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    """Names of kernels that were added, and files."""
    return [*added_kernels(_ctx, _param, incomplete), *files(incomplete)]


def added_kernels(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    from umlctl.kernels import registered

    try:
        return [name for name in registered.names() if name.startswith(incomplete)]
    except BadPlace:
        return []


def enabled(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    """Guests that are started without being asked for."""
    from umlctl.state import enabled as found

    try:
        return [each.umid for each in found.load_all() if each.umid.startswith(incomplete)]
    except BadPlace:
        return []


def consoles(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    """Consoles that can be attached to."""
    from umlctl.protocol.console_socket import CONSOLES

    return [name for name in CONSOLES if name.startswith(incomplete)]


def columns(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Columns of `list`, each behind those that the user has typed."""
    from click.shell_completion import CompletionItem

    before, comma, begun = incomplete.rpartition(",")
    return [
        CompletionItem(f"{before}{comma}{name}", help=meaning)
        for name, meaning in _columns(begun)
        if name not in before.split(",")
    ]


def sorting(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Columns that `list` can be sorted by; click takes a word with a `-` for an option."""
    from click.shell_completion import CompletionItem

    return [CompletionItem(name, help=meaning) for name, meaning in _columns(incomplete)]


def _columns(begun: str) -> list[tuple[str, str]]:
    from umlctl.output.guest_table import COLUMNS

    return [(name, each.meaning) for name, each in COLUMNS.items() if name.startswith(begun)]


def files(prefix: str) -> list[str]:
    """Paths of this host that begin with a prefix."""
    begin = prefix.rpartition("/")[2]
    shown = prefix[: len(prefix) - len(begin)]
    where = os.path.expanduser(shown or ".")
    try:
        with os.scandir(where) as entries:
            found = [
                f"{shown}{entry.name}{'/' if entry.is_dir() else ''}"
                for entry in entries
                if entry.name.startswith(begin) and (begin or not entry.name.startswith("."))
            ]
    except OSError:
        return []
    return sorted(found)


def behind(
    *command: str,
) -> Callable[[click.Context, click.Parameter, str], list[CompletionItem]]:
    """What fits behind a command of the prompt, by the prompt's own completion."""

    def offered(
        ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        from click.shell_completion import CompletionItem

        from umlctl.shell.completion import DEVICE, REMOVABLE, Facts, offer, wanted

        before = ctx.params.get(param.name or "") if param.param_type_name == "argument" else ()
        found = wanted(_joined([*command, *(before or ()), incomplete]))
        facts = Facts(
            networks=tuple(switches(ctx, param, "")), bridges=tuple(bridges(ctx, param, ""))
        )
        if {DEVICE, REMOVABLE} & set(found.kinds):
            facts = facts._replace(devices=_devices(str(ctx.params.get("guest") or "")))
        begun = incomplete.removesuffix(found.prefix) if found.prefix else incomplete
        return [
            CompletionItem(begun + each.text, help=each.meaning or None)
            for each in offer(found, facts, files)
        ]

    return offered


def _joined(words: list[str]) -> str:
    """The words of a command as one text; bash makes words of their own of `=` and `:`."""
    text = words[0]
    for before, word in pairwise(words):
        text += word if word[:1] in ("=", ":") or before in ("=", ":") else f" {word}"
    return text


def devices(
    kind: str,
) -> Callable[[click.Context, click.Parameter, str], list[CompletionItem]]:
    """Names of a guest's devices.

    kind: DISK or NIC
    """

    def offered(
        ctx: click.Context, _param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        from click.shell_completion import CompletionItem

        found = _devices(str(ctx.params.get("guest") or ""))
        return [
            CompletionItem(name, help=asked)
            for name, asked in found.items()
            if kind_of(name) == kind and name.startswith(incomplete)
        ]

    return offered


def _devices(guest: str) -> dict[str, str]:
    """A guest's devices with what was asked for; none if the guest does not say so soon.

    For a guest without a supervisor, they are the devices in its record.
    """
    import msgspec

    from umlctl.client.ask import Deadline, GuestClient
    from umlctl.errors import NoGuest, UmlctlError
    from umlctl.protocol.status import read_devices
    from umlctl.state import records

    try:
        with GuestClient(guest, looks=True) as asked:
            outcome = asked.ask("devices", Deadline(ANSWER_TIMEOUT))
        rows = read_devices(outcome.data) if outcome.ok else []
        return {row.name: row.asked for row in rows}
    except NoGuest:
        record = records.load(guest) if paths.has_record(guest) else None
        if record is None or record.ending is not None:
            return {}
        return {entry.name: entry.asked for entry in record.devices}
    except (UmlctlError, OSError, msgspec.DecodeError):
        return {}
