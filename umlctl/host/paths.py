"""Where things are: sockets, the run directory, the state directory, the cache.

Everything follows from HOME and the XDG variables, read at each call:

    ~/.uml/UMID/mconsole                 a guest's public socket, where uml_mconsole looks
    $XDG_RUNTIME_DIR/umlctl/             gone at logout; else /tmp/umlctl-UID
        supervisor/mconsole              the background supervisor's socket
        k/UMID/mconsole                  the kernel's own socket: its private uml_dir is k/
        g/UMID/{lock,notify,console,...} what one running guest needs
        n/NAME/{port,control,lock,...}   the switch of a network segment
    /tmp/umlctl-share-UID/               root's: /run/umlctl-share
        UMID/mconsole                    a guest's socket for others whom it allows
    $XDG_STATE_HOME/umlctl/              ~/.local/state/umlctl: what outlives a guest
        guests/UMID/{record.json,console.log}
    $XDG_CACHE_HOME/umlctl/              ~/.cache/umlctl: what can be fetched again

One-shot commands come through here, so it imports `os` and nothing else: platformdirs would
double their start.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

SUN_PATH: Final = 107
"""The longest path of a unix socket, bytes."""
UMID_MAX: Final = 63
"""The kernel silently takes a random name instead of a longer one. arch/um/os-Linux/umid.c"""
NETWORK_MAX: Final = 32
"""Leaves room for the sockets, and for the kernel's `dst=` of one."""
PRIVATE: Final = ".."
"""In the name of a switch of ours that is no network for people."""


class BadUmid(ValueError):
    """A name that cannot be a umid, and why."""


class BadNetwork(ValueError):
    """A name that cannot be a network segment's, and why."""


def check_umid(umid: str) -> str:
    """Return the name if the kernel and all our paths can take it.

    Raises: BadUmid
    """
    _check_letters(umid, "a umid", BadUmid)
    if umid.endswith(".lock"):
        raise BadUmid(f"a umid cannot end with .lock, as the locks of guests do: {umid!r}")
    if len(umid) > UMID_MAX:
        raise BadUmid(f"a umid has at most {UMID_MAX} characters, this one {len(umid)}: {umid}")
    longest = max(
        (public_socket(umid), kernel_socket(umid)), key=lambda path: len(os.fsencode(path))
    )
    if len(os.fsencode(longest)) > SUN_PATH:
        over = len(os.fsencode(longest)) - SUN_PATH
        raise BadUmid(
            f"the socket's path would be {over} bytes too long for a unix socket: {longest}; "
            "take a shorter umid"
        )
    return umid


def check_network(name: str) -> str:
    """Return the name if a network segment can have it.

    Raises: BadNetwork
    """
    _check_letters(name, "a network's name", BadNetwork)
    if len(name) > NETWORK_MAX:
        raise BadNetwork(
            f"a network's name has at most {NETWORK_MAX} characters, this one {len(name)}: {name}"
        )
    longest = network_control(name) + "~"  # what it is called while it is being made
    if len(os.fsencode(longest)) > SUN_PATH:
        over = len(os.fsencode(longest)) - SUN_PATH
        raise BadNetwork(
            f"the socket's path would be {over} bytes too long for a unix socket: {longest}; "
            "take a shorter name"
        )
    return name


def _check_letters(name: str, what: str, problem: type[ValueError]) -> None:
    """It is one harmless component of a path, and no option."""
    if not name:
        raise problem(f"{what} cannot be empty")
    if name.startswith((".", "-")):
        raise problem(f"{what} cannot begin with '{name[0]}': {name!r}")
    bad = [c for c in name if not (c.isalnum() and c.isascii()) and c not in "._+-"]
    if bad:
        raise problem(f"{what} is made of letters, digits and . _ + -, not {bad[0]!r}: {name!r}")


def home() -> str:
    """HOME as it is set, since the kernel and uml_mconsole look there too."""
    return os.environ.get("HOME") or os.path.expanduser("~")


def public_dir() -> str:
    return home() + "/.uml"


def public_socket(umid: str) -> str:
    return f"{public_dir()}/{umid}/mconsole"


def shared_dir() -> str:
    """Where other users find guests that allow them to. Others cannot get ahead of root in /run."""
    uid = os.getuid()
    return f"/tmp/umlctl-share-{uid}" if uid else "/run/umlctl-share"  # noqa: S108 - see sharing


