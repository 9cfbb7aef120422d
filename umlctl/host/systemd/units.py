"""The units by which systemd runs the background supervisor: for a user from login on, or for any
user from the host's boot on.
"""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Final

from umlctl.errors import HostError
from umlctl.host import paths
from umlctl.host.files import write_atomically

USER_UNIT: Final = "umlctl.service"
SYSTEM_UNIT: Final = "umlctl@.service"
BOOTED_DIRECTORY: Final = "/run/systemd/system"
"""This directory exists if the host was booted with systemd. Source: sd_booted(3)"""
SYSTEM_DIRECTORY: Final = "/etc/systemd/system"
PASSED_VARIABLES: Final = ("UMLCTL_DIR", "XDG_CACHE_HOME")
"""Variables of the user's that the service needs too: they say where the user keeps things."""
_TEMPLATES: Final = os.path.dirname(__file__)


def booted() -> bool:
    """Whether systemd runs this host."""
    return os.path.isdir(BOOTED_DIRECTORY)


def path_of(*, system: bool) -> str:
    if system:
        return f"{SYSTEM_DIRECTORY}/{SYSTEM_UNIT}"
    config = os.environ.get("XDG_CONFIG_HOME", "")
    base = config if config.startswith("/") else paths.home() + "/.config"
    return f"{base}/systemd/user/{USER_UNIT}"


def render(*, system: bool) -> str:
    """The text of the unit, for this interpreter and this user's directories.

    Raises: HostError
    """
    with open(f"{_TEMPLATES}/{SYSTEM_UNIT if system else USER_UNIT}") as file:
        text = file.read()
    values = {name: os.environ.get(name, "") for name in PASSED_VARIABLES}
    passed = [f"{name}={value}" for name, value in values.items() if value.startswith("/")]
    environment = "".join(f"Environment={_quoted(word)}\n" for word in passed)
    return text.replace("@ENVIRONMENT@\n", environment).replace("@PYTHON@", _quoted(sys.executable))


def install(*, system: bool) -> str:
    """Write the unit; return its path.

    Raises: HostError
    """
    path = path_of(system=system)
    text = render(system=system)
    try:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        write_atomically(path, text.encode())
        os.chmod(path, 0o644)
    except OSError as problem:
        needs = "; it takes root" if system and os.geteuid() != 0 else ""
        raise HostError(f"cannot install {path}: {problem.strerror}{needs}") from problem
    return path


def remove(*, system: bool) -> bool:
    """Remove the unit; True if it was there.

    Raises: HostError
    """
    path = path_of(system=system)
    try:
        os.unlink(path)
    except FileNotFoundError:
        return False
    except OSError as problem:
        raise HostError(f"cannot remove {path}: {problem.strerror}") from problem
    return True


def systemctl(*words: str, system: bool) -> None:
    """Have systemd do something.

    Raises: HostError
    """
    command = ["systemctl", *([] if system else ["--user"]), *words]
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
        )
    except OSError as problem:
        raise HostError(f"cannot run `{' '.join(command)}`: {problem.strerror}") from problem
    if done.returncode:
        said = " ".join(done.stderr.split()) or f"exit status {done.returncode}"
        raise HostError(f"`{' '.join(command)}`: {said}")


def _quoted(word: str) -> str:
    """A word as systemd.syntax(7) reads it, with nothing expanded.

    Raises: HostError
    """
    if not word.isprintable():
        raise HostError(f"systemd cannot be told of {word!r}: it is no line of UTF-8")
    for letter, instead in (("\\", "\\\\"), ('"', '\\"'), ("%", "%%")):
        word = word.replace(letter, instead)
    return f'"{word}"'
