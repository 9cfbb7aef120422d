"""What a hostile guest tries on its host, as tables: as its own root on the files that it sees,
and as code in its kernel's process, which a module that root loads can be.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import os
import shutil
import socket
import stat
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from socketproto.wire import Request
from tests.injection import Process, inside
from umlctl.host import call_list, landlock

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from tests.live.conftest import House

ROOT: Final = os.geteuid() == 0
LANDLOCK: Final = landlock.version() if os.uname().machine in call_list.MACHINES else 0

WRITES, STRICT, OFF = "writes", "strict", "off"
NETWORK: Final = "lan"
DISK: Final = next((name for name in sorted(os.listdir("/sys/class/block"))), "none")
MARK: Final = "=== "
SECRET: Final = b"what nobody else is to know"


class World(NamedTuple):
    """What there is to be reached.

    Fields:
        victim: a directory of the host's user that no guest was given
        key: a file of that user's that is secret
        disk: a file that was plugged while the guest ran, to be read alone
        port: where a service of the host's listens, TCP
        other: a process of the same user
        supervisor: its pid
        own, neighbour: umids, of the guest that tries and of another
        kernel: the pid of the former's
    """

    house: House
    victim: str
    key: str
    disk: str
    port: int
    other: int
    supervisor: int
    own: str
    neighbour: str
    kernel: int


# What is harmed


def lay_out(victim: str) -> None:
    """Make the victim's files, as they are to stay."""
    with contextlib.suppress(FileNotFoundError):
        shutil.rmtree(victim)
    os.makedirs(f"{victim}/empty")
    for name in ("file", "other"):
        Path(f"{victim}/{name}").write_bytes(SECRET)
        os.chmod(f"{victim}/{name}", 0o640)
        os.utime(f"{victim}/{name}", (1e9, 1e9))


def state_of(victim: str) -> list[tuple[object, ...]]:
    """All that can be changed of the victim's files but when they were read."""
    found: list[tuple[object, ...]] = []
    for directory, directories, files in os.walk(victim):
        for name in [".", *directories, *files]:
            path = os.path.join(directory, name)
            about = os.lstat(path)
            content = Path(path).read_bytes() if stat.S_ISREG(about.st_mode) else b""
            attributes = os.listxattr(path, follow_symlinks=False)
            found.append(
                (
                    *(path, about.st_mode, about.st_uid, about.st_nlink, about.st_mtime, content),
                    *attributes,
                )
            )
    return sorted(found)


# As root of the guest, on its hostfs: HOST is where it has mounted the host's files once more,
# UNDER where it sees its own root without what it has mounted on it.

HOSTFS: Final = {
    "remount the root and write": "mount -o remount,rw /; mount -o remount,rw $UNDER; "
    "echo bad >$UNDER$V/file",
    "write": "echo bad >$HOST$V/file",
    "append": "echo bad >>$HOST$V/file",
    "truncate": "truncate -s 3 $HOST$V/file",
    "make a file": "echo bad >$HOST$V/new",
    "make a directory": "mkdir $HOST$V/new",
    "remove a file": "rm -f $HOST$V/file",
    "remove a directory": "rmdir $HOST$V/empty",
    "rename": "mv $HOST$V/file $HOST$V/renamed",
    "rename over another": "mv -f $HOST$V/file $HOST$V/other",
    "make a link": "ln $HOST$V/file $HOST$V/link",
    "make a symbolic link": "ln -s /etc/passwd $HOST$V/link",
    "make a FIFO": "mkfifo $HOST$V/fifo",
    "make a socket": "cd $HOST$V && perl -MSocket -e "
    "'socket(S, AF_UNIX, SOCK_DGRAM, 0); bind(S, sockaddr_un(q(s)))'",
    "change a mode": "chmod 4777 $HOST$V/file",
    "change the mode of a directory": "chmod 777 $HOST$V",
    "change times": "touch -d @1 $HOST$V/file",
    "mount the directory itself and write": "mount -t hostfs none /srv -o $V; echo bad >/srv/file",
    "leave a mount by ..": "mount -t hostfs none /srv -o $V/empty; echo bad >/srv/../file; "
    "cd /srv && echo bad >../file; umount /srv; mount -t hostfs none /srv -o $V/empty/..; "
    "echo bad >/srv/file",
    "mount what the host's /proc leads to": "for pid in $SUPERVISOR 1 self; do "
    "mount -t hostfs none /srv -o /proc/$pid/root$V && echo bad >/srv/file; umount /srv; "
    "mount -t hostfs none /srv -o /proc/$pid/cwd$V && echo bad >/srv/file; umount /srv; done",
}
IF_ROOT: Final = {
    "make a device node": "mknod $HOST$V/null c 1 3; mknod $HOST$V/disk b 254 0",
    "change an owner": "chown 12345 $HOST$V/file",
}
READING: Final = {
    "read a key": "cat $HOST$KEY",
    "read a key by the root": "cat $UNDER$KEY",
    "read a key by a mount": "mount -t hostfs none /srv -o ${KEY%/*}; cat /srv/${KEY##*/}",
    "read a key by what the host's /proc leads to": "for pid in $SUPERVISOR 1 self; do "
    "mount -t hostfs none /srv -o /proc/$pid/root${KEY%/*}; cat /srv/${KEY##*/}; umount /srv; done",
}
READING_OTHERS: Final = {
    "read": "cat $HOST$V/file",
    "read by a mount": "mount -t hostfs none /srv -o $V; cat /srv/file",
    "read by what the host's /proc leads to": "for pid in $SUPERVISOR 1 self; do "
    "mount -t hostfs none /srv -o /proc/$pid/root$V; cat /srv/file; umount /srv; done",
}
"""What only a guest that is confined strictly does not read."""


