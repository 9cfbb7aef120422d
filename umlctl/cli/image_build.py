"""`umlctl image build`: an image of a file system from what is here, as an ordinary user."""

from __future__ import annotations

import os
import shutil
import subprocess
from typing import TYPE_CHECKING, Final

import click

from umlctl import exitcodes
from umlctl.cli import device_options
from umlctl.cli.snapshot_use import told
from umlctl.errors import HostError, UsageError
from umlctl.guest.definition import parse_size
from umlctl.output import say, views
from umlctl.state import image_store
from umlctl.storage import ext4, image_tree
from umlctl.storage.new_file import new_file

if TYPE_CHECKING:
    from umlctl.storage.image_tree import Node

BUSYBOX: Final = "host-busybox"
DEBIAN: Final = "debian"
SUITE: Final = "stable"
ROOM_BYTES: Final = 32 << 20
"""More than what goes in, unless told otherwise, bytes; and a quarter of that."""
_ALIGNED: Final = 1 << 20
_BLOCK_BYTES: Final = 4096
_PACKAGES: Final = "init,udev,iproute2,ifupdown,ca-certificates"


@click.command(
    "build",
    epilog="""\b
Examples:
  umlctl image build small --from host-busybox --size 64M
  umlctl image build mine --from ./rootfs
  umlctl image build debian --from debian:bookworm --size 2G
""",
)
@click.argument("name")
@click.option(
    "--from",
    "source",
    default=BUSYBOX,
    metavar="SOURCE",
    help="host-busybox, debian[:SUITE], or a TREE or TARBALL. [default: host-busybox]",
)
@click.option("--size", metavar="SIZE", help="Of the image. [default: what goes in, and room]")
@click.option("--fs", type=click.Choice(["ext4"]), default="ext4", help="Its file system.")
@device_options.json_option
def build(name: str, source: str, size: str | None, fs: str, in_json: bool) -> int:
    """Build NAME, an image of a file system, without root.

    What is yours in a TREE is root's in the image; a TARBALL says who owns what. Debian is put
    together by mmdebstrap, where that is installed. The same input makes the same bytes, with
    SOURCE_DATE_EPOCH as the time of what is newer. The image is whole or is not there.
    """
    what = f"image build {name}"
    path = image_store.path_of(name)
    wanted = parse_size(size) if size else 0
    given = os.environ.get("SOURCE_DATE_EPOCH", "")
    epoch = int(given) if given.isascii() and given.isdigit() else None
    with told(what), image_store.lock():
        if os.path.lexists(path):
            raise HostError(f"{what}: it is there already; `umlctl image rm {name}`, or another")
        with image_store.workshop(name) as place:
            tree, nodes, left = _gathered(what, source, name, place, epoch)
            least = sum(_blocks(os.lstat(tree + each.path).st_size) for each in nodes)
            length = wanted or least + least // 4 + ROOM_BYTES
            length = -(-length // _ALIGNED) * _ALIGNED
            moment = epoch if epoch is not None else max(each.mtime for each in nodes)
            with new_file(path, 0o600) as descriptor:
                os.ftruncate(descriptor, length)
                ext4.make(descriptor, tree, nodes, name, max(1, moment))
        image_store.note(name, {"from": source, "size": length, "fs": fs, "epoch": moment})
        made = image_store.load(name)
    if in_json:
        print(views.to_json(made._asdict()))
    else:
        print(f"{name} has {views.size(made.size)}, {views.size(made.allocated)} on this host")
        say(f"`umlctl start GUEST --root {path},cow=GUEST.cow` starts a guest on it", exitcodes.OK)
    if left:
        say(f"{left} devices were left out: a guest's kernel makes its own", exitcodes.OK)
    return exitcodes.OK


def _blocks(size: int) -> int:
    """What a file takes, as far as its length says: how it is kept here differs from day to day."""
    return -(-size // _BLOCK_BYTES) * _BLOCK_BYTES


def _gathered(
    what: str, source: str, name: str, place: str, epoch: int | None
) -> tuple[str, list[Node], int]:
    """The tree that goes in, what each file of it is to be, and how many devices it lacks.

    Raises: UsageError, HostError, OSError
    """
    tree = f"{place}/tree"
    kind, _, suite = source.partition(":")
    if source == BUSYBOX:
        os.mkdir(tree)
        return tree, image_tree.busybox(tree, name, epoch), 0
    if kind == DEBIAN and not os.path.exists(source):
        source = f"{place}/root.tar"
        _debian(what, suite or SUITE, source)
    if os.path.isdir(source):
        tree = os.path.realpath(source)
        return tree, image_tree.of_directory(tree, epoch), 0
    if not os.path.isfile(source):
        raise UsageError(
            f"{what}: --from is {BUSYBOX}, {DEBIAN}[:SUITE], or a tree or tarball that is there, "
            f"not {source!r}"
        )
    os.mkdir(tree)
    nodes, left = image_tree.from_archive(source, tree, epoch)
    return tree, nodes, left


def _debian(what: str, suite: str, target: str) -> None:
    """Raises: UsageError, HostError"""
    if not suite.replace("-", "").isalnum():
        raise UsageError(f"{what}: a suite is a word such as bookworm, not {suite!r}")
    program = shutil.which("mmdebstrap")
    if program is None:
        raise HostError(f"{what}: there is no mmdebstrap: apt install mmdebstrap")
    words = ["--quiet", "--variant=minbase", f"--include={_PACKAGES}", suite, target]
    done = subprocess.run(
        [program, *words], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [f"it ended with {done.returncode}"])[-1]
        raise HostError(f"{what}: mmdebstrap: {last}")
