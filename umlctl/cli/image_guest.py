"""What is done to an image by a guest: as root there, with the file systems that its kernel has.

The guest has this host's files as `umlctl exec` has them, and the image as a disk. Nothing of that
disk is mounted on this host, and nothing of it runs here.
"""

from __future__ import annotations

import os
import shutil
import signal
from typing import Final, NamedTuple

import click

from umlctl.errors import HostError
from umlctl.host import programs

MEM: Final = "512M"
_INTERRUPTED: Final = tuple(128 + each for each in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM))
"""Exit codes of what was told to end."""
MOUNTED: Final = "/mnt"
"""Where the image is in the guest."""
_MOUNT: Final = f"""
set -e
mkdir -p {MOUNTED}
mount -o "$mode" /dev/ubdb"$partition" {MOUNTED}
"""
_ENTER: Final = f"""
enter() {{
    for each in proc sys dev; do [ -d {MOUNTED}/$each ] || mkdir {MOUNTED}/$each; done
    mount -t proc proc {MOUNTED}/proc
    mount -t sysfs sysfs {MOUNTED}/sys
    mount --rbind /dev {MOUNTED}/dev
    names={MOUNTED}/etc/resolv.conf
    made=
    [ -s /etc/resolv.conf ] && [ ! -L $names ] && [ -d {MOUNTED}/etc ] || return 0
    [ -e $names ] || {{ : >$names && made=yes; }}
    mount --bind /etc/resolv.conf $names
}}
leave() {{
    umount $names 2>/dev/null || :
    [ -z "$made" ] || rm $names
    umount -l {MOUNTED}/dev
    umount {MOUNTED}/sys {MOUNTED}/proc
}}
export HOME=/root PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
"""
_RUN: Final = f"""{_MOUNT}{_ENTER}
cp "$script" {MOUNTED}/.umlctl-run
chmod 700 {MOUNTED}/.umlctl-run
enter
read -r begin <{MOUNTED}/.umlctl-run || :
status=0
case $begin in
'#!'*) chroot {MOUNTED} /.umlctl-run || status=$? ;;
*) chroot {MOUNTED} /bin/sh /.umlctl-run || status=$? ;;
esac
leave
rm {MOUNTED}/.umlctl-run
[ $status = 0 ] || exit $status
tar --numeric-owner --xattrs --exclude=./lost+found -C {MOUNTED} -cf "$target" .
"""
_TAR: Final = f"""{_MOUNT}
tar --numeric-owner --xattrs --exclude=./lost+found -C {MOUNTED} -cf "$target" .
"""
_SHELL: Final = f"""{_MOUNT}{_ENTER}
if [ -x {MOUNTED}/bin/sh ] || [ -L {MOUNTED}/bin/sh ]; then
    enter
    status=0
    if [ $# != 0 ]; then
        chroot {MOUNTED} "$@" || status=$?
    else
        shell=/bin/bash
        [ -x {MOUNTED}$shell ] || shell=/bin/sh
        chroot {MOUNTED} $shell -l || status=$?
    fi
    leave
else
    cd {MOUNTED}
    echo "there is no /bin/sh in the image, which is in {MOUNTED}" >&2
    status=0
    if [ $# != 0 ]; then "$@" || status=$?; else sh || status=$?; fi
    cd /
fi
umount {MOUNTED}
exit $status
"""
_COPY: Final = f"""{_MOUNT}
mkdir -p {MOUNTED}.new
mount -t "$fs" /dev/ubdc {MOUNTED}.new
cp -a {MOUNTED}/. {MOUNTED}.new/
rmdir {MOUNTED}.new/lost+found
sync -f {MOUNTED}.new
umount {MOUNTED}.new
"""
_MODULES: Final = f"""{_MOUNT}
mkdir -p {MOUNTED}/lib/modules
rm -rf {MOUNTED}/lib/modules/"$release"
cp -rP --preserve=mode,timestamps "$source" {MOUNTED}/lib/modules/"$release"
rm -f {MOUNTED}/lib/modules/"$release"/build {MOUNTED}/lib/modules/"$release"/source
chown -R 0:0 {MOUNTED}/lib/modules/"$release"
sync -f {MOUNTED}
umount {MOUNTED}
"""


