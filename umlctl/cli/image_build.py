"""`umlctl image build`: an image of a file system from what is here, as an ordinary user."""

from __future__ import annotations

import os
import shutil
import stat
from typing import Any, Final, NamedTuple

import click

from umlctl import exitcodes
from umlctl.cli import device_options, image_guest
from umlctl.cli.image_sources import BUSYBOX, gather
from umlctl.cli.snapshot_use import told
from umlctl.errors import HostError, UsageError
from umlctl.execution.if_killed import if_killed
from umlctl.guest.definition import parse_size
from umlctl.output import say, views
from umlctl.state import image_store
from umlctl.storage import ext4, image_archive, image_setup, other_fs
from umlctl.storage.cow_file import opened
from umlctl.storage.image_setup import Wanted
from umlctl.storage.image_tree import ImageTree
from umlctl.storage.new_file import new_file

ROOM_BYTES: Final = 32 << 20
"""More than what goes in, unless told otherwise, bytes; and a quarter of that."""
RUN_ROOM_BYTES: Final = 2 << 30
"""The same while a script of --run has it, bytes."""
_ALIGNED: Final = 1 << 20
_BLOCK_BYTES: Final = 4096
_FS: Final = "ext4"


class _Asked(NamedTuple):
    """What is asked for.

    Fields:
        what: the command, for messages
        name: of the image
        source: what it is made from
        packages: that a Debian has besides
        size: bytes; 0: as large as it has to be, with room
        wanted: what is set up in it
        script: that is run in it; empty: none
        epoch: what nothing is newer than, seconds since 1970; None: not said
    """

    what: str
    name: str
    source: str
    packages: tuple[str, ...]
    size: int
    wanted: Wanted
    script: str
    epoch: int | None


@click.command(
    "build",
    epilog="""\b
Examples:
  umlctl image build small --from host-busybox --size 64M
  umlctl image build mine --from ./rootfs
  umlctl image build web --from ./nginx.oci.tar
  umlctl image build deb --from debian:bookworm --packages openssh-server,vim --size 2G
  umlctl image build deb --from debian --user me --ssh-key ~/.ssh/id_ed25519.pub --run ./setup.sh
""",
)
@click.argument("name")
@click.option(
    "--from",
    "source",
    default=BUSYBOX,
    metavar="SOURCE",
    help="host-busybox, debian[:SUITE], or a TREE, a TARBALL, or an archive of a container image, "
    "of OCI or `docker save`, or docker://NAME, which skopeo fetches. [default: host-busybox]",
)
@click.option("--packages", default="", metavar="NAME,...", help="Also these packages of Debian.")
@click.option("--size", metavar="SIZE", help="Of the image. [default: what goes in, and room]")
@click.option(
    "--fs",
    type=click.Choice([_FS, *other_fs.LEAST_BYTES]),
    default=_FS,
    help="Its file system; those other than ext4 are filled by a guest.",
)
@click.option(
    "--hostname",
    metavar="NAME",
    help="What its guests call themselves. [default: each by its own name]",
)
@click.option(
    "--user", "users", multiple=True, metavar="NAME", help="A user who is there; repeat for more."
)
@click.option(
    "--ssh-key",
    "keys",
    multiple=True,
    metavar="FILE",
    help="A public key of the first --user, or of root; repeat for more.",
)
@click.option("--autologin", is_flag=True, help="Root is at the console without a password.")
@click.option(
    "--run",
    "script",
    metavar="SCRIPT",
    help="Run it in the image, as root of a guest and not here.",
)
@device_options.json_option
def build(name: str, in_json: bool, **options: Any) -> int:
    """Build NAME, an image of a file system, without root.

    What is yours in a TREE is root's in the image; a TARBALL says who owns what. A system gets
    what it needs as a guest's root, unless it has that: a file system table, an init, a login on
    tty0, DHCP. A TREE is as it is, unless an option says otherwise.

    The same input makes the same bytes of ext4, with SOURCE_DATE_EPOCH as the time of what is
    newer. The image is whole or is not there.
    """
    asked = _asked(name, options)
    path = image_store.path_of(name)
    with told(asked.what), image_store.lock():
        if os.path.lexists(path):
            raise HostError(
                f"{asked.what}: it is there already; `umlctl image rm {name}`, or another"
            )
        with image_store.workshop(name) as place, if_killed('rm -rf "$1"', place):
            moment, left = _build(asked, place, path)
        image_store.note(name, _recipe(asked, moment))
        made = image_store.load(name)
    if in_json:
        print(views.to_json(made._asdict()))
    else:
        print(f"{name} has {views.size(made.size)}, {views.size(made.allocated)} on this host")
        say(f"`umlctl start GUEST --root {path},cow=GUEST.cow` starts a guest on it", exitcodes.OK)
    if left:
        say(f"{left} devices were left out: a guest's kernel makes its own", exitcodes.OK)
    return exitcodes.OK


