"""What the guests of an image are called: each by its own name, unless the image was given one.

The host tells a guest's kernel the name. A script in the image, which its init runs, has it stay
where the init knows of none and would say `localhost`, and has the guest find itself by it.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from umlctl.storage.image_tree import ended

if TYPE_CHECKING:
    from umlctl.storage.image_tree import ImageTree

HOST_NAME: Final = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,62}[A-Za-z0-9])?")
SCRIPT: Final = "/sbin/hostname.umlctl"
"""Where the script is that names a guest."""
PROMPT: Final = "/etc/prompt.umlctl"
"""What an interactive shell reads that finds it in ENV."""
UNIT: Final = "/etc/systemd/system/umlctl-hostname.service"
_WANTED_UNIT: Final = "/etc/systemd/system/sysinit.target.wants/umlctl-hostname.service"
_SELF: Final = "127.0.1.1"
"""The address by which a guest finds itself, where nobody gave it another."""
_SYSINIT: Final = re.compile(r"^[^#\n]*:sysinit:.*$", re.MULTILINE)
NAMING: Final = """\
#!/bin/sh
# No name was chosen for the guests of this image: each has the one that its kernel was told, unless
# /etc/hostname has one by now; and finds itself by it.
set -f
umask 022
name=
if [ ! -s /etc/hostname ]; then
  read -r words </proc/cmdline
  for word in $words; do
    case $word in
    --) break ;;
    hostname=?*) name=${word#hostname=} ;;
    esac
  done
  [ -z "$name" ] || echo "$name" >/proc/sys/kernel/hostname
fi
read -r name </proc/sys/kernel/hostname && [ "$name" != '(none)' ] || exit 0
end='
'
known= before= after=
while IFS= read -r line || [ -n "$line" ]; do
  before=$before$line$end
  case $line in *' # by umlctl') continue ;; esac
  after=$after$line$end
  for each in ${line%%#*}; do [ "$each" != "$name" ] || known=yes; done
done </etc/hosts
[ -n "$known" ] || after="${after}SELF $name # by umlctl$end"
[ "$before" != "$after" ] || exit 0
printf %s "$after" >/etc/hosts.umlctl && mv /etc/hosts.umlctl /etc/hosts
""".replace("SELF", _SELF)
"""Drops what it wrote in /etc/hosts for a guest before, of which this one may be a copy."""
_UNIT_TEXT: Final = f"""\
[Unit]
Description=Calls this guest by its own name
DefaultDependencies=no
After=systemd-remount-fs.service
Before=sysinit.target
ConditionPathIsReadWrite=/etc

[Service]
Type=oneshot
ExecStart=/bin/sh {SCRIPT}

[Install]
WantedBy=sysinit.target
"""
_PROMPT_TEXT: Final = """\
# A prompt that says nothing of where it is says it.
case ${PS1-} in
'' | '# ' | '$ ' | '\\w \\$ ' | '\\s-\\v\\$ ')
  read -r name </proc/sys/kernel/hostname
  [ "$(id -u)" = 0 ] && PS1="$name:\\$PWD# " || PS1="$name:\\$PWD\\$ "
  ;;
esac
"""


def name_guests(tree: ImageTree, hostname: str | None) -> None:
    """Have guests be called by a name, or each by its own.

    hostname: None: each by its own

    Raises: OSError
    """
    hosts = tree.text("/etc/hosts") or "127.0.0.1\tlocalhost\n"
    if hostname is not None:
        tree.put("/etc/hostname", f"{hostname}\n".encode())
        if not _has(hosts, hostname):
            hosts = f"{ended(hosts)}{_SELF}\t{hostname}\n"
    else:
        former = tree.text("/etc/hostname").strip()  # of the machine that the tree is from
        tree.remove("/etc/hostname")
        hosts = "".join(line for line in hosts.splitlines(True) if not _is_self(line, former))
        tree.put(SCRIPT, NAMING.encode(), 0o755)
    tree.write("/etc/hosts", hosts)


def _has(hosts: str, name: str) -> bool:
    return any(name in line.split("#")[0].split()[1:] for line in hosts.splitlines())


def _is_self(line: str, name: str) -> bool:
    """Whether a machine found itself by a line of /etc/hosts."""
    words = line.split("#", maxsplit=1)[0].split()
    return words[:1] == [_SELF] and name in words[1:]


def by_systemd(tree: ImageTree) -> None:
    """Have systemd name a guest, if it is by its own name.

    Raises: OSError
    """
    if tree.exists(SCRIPT):
        tree.put(UNIT, _UNIT_TEXT.encode())
        tree.link(_WANTED_UNIT, UNIT)


def by_inittab(tree: ImageTree, text: str, *, sysv: bool) -> str:
    """The text of an inittab that has a guest named as the last step of its boot, if it is to be.

    sysv: its lines begin with an identifier, and not with a console
    """
    if not tree.exists(SCRIPT) or SCRIPT in text:
        return text
    line = f"{'uh' if sysv else ''}::sysinit:/bin/sh {SCRIPT}\n"
    last = 0
    for found in _SYSINIT.finditer(text):
        last = found.end()
    if not last:
        return f"{line}{text}"
    return f"{text[:last]}\n{line}{text[last:].removeprefix(chr(10))}"


def prompt_of_shell(tree: ImageTree) -> None:
    """Have the shell on the console say where it is.

    Raises: OSError
    """
    tree.put(PROMPT, _PROMPT_TEXT.encode())
