"""What `umlctl image` does with images as files: how much they take, copies, other formats."""

from __future__ import annotations

import os
from typing import Final

import click

from umlctl import exitcodes
from umlctl.cli import complete, device_options, image_guest
from umlctl.cli.cow_merge import progress, users
from umlctl.cli.image_use import mountable, path_of
from umlctl.cli.snapshot_use import told
from umlctl.errors import UsageError
from umlctl.output import views
from umlctl.state import image_store
from umlctl.state.file_identity import check_free, hold_of
from umlctl.storage import converted, ext4, images
from umlctl.storage.cow_file import opened
from umlctl.storage.extents import allocated
from umlctl.storage.file_copy import copy_whole
from umlctl.storage.new_file import new_file

_TAR: Final = ".tar"


@click.command("du", epilog="\b\nExamples:\n  umlctl image du\n  umlctl image du deb --json\n")
@click.argument("names", nargs=-1, metavar="[IMAGE]...", shell_complete=complete.images)
@device_options.json_option
def du(names: tuple[str, ...], in_json: bool) -> int:
    """Show what images take on this host, and what is used and free in them.

    IMAGE is a name or a file; without, it is all that were built here. What is used is not known of
    one that a guest has mounted, or has not unmounted.
    """
    rows = []
    for name in names or image_store.names():
        with told(f"image du {name}"):
            path = path_of(name)
            status = os.stat(path)
            found = images.read(path)
            is_ext = found is not None and found.what == "an ext file system"
            used, free = (ext4.usage(path) if is_ext else None) or (None, None)
        rows.append(
            {
                "name": name,
                "path": path,
                "size": status.st_size,
                "allocated": status.st_blocks * 512,
                "used": used,
                "free": free,
            }
        )
    if in_json:
        print(views.to_json(rows))
        return exitcodes.OK
    table: list[tuple[str, ...]] = [("NAME", "SIZE", "ON DISK", "USED", "FREE")]
    for row in rows:
        numbers = [row["size"], row["allocated"], row["used"], row["free"]]
        shown = [views.size(each) if isinstance(each, int) else "-" for each in numbers]
        table.append((views.printable(str(row["name"])), *shown))
    views.columns(table)
    return exitcodes.OK


@click.command(
    "export",
    epilog="""\b
Examples:
  umlctl image export deb deb.img          a copy, with its holes
  umlctl image export deb deb.tar          its files, with their owners
""",
)
@click.argument("name", metavar="IMAGE", shell_complete=complete.images)
@click.argument("file", type=click.Path(readable=False))
def export(name: str, file: str) -> int:
    """Copy IMAGE, a name or a file, to FILE, or what is in it if that ends in .tar.

    A copy shares its blocks where the file system can do that. FILE is whole or is not there.
    """
    what = f"image export {name}"
    with told(what), image_store.lock():
        path = path_of(name)
        with new_file(file, 0o666) as target, opened(path, lock=True) as source:
            if file.endswith(_TAR):
                partition, _ = mountable(what, path)
                with image_store.workshop("export") as place:
                    image_guest.archive(what, path, f"{place}/files{_TAR}", partition)
                    with opened(f"{place}/files{_TAR}") as made:
                        copy_whole(made, target, lambda _count: None)
            else:
                with progress(what, allocated(source)) as say:
                    copy_whole(source, target, say)
    print(f"{views.printable(file)} is written")
    return exitcodes.OK


@click.command(
    "convert",
    epilog="""\b
Examples:
  umlctl image convert debian.qcow2 deb           an image of that name, for guests here
  umlctl image convert deb deb.qcow2              for qemu
  umlctl image convert ./disk.vmdk disk.img
""",
)
@click.argument("source", metavar="IMAGE", shell_complete=complete.images)
@click.argument("target", metavar="NAME|FILE", type=click.Path(readable=False))
@device_options.json_option
def convert(source: str, target: str, in_json: bool) -> int:
    """Make of IMAGE, a name or a file, one in another format.

    The end of FILE says which: .img and .raw, .qcow2, .vmdk, .vdi, .vhdx, .vhd. What has no
    dot and no `/` is NAME, an image for guests here. Other formats take qemu-img, where that is.
    What is made is whole or is not there.
    """
    what = f"image convert {source} {target}"
    wanted = converted.FORMATS.get(os.path.splitext(target)[1].lower(), "")
    is_name = not set("/.") & set(target)
    if not wanted and not is_name:
        known = ", ".join(converted.FORMATS)
        raise UsageError(f"{what}: a file ends in one of {known}, as its format is")
    with told(what), image_store.lock():
        is_file = "/" in source or (
            os.path.splitext(source)[1].lower() in converted.FORMATS and os.path.isfile(source)
        )
        path = path_of(os.path.abspath(source) if is_file else source)
        kind = converted.kind_of(path)
        check_free(what, [hold_of(path, write=False)], users())
        made = image_store.path_of(target) if is_name else target
        total = os.stat(path).st_blocks * 512
        mode = 0o600 if is_name else 0o666
        with new_file(made, mode) as descriptor, progress(what, total) as say:
            converted.convert(path, kind, descriptor, wanted or "raw", say)
        if is_name:
            size = os.stat(made).st_size
            image_store.note(target, {"from": path, "size": size, "format": kind})
    facts = {"path": os.path.abspath(made), "from": kind, "format": wanted or "raw"}
    if in_json:
        print(views.to_json(facts))
    else:
        print(f"{views.printable(made)} is {facts['format']}, made from {kind}")
    return exitcodes.OK