def _asked(name: str, options: dict[str, Any]) -> _Asked:
    """Raises: UsageError, HostError"""
    what = f"image build {name}"
    image_store.path_of(name)
    given = os.environ.get("SOURCE_DATE_EPOCH", "")
    epoch = int(given) if given.isascii() and given.isdigit() else None
    keys = "".join(_key(what, path) for path in options["keys"])
    wanted = Wanted(
        options["hostname"], options["fs"], options["users"], keys, options["autologin"]
    )
    image_setup.check(wanted)
    packages = tuple(each for each in options["packages"].split(",") if each)
    size = parse_size(options["size"]) if options["size"] else 0
    script = os.path.abspath(options["script"]) if options["script"] else ""
    if script and not os.path.isfile(script):
        raise UsageError(f"{what}: --run {options['script']} does not exist, or is no file")
    return _Asked(what, name, options["source"], packages, size, wanted, script, epoch)


def _key(what: str, path: str) -> str:
    """A public key, in one line.

    Raises: UsageError, HostError
    """
    try:
        with open(path, encoding="ascii") as file:
            text = file.read(1 << 16).strip()
    except UnicodeDecodeError:
        text = ""
    except FileNotFoundError:
        raise UsageError(f"{what}: --ssh-key {path} does not exist") from None
    except OSError as problem:
        raise HostError(f"{what}: cannot read {path}: {problem.strerror}") from problem
    if "PRIVATE KEY" in text or len(text.split()) < 2 or "\n" in text:
        raise UsageError(f"{what}: --ssh-key is a public key in one line, which {path} is not")
    return f"{text}\n"


def _build(asked: _Asked, place: str, path: str) -> tuple[int, int]:
    """Build an image; when it is said to be made, and how many devices were left out.

    Raises: UmlctlError, OSError
    """
    got = gather(asked.what, asked.source, asked.packages, place, asked.epoch)
    tree = got.tree
    if got.is_bare or image_setup.is_root(tree):
        if got.is_ours or _is_changed(asked.wanted):
            if not got.is_ours:
                tree = _copied(tree, f"{place}/tree", got.moment)
            image_setup.set_up(tree, asked.wanted)
    elif _is_changed(asked.wanted):
        raise UsageError(
            f"{asked.what}: {asked.source} is no system that could have a user or a name"
        )
    if asked.script:
        tree = _run(asked, tree, place, got.moment)
    if asked.wanted.fs == _FS:
        _make(asked, tree, path, asked.size or _room(tree, ROOM_BYTES), got.moment)
    else:
        _make_other(asked, tree, place, path, got.moment)
    return got.moment, got.left


def _is_changed(wanted: Wanted) -> bool:
    return wanted != Wanted(None, wanted.fs)


def _copied(tree: ImageTree, place: str, moment: int) -> ImageTree:
    """Raises: HostError, OSError"""
    os.mkdir(place, 0o755)
    try:
        shutil.copytree(
            tree.directory, place, symlinks=True, dirs_exist_ok=True, copy_function=_copy
        )
    except shutil.Error as problem:
        source, _, why = problem.args[0][0]
        raise HostError(f"{source} cannot be copied: {why}") from problem
    for each in tree.nodes:
        if stat.S_ISDIR(each.mode):  # which its owner may not write to
            os.chmod(place + each.path, stat.S_IMODE(each.mode) | 0o700)
    return ImageTree(place, tree.nodes, moment)


