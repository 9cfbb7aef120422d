"""What is secret on a host, whoever's it is: no confined kernel sees any of it.

It is a list of what is known to be so, and no proof: what is elsewhere is read by a guest that is
confined in what it writes alone, as its user may read it.
"""

from __future__ import annotations

import glob
import os
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

OF_USERS: Final = (
    *(".ssh", ".gnupg", ".password-store", ".netrc", ".git-credentials", ".pgpass", ".my.cnf"),
    *(".aws", ".azure", ".kube", ".docker", ".config/gcloud", ".config/gh", ".config/rclone"),
    *(".config/hub", ".config/op", ".config/sops", ".config/doctl", ".config/filezilla"),
    *(".npmrc", ".yarnrc.yml", ".pypirc", ".cargo/credentials.toml", ".cargo/credentials"),
    *(".gem/credentials", ".m2/settings.xml", ".gradle/gradle.properties", ".s3cfg", ".boto"),
    *(".composer/auth.json", ".config/composer/auth.json", ".terraform.d/credentials.tfrc.json"),
    *(".vault-token", ".cache/huggingface/token", ".putty", ".bitcoin", ".electrum", ".ethereum"),
    *(".Xauthority", ".ICEauthority", ".config/pulse/cookie", ".bash_history", ".zsh_history"),
    ".local/state/umlctl",
    *(".local/share/keyrings", ".local/share/kwalletd", ".config/Bitwarden", ".config/keepassxc"),
    *(".mozilla", ".thunderbird", ".config/google-chrome", ".config/chromium"),
    *(".config/BraveSoftware", ".config/microsoft-edge", ".config/vivaldi", ".config/opera"),
    *(".config/Signal", "snap/firefox", "snap/chromium", "snap/thunderbird", ".var/app"),
)
"""Below the home of a user: keys, tokens, and the profiles of browsers and of other programs."""
OF_HOST: Final = (
    *("/etc/shadow", "/etc/shadow-", "/etc/gshadow", "/etc/gshadow-", "/etc/ssl/private"),
    *("/etc/ssh/ssh_host_*_key", "/etc/krb5.keytab", "/etc/wireguard", "/etc/sudoers.d"),
    *("/etc/NetworkManager/system-connections", "/etc/letsencrypt", "/etc/ipsec.secrets"),
    *(f"/var/lib/{name}" for name in ("private", "docker", "containerd", "containers", "libvirt")),
    *(f"/var/lib/{name}" for name in ("mysql", "postgresql", "sss", "samba/private", "tailscale")),
    *(f"/var/lib/{name}" for name in ("NetworkManager", "bluetooth", "iwd", "systemd/coredump")),
)
"""Of the host; most of it is for root alone."""
_DISKS: Final = (
    *("sd*", "hd*", "vd*", "xvd*", "nvme*", "mmcblk*", "md*", "dm-*", "loop*", "nbd*", "zram*"),
    *("zd*", "sr*", "sg*", "bsg"),
)
_SENSES: Final = (
    *("input", "hidraw*", "uinput", "tty*", "console", "snd", "video*", "media*", "vcs*", "fb*"),
    *("bus/usb", "usbmon*", "kmsg"),
)
_TRIGGERS: Final = ("watchdog*",)
OF_DEVICES: Final = tuple(f"/dev/{name}" for name in (*_DISKS, *_SENSES, *_TRIGGERS))
"""Devices by which a host's files are read past all that hides them, and what people say, type and
see, or that act as soon as they are opened: for root, and for users of groups such as `disk`,
`input`, `audio` and `video`."""
_OF_UMLCTL: Final = "umlctl-*"
"""What of this name is umlctl's own, see `paths`: others may call their files so, too."""
_TEMPORARY: Final = ("ssh-*", "tmux-*", ".X11-unix", _OF_UMLCTL)
OF_SERVICES: Final = ("/run", *(f"/tmp/{name}" for name in _TEMPORARY))  # noqa: S108
"""Where services listen that do more for a user than a guest may, other guests among them."""
NOT_SECRET: Final = (
    *("/run/systemd/resolve", "/run/resolvconf", "/run/NetworkManager/resolv.conf"),
    *("/run/nscd", "/run/utmp", "/dev/tty"),
)
"""What is not secret of it."""
_OF_ALL: Final = (*OF_HOST, *OF_DEVICES, *OF_SERVICES)
LIST: Final = (*(f"~/{name}" for name in OF_USERS), *_OF_ALL)
"""All of it, as it is shown."""


def found(homes: Iterable[str]) -> list[str]:
    """What of it there is on this host, sorted.

    homes: of the users whose secrets they are
    """
    named = {f"{home}/{name}" for home in homes for name in OF_USERS}
    listed: dict[str, list[str]] = {}
    there = set()
    for path in _OF_ALL:
        directory, name = os.path.split(path)
        begin, star, end = name.partition("*")
        if not star:
            named.add(path)
            continue
        if directory not in listed:
            listed[directory] = _names(directory)
        matching = [each for each in listed[directory] if each.startswith(begin)]
        if name == _OF_UMLCTL:
            matching = list(filter(_is_ours, matching))
        there |= {f"{directory}/{each}" for each in matching if each.endswith(end)}
    return sorted(there | {path for path in named if os.path.lexists(path)})


def _is_ours(name: str) -> bool:
    """Whether a name that begins as umlctl's own do goes on with a user's number."""
    rest = name.removeprefix("umlctl-").removeprefix("share-").removesuffix("-kept")
    return rest.isdecimal()


def _names(directory: str) -> list[str]:
    try:
        return os.listdir(directory)
    except OSError:
        return []


def directories(homes: Iterable[str]) -> set[str]:
    """The directories in which any of it may come to be."""
    named = (f"{home}/{name}" for home in homes for name in OF_USERS)
    return {os.path.dirname(path) for path in (*named, *_OF_ALL)}


def homes_for(home: str) -> list[str]:
    """The homes of which a kernel may see anything: that of its user; of root's, all.

    home: its user's
    """
    if home != "/root":
        return [home] if home else []
    return sorted({home, *glob.glob("/home/*")})
