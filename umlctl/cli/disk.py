"""`umlctl disk`: the disks of a running guest."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import click
import msgspec

from umlctl import exitcodes
from umlctl.cli import complete, device_options
from umlctl.cli.main import Group
from umlctl.devices import families, ubd
from umlctl.devices.parse import parse_name
from umlctl.errors import UmlctlError, UsageError
from umlctl.guest.specs import Disk, parse_disk
from umlctl.output import say, views
from umlctl.storage.cow_file import open_cow

if TYPE_CHECKING:
    from umlctl.client.ask import Deadline
    from umlctl.protocol.status import Device


@click.group(
    cls=Group,
    epilog="""\b
Examples:
  umlctl disk add demo data.img
  umlctl disk list demo
""",
)
def disk() -> None:
    """Plug disks into a running guest, and take them out."""


@disk.command(
    "add",
    epilog="""\b
Examples:
  umlctl disk add demo data.img                 the first free slot
  umlctl disk add demo base.img --cow mine.cow  base.img stays as it is
  umlctl disk add demo base.img --discard       and what is written is forgotten at the end
  umlctl disk add demo debian.iso --ro --slot 3
""",
)
@device_options.guest_argument
@click.argument("file", type=click.Path(readable=False))
@click.option("--slot", type=click.IntRange(0, 15), metavar="N", help="ubdN. [default: a free one]")
@click.option("--ro", "readonly", is_flag=True, help="Read-only; others may read the file too.")
@click.option("--sync", is_flag=True, help="Each write is on the host's disk when it returns.")
@click.option("--cow", default="", metavar="COW", help="Write to COW, made if missing, not FILE.")
@click.option("--discard", is_flag=True, help="The same with a COW file that ends with the guest.")
@click.option("--serial", default="", metavar="S", help="The serial number that the guest sees.")
@click.option("--no-trim", is_flag=True, help="Do not punch holes where the guest discards.")
@click.option("--shared", is_flag=True, help="Others may write the file too: yours to coordinate.")
@click.option("--raw", is_flag=True, help="Take FILE as it stands, whatever it is.")
@device_options.force_option
@device_options.timeout_option
@device_options.json_option
def add(
    guest: str, file: str, in_json: bool, deadline: Deadline, force: bool, **options: Any
) -> int:
    """Plug FILE, an image or a block device, into a guest.

    The file is looked at first: whether it can be read and written, who else uses it, whether a
    COW file fits its backing file. It is plugged when the guest has it, and then again after
    every reboot. `run` and `start` take the same as --disk FILE,slot=1,ro,cow=COW,...
    """
    if options["cow"]:
        options["cow"] = os.path.abspath(options["cow"])
    asked = Disk(file=os.path.abspath(file), **options)
    if options["cow"] and options["discard"]:
        raise UsageError("--cow keeps what is written and --discard does not: take one")
    if options["readonly"] and (options["cow"] or options["discard"]):
        raise UsageError("--cow and --discard are for writing and --ro is not: take one")
    asked.device(asked.slot or 0, asked.cow)  # a ',' in a name would be read as an option
    parse_disk(str(asked))
    entry = device_options.plugged(guest, f"disk {asked}", deadline, force=force)
    if in_json:
        print(views.to_json(msgspec.structs.asdict(entry)))
    else:
        observed = entry.observed or {}
        node = f" as /dev/{observed['block']}" if observed.get("block") else ""
        print(f"{entry.name} is in {guest}{node}, {views.size(observed.get('size'))}")
        if entry.shared:
            say(
                f"{entry.name} is shared: nothing keeps other guests from writing to it; only a "
                "cluster file system stands that",
                exitcodes.OK,
            )
    return exitcodes.OK


@disk.command("rm", epilog="\b\nExamples:\n  umlctl disk rm demo ubd1\n  umlctl disk rm demo 1\n")
@device_options.guest_argument
@click.argument("disk", shell_complete=complete.devices(families.DISK))
@device_options.timeout_option
@device_options.json_option
def rm(guest: str, disk: str, deadline: Deadline, in_json: bool) -> int:
    """Take a disk out of a guest; it must not be mounted there. Its file stays."""
    name = parse_name(f"{families.UBD}{disk}" if disk.isdigit() else disk.removeprefix("/dev/"))
    if families.kind_of(name) != families.DISK:
        raise UsageError(f"a disk is ubdN or N, not {disk!r}")
    device_options.remove(guest, name, deadline, in_json=in_json)
    return exitcodes.OK


@disk.command("list", epilog="\b\nExamples:\n  umlctl disk list demo --json\n")
@device_options.guest_argument
@device_options.json_option
def list_disks(guest: str, in_json: bool) -> int:
    """List the disks of a guest: what was asked for, what it has, and how full COW files are."""
    found = device_options.devices(guest)
    rows = [row for row in found if families.kind_of(row.name) == families.DISK]
    if in_json:
        print(views.to_json(rows))
        return exitcodes.OK
    table: list[tuple[str, ...]] = [("DISK", "GUEST", "SIZE", "ASKED", "NOTE")]
    for row in rows:
        seen = row.observed or {}
        block = seen.get("block")
        table.append(
            (
                row.name,
                f"/dev/{block}" if block else "-",
                views.size(seen.get("size")),
                row.asked,
                device_options.note(row) or _fullness(row) or ("shared" if row.shared else ""),
            )
        )
    views.columns(table)
    return exitcodes.OK


def _fullness(row: Device) -> str:
    """How much of a disk is in its COW file; empty if it has none, or none that can be read."""
    try:
        device = ubd.parse(row.kernel)
        if not device.detect:
            return ""
        with open_cow(device.files[0]) as of:
            return f"{views.size(of.written())} are in its COW file"
    except UmlctlError:
        return ""
