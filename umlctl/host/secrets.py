"""What is secret on a host, whoever's it is: no confined kernel sees any of it.

It is a list of what is known to be so, and no proof: what is elsewhere is read by a guest that is
confined in what it writes alone, as its user may read it.
"""

from __future__ import annotations

import glob
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

OF_USERS: Final = (
    *(".ssh", ".gnupg", ".password-store", ".netrc", ".git-credentials", ".pgpass", ".my.cnf"),
    *(".aws", ".azure", ".kube", ".docker", ".config/gcloud", ".config/gh", ".config/rclone"),
    *(".npmrc", ".pypirc", ".cargo/credentials.toml", ".vault-token", ".Xauthority"),
    ".local/state/umlctl",
    *(".local/share/keyrings", ".local/share/kwalletd", ".config/Bitwarden", ".config/keepassxc"),
    *(".mozilla", ".thunderbird", ".config/google-chrome", ".config/chromium"),
    *(".config/BraveSoftware", ".config/microsoft-edge", ".config/vivaldi", ".config/opera"),
    *(".config/Signal", "snap/firefox", "snap/chromium", "snap/thunderbird", ".var/app"),
)
"""Below the home of a user: keys, tokens, and the profiles of browsers and of other programs."""
OF_HOST: Final = (
    *("/etc/shadow", "/etc/shadow-", "/etc/gshadow", "/etc/gshadow-", "/etc/ssl/private"),
    *("/etc/ssh/ssh_host_*_key", "/etc/krb5.keytab", "/etc/wireguard"),
    "/etc/NetworkManager/system-connections",
)
"""Of the host; most of it is for root alone."""
_TEMPORARY: Final = ("ssh-*", "tmux-*", ".X11-unix", "umlctl-[0-9]*", "umlctl-share-*")
OF_SERVICES: Final = ("/run", *(f"/tmp/{name}" for name in _TEMPORARY))  # noqa: S108
"""Where services listen that do more for a user than a guest may, other guests among them."""
NOT_SECRET: Final = (
    *("/run/systemd/resolve", "/run/resolvconf", "/run/NetworkManager/resolv.conf"),
    *("/run/nscd", "/run/utmp"),
)
"""What is not secret of it."""
LIST: Final = (*(f"~/{name}" for name in OF_USERS), *OF_HOST, *OF_SERVICES)
"""All of it, as it is shown."""


def found(homes: Iterable[str]) -> list[str]:
    """What of it there is on this host, sorted.

    homes: of the users whose secrets they are
    """
    patterns = [*OF_HOST, *OF_SERVICES]
    patterns += [f"{glob.escape(home)}/{name}" for home in homes for name in OF_USERS]
    return sorted({path for pattern in patterns for path in glob.glob(pattern)})


def homes_for(home: str) -> list[str]:
    """The homes of which a kernel may see anything: that of its user; of root's, all.

    home: its user's
    """
    if home != "/root":
        return [home] if home else []
    return sorted({home, *glob.glob("/home/*")})
