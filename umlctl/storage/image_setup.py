"""What a tree gets so that it works as the root of a guest: a file system table, a name, an init, a
login on the console, a network, users and their keys, and a shell that begins commands.

What is there already stays: an own entry for `/` in fstab, say, or an own init.
"""

from __future__ import annotations

import posixpath
import re
import shutil
import subprocess
from typing import TYPE_CHECKING, Final, NamedTuple

from umlctl.errors import HostError, UsageError
from umlctl.protocol.command_lines import SHELL_DEVICE
from umlctl.storage import image_names
from umlctl.storage.image_lint import INITS, OTHER_DISK, SHELL_UNIT, SYSTEMD, WANTS
from umlctl.storage.image_tree import ended
from umlctl.storage.passwords import LOCKED

if TYPE_CHECKING:
    from umlctl.storage.image_tree import ImageTree

NICS: Final = tuple(f"{kind}{number}" for kind in ("vec", "eth") for number in range(4))
"""What a guest's first network interfaces are called."""
USER_NAME: Final = re.compile(r"[a-z_][a-z0-9_-]{0,31}")
FIRST_UID: Final = 1000
_UID: Final = re.compile(r"[0-9]{1,9}")
_GETTY: Final = re.compile(r"^(?P<before>[^#\n]*?)\btty[1-9]\b(?P<between>.*)", re.MULTILINE)
_RESPAWNED: Final = re.compile(r"^([^#\n]*respawn:).*\btty0\b.*", re.MULTILINE)
_UNCONFIGURED: Final = "# UNCONFIGURED FSTAB"
"""Begins what Debian has before it is installed."""
_INTERFACES: Final = """\
auto lo
iface lo inet loopback

source /etc/network/interfaces.d/*
"""
_PATH: Final = ("/bin", "/sbin", "/usr/bin", "/usr/sbin")
_UNIT: Final = f"""\
[Unit]
Description=Tells the host that userspace is up, and begins its commands
ConditionPathExists={SHELL_DEVICE}
After=getty.target

[Service]
ExecStartPre=-/bin/sh -c '[ ! -e /proc/mconsole ] || echo userspace is up >/proc/mconsole'
ExecStart=/bin/sh {SHELL_DEVICE}
Restart=always
RestartSec=1
KillMode=process

[Install]
WantedBy=multi-user.target
"""
_NETWORKD: Final = """\
[Match]
Name=vec* eth*

[Network]
DHCP=yes
"""
UDHCPC: Final = """\
#!/bin/busybox sh
# What udhcpc has found is the interface's address, the way out, and who knows names.
[ "$1" = bound ] || [ "$1" = renew ] || exit 0
/bin/busybox ifconfig "$interface" "$ip" netmask "${subnet:-255.255.255.0}"
for each in $router; do /bin/busybox ip route replace default via "$each" dev "$interface"; done
[ -z "$dns" ] || for each in $dns; do echo "nameserver $each"; done >/etc/resolv.conf
"""
BUSYBOX_INIT: Final = (
    """\
#!/bin/busybox sh
# The first process: what can be mounted, the network, a shell on the console, and a shutdown by
# Ctrl-Alt-Del.
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -o remount,rw,discard / || /bin/busybox mount -o remount,rw /
/bin/busybox mount -t sysfs sysfs /sys
/bin/busybox mount -t devtmpfs devtmpfs /dev 2>/dev/null
/bin/busybox mkdir -p /dev/pts && /bin/busybox mount -t devpts devpts /dev/pts 2>/dev/null
/bin/busybox mount -t tmpfs tmpfs /run
/bin/busybox mount -t tmpfs tmpfs /tmp
[ -e /etc/hostname ] && /bin/busybox hostname -F /etc/hostname
[ ! -e NAMING ] || /bin/busybox sh NAMING
down() {
  trap '' INT TERM
  /bin/busybox umount -r / 2>/dev/null
  /bin/busybox sync
  /bin/busybox poweroff -f
}
trap down INT TERM
echo 0 >/proc/sys/kernel/ctrl-alt-del
/bin/busybox ip link set lo up
for nic in /sys/class/net/vec* /sys/class/net/eth*; do
  [ -e "$nic" ] || continue
  /bin/busybox ip link set "${nic##*/}" up &&
    /bin/busybox udhcpc -b -S -i "${nic##*/}" -s /sbin/udhcpc.umlctl >/dev/null 2>&1 &
done
[ -e /proc/mconsole ] && echo up >/proc/mconsole
[ ! -c SHELL ] || while :; do /bin/sh SHELL; /bin/busybox sleep 1; done >/dev/null 2>&1 &
cd /root 2>/dev/null
while :; do
  ENV=PROMPT /bin/busybox setsid /bin/busybox cttyhack /bin/sh -l </dev/console >/dev/console 2>&1 &
  wait $!
done
""".replace("SHELL", SHELL_DEVICE)
    .replace("NAMING", image_names.SCRIPT)
    .replace("PROMPT", image_names.PROMPT)
)