def open_dir(umid: str) -> str:
    """A guest's directory there; what its kernel needs is in it too if it runs as another user."""
    return f"{shared_dir()}/{umid}"


def shared_socket(umid: str) -> str:
    return f"{open_dir(umid)}/mconsole"


def find_socket(guest: str) -> str:
    """The socket that a name given by a person means: a umid, a socket, or its directory.

    The order is that of uml_mconsole: ~/.uml, /tmp/uml, the name as a path. What does not
    exist anywhere is taken for a umid, for the error to name a likely place.
    """
    if "/" in guest:
        inside = guest + "/mconsole"
        return inside if os.path.isdir(guest) else guest
    for path in (public_socket(guest), f"/tmp/uml/{guest}/mconsole", guest):  # noqa: S108
        if os.path.exists(path) and not os.path.isdir(path):
            return path
    return public_socket(guest)


def umid_of(guest: str) -> str:
    """The umid that a name given by a person means: of a path, its directory's name."""
    name = guest.rstrip("/")
    if "/" in name and name.endswith("/mconsole"):
        name = os.path.dirname(name)
    return os.path.basename(name)


def run_dir() -> str:
    """The directory for sockets and locks; not made here.

    One whose name leaves no room for a socket is passed over.
    """
    base = os.environ.get("XDG_RUNTIME_DIR", "")
    if base.startswith("/") and len(base) <= 30 and os.path.isdir(base):
        return base + "/umlctl"
    return f"/tmp/umlctl-{os.getuid()}"  # noqa: S108 - checked to be ours in make_run_dir


def make_run_dir() -> str:
    """Make the run directory and see that it is ours alone: /tmp is everybody's.

    Raises: PermissionError
    """
    path = run_dir()
    for directory in (path, path + "/k", path + "/g", path + "/n", path + "/supervisor"):
        try:
            os.mkdir(directory, 0o700)
        except FileExistsError:
            pass
        found = os.lstat(directory)
        if found.st_uid != os.getuid() or found.st_mode & 0o40077 != 0o40000:
            raise PermissionError(
                f"{directory} is not a private directory of yours: "
                f"remove it, or set XDG_RUNTIME_DIR"
            )
    return path


def kernel_dir() -> str:
    return run_dir() + "/k"


def kernel_socket(umid: str) -> str:
    return f"{kernel_dir()}/{umid}/mconsole"


def guest_dir(umid: str) -> str:
    return f"{run_dir()}/g/{umid}"


def networks_dir() -> str:
    return run_dir() + "/n"


def check_public_network(name: str) -> str:
    """Return the name if people can give it to a network.

    Raises: BadNetwork
    """
    check_network(name)
    if PRIVATE in name:
        raise BadNetwork(f"names with {PRIVATE} are for switches of one NIC: {name!r}")
    return name


def network_dir(name: str) -> str:
    return f"{networks_dir()}/{name}"


def network_port(name: str) -> str:
    """Where kernels connect: `transport=bess,dst=` this."""
    return network_dir(name) + "/port"


def network_control(name: str) -> str:
    return network_dir(name) + "/control"


def network_options(name: str) -> str:
    """How its switch was started, for who finds it killed."""
    return network_dir(name) + "/options"


def network_log(name: str) -> str:
    return network_dir(name) + "/log"


def supervisor_socket() -> str:
    return run_dir() + "/supervisor/mconsole"


def supervisor_returns() -> str:
    """There while the background supervisor is a service, and after its crash: until it is back,
    or another has taken its place."""
    return run_dir() + "/supervisor/returns"


def _xdg(variable: str, default: str) -> str:
    value = os.environ.get(variable, "")
    return (value if value.startswith("/") else f"{home()}/{default}") + "/umlctl"


def state_dir() -> str:
    return _xdg("XDG_STATE_HOME", ".local/state")


def record_dir(umid: str) -> str:
    return f"{state_dir()}/guests/{umid}"


def has_record(guest: str) -> bool:
    """Something was written down of a guest of that name, or is there of it; a path is nobody's."""
    return "/" not in guest and any(
        os.path.exists(path) for path in (f"{record_dir(guest)}/record.json", guest_dir(guest))
    )


def cache_dir() -> str:
    return _xdg("XDG_CACHE_HOME", ".cache")