@contextlib.contextmanager
def surroundings(house: House, modes: Iterable[str]) -> Iterator[dict[str, World]]:
    """A guest of each mode with what it might reach, another guest among that."""
    victim, keys = f"{house.path}/victim", f"{house.home}/.ssh"
    given = f"{house.path}/given"
    os.mkdir(keys, 0o700)
    os.mkdir(given)
    Path(f"{keys}/id").write_bytes(SECRET)
    umids = {mode: f"jail-{mode}-{os.getpid()}" for mode in modes}
    neighbour = f"neighbour-{os.getpid()}"
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.socket(socket.AF_UNIX) as service,
        something_else() as other,
    ):
        disk = f"{house.path}/disk"
        Path(disk).write_bytes(bytes(1 << 20))
        for mode, umid in umids.items():
            house.start(umid, "--confine", mode, *(["--ro", given] if mode == STRICT else []))
            house.ok("disk", "add", umid, "--ro", disk)
        house.start(neighbour, "--confine", WRITES, "--nic", f"switch={NETWORK}")
        for umid in umids.values():
            house.has_shell(umid)
            house.shell(umid, "mount -t hostfs none /mnt -o /; mount --bind / /media")
        supervisor = house.status(neighbour)["supervisor_pid"]
        port = server.getsockname()[1]
        lay_out(victim)
        service.bind(f"{house.path}/service")
        service.listen()
        there = (house, victim, f"{keys}/id", disk, port, other, supervisor)
        yield {
            mode: World(*there, umid, neighbour, house.status(umid)["pid"])
            for mode, umid in umids.items()
        }
        for umid in (*umids.values(), neighbour):
            house.umlctl("kill", umid)


def as_guest(world: World, tries: dict[str, str]) -> dict[str, str]:
    """What each script says that the guest's root runs, with a victim of its own."""
    script = (
        f"HOST=/mnt UNDER=/media KEY={world.key} SUPERVISOR={world.supervisor}; export HOST UNDER\n"
    )
    for index, each in enumerate(tries.values()):
        script += f"echo; echo {MARK}{index}; (V={world.victim}/{index}; {each}); umount -l /srv\n"
    Path(f"{world.house.path}/given/tries").write_text(script)
    _, said = world.house.try_shell(world.own, f"sh /mnt{world.house.path}/given/tries")
    parts = said.split(MARK)
    assert len(parts) == len(tries) + 1, said
    return {name: parts[index + 1] for index, name in enumerate(tries)}