class Wanted(NamedTuple):
    """What is asked for.

    Fields:
        hostname: of the guests; None: each is called by its own name
        fs: the file system of the image
        users: names; the first has the keys, else root
        keys: of ssh, a line each
        autologin: root is at the console without a login
    """

    hostname: str | None
    fs: str
    users: tuple[str, ...] = ()
    keys: str = ""
    autologin: bool = False


def check(wanted: Wanted) -> None:
    """Refuse what no system has.

    Raises: UsageError
    """
    if wanted.hostname is not None and not image_names.HOST_NAME.fullmatch(wanted.hostname):
        raise UsageError(
            f"a host name has up to 64 letters, digits, dots and dashes, not {wanted.hostname!r}"
        )
    for user in wanted.users:
        if not USER_NAME.fullmatch(user):
            raise UsageError(
                f"a user's name has up to 32 small letters, digits and dashes, not {user!r}"
            )


def is_root(tree: ImageTree) -> bool:
    """Whether a tree is to be a system, and not mere files."""
    return any(tree.exists(path) for path in (*INITS, "/etc/passwd", "/bin/busybox"))


def set_up(tree: ImageTree, wanted: Wanted) -> None:
    """Have a tree be the root of a guest.

    Raises: HostError, OSError
    """
    for path in ("/dev", "/etc", "/proc", "/run", "/sys"):
        tree.make_directory(path, 0o755)
    tree.make_directory("/tmp", 0o1777)  # noqa: S108 - of the image
    tree.make_directory("/root", 0o700)
    image_names.name_guests(tree, wanted.hostname)
    _mount(tree, wanted.fs)
    _have_users(tree, wanted)
    if any(tree.exists(path) for path in SYSTEMD):
        _systemd(tree, autologin=wanted.autologin)
    elif not any(tree.exists(path) for path in INITS[:-1]):
        _have_init(tree)
    elif tree.exists("/etc/inittab"):
        _inittab(tree, autologin=wanted.autologin)
    _network(tree)


def _mount(tree: ImageTree, fs: str) -> None:
    """The root is this disk, whatever the system came from."""
    lines = []
    has_root = False
    for line in tree.text("/etc/fstab").splitlines():
        words = line.split("#")[0].split()
        if (words and OTHER_DISK.match(words[0])) or line.startswith(_UNCONFIGURED):
            continue
        has_root |= len(words) > 1 and words[1] == "/"
        lines.append(line)
    if not has_root:
        how = "discard,errors=remount-ro 0 1" if fs == "ext4" else "discard 0 0"
        lines.append(f"/dev/ubda / {fs} {how}")
    tree.write("/etc/fstab", "".join(f"{line}\n" for line in lines))


def _have_users(tree: ImageTree, wanted: Wanted) -> None:
    """Raises: OSError"""
    shell = "/bin/bash" if tree.exists("/bin/bash") else "/bin/sh"
    if not tree.read("/etc/passwd"):
        tree.put("/etc/passwd", f"root:x:0:0:root:/root:{shell}\n".encode())
        tree.put("/etc/group", b"root:x:0:\n")
        tree.put("/etc/shadow", f"root:{LOCKED}:1::::::\n".encode(), 0o600)
    for name in wanted.users:
        _add_user(tree, name, shell)
    if wanted.keys:
        name = wanted.users[0] if wanted.users else "root"
        fields = _entry(tree, name)
        uid, home = int(fields[2]), fields[5]
        directory = posixpath.join(home, ".ssh")
        tree.make_directory(directory, 0o700, uid)
        tree.put(f"{directory}/authorized_keys", wanted.keys.encode(), 0o600)
        tree.give(f"{directory}/authorized_keys", uid)


def _add_user(tree: ImageTree, name: str, shell: str) -> None:
    """Raises: HostError: there is one; OSError"""
    passwd = tree.text("/etc/passwd")
    lines = [line.split(":") for line in passwd.splitlines()]
    groups = [line.split(":") for line in tree.text("/etc/group").splitlines()]
    if any(fields[0] == name for fields in lines):
        raise HostError(f"there is a user {name} in it already")
    taken = {fields[2] for fields in (*lines, *groups) if len(fields) > 2}
    uid = next(number for number in range(FIRST_UID, 1 << 16) if str(number) not in taken)
    home = f"/home/{name}"
    added = {
        "/etc/passwd": f"{name}:x:{uid}:{uid}::{home}:{shell}\n",
        "/etc/group": f"{name}:x:{uid}:\n",
        "/etc/shadow": f"{name}:{LOCKED}:1:0:99999:7:::\n",
    }
    for path, line in added.items():
        mode = 0o600 if path == "/etc/shadow" else 0o644
        tree.write(path, f"{ended(tree.text(path))}{line}", mode)
    tree.make_directory("/home", 0o755)
    tree.make_directory(home, 0o755, uid)


