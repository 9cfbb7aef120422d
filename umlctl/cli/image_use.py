"""What `umlctl image` does with the files of an image: a shell, a password, modules."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Final

import click

from umlctl import exitcodes
from umlctl.cli import complete, device_options, exec_command, image_guest
from umlctl.cli.cow_merge import users
from umlctl.cli.snapshot_use import told
from umlctl.errors import HostError, UsageError
from umlctl.kernels import find, modules
from umlctl.output import views
from umlctl.state import image_store
from umlctl.storage import ext4, images, passwords
from umlctl.storage.cow_file import opened

if TYPE_CHECKING:
    from umlctl.state.image_store import Image

_EXT: Final = "an ext file system"
_BLOCK_BYTES: Final = 4096


def path_of(name: str) -> str:
    """The path of an image that is named, or given as a file.

    Raises: UsageError, HostError
    """
    if "/" not in name:
        return image_store.load(name).path
    path = os.path.abspath(name)
    if not os.path.isfile(path):
        raise HostError(f"there is no file {path}")
    return path


def mountable(what: str, path: str) -> tuple[int, str]:
    """The partition that has the root of an image, 0 if it is all of it; and how it is mounted.

    Raises: HostError, OSError
    """
    found = images.read(path)
    if found is not None and found.kind == images.PARTITIONED and found.root:
        return found.root, "rw"
    if found is not None and found.kind == images.MEDIUM:
        return 0, "ro"
    if found is None or found.kind != images.FILE_SYSTEM:
        it_is = found.what if found else "nothing that is known"
        remedy = found.remedy(path) if found else ""
        hint = f"; `{remedy}` first" if remedy else ""
        raise HostError(f"{what}: {path} is {it_is}, and no file system{hint}")
    return 0, "rw"


@click.command(
    "shell",
    epilog="""\b
Examples:
  umlctl image shell deb
  umlctl image shell ./broken.img -- passwd -d root
  umlctl image shell deb --nic user -- apt-get install -y vim
""",
)
@click.argument("image_path", metavar="IMAGE", shell_complete=complete.images)
@click.argument("words", nargs=-1, metavar="[-- COMMAND [ARGUMENT]...]", type=click.UNPROCESSED)
@click.option(
    "--nic",
    "nics",
    multiple=True,
    metavar="user|switch=NAME|tap=NAME[,OPTION]...",
    help="A network interface, as of `umlctl exec`; repeat for more.",
)
def shell(image_path: str, words: tuple[str, ...], nics: tuple[str, ...]) -> int:
    """Be root in IMAGE, a name or a file, by a guest that has it as a disk.

    A COMMAND is run instead of a shell, and its exit code is that of this. Nothing of the image is
    mounted or run on this host. One that a guest has, or that COW files are over, is refused.
    """
    what = f"image shell {image_path}"
    if words:
        exec_command.check_words(words)
    with told(what):
        path = path_of(image_path)
        partition, mode = mountable(what, path)
        if mode == "rw":
            image_store.check_unused(what, path, users)
        return image_guest.shell(path, words, partition, mode, nics)


@click.command(
    "passwd",
    epilog="""\b
Examples:
  umlctl image passwd deb
  umlctl image passwd deb me <password
  umlctl image passwd deb --lock
""",
)
@click.argument("name", shell_complete=complete.images)
@click.argument("user", default="root")
@click.option("--lock", is_flag=True, help="No password is USER's then.")
def passwd(name: str, user: str, lock: bool) -> int:
    """Set the password of USER, root unless given, in the image NAME.

    It is asked for on a terminal, and else the first line of what is read.
    """
    what = f"image passwd {name}"
    with told(what), image_store.lock():
        one = image_store.load(name)
        image_store.check_unused(what, one.path, users)
        check_ext(what, one.path)
        word = passwords.LOCKED if lock else passwords.hashed(_password(user))
        for table in ("/etc/shadow", "/etc/passwd"):
            before = ext4.contents(one.path, table)
            after = passwords.with_password(before, user, word) if before else None
            if after is not None:
                break
        else:
            raise HostError(f"{what}: there is no user {user} in it")
        with (
            image_store.changed(what, one, users) as path,
            opened(path, write=True) as descriptor,
        ):
            ext4.replace(descriptor, table, after)
    print(f"{user} {'can log in by no password' if lock else 'has another password'} in {name}")
    return exitcodes.OK


def _password(user: str) -> str:
    """Raises: UsageError"""
    if sys.stdin.isatty():
        asked: str = click.prompt(
            f"Password of {user}", hide_input=True, confirmation_prompt=True, err=True
        )
        return asked
    try:
        line = sys.stdin.readline()
    except UnicodeDecodeError:
        raise UsageError("the password that was read is no text; give it as a line") from None
    if not line:
        raise UsageError("there is no password to read; give it as a line")
    return line.rstrip("\n")


def check_ext(what: str, path: str) -> None:
    """Refuse an image that the programs of e2fsprogs do not read.

    Raises: HostError, OSError
    """
    found = images.read(path)
    if found is None or found.what != _EXT:
        it_is = found.what if found else "nothing that is known"
        raise HostError(f"{what}: it is {it_is}, and no ext4; `umlctl image shell` takes others")


@click.command(
    "modules",
    epilog="""\b
Examples:
  umlctl image modules deb
  umlctl image modules deb --kernel ./linux
""",
)
@click.argument("name", shell_complete=complete.images)
@click.option(
    "--kernel",
    metavar="FILE",
    help="The UML kernel whose modules they are. [default: see `umlctl setup`]",
    shell_complete=complete.kernels,
)
@device_options.json_option
def put_modules_in(name: str, kernel: str | None, in_json: bool) -> int:
    """Put the modules of a kernel into the image NAME, where that kernel looks for them.

    What fails leaves it as it was. One that a guest has, or that COW files are over, is refused.
    """
    what = f"image modules {name}"
    with told(what), image_store.lock():
        one = image_store.load(name)
        image_store.check_unused(what, one.path, users)
        partition, _ = mountable(what, one.path)
        if partition:
            raise HostError(f"{what}: it is partitioned; `umlctl image shell` copies them")
        probed = find.probe(find.find(kernel))
        source = modules.of_release(probed)
        if not source:
            raise HostError(f"{what}: {probed.path} has no modules of {probed.version} here")
        _check_room(what, one, source, probed.version)
        with image_store.changed(what, one, users) as path:
            image_guest.put_modules_in(what, path, probed.path, source, probed.version)
        image_store.note(name, {**one.recipe, "modules": probed.version})
        one = image_store.load(name)
    if in_json:
        print(views.to_json(one._asdict()))
    else:
        print(f"{name} has the modules of {probed.version}")
    return exitcodes.OK


def _check_room(what: str, image: Image, source: str, release: str) -> None:
    """Refuse to copy modules into an image that has no room for them.

    Raises: HostError, OSError
    """
    found = images.read(image.path)
    if found is None or found.what != _EXT:
        return
    known = ext4.usage(image.path)
    if known is None or release in ext4.names(image.path, "/lib/modules"):  # which go first
        return
    inside = [f"{above}/{name}" for above, _, names in os.walk(source) for name in names]
    wanted = sum(-(-os.lstat(each).st_size // _BLOCK_BYTES) * _BLOCK_BYTES for each in inside)
    if wanted > known[1]:
        raise HostError(
            f"{what}: they take {views.size(wanted)}, and {views.size(known[1])} are free in it; "
            f"`umlctl image resize {image.name} SIZE` gives it more, it has "
            f"{views.size(image.size)} now"
        )
