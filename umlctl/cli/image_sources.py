"""What `umlctl image build` makes an image from: where that is, and how it is gathered."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from umlctl.cli.cow_merge import progress
from umlctl.errors import HostError, UsageError
from umlctl.host import dependent
from umlctl.kernels import find, modules
from umlctl.state import build_cache
from umlctl.storage import image_archive, image_setup, image_tree, oci_archive
from umlctl.storage.image_tree import ImageTree

if TYPE_CHECKING:
    from collections.abc import Callable

BUSYBOX: Final = "host-busybox"
DEBIAN: Final = "debian"
STORES: Final = ("docker://", "docker-daemon:", "containers-storage:")
"""How skopeo names a container image: of a registry, of Docker here, of Podman here."""
SUITE: Final = "stable"
PACKAGES: Final = ("ca-certificates", "ifupdown", "init", "iproute2", "kmod", "udev", "udhcpc")
RESOLVER: Final = "10.0.2.3"
"""Who knows names behind `--nic user`; DHCP says another one elsewhere."""
MAX_SAID: Final = 4
"""Lines of another program that are shown when it fails."""
_PULLED: Final = "pulled.oci.tar"
_REFERENCE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/:@+-]*")
_SKOPEO_SAYS: Final = re.compile(r'level=(?:error|fatal) msg="((?:[^"\\]|\\.)*)"')
_DAY_SECONDS: Final = 86400
_DIRECTORIES: Final = ("bin", "mnt", "sbin")


class Gathered(NamedTuple):
    """What goes into an image.

    Fields:
        tree: the files
        is_ours: they may be changed; else they are a user's own
        is_bare: there is nothing in it yet, and it is to be a system
        moment: when the image is said to be made, seconds since 1970
        left: how many devices were left out
    """

    tree: ImageTree
    is_ours: bool
    is_bare: bool
    moment: int
    left: int


def gather(
    what: str, source: str, packages: tuple[str, ...], place: str, epoch: int | None
) -> Gathered:
    """Have the files of an image in a directory.

    what: the command, for messages
    place: a directory for what is made
    epoch: what nothing is newer than; None: no bound

    Raises: UsageError, HostError, OSError
    """
    kind, _, suite = source.partition(":")
    is_debian = kind == DEBIAN and not os.path.exists(source)
    if packages and not is_debian:
        raise UsageError(
            f"{what}: --packages is for --from {DEBIAN}; in another system, --run SCRIPT installs "
            "them by its own means"
        )
    directory = f"{place}/tree"
    if source == BUSYBOX:
        return _busybox(directory, epoch)
    if is_debian:
        epoch = int(time.time()) // _DAY_SECONDS * _DAY_SECONDS if epoch is None else epoch
        source = _debian(what, suite or SUITE, packages, f"{place}/root.tar", epoch)
    elif source.startswith(STORES):
        source = _pulled(what, source, place)
    if os.path.isdir(source):
        nodes = image_tree.of_directory(os.path.realpath(source), epoch)
        moment = max(1, max(each.mtime for each in nodes) if epoch is None else epoch)
        return Gathered(ImageTree(os.path.realpath(source), nodes, moment), False, False, moment, 0)
    if not os.path.isfile(source):
        raise UsageError(
            f"{what}: --from is {BUSYBOX}, {DEBIAN}[:SUITE], a container image as "
            f"{STORES[0]}NAME, or a tree or archive that is there, not {source!r}"
        )
    os.mkdir(directory, 0o755)
    unpack = oci_archive.unpack if oci_archive.is_one(source) else image_archive.unpack
    with progress(what, os.stat(source).st_size) as say:
        nodes, left = unpack(source, directory, epoch, say)
    moment = max(1, max(each.mtime for each in nodes) if epoch is None else epoch)
    tree = ImageTree(directory, nodes, moment)
    if is_debian:
        tree.put("/etc/resolv.conf", f"nameserver {RESOLVER}\n".encode())
        _put_modules_in(tree)
    return Gathered(tree, True, False, moment, left)


def _busybox(directory: str, epoch: int | None) -> Gathered:
    """Raises: HostError, OSError"""
    changed = int(os.stat(image_setup.static_busybox()).st_mtime)
    moment = max(1, changed if epoch is None else min(changed, epoch))
    os.mkdir(directory)
    os.chmod(directory, 0o755)  # noqa: S103 - it is the root of the image
    nodes = [each._replace(mtime=moment) for each in image_tree.of_directory(directory, moment)]
    tree = ImageTree(directory, [each._replace(uid=0, gid=0) for each in nodes], moment)
    for name in _DIRECTORIES:
        tree.make_directory(f"/{name}", 0o755)
    return Gathered(tree, True, True, moment, 0)


def _put_modules_in(tree: ImageTree) -> None:
    """Those of the kernel that is used here, if there is one and it has any.

    Raises: HostError, OSError
    """
    try:
        kernel = find.probe(find.find(None))
    except HostError:
        return
    source = modules.of_release(kernel)
    if source:
        tree.copy_in(source, f"/lib/modules/{kernel.version}")


def _debian(what: str, suite: str, packages: tuple[str, ...], target: str, epoch: int) -> str:
    """The path of an archive of a Debian: the target, or one that was made so before.

    Raises: UsageError, HostError, OSError
    """
    for word in (suite, *packages):
        if (
            not word.replace("-", "").replace(".", "").replace("+", "").isalnum()
            or word[0] in "-.+"
        ):
            raise UsageError(
                f"{what}: a suite or a package is a word such as bookworm, not {word!r}"
            )
    program = shutil.which("mmdebstrap")
    if program is None:
        raise HostError(f"{what}: there is no mmdebstrap: apt install mmdebstrap")
    include = ",".join(sorted({*PACKAGES, *packages}))
    words = [program, "--variant=minbase", "--format=tar", f"--include={include}", suite]
    all_of_it = [*words, str(epoch), os.environ.get("APT_CONFIG", "")]
    if cached := build_cache.find(all_of_it):
        return cached
    _run(
        what,
        [*words, target],
        lambda said: [line for line in said.splitlines() if line.startswith(("E:", "W:"))],
        env={**os.environ, "SOURCE_DATE_EPOCH": str(epoch), "LC_ALL": "C.UTF-8"},
    )
    build_cache.keep(all_of_it, target)
    return target


def _pulled(what: str, reference: str, place: str) -> str:
    """The path of an archive of a container image, which is fetched.

    reference: of the image, as skopeo names it

    Raises: UsageError, HostError
    """
    name = reference.removeprefix(next(each for each in STORES if reference.startswith(each)))
    if not _REFERENCE.fullmatch(name):
        raise UsageError(
            f"{what}: a container image has a name such as ubuntu:24.04 or "
            f"registry.example.org/team/web@sha256:..., not {name!r}"
        )
    program = shutil.which("skopeo")
    if program is None:
        raise HostError(
            f"{what}: there is no skopeo, which fetches container images: apt install skopeo; or "
            "give --from an archive that `docker save` writes"
        )
    # A path in an argument would end at a colon.
    words = [program, f"--tmpdir={place}", "copy", reference, f"oci-archive:{_PULLED}"]
    _run(
        what,
        words,
        lambda said: [each.replace('\\"', '"') for each in _SKOPEO_SAYS.findall(said)],
        cwd=place,
    )
    return f"{place}/{_PULLED}"


def _run(what: str, words: list[str], why: Callable[[str], list[str]], **options: Any) -> None:
    """Run a program of this host's; on a terminal, it shows what it does, and how far it is.

    why: the lines of what it said that say why it failed

    Raises: HostError
    """
    shows = sys.stderr.isatty()
    done = dependent.run(
        words,
        has_children=True,
        stdout=sys.stderr if shows else subprocess.DEVNULL,
        stderr=None if shows else subprocess.PIPE,
        **options,
    )
    if done.returncode:
        said = (done.stderr or b"").decode("utf-8", "backslashreplace")
        text = "; ".join(why(said)[-MAX_SAID:]) or f"it ended with {done.returncode}"
        raise HostError(f"{what}: {os.path.basename(words[0])}: {text}")
