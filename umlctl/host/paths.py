"""Where things are: sockets, the run directory, the state directory, the cache.

All guests of a user are in one place, which follows from the uid alone: a cron job, a login, a
desktop and a service find the same. UMLCTL_DIR, if it is set, is another place, with guests of its
own.

    /tmp/umlctl-UID/                     root's: /run/umlctl; or UMLCTL_DIR/run
        supervisor/mconsole              the background supervisor's socket
        g/UMID/{mconsole,notify,...}     what one running guest needs; its socket for clients
        k/UMID/mconsole                  the kernel's own socket: its private uml_dir is k/
        n/NAME/port                      the switch of a network segment, where kernels connect
        s/NAME/{control,lock,...}        what else that needs, which confined kernels do not see
        x/UMID/                          what a guest of `exec` is handed, with its command's input
    /tmp/umlctl-UID-kept/UMID            a second name of that, should the first be removed
    /tmp/umlctl-UID-kept/.UMID/          a confined kernel's own: k/, which it sees as the k/ above,
                                         and what is mounted in its mount namespace
    ~/.local/state/umlctl/               what outlives a guest; or UMLCTL_DIR/state
        guests/UMID/{record.json,console.log}
        images/NAME.{img,toml}
        snapshots/UMID/NAME/{snapshot.json,UMID.ubdN}
        xl/NAME.toml                     a guest that `xl create` has started
    ~/.config/umlctl/guests/NAME.toml    a guest as its user wrote it down; or XDG_CONFIG_HOME, or
                                         UMLCTL_DIR/config
    /etc/umlctl/guests/NAME.toml         the same for all users
    ~/.config/umlctl/umlctl.toml         what the guests of a user may have between them; likewise
    /etc/umlctl/umlctl.toml              the same for those of each user
    /tmp/umlctl-share-UID/               root's: /run/umlctl-share
        UMID/mconsole                    a guest's socket for other users that it allows
    $HOME/.uml/UMID/mconsole             leads to a guest's socket: uml_mconsole looks here
    $XDG_CACHE_HOME/umlctl/              ~/.cache/umlctl: what can be fetched again

`~` is the home in the user database, since the caller may have set HOME to anything. A user whose
home cannot be written to has /var/tmp/umlctl-UID for state.

One-shot commands run this module, so it imports `os` and nothing else: platformdirs would double
their start.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

MAX_UNIX_PATH_BYTES: Final = 107
"""The longest path of a unix socket, bytes."""
DEFINITION_SUFFIX: Final = ".toml"
"""What the name of a file ends with that defines a guest."""
FORBIDDEN_LETTERS: Final = " ,:;=\"'\\"
"""Letters that UMLCTL_DIR cannot have: the kernel would take what follows them for something
else."""


class BadPlace(PermissionError):
    """The place of this user's guests cannot be used: what is wrong, why, and what to do.

    Fields:
        problem: the message without the hint at `umlctl doctor`
    """

    def __init__(self, problem: str) -> None:
        super().__init__(problem)
        self.problem = problem

    def __str__(self) -> str:
        from umlctl.errors import SEE_DOCTOR

        return f"{self.problem}; {SEE_DOCTOR}"


def home() -> str:
    """HOME as it is set, since uml_mconsole looks there too; the user database's if HOME is no
    path."""
    found = os.environ.get("HOME", "")
    return found.rstrip("/") if found.startswith("/") else _users_home()


def _users_home() -> str:
    """The home in the user database; empty if the user is not in it."""
    import pwd  # a client that asks a guest does without

    try:
        return pwd.getpwuid(os.getuid()).pw_dir.rstrip("/")
    except KeyError:
        return ""


def public_dir(at: str = "") -> str:
    """The directory where uml_mconsole looks for guests. at: a home, if it is not the caller's"""
    return (at or home()) + "/.uml"


def public_socket(umid: str, at: str = "") -> str:
    return f"{public_dir(at)}/{umid}/mconsole"


def shared_dir() -> str:
    """Where other users find guests that allow them to. In /run, nobody can make it before root
    does."""
    uid = os.getuid()
    return f"/tmp/umlctl-share-{uid}" if uid else "/run/umlctl-share"  # noqa: S108 - see shared_socket


def open_dir(umid: str) -> str:
    """A guest's directory for others. A kernel that runs as another user has its files there."""
    return f"{shared_dir()}/{umid}"


def shared_socket(umid: str) -> str:
    return f"{open_dir(umid)}/mconsole"


def find_socket(guest: str) -> str:
    """The path of the socket that a user names: by a umid, by its path, or by its directory.

    A guest of this user comes first, whatever HOME is. Then the order is that of uml_mconsole:
    ~/.uml, /tmp/uml, the name as a path. A name that exists nowhere is taken for a umid, so that
    the error names a likely place.

    Raises: BadPlace
    """
    if "/" in guest:
        inside = guest + "/mconsole"
        return inside if os.path.isdir(guest) else guest
    own, public = guest_socket(guest), public_socket(guest)
    for path in (own, public, f"/tmp/uml/{guest}/mconsole", guest):  # noqa: S108
        if os.path.exists(path) and not os.path.isdir(path):
            return path
    return public