def changed(world: World, tries: dict[str, str]) -> set[str]:
    """Which scripts of the guest's root have changed their victim's files."""
    before = {}
    for index, name in enumerate(tries):
        lay_out(f"{world.victim}/{index}")
        before[name] = state_of(f"{world.victim}/{index}")
    as_guest(world, tries)
    return {
        name
        for index, name in enumerate(tries)
        if state_of(f"{world.victim}/{index}") != before[name]
    }


def told(world: World, tries: dict[str, str]) -> set[str]:
    """Which scripts of the guest's root have told what they should not."""
    for index in range(len(tries)):
        lay_out(f"{world.victim}/{index}")
    return {name for name, said in as_guest(world, tries).items() if SECRET.decode() in said}


WRITING: Final = {**HOSTFS, **(IF_ROOT if ROOT else {})}


# As code in the kernel's process: each makes system calls there, and has its results.

RDONLY, WRONLY, RDWR, CREAT, TRUNC, TMPFILE = 0, 1, 2, 0o100, 0o1000, 0o20200000
HERE: Final = -100
STREAM, DATAGRAM, PACKETS = 1, 2, 5
ANSWER_TIMEOUT: Final = 20
"""How long a supervisor may take to answer, seconds."""
UNIX, INET = 1, 2


def unix(path: str) -> bytes:
    """An address."""
    return struct.pack("=H108s", UNIX, os.fsencode(path))


def connect(k: Process, address: bytes, kind: int) -> int:
    """Make a socket and connect it; 0, or the first errno, one of them that the other side has
    closed it at once."""
    made = k.call(41, address[0], kind, 0).result
    result = made if made < 0 else k.call(42, made, address, len(address)).result
    if result or address[0] != UNIX:
        return result
    k.call(54, made, 1, 20, struct.pack("=2q", 1, 0), 16)
    ended = k.call(45, made, bytes(16), 16, 0, 0, 0).result == 0
    return -errno.ECONNRESET if ended else 0


def send(k: Process, path: str) -> int:
    """Send a datagram to a unix socket."""
    made = k.call(41, UNIX, DATAGRAM, 0).result
    address = unix(path)
    return made if made < 0 else k.call(44, made, b"x", 1, 0, address, len(address)).result


def ask(k: Process, path: str) -> int:
    """Ask a supervisor something that it answers by itself; 0, or the errno of it or of its
    answer."""
    made = k.call(41, UNIX, DATAGRAM, 0).result
    k.call(49, made, struct.pack("=H", UNIX), 2)  # any address, to be answered at
    k.call(54, made, 1, 20, struct.pack("=2q", ANSWER_TIMEOUT, 0), 16)
    address, request = unix(path), Request(b"status").encode()
    sent = k.call(44, made, request, len(request), 0, address, len(address)).result
    if sent < 0:
        return sent
    answer = k.call(45, made, bytes(4096), 4096, 0, 0, 0)
    error: int = struct.unpack_from("=i", answer.data)[0]
    return min(answer.result, error) if answer.result < 0 or error else 0


def read(k: Process, path: str) -> int:
    """Read a file: how many bytes of what is secret came, or the errno."""
    made = k.call(2, path, RDONLY, 0).result
    if made < 0:
        return made
    data = k.call(0, made, bytes(4096), 4096).data
    return len(SECRET) if SECRET in data else -errno.ENODATA


def keep(k: Process, path: str, number: int, *arguments: int) -> int:
    """Open a file to be read, and keep it from others by a call with its descriptor."""
    made = k.call(2, path, RDONLY, 0).result
    return made if made < 0 else k.call(number, made, *arguments).result


def device(k: Process, path: str) -> int:
    """Open a device of the host; what covers it is a file."""
    made = k.call(2, path, RDONLY, 0).result
    if made < 0:
        return made
    about = k.call(5, made, bytes(144)).data
    return made if stat.S_IFMT(*struct.unpack_from("=I", about, 24)) != stat.S_IFREG else -1


def write_disk(k: Process, world: World) -> int:
    """Open a disk for writing that was plugged to be read alone, wherever the kernel has it."""
    places = [f"{world.house.run}-kept/.{world.own}/{name}/ubd1" for name in ("dev", "dev-ro")]
    return max(k.call(2, path, RDWR, 0).result for path in (*places, world.disk))


ANY: Final = bytes(256)
Try = Callable[[Process, World], int]

