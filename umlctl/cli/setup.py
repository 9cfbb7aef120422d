"""`umlctl setup`: find a UML kernel on this machine, or fetch one; have systemd start guests."""

from __future__ import annotations

import getpass
import os
import sys

import click

from umlctl.cli.kernel import abilities, as_json
from umlctl.errors import HostError, NoKernel, UsageError
from umlctl.kernels import fetch, find

__all__ = ["setup"]


@click.command(
    epilog="""\b
Examples:
  umlctl setup                         find a kernel, or fetch one
  umlctl setup --kernel ~/linux/linux  check the kernel that you built
  umlctl kernel add $(umlctl setup --release sid) --name sid
  export UMLCTL_KERNEL=$(umlctl setup)
  umlctl setup --systemd               have systemd start what is enabled, and watch over it
"""
)
@click.option("--kernel", metavar="PATH", help="Check this kernel; look for no other.")
@click.option(
    "--release",
    metavar="NAME",
    help="Fetch the kernel of this release of Debian, as trixie or sid, if this host can run it.",
)
@click.option("--json", "in_json", is_flag=True, help="Print what the kernel can do, as JSON.")
@click.option("--systemd", is_flag=True, help="Install and start a unit of your user manager.")
@click.option("--system", is_flag=True, help="With --systemd, as root: umlctl@UID, for any user.")
@click.option("--remove", is_flag=True, help="With --systemd: remove the unit; nothing is ended.")
def setup(
    kernel: str | None,
    release: str | None,
    in_json: bool,
    systemd: bool,
    system: bool,
    remove: bool,
) -> None:
    """Find a UML kernel, or fetch one; print its path.

    Looked for, in this order: --kernel, $UMLCTL_KERNEL, linux.uml in PATH, linux in PATH if it
    is UML, the cache. Where there is none, root installs the package user-mode-linux; anybody
    else has it downloaded and unpacked into the cache. Where the system has no such package,
    as on Ubuntu, it is Debian's that goes into the cache. With --release, that one's does, whatever
    is there.

    With --systemd it is about units instead: their service is the background supervisor, which
    starts what `umlctl enable` enabled, is restarted if it crashes or hangs, and ends its guests
    in order when it is stopped.
    """
    if systemd:
        if kernel is not None or release is not None or in_json:
            raise UsageError(
                "--systemd is about units; --kernel, --release and --json are about kernels"
            )
        _remove(system=system) if remove else _install(system=system)
        return
    if system or remove:
        raise UsageError("--system and --remove go with --systemd")
    if kernel is not None and release is not None:
        raise UsageError("--kernel is one that is there, --release one that is fetched: give one")
    path = fetch.fetch_of_release(release, _say) if release is not None else _found(kernel)
    found = find.probe(path)
    if in_json:
        click.echo(as_json(found))
        return
    # For people; `$(umlctl setup)` wants the path alone.
    if sys.stdout.isatty():
        can, cannot = abilities(found)
        _say(f"Linux {found.version}; it can: {can}; it cannot: {cannot}")
    if kernel is not None:
        _say(f"to use it always: export {find.KERNEL_VARIABLE}={path}")
    click.echo(path)


def _found(kernel: str | None) -> str:
    """The path of the kernel, which is fetched if there is none.

    Raises: NoKernel, HostError
    """
    try:
        return find.find(kernel)
    except NoKernel:
        if kernel is not None or find.KERNEL_VARIABLE in os.environ:
            raise
        return fetch.fetch(_say)


def _install(*, system: bool) -> None:
    """Raises: HostError"""
    from umlctl.host.systemd import units

    if not units.booted():
        raise HostError(
            "systemd does not run this host, so nothing was installed; `umlctl autostart` starts "
            "what is enabled, as by a line `@reboot umlctl autostart` of crontab(1)"
        )
    path = units.install(system=system)
    wanted = "enable --now umlctl@UID" if system else "--user enable --now umlctl"
    try:
        units.systemctl("daemon-reload", system=system)
        if not system:
            units.systemctl("enable", "--now", units.USER_UNIT, system=False)
    except HostError as problem:
        raise HostError(
            f"{path} is installed, but {problem}; "
            f"when that is mended, `systemctl {wanted}` starts the service"
        ) from problem
    if system:
        _say(f"`systemctl {wanted}` starts the guests of the user with that uid")
    elif not os.path.exists(f"/var/lib/systemd/linger/{getpass.getuser()}"):
        _say("the service runs while you are logged in; `loginctl enable-linger`: always")
    click.echo(path)


def _remove(*, system: bool) -> None:
    """Raises: HostError"""
    from umlctl.host.systemd import units

    path = units.path_of(system=system)
    if not os.path.exists(path):
        _say(f"there is no {path}")
        return
    if units.booted():
        units.systemctl("disable", os.path.basename(path), system=system)
    units.remove(system=system)
    if units.booted():
        units.systemctl("daemon-reload", system=system)
    _say(f"{path} is removed; what it has started runs on until it is stopped, or `umlctl quit`")


def _say(text: str) -> None:
    click.echo(f"umlctl setup: {text}", err=True)