def _copy(source: str, target: str) -> str:
    """Copy a file; pipes, sockets and devices are made anew.

    Raises: OSError
    """
    status = os.lstat(source)
    if stat.S_ISREG(status.st_mode):
        return shutil.copy2(source, target)
    os.mknod(target, status.st_mode, status.st_rdev)
    return target


def _room(tree: ImageTree, more: int) -> int:
    """As large as a tree, with room, bytes."""
    least = sum(_blocks(os.lstat(tree.directory + each.path).st_size) for each in tree.nodes)
    return least + least // 4 + more


def _blocks(size: int) -> int:
    """What a file takes, as far as its length says: how it is kept here differs from day to day."""
    return -(-size // _BLOCK_BYTES) * _BLOCK_BYTES


def _make(asked: _Asked, tree: ImageTree, path: str, size: int, moment: int) -> None:
    """Raises: HostError, OSError"""
    with new_file(path, 0o600) as descriptor:
        os.ftruncate(descriptor, _aligned(size))
        try:
            ext4.make(descriptor, tree.directory, tree.nodes, asked.name, moment)
        except HostError as problem:
            if not asked.size or isinstance(problem, ext4.NoProgram):
                raise
            had = views.size(asked.size)
            raise HostError(
                f"{problem}; {asked.what} without --size makes it as large as it has to be, which "
                f"{had} may not be"
            ) from problem


def _aligned(size: int) -> int:
    return -(-size // _ALIGNED) * _ALIGNED


def _make_other(asked: _Asked, tree: ImageTree, place: str, path: str, moment: int) -> None:
    """The same with a file system that a guest fills.

    Raises: UmlctlError, OSError
    """
    fs = asked.wanted.fs
    first, target = f"{place}/first.img", f"{place}/target.img"
    room = _room(tree, ROOM_BYTES)
    other_fs.make(target, fs, _aligned(asked.size or room + other_fs.LEAST_BYTES[fs]), asked.name)
    _make(asked, tree, first, room, moment)
    image_guest.copy(asked.what, first, target, fs)
    with opened(target) as descriptor:
        os.fsync(descriptor)
    os.chmod(target, 0o600)
    os.link(target, path)  # unlike a rename it never replaces what is there


def _run(asked: _Asked, tree: ImageTree, place: str, moment: int) -> ImageTree:
    """Run a script in an image of a tree; what the tree is then.

    Raises: UmlctlError, OSError
    """
    first, after = f"{place}/before.img", f"{place}/after"
    _make(asked, tree, first, max(asked.size, _room(tree, RUN_ROOM_BYTES)), moment)
    os.mkdir(after, 0o755)
    image_guest.run_script(asked.what, first, asked.script, after)
    os.unlink(first)
    if not stat.S_ISREG(os.lstat(f"{after}/tree.tar").st_mode):  # what ran may have put that there
        raise HostError(f"{asked.what}: {asked.script} has put something in the way of its files")
    os.mkdir(f"{after}/tree", 0o755)
    nodes, _ = image_archive.unpack(f"{after}/tree.tar", f"{after}/tree", moment)
    os.unlink(f"{after}/tree.tar")
    return ImageTree(f"{after}/tree", nodes, moment)


def _recipe(asked: _Asked, moment: int) -> dict[str, Any]:
    """What an image was built from, to be built so again."""
    found: dict[str, Any] = {"from": asked.source}
    if asked.packages:
        found["packages"] = list(asked.packages)
    size = os.stat(image_store.path_of(asked.name)).st_size
    found |= {"size": size, "fs": asked.wanted.fs}
    if asked.wanted.hostname is not None:
        found["hostname"] = asked.wanted.hostname
    if asked.wanted.users:
        found["users"] = list(asked.wanted.users)
    if asked.wanted.keys:
        found["ssh-keys"] = asked.wanted.keys.splitlines()
    if asked.wanted.autologin:
        found["autologin"] = True
    if asked.script:
        found["run"] = asked.script
    return {**found, "epoch": moment}