FILES: Final[dict[str, Try]] = {
    "open for writing": lambda k, w: k.call(2, f"{w.victim}/file", WRONLY, 0).result,
    "open and truncate": lambda k, w: k.call(2, f"{w.victim}/file", WRONLY | TRUNC, 0).result,
    "truncate": lambda k, w: k.call(76, f"{w.victim}/file", 1).result,
    "make a file": lambda k, w: k.call(2, f"{w.victim}/new", CREAT | WRONLY, 0o600).result,
    "make one without a name": lambda k, w: k.call(2, w.victim, TMPFILE | RDWR, 0o600).result,
    "make a directory": lambda k, w: k.call(83, f"{w.victim}/new", 0o700).result,
    "make a FIFO": lambda k, w: k.call(133, f"{w.victim}/fifo", 0o010600, 0).result,
    "make a symbolic link": lambda k, w: k.call(88, "/", f"{w.victim}/link").result,
    "make a link": lambda k, w: k.call(86, f"{w.victim}/other", f"{w.victim}/link").result,
    "bind a socket": lambda k, w: bind(k, unix(f"{w.victim}/socket")),
    "exchange": lambda k, w: (
        k.call(*(316, HERE, f"{w.victim}/file", HERE, f"{w.victim}/other", 2)).result
    ),
    "rename": lambda k, w: k.call(82, f"{w.victim}/other", f"{w.victim}/renamed").result,
    "change a mode": lambda k, w: k.call(90, f"{w.victim}/file", 0o4777).result,
    "change an owner": lambda k, w: k.call(92, f"{w.victim}/file", os.getuid(), -1).result,
    "change times": lambda k, w: k.call(280, HERE, f"{w.victim}/file", bytes(32), 0).result,
    "set an attribute": lambda k, w: k.call(188, f"{w.victim}/file", "user.a", b"b", 1, 0).result,
    "write what the root of another leads to": lambda k, w: (
        k.call(2, f"/proc/{w.supervisor}/root{w.victim}/file", WRONLY, 0).result
    ),
    "write by ..": lambda k, w: (
        k.call(2, f"/proc/self/cwd/{'../' * 20}{w.victim}/file", WRONLY, 0).result
    ),
    "remove a file": lambda k, w: k.call(87, f"{w.victim}/file").result,
    "remove a directory": lambda k, w: k.call(84, f"{w.victim}/empty").result,
}
"""Each changes the victim's files; they are made anew before."""

READS: Final[dict[str, Try]] = {
    "a key": lambda k, w: read(k, w.key),
    "a key through another's root": lambda k, w: read(k, f"/proc/{w.supervisor}/root{w.key}"),
    "a key through its own root": lambda k, w: read(k, f"/proc/self/root{w.key}"),
    "the environment of another": lambda k, w: k.call(2, f"/proc/{w.other}/environ", 0, 0).result,
    "the memory of another": lambda k, w: k.call(2, f"/proc/{w.supervisor}/mem", RDWR, 0).result,
    "the files of another": lambda k, w: k.call(2, f"/proc/{w.supervisor}/fd/0", RDONLY, 0).result,
    "another guest's record": lambda k, w: (
        k.call(2, f"{w.house.state}/guests/{w.neighbour}/record.json", RDONLY, 0).result
    ),
    "its own record, to be changed": lambda k, w: (
        k.call(2, f"{w.house.state}/guests/{w.own}/record.json", WRONLY, 0).result
    ),
    "a disk that it reads alone, to be changed": write_disk,
    "a disk of the host": lambda k, _: device(k, f"/dev/{DISK}"),
    "a terminal of the host": lambda k, _: device(k, "/dev/tty0"),
    "what the host's kernel says": lambda k, _: device(k, "/dev/kmsg"),
    "another guest's directory": lambda k, w: (
        k.call(2, f"{w.house.run}/g/{w.neighbour}", RDONLY, 0).result
    ),
}

