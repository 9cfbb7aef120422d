"""`umlctl image`: images of file systems for guests."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import click

from umlctl import exitcodes
from umlctl.cli import complete, device_options, image_build
from umlctl.cli.cow_merge import users
from umlctl.cli.main import Group
from umlctl.cli.snapshot_use import told
from umlctl.errors import HostError
from umlctl.guest.definition import parse_size
from umlctl.output import say, views
from umlctl.state import files_in_use, image_store
from umlctl.storage import ext4, image_lint, images
from umlctl.storage.file_copy import copy_whole

if TYPE_CHECKING:
    from umlctl.state.image_store import Image

name_argument = click.argument("name", shell_complete=complete.images)


@click.group(
    cls=Group,
    epilog="""\b
Examples:
  umlctl image build small --from host-busybox --size 64M
  umlctl image list
""",
)
def image() -> None:
    """Build images of file systems, without root, and see to them."""


image.add_command(image_build.build)


@image.command("list", epilog="\b\nExamples:\n  umlctl image list --json\n")
@device_options.json_option
def list_images(in_json: bool) -> int:
    """List the images that were built here."""
    found = [image_store.load(name) for name in image_store.names()]
    if in_json:
        print(views.to_json([each._asdict() for each in found]))
        return exitcodes.OK
    table: list[tuple[str, ...]] = [("NAME", "SIZE", "ON DISK", "FROM", "PATH")]
    for each in found:
        sizes = [views.size(each.size), views.size(each.allocated)]
        source = views.printable(str(each.recipe.get("from", "-")))
        table.append((each.name, *sizes, source, each.path))
    views.columns(table)
    return exitcodes.OK


@image.command("info", epilog="\b\nExamples:\n  umlctl image info small\n")
@name_argument
@device_options.json_option
def info(name: str, in_json: bool) -> int:
    """Show what an image is, and what is over it."""
    with told(f"image info {name}"):
        one = image_store.load(name)
        what = images.read(one.path)
        over = files_in_use.over(one.path)
    if in_json:
        facts = {**one._asdict(), "what": what.what if what else None, "over": over}
        print(views.to_json(facts))
        return exitcodes.OK
    rows = [
        ("path", one.path),
        ("size", f"{views.size(one.size)}, {views.size(one.allocated)} on this host"),
        ("what", what.what if what else "nothing that is known"),
        *((key, str(value)) for key, value in one.recipe.items() if key != "size"),
        *(("under", each) for each in over),
    ]
    for key, value in rows:
        print(f"{key:<10}{views.printable(value)}")
    return exitcodes.OK


@image.command("rm", epilog="\b\nExamples:\n  umlctl image rm small\n")
@click.argument("names", nargs=-1, required=True, shell_complete=complete.images)
def rm(names: tuple[str, ...]) -> int:
    """Remove images. One that a guest has or is to have, or that COW files are over, is refused."""
    for name in dict.fromkeys(names):
        what = f"image rm {name}"
        with told(what), image_store.lock():
            one = image_store.load(name)
            image_store.check_unused(what, one, users)
            image_store.check_unwanted(what, one)
            image_store.remove(one)
        print(f"{name} is removed")
    return exitcodes.OK


@image.command("resize", epilog="\b\nExamples:\n  umlctl image resize small 128M\n")
@name_argument
@click.argument("size")
@device_options.json_option
def resize(name: str, size: str, in_json: bool) -> int:
    """Give an image and its file system another SIZE, after a check of it.

    What fails leaves it as it was. One that a guest has, or that COW files are over, is refused.
    """
    what = f"image resize {name}"
    wanted = -(-parse_size(size) // 4096) * 4096
    with told(what), image_store.lock():
        one = image_store.load(name)
        image_store.check_unused(what, one, users)
        _resize(one, wanted)
        one = image_store.load(name)
    if in_json:
        print(views.to_json(one._asdict()))
    else:
        print(f"{name} has {views.size(one.size)} now")
    return exitcodes.OK


def _resize(one: Image, size: int) -> None:
    """Raises: HostError, OSError"""
    with image_store.workshop(one.name) as place:
        beside = f"{place}/image"
        source = os.open(one.path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            target = os.open(beside, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            try:
                copy_whole(source, target, lambda _count: None)
                ext4.resize(target, size)
                os.fsync(target)
            finally:
                os.close(target)
        finally:
            os.close(source)
        os.rename(beside, one.path)


@image.command(
    "lint",
    epilog="""\b
Examples:
  umlctl image lint small
  umlctl image lint ./debian.img --json
""",
)
@click.argument("image_path", metavar="IMAGE", shell_complete=complete.images)
@device_options.json_option
def lint(image_path: str, in_json: bool) -> int:
    """See what keeps IMAGE, a name or a file, from being a guest's root; ends with 7 if any.

    What its /etc/fstab mounts, whether there is an init, and a login on the console.
    """
    with told(f"image lint {image_path}"):
        path = image_path if "/" in image_path else image_store.load(image_path).path
        if not os.path.exists(path):
            raise HostError(f"there is no file {path}")
        found = image_lint.problems(path)
    if in_json:
        print(views.to_json({"path": path, "problems": found}))
    else:
        for each in found:
            say(f"{image_path}: {each}", exitcodes.FAILED)
        if not found:
            print(f"{views.printable(image_path)} has all that a root needs here")
    return exitcodes.FAILED if found else exitcodes.OK