def umid_of(guest: str) -> str:
    """The umid that a user names: for a path, the name of its directory."""
    name = guest.rstrip("/")
    if "/" in name and name.endswith("/mconsole"):
        name = os.path.dirname(name)
    return os.path.basename(name)


def _place() -> str:
    """UMLCTL_DIR; empty if it is not set.

    Raises: BadPlace
    """
    given = os.environ.get("UMLCTL_DIR")
    if given == "":
        raise BadPlace("UMLCTL_DIR is empty: unset it, or set it to a directory")
    place = given.rstrip("/") if given else ""
    if given:
        bad = [
            letter for letter in place if letter in FORBIDDEN_LETTERS or not letter.isprintable()
        ]
        if bad:
            raise BadPlace(
                f"UMLCTL_DIR is {place!r}: the kernel can take no path with {bad[0]!r}; "
                "set it to another, or not at all"
            )
        if not place:
            raise BadPlace("UMLCTL_DIR is /: set it to a directory of its own")
        if not place.startswith("/"):
            raise BadPlace(f"UMLCTL_DIR is {place!r}: it has to begin with /")
    return place


def run_dir() -> str:
    """The directory for sockets and locks; it is not made here. If it is there, it belongs to this
    user
    alone: anybody can write to /tmp, and a directory of another user's would lead umlctl to that
        user's files.

    Raises: BadPlace
    """
    place = _place()
    uid = os.getuid()
    own = f"/tmp/umlctl-{uid}" if uid else "/run/umlctl"  # noqa: S108 - it is checked
    path = f"{place}/run" if place else own
    _check_private(path)
    return path


def _check_private(directory: str, *, made: bool = False) -> None:
    """See that a directory belongs to this user alone.

    made: it must be there

    Raises: BadPlace; OSError: it is not there, though it must be
    """
    try:
        found = os.lstat(directory)
    except OSError:
        if made:
            raise
        return  # a caller that needs it will see
    if found.st_uid != os.getuid() or found.st_mode & 0o40077 != 0o40000:
        whose = f"it is uid {found.st_uid}'s" if found.st_uid != os.getuid() else "others enter it"
        raise BadPlace(
            f"{directory} is where your guests are, and is not a private directory of yours "
            f"({whose}): have it removed, or set UMLCTL_DIR"
        )


def make_run_dir() -> str:
    """Make the run directory, and the directory of records, for this user alone.

    Raises: BadPlace
    """
    path = run_dir()
    state = state_dir()
    parts = [path, path + "/k", path + "/g", path + "/n", path + "/supervisor", kept_dir()]
    if _is_in_everybodys(state):
        parts.append(state)
    above = _place() or os.path.dirname(state)
    directory = above
    try:
        os.makedirs(above, 0o700, exist_ok=True)
        for directory in (*parts, state):
            try:
                os.mkdir(directory, 0o700)
            except FileExistsError:
                pass
            if directory in parts:
                _check_private(directory, made=True)
    except BadPlace:
        raise
    except OSError as problem:
        raise BadPlace(
            f"cannot make {directory}: {problem.strerror}; set UMLCTL_DIR to a directory that you "
            "can write to, for the guests of this user"
        ) from problem
    return path


def kept_dirs() -> list[str]:
    """Directories that programs which clean up /tmp are to leave alone; the first has the run
    directory."""
    state = state_dir()
    mine = [state] if _is_in_everybodys(state) else []
    return [_place() or run_dir(), *([] if _place() else [kept_dir()]), *mine, shared_dir()]


def earlier_guest_dirs(umid: str) -> list[str]:
    """Where an earlier version of umlctl had what a running guest needs."""
    if _place():
        return []
    bases = {f"/run/user/{os.getuid()}", os.environ.get("XDG_RUNTIME_DIR", "")}
    return [f"{base}/umlctl/g/{umid}" for base in sorted(bases) if base.startswith("/")]


def kernel_dir() -> str:
    return run_dir() + "/k"


def kept_dir() -> str:
    """A directory beside the run directory, for what cannot be made again when that is removed.

    Raises: BadPlace
    """
    path = run_dir() + "-kept"
    _check_private(path)
    return path


def kept_socket(umid: str) -> str:
    """The second name of the kernel's own socket."""
    return f"{kept_dir()}/{umid}"


def own_dir(umid: str) -> str:
    """What a confined kernel has for itself, unless it runs as another user."""
    return f"{kept_dir()}/.{umid}"


def session_dir(umid: str, user: str = "") -> str:
    """What a guest is handed by who runs a command in it.

    user: whom its kernel runs as, if that is another
    """
    return f"{open_dir(umid)}/x" if user else f"{run_dir()}/x/{umid}"