OTHERS: Final[dict[str, Try]] = {
    "signal": lambda k, w: k.call(62, w.other, 0).result,
    "signal the supervisor": lambda k, w: k.call(62, w.supervisor, 0).result,
    "signal a thread": lambda k, w: k.call(234, w.other, w.other, 0).result,
    "trace": lambda k, w: k.call(101, 0x4206, w.other, 0, 0).result,
    "attach": lambda k, w: k.call(101, 16, w.other, 0, 0).result,
    "read memory": lambda k, w: k.call(310, w.other, ANY, 1, ANY, 1, 0).result,
    "write memory": lambda k, w: k.call(311, w.other, ANY, 1, ANY, 1, 0).result,
    "take a descriptor": lambda k, _: k.call(438, 0, 0, 0).result,
    "limit": lambda k, w: k.call(302, w.other, 7, struct.pack("=2Q", 3, 3), 0).result,
    "slow down": lambda k, w: k.call(141, 0, w.other, 19).result,
    "choose processors": lambda k, w: k.call(203, w.other, 8, b"\1" + bytes(7)).result,
    "lease what it reads": lambda k, w: keep(k, f"{w.victim}/file", 72, 1024, 0),
    "lock what it reads": lambda k, w: keep(k, f"{w.victim}/file", 73, 2),
    "hide from who looks after it": lambda k, _: k.call(157, 4, 0, 0, 0, 0).result,
    "compare": lambda k, w: k.call(312, w.other, w.supervisor, 0, 0, 0).result,
}

ASKED: Final[dict[str, Try]] = {
    "its own supervisor": lambda k, w: ask(k, w.house.public(w.own)),
    "its own supervisor's own": lambda k, w: ask(k, f"{w.house.run}/g/{w.own}/mconsole"),
    "another guest": lambda k, w: ask(k, w.house.public(w.neighbour)),
    "another guest's own": lambda k, w: ask(k, f"{w.house.run}/g/{w.neighbour}/mconsole"),
}
"""Supervisors that may hear what is said to them, and are to do nothing of it."""

SOCKETS: Final[dict[str, Try]] = {
    "its own supervisor": lambda k, w: send(k, w.house.public(w.own)),
    "its own supervisor's own": lambda k, w: send(k, f"{w.house.run}/g/{w.own}/mconsole"),
    "another guest": lambda k, w: send(k, w.house.public(w.neighbour)),
    "another guest's own": lambda k, w: send(k, f"{w.house.run}/g/{w.neighbour}/mconsole"),
    "another guest's kernel": lambda k, w: send(k, w.house.kernel_socket(w.neighbour)),
    "the background supervisor": lambda k, w: send(k, f"{w.house.run}/supervisor/mconsole"),
    "a console": lambda k, w: connect(k, unix(f"{w.house.run}/g/{w.own}/con0"), STREAM),
    "all consoles": lambda k, w: connect(k, unix(f"{w.house.run}/g/{w.own}/attach"), PACKETS),
    "a switch": lambda k, w: connect(k, unix(f"{w.house.run}/s/{NETWORK}/control"), PACKETS),
    "a service of this host's user": lambda k, w: connect(
        k, unix(f"{w.house.path}/service"), STREAM
    ),
    "a service by TCP": lambda k, w: connect(
        k, struct.pack("=H", INET) + struct.pack(">HI8x", w.port, 0x7F000001), STREAM
    ),
    "a service by UDP": lambda k, w: connect(
        k, struct.pack("=H", INET) + struct.pack(">HI8x", w.port, 0x7F000001), DATAGRAM
    ),
    "listen by TCP": lambda k, _: bind(k, struct.pack("=H", INET) + bytes(14)),
    "the machine that this host is a guest of": lambda k, _: k.call(41, 40, STREAM, 0).result,
    "what the host's networks carry": lambda k, _: k.call(41, 17, 3, 0x300).result,
    "the host's interfaces": lambda k, _: k.call(41, 16, 3, 0).result,
}

