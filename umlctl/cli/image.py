"""`umlctl image`: images of file systems for guests."""

from __future__ import annotations

import click

from umlctl import exitcodes
from umlctl.cli import complete, device_options, image_build, image_files, image_pull, image_use
from umlctl.cli.cow_merge import users
from umlctl.cli.main import Group
from umlctl.cli.snapshot_use import told
from umlctl.errors import UmlctlError
from umlctl.guest.definition import parse_size
from umlctl.kernels import find
from umlctl.output import say, views
from umlctl.state import files_in_use, image_store
from umlctl.storage import ext4, image_lint, images
from umlctl.storage.cow_file import opened

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


for command in (
    *(
        image_build.build,
        image_pull.pull,
        image_use.shell,
        image_use.passwd,
        image_use.put_modules_in,
    ),
    *(image_files.du, image_files.export, image_files.convert),
):
    image.add_command(command)


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
            image_store.check_unused(what, one.path, users)
            image_store.check_unwanted(what, one)
            image_store.remove(one)
        print(f"{name} is removed")
    return exitcodes.OK


@image.command("resize", epilog="\b\nExamples:\n  umlctl image resize small 128M\n")
@name_argument
@click.argument("size")
@device_options.json_option
def resize(name: str, size: str, in_json: bool) -> int:
    """Give an image and its ext4 file system another SIZE, after a check of it.

    What fails leaves it as it was. One that a guest has, or that COW files are over, is refused.
    """
    what = f"image resize {name}"
    wanted = -(-parse_size(size) // 4096) * 4096
    with told(what), image_store.lock():
        one = image_store.load(name)
        image_store.check_unused(what, one.path, users)
        image_use.check_ext(what, one.path)
        with (
            image_store.changed(what, one, users) as path,
            opened(path, write=True) as descriptor,
        ):
            ext4.resize(descriptor, wanted)
        one = image_store.load(name)
    if in_json:
        print(views.to_json(one._asdict()))
    else:
        print(f"{name} has {views.size(one.size)} now")
    return exitcodes.OK


def _release() -> str:
    """Of the kernel that is used here; empty: there is none."""
    try:
        return find.probe(find.find(None)).version
    except UmlctlError:
        return ""


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

    Whether there is an init, a login on the console and a shell that begins commands, what its
    /etc/fstab mounts, which NICs it sets up, and whether its modules are of the kernel here.
    """
    with told(f"image lint {image_path}"):
        path = image_use.path_of(image_path)
        found = image_lint.problems(path, _release())
    if in_json:
        print(views.to_json({"path": path, "problems": found}))
    else:
        for each in found:
            say(f"{image_path}: {each}", exitcodes.FAILED)
        if not found:
            print(f"{views.printable(image_path)} has all that a root needs here")
    return exitcodes.FAILED if found else exitcodes.OK