def kernel_socket(umid: str) -> str:
    return f"{kernel_dir()}/{umid}/mconsole"


def guests_dir() -> str:
    return run_dir() + "/g"


def guest_dir(umid: str) -> str:
    return f"{guests_dir()}/{umid}"


def guest_socket(umid: str) -> str:
    """The socket where clients reach a guest's supervisor."""
    return f"{guest_dir(umid)}/mconsole"


def guest_names() -> list[str]:
    """Guests of this user that run, and other names in ~/.uml, sorted.

    Raises: BadPlace
    """
    found: set[str] = set()
    for directory in (guests_dir(), public_dir()):
        try:
            found.update(os.listdir(directory))
        except OSError:
            continue
    return sorted(name for name in found if not name.endswith(".lock"))


def networks_dir() -> str:
    """What kernels see of all switches."""
    return run_dir() + "/n"


def switches_dir() -> str:
    """What switches need but for their ports: no confined kernel sees that."""
    return run_dir() + "/s"


def network_dir(name: str) -> str:
    return f"{switches_dir()}/{name}"


def network_port(name: str) -> str:
    """The socket where kernels connect: `transport=bess,dst=` this."""
    return f"{networks_dir()}/{name}/port"


def network_control(name: str) -> str:
    return network_dir(name) + "/control"


def network_options(name: str) -> str:
    """The file that says how a switch was started, to start it again should it be killed."""
    return network_dir(name) + "/options"


def network_log(name: str) -> str:
    return network_dir(name) + "/log"


def supervisor_socket() -> str:
    return run_dir() + "/supervisor/mconsole"


def supervisor_lock() -> str:
    """The file that the one background supervisor has locked."""
    return run_dir() + "/supervisor.lock"


def supervisor_returns() -> str:
    """A file that exists while the background supervisor is a service. After a crash it stays until
    the service is back, or another supervisor has taken its place."""
    return run_dir() + "/supervisor/returns"


_states: dict[int, str] = {}


def state_dir() -> str:
    """The directory for what outlives a guest. It stays the same as long as a process runs.

    Raises: BadPlace
    """
    place = _place()
    if place:
        return place + "/state"
    uid = os.getuid()
    if uid not in _states:
        at = _users_home()
        found = f"{at}/.local/state/umlctl"
        if not os.path.isdir(found) and not (at and os.access(at, os.W_OK | os.X_OK)):
            found = f"/var/tmp/umlctl-{uid}"  # noqa: S108 - checked to be this user's
        _states[uid] = found
    if _is_in_everybodys(_states[uid]):
        _check_private(_states[uid])
    return _states[uid]


def _is_in_everybodys(state: str) -> bool:
    return state.startswith("/var/tmp/")  # noqa: S108


def listed(directory: str) -> list[str]:
    """What is in a directory of the state directory, sorted; nothing if the directory is not there.

    Raises: BadPlace: it cannot be read, so what is in it is not known
    """
    try:
        return sorted(os.listdir(directory))
    except FileNotFoundError:
        return []
    except OSError as problem:
        raise BadPlace(
            f"cannot read {directory}, where it is written down what your guests are: "
            f"{problem.strerror}; make it yours again, or set UMLCTL_DIR to another place"
        ) from problem


def guest_records() -> str:
    return state_dir() + "/guests"


def record_dir(umid: str) -> str:
    return f"{guest_records()}/{umid}"


def images_dir() -> str:
    return state_dir() + "/images"


def snapshots_dir() -> str:
    return state_dir() + "/snapshots"


def tests_dir() -> str:
    """Logs of what failed."""
    return state_dir() + "/tests"


def has_record(guest: str) -> bool:
    """Whether there is a record or a directory of a guest of that name; a path names no guest."""
    return "/" not in guest and any(
        os.path.exists(path) for path in (f"{record_dir(guest)}/record.json", guest_dir(guest))
    )


def definitions_dir() -> str:
    """Where a user's definitions of guests are.

    Raises: BadPlace
    """
    place = _place()
    if place:
        return f"{place}/config/guests"
    value = os.environ.get("XDG_CONFIG_HOME", "")
    return (value if value.startswith("/") else f"{_users_home()}/.config") + "/umlctl/guests"


def system_definitions_dir() -> str:
    """Where those for all users are; empty for a place of its own, which sees no others.

    Raises: BadPlace
    """
    return "" if _place() else "/etc/umlctl/guests"


def host_files() -> list[str]:
    """The files in which it is written what guests may have between them, the user's own first.

    Raises: BadPlace
    """
    directories = filter(None, (definitions_dir(), system_definitions_dir()))
    return [f"{os.path.dirname(directory)}/umlctl.toml" for directory in directories]


def cache_dir() -> str:
    value = os.environ.get("XDG_CACHE_HOME", "")
    return (value if value.startswith("/") else f"{home()}/.cache") + "/umlctl"