def _entry(tree: ImageTree, name: str) -> list[str]:
    """Raises: HostError"""
    for line in tree.text("/etc/passwd").splitlines():
        fields = line.split(":")
        if fields[0] == name and len(fields) > 6 and _UID.fullmatch(fields[2]):
            return fields
    raise HostError(f"there is no user {name} in it")


def _systemd(tree: ImageTree, *, autologin: bool) -> None:
    """A login on tty0 and on no other console, which would have nobody; and the shell."""
    above = "/lib/systemd/system"
    tree.link(f"{WANTS}/getty@tty0.service", f"{above}/getty@.service")
    tree.remove(f"{WANTS}/getty@tty1.service")
    tree.link("/etc/systemd/system/getty-static.service", "/dev/null")
    tree.put(SHELL_UNIT, _UNIT.encode())
    tree.link("/etc/systemd/system/multi-user.target.wants/umlctl.service", SHELL_UNIT)
    image_names.by_systemd(tree)
    if autologin:
        line = "-/sbin/agetty --autologin root --noclear %I $TERM"
        text = f"[Service]\nExecStart=\nExecStart={line}\n"
        tree.put("/etc/systemd/system/getty@tty0.service.d/autologin.conf", text.encode())


def _inittab(tree: ImageTree, *, autologin: bool) -> None:
    """The first login is on tty0; those on other consoles are none."""
    done = False

    def move(found: re.Match[str]) -> str:
        nonlocal done
        if done:
            return f"#{found[0]}"
        done = True
        return f"{found['before']}tty0{found['between'].replace('tty1', 'tty0')}"

    text = _GETTY.sub(move, tree.text("/etc/inittab"))
    if autologin:
        text = _RESPAWNED.sub(r"\1/bin/login -f root </dev/tty0 >/dev/tty0 2>\&1", text)
    sysv = re.search(r"^[^:#\n]*:[0-9]+:", text, re.MULTILINE)
    line = (
        f"um:2345:respawn:/bin/sh {SHELL_DEVICE}" if sysv else f"::respawn:/bin/sh {SHELL_DEVICE}"
    )
    if SHELL_DEVICE not in text:
        text = f"{ended(text)}{line}\n"
    tree.write("/etc/inittab", image_names.by_inittab(tree, text, sysv=bool(sysv)))


def _have_init(tree: ImageTree) -> None:
    """A system without an init, such as a container's, gets one, and a busybox where it has none.

    Raises: HostError, OSError
    """
    program = static_busybox()
    if not tree.read("/bin/busybox"):
        with open(program, "rb") as file:
            tree.put("/bin/busybox", file.read(), 0o755)
    if not tree.exists("/bin/ls"):
        listed = subprocess.run([program, "--list"], stdout=subprocess.PIPE, text=True, check=True)
        for name in ("sh", *listed.stdout.split()):
            if not any(tree.exists(f"{path}/{name}") for path in _PATH):
                tree.link(f"/bin/{name}", "busybox")
    tree.put("/sbin/init", BUSYBOX_INIT.encode(), 0o755)
    tree.put("/sbin/udhcpc.umlctl", UDHCPC.encode(), 0o755)
    image_names.prompt_of_shell(tree)


def static_busybox() -> str:
    """The path of this host's busybox, which needs no libraries.

    Raises: HostError, OSError
    """
    program = shutil.which("busybox")
    if program is None:
        raise HostError("there is no busybox here: apt install busybox-static")
    with open(program, "rb") as file:
        if b"/ld-linux" in file.read(4096):
            raise HostError(f"{program} needs libraries: apt install busybox-static")
    return program


def _network(tree: ImageTree) -> None:
    """Addresses by DHCP, by what the system has for that."""
    if tree.exists("/sbin/ifup") or tree.exists("/usr/sbin/ifup"):
        text = tree.text("/etc/network/interfaces")
        if "interfaces.d" not in text or "iface lo" not in text:
            text = "\n".join(line for line in text.splitlines() if not line.startswith("source"))
            rest = _INTERFACES if "iface lo" not in text else _INTERFACES.split("\n\n")[1]
            tree.write("/etc/network/interfaces", f"{ended(text)}{rest}")
        lines = [f"allow-hotplug {nic}\niface {nic} inet dhcp\n" for nic in NICS if nic not in text]
        tree.put("/etc/network/interfaces.d/umlctl", "".join(lines).encode())
    elif any(tree.exists(f"{path}-networkd") for path in SYSTEMD):
        tree.put("/etc/systemd/network/80-umlctl.network", _NETWORKD.encode())
        target = "/lib/systemd/system/systemd-networkd.service"
        wants = "/etc/systemd/system/multi-user.target.wants"
        tree.link(f"{wants}/systemd-networkd.service", target)
