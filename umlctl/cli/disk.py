"""`umlctl disk`: the disks of a running guest."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import click
import msgspec

from umlctl import exitcodes
from umlctl.cli import complete, device_options
from umlctl.cli.main import Group
from umlctl.client.request import request
from umlctl.devices import families, ubd
from umlctl.devices.parse import parse_name
from umlctl.errors import HostError, UmlctlError, UsageError
from umlctl.guest.specs import Disk, parse_disk
from umlctl.output import say, views
from umlctl.storage.cow_file import open_cow
from umlctl.storage.extents import allocated

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
    """Plug disks into a running guest, take them out, and see to their COW files."""


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
        if asked.discard:
            say(
                f"what it writes to {entry.name} is lost when it ends; "
                f"`umlctl snapshot create {guest} NAME` keeps it",
                exitcodes.OK,
            )
        if entry.shared:
            say(
                f"{entry.name} is shared: nothing keeps other guests from writing to it; only a "
                "cluster file system stands that",
                exitcodes.OK,
            )
    return exitcodes.OK


@disk.command(
    "commit",
    epilog="""\b
Examples:
  umlctl disk commit demo ubd1
  umlctl disk commit demo 1 --json
""",
)
@device_options.guest_argument
@click.argument("disk", shell_complete=complete.devices(families.DISK))
@device_options.timeout_option
@device_options.json_option
def commit(guest: str, disk: str, deadline: Deadline, in_json: bool) -> int:
    """Merge a disk's COW file into its backing file, for good, while the guest runs.

    The disk is out of the guest meanwhile, so it must not be mounted there; then it is in again,
    and its COW file is empty. If that fails, all is as it was. Refused where other COW files are
    known over the backing file. For a root: `cow merge --in-place`, when the guest has ended.
    """
    found = _renewed(guest, "layer commit", disk, deadline)
    if in_json:
        print(views.to_json(found))
    else:
        taken = views.size(found["bytes"])
        print(f"{found['backing']} has {taken} of {found['name']}, whose COW file is empty now")
    return exitcodes.OK


@disk.command(
    "reset",
    epilog="""\b
Examples:
  umlctl disk reset demo ubd1
""",
)
@device_options.guest_argument
@click.argument("disk", shell_complete=complete.devices(families.DISK))
@device_options.timeout_option
@device_options.json_option
def reset(guest: str, disk: str, deadline: Deadline, in_json: bool) -> int:
    """Forget what was written to a disk with a COW file, while the guest runs.

    The disk is out of the guest meanwhile, so it must not be mounted there; then it is in again,
    as its backing file has it.
    """
    found = _renewed(guest, "layer reset", disk, deadline)
    if in_json:
        print(views.to_json(found))
    else:
        lost = views.size(found["bytes"])
        print(f"{found['name']} is as {found['backing']} has it; {lost} are forgotten")
    return exitcodes.OK


def _renewed(guest: str, verb: str, disk: str, deadline: Deadline) -> dict[str, Any]:
    """What the supervisor says of a disk whose COW file was merged or emptied.

    Raises: NoGuest, Refused, UsageError, HostError
    """
    data = request(guest, f"{verb} {_name_of(disk)}", deadline)
    try:
        found: dict[str, Any] = msgspec.json.decode(data)
        return {key: found[key] for key in ("name", "cow", "backing", "bytes")}
    except (msgspec.DecodeError, KeyError, TypeError):
        raise HostError(f"{guest}: the answer is none that umlctl knows") from None


def _name_of(disk: str) -> str:
    """The name of a disk that a user gives by its number, or its name here or in the guest.

    Raises: UsageError
    """
    name = parse_name(f"{families.UBD}{disk}" if disk.isdigit() else disk.removeprefix("/dev/"))
    if families.kind_of(name) != families.DISK:
        raise UsageError(f"a disk is ubdN or N, not {disk!r}")
    return name


@disk.command("rm", epilog="\b\nExamples:\n  umlctl disk rm demo ubd1\n  umlctl disk rm demo 1\n")
@device_options.guest_argument
@click.argument("disk", shell_complete=complete.devices(families.DISK))
@device_options.timeout_option
@device_options.json_option
def rm(guest: str, disk: str, deadline: Deadline, in_json: bool) -> int:
    """Take a disk out of a guest; it must not be mounted there. Its file stays."""
    device_options.remove(guest, _name_of(disk), deadline, in_json=in_json)
    return exitcodes.OK


@disk.command("list", epilog="\b\nExamples:\n  umlctl disk list demo --json\n")
@device_options.guest_argument
@device_options.json_option
def list_disks(guest: str, in_json: bool) -> int:
    """List the disks of a guest: what was asked for, what it has, and how full COW files are."""
    found = device_options.devices(guest)
    rows = [row for row in found if families.kind_of(row.name) == families.DISK]
    if in_json:
        found_cows = [(msgspec.to_builtins(row), _cow(row)) for row in rows]
        print(views.to_json([row | ({"cow": each} if each else {}) for row, each in found_cows]))
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
    found = _cow(row)
    if found is None:
        return ""
    share = f" ({100 * found['written'] / found['size']:.1f}%)" if found["size"] else ""
    return f"{views.size(found['written'])} are in its COW file{share}"


def _cow(row: Device) -> dict[str, Any] | None:
    """The COW file of a disk, and how full it is; None if there is none, or none that can be
    read."""
    try:
        device = ubd.parse(row.kernel)
        if not device.detect:
            return None
        with open_cow(device.files[0]) as of:
            return {
                "path": of.path,
                "backing": of.header.backing,
                "size": of.header.size,
                "written": of.written(),
                "allocated": allocated(of.descriptor),
            }
    except UmlctlError:
        return None