HOST: Final[dict[str, tuple[Any, ...]]] = {
    "mount": (165, "none", "{w.victim}", "tmpfs", 0, 0),
    "bind": (165, "/", "{w.victim}", 0, 4096, 0),
    "mount writable": (165, 0, "/", 0, 4096 | 32, 0),
    "unmount": (166, "{w.house.home}/.ssh", 2),
    "set what is mounted": (442, HERE, "/", 0x8000, struct.pack("=4Q", 0, 1, 0, 0), 32),
    "clone what is mounted": (428, HERE, "/", 1),
    "open a file system": (430, "tmpfs", 0),
    "change the root": (161, "/proc/{w.supervisor}/root"),
    "turn the root": (155, "{w.victim}", "{w.victim}"),
    "a user namespace": (272, 0x10000000),
    "a mount namespace": (272, 0x00020000),
    "a process in a user namespace": (56, 0x10000011, 0, 0, 0, 0),
    "a process by a newer call": (435, ANY, 88),
    "enter a namespace": (308, 0, 0),
    "a handle": (303, HERE, "/", ANY, ANY, 0),
    "open by a handle": (304, HERE, ANY, 0),
    "bpf": (321, 0, ANY, 72),
    "perf events": (298, ANY, 0, -1, -1, 0),
    "an io_uring": (425, 1, ANY),
    "add a key": (248, "user", "a", b"b", 1, -3),
    "the keys": (250, 0, -3, 1),
    "page faults": (323, 1),
    "a module": (175, ANY, 1, ""),
    "remove a module": (176, "none", 0),
    "another kernel": (246, 0, 0, 0, 0),
    "reboot": (169, 1, 2, 3, 0),
    "swap": (167, "/nonexistent", 0),
    "the host's log": (103, 10, 0, 0),
    "ports": (172, 3),
    "accounting": (163, "/nonexistent"),
    "the time": (164, ANY, 0),
    "the host's name": (170, "", 0),
    "another user": (105, 12345),
    "capabilities": (126, struct.pack("=Ii", 0x20080522, 0), ANY),
    "memory of all": (29, 0x4242, 4096, 0o1600),
    "type at a terminal": (16, 0, 0x5412, b"x"),
    "a kernel setting": (2, "/proc/sys/kernel/hostname", WRONLY, 0),
    "a disk of the host": (133, "/dev/shm/disk", 0o060600, 0xFE00),
    "the memory of the host": (2, "/dev/mem", RDWR, 0),
    "the host's terminals": (2, "/dev/tty0", RDWR, 0),
}
"""Calls with their arguments."""


def bind(k: Process, address: bytes) -> int:
    """Make a socket, bind it, and listen where it can."""
    made = k.call(41, address[0], STREAM if address[0] == INET else DATAGRAM, 0).result
    return made if made < 0 else k.call(49, made, address, len(address)).result


def answers(world: World, tries: dict[str, Try]) -> dict[str, int]:
    """What a kernel's process gets of each."""
    with inside(world.kernel) as process:
        return {name: make(process, world) for name, make in tries.items()}


def succeeded(world: World, tries: dict[str, Try]) -> dict[str, int]:
    """What a kernel's process can do of it: what it got."""
    return {name: result for name, result in answers(world, tries).items() if result >= 0}


def changed_by_code(world: World, tries: dict[str, Try]) -> dict[str, int]:
    """The same of what changes the victim's files."""
    found = {}
    for name, make in tries.items():
        lay_out(world.victim)
        before = state_of(world.victim)
        result = succeeded(world, {name: make}).get(name, -1)
        if result >= 0 or state_of(world.victim) != before:
            found[name] = result
    return found


def of_host(world: World) -> dict[str, Try]:
    """HOST as tries."""
    return {
        name: functools.partial(one, [in_words(word, world) for word in each])
        for name, each in HOST.items()
    }


def one(words: list[Any], k: Process, _: World) -> int:
    """Make one call."""
    return k.call(*words).result


def in_words(word: Any, world: World) -> Any:
    """An argument of a call in a table."""
    if not isinstance(word, str):
        return word
    return int(found) if (found := word.format(w=world)).isdigit() else found


@contextlib.contextmanager
def something_else() -> Iterator[int]:
    """A process of the same user's; its pid."""
    with subprocess.Popen(["sleep", "infinity"]) as process:
        try:
            yield process.pid
        finally:
            process.kill()


def have_no_namespaces(house: House, programs: Path) -> None:
    """Have the guests of a house be started as on a host that has no unshare(1).

    programs: a directory to be made
    """
    programs.mkdir()
    for directory in os.get_exec_path():
        with contextlib.suppress(OSError):
            for name in os.listdir(directory):
                if name != "unshare" and not (programs / name).is_symlink():
                    (programs / name).symlink_to(f"{directory}/{name}")
    house.env["PATH"] = str(programs)