class _Guest(NamedTuple):
    """A guest that has an image as its disk.

    Fields:
        image: its path
        partition: where its root is; 0: it has none
        mode: how it is mounted: rw or ro
        written: a directory of this host that the guest may write to; empty: none
        other: another image that it has, to write to; empty: none
        kernel: its path; empty: the usual one
        nics: as for `--nic`
        asks: what it reads and writes is of who called this
    """

    image: str
    partition: int = 0
    mode: str = "rw"
    written: str = ""
    other: str = ""
    kernel: str = ""
    nics: tuple[str, ...] = ()
    asks: bool = False


def run_script(what: str, image: str, script: str, place: str) -> None:
    """Run a script in an image, as its root; then have its files as `tree.tar`.

    The guest has this host's network where there is slirp4netns.

    what: the command, for messages
    image: has an ext4 file system
    place: a directory that the guest may write to

    Raises: HostError, OSError
    """
    copied = f"{place}/script"
    shutil.copyfile(script, copied)
    has_network = shutil.which("slirp4netns") and not programs.init_lacks("ip")
    nics = ("user",) if has_network else ()
    guest = _Guest(image, written=place, nics=nics)
    if code := _perform(guest, _RUN, {"script": copied, "target": f"{place}/tree.tar"}):
        raise HostError(f"{what}: {script} ended with {code} in the guest, and nothing was built")


def archive(what: str, image: str, target: str, partition: int = 0) -> None:
    """Have the files of an image as an archive.

    target: its path; its directory is written to by the guest

    Raises: HostError
    """
    guest = _Guest(image, partition, "ro", os.path.dirname(target))
    if code := _perform(guest, _TAR, {"target": target}):
        raise HostError(f"{what}: the guest that reads it ended with {code}")


def copy(what: str, image: str, target: str, fs: str) -> None:
    """Copy the files of an image into the empty file system of another one.

    Raises: HostError
    """
    if code := _perform(_Guest(image, mode="ro", other=target), _COPY, {"fs": fs}):
        raise HostError(f"{what}: the guest that copies its files ended with {code}")


def put_modules_in(what: str, image: str, kernel: str, source: str, release: str) -> None:
    """Copy modules of a kernel into an image.

    Raises: HostError
    """
    guest = _Guest(image, kernel=kernel)
    if code := _perform(guest, _MODULES, {"source": source, "release": release}):
        raise HostError(f"{what}: the guest that copies them ended with {code}")


def shell(
    image: str, words: tuple[str, ...], partition: int, mode: str, nics: tuple[str, ...]
) -> int:
    """Be root in an image, or in a guest beside it if it has no shell; the exit code.

    words: a command instead of a shell
    """
    return _perform(_Guest(image, partition, mode, nics=nics, asks=True), _SHELL, {}, words)


def _perform(guest: _Guest, text: str, told: dict[str, str], words: tuple[str, ...] = ()) -> int:
    """Run a script of ours in a guest; the exit code.

    told: its variables

    Raises: UmlctlError; click.exceptions.Exit: it was interrupted
    """
    from umlctl.cli import exec as execs

    variables = {**told, "mode": guest.mode, "partition": str(guest.partition or "")}
    asked = [f"--disk={guest.image},slot=1{',ro' if guest.mode == 'ro' else ''}", f"--mem={MEM}"]
    asked += [f"--env={name}={value}" for name, value in variables.items()]
    asked += [f"--disk={guest.other},slot=2"] if guest.other else []
    asked += [f"--rw={guest.written}"] if guest.written else []
    asked += [f"--kernel={guest.kernel}"] if guest.kernel else []
    asked += [f"--nic={nic}" for nic in guest.nics]
    script = text if guest.asks else f"exec </dev/null >&2\n{text}"
    code: int = execs.execute.main(
        [*asked, "--clean-env", "--cwd=/", "--", "/bin/sh", "-c", script, "sh", *words],
        prog_name="umlctl exec",
        standalone_mode=False,
    )
    if code in _INTERRUPTED and not guest.asks:
        raise click.exceptions.Exit(code)
    return code
