"""Which system calls a confined process may make: an allow list, as a seccomp filter.

What a kernel needs was measured, and is about half of it (see the tests). The rest is what helpers
of its own (`xterm`, `port-helper`) and libraries of another day do as ordinary programs: files,
memory, processes, signals, time, sockets that they already may have. What is not
listed fails with EPERM, or with ENOSYS where it is younger than this host's C library may be, for
which such a library has another way. Nothing is killed: in a kernel that watches its processes by
seccomp the filter of their own decides before this one, as an errno weighs less than a trap.

Source: seccomp(2), include/uapi/linux/{filter,seccomp,audit}.h.
"""

from __future__ import annotations

from errno import ENOSYS, EPERM
from fcntl import F_SETLEASE
from os import O_TRUNC
from signal import SIGABRT
from struct import pack
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from umlctl.host.call_list import CallList

_Instruction = tuple[int, int, int, int]

KILL_NUMBERS: Final = {"x86_64": 62, "aarch64": 129}
"""The number of kill(2), by machine."""
_AUDIT_ARCH_X86_64: Final = 0xC000003E
_LAST_OLD: Final = 334
"""What has a greater number is younger (Linux 5.1): who calls it knows what to do without."""
_LOAD: Final = 0x20
_AND: Final = 0x54
_JUMP_EQUAL: Final = 0x15
_JUMP_FROM: Final = 0x35
_JUMP_ANY_BIT: Final = 0x45
_RETURN: Final = 0x06
_ALLOW: Final = (_RETURN, 0, 0, 0x7FFF0000)
_REFUSE: Final = (_RETURN, 0, 0, 0x00050000 | EPERM)
_UNKNOWN: Final = (_RETURN, 0, 0, 0x00050000 | ENOSYS)
_NUMBER: Final = 0
_ARCHITECTURE: Final = 4
_ARGUMENT: Final = (16, 24, 32)
"""Where the low half of an argument stands in struct seccomp_data."""
_FCNTL: Final = 72
_PRCTL: Final = 157
_PR_SET_DUMPABLE: Final = 4
_PR_SET_NO_NEW_PRIVS: Final = 38
_PR_SET_SECCOMP: Final = 22
_FILTER: Final = 2

AF_UNIX: Final = 1
AF_INET: Final = 2
AF_INET6: Final = 10
AF_NETLINK: Final = 16
AF_PACKET: Final = 17
_SOCK_STREAM: Final = 1
_NAMESPACES: Final = 0x7E020000
"""CLONE_NEWNS, CLONE_NEWCGROUP, CLONE_NEWUTS, CLONE_NEWIPC, CLONE_NEWUSER, CLONE_NEWPID and
CLONE_NEWNET. CLONE_NEWTIME is for unshare(2) and clone3(2) alone."""
_OPEN: Final = {2: 1, 257: 2}
"""Which argument of open(2) and openat(2) has the flags."""
_OPENAT2: Final = 437
_TRUNCATE: Final = {"truncate": 76, "creat": 85}
_TYPED_INPUT: Final = (0x5412, 0x541C)
"""TIOCSTI and TIOCLINUX: what is typed at a terminal, done by a program."""

_FILES: Final = """
    read 0, write 1, open 2, close 3, stat 4, fstat 5, lstat 6, poll 7, lseek 8, pread64 17,
    pwrite64 18, readv 19, writev 20, access 21, pipe 22, select 23, dup 32, dup2 33, sendfile 40,
    fsync 74, fdatasync 75, truncate 76, ftruncate 77, getdents 78, getcwd 79,
    chdir 80, fchdir 81, rename 82, mkdir 83, rmdir 84, creat 85, link 86, unlink 87, symlink 88,
    readlink 89, umask 95, mknod 133, statfs 137, fstatfs 138, sync 162, readahead 187,
    getxattr 191, lgetxattr 192, fgetxattr 193, listxattr 194, llistxattr 195, flistxattr 196,
    epoll_create 213, getdents64 217, fadvise64 221, epoll_wait 232, epoll_ctl 233, openat 257,
    mkdirat 258, mknodat 259, newfstatat 262, unlinkat 263, renameat 264, linkat 265,
    symlinkat 266, readlinkat 267, faccessat 269, pselect6 270, ppoll 271, splice 275, tee 276,
    sync_file_range 277, epoll_pwait 281, signalfd 282, eventfd 284, fallocate 285, signalfd4 289,
    eventfd2 290, epoll_create1 291, dup3 292, pipe2 293, preadv 295, pwritev 296, syncfs 306,
    renameat2 316, memfd_create 319, copy_file_range 326, preadv2 327, pwritev2 328, statx 332,
    close_range 436, openat2 437, faccessat2 439, epoll_pwait2 441
"""
_ATTRIBUTES: Final = """
    chmod 90, fchmod 91, chown 92, fchown 93, lchown 94, utime 132, setxattr 188, lsetxattr 189,
    fsetxattr 190, removexattr 197, lremovexattr 198, fremovexattr 199, utimes 235, fchownat 260,
    futimesat 261, fchmodat 268, utimensat 280, fchmodat2 452
"""
_MEMORY: Final = """
    mmap 9, mprotect 10, munmap 11, brk 12, mremap 25, msync 26, mincore 27, madvise 28, mlock 149,
    munlock 150, modify_ldt 154, membarrier 324
"""
_PROCESSES: Final = """
    sched_yield 24, getpid 39, fork 57, vfork 58, execve 59, exit 60, wait4 61, uname 63,
    getrlimit 97, getrusage 98, sysinfo 99, times 100, ptrace 101, getuid 102, getgid 104,
    geteuid 107, getegid 108, setpgid 109, getppid 110, getpgrp 111, setsid 112, getgroups 115,
    getresuid 118, getresgid 120, getpgid 121, getsid 124, capget 125, personality 135,
    getpriority 140, sched_getparam 143, sched_getscheduler 145, sched_get_priority_max 146,
    sched_get_priority_min 147, arch_prctl 158, setrlimit 160, gettid 186, futex 202,
    sched_getaffinity 204, set_tid_address 218, exit_group 231, waitid 247, set_robust_list 273,
    get_robust_list 274, getcpu 309, seccomp 317, getrandom 318, execveat 322, rseq 334
"""
_SIGNALS: Final = """
    rt_sigaction 13, rt_sigprocmask 14, rt_sigreturn 15, pause 34, kill 62, rt_sigpending 127,
    rt_sigtimedwait 128, rt_sigqueueinfo 129, rt_sigsuspend 130, sigaltstack 131, tkill 200,
    tgkill 234, rt_tgsigqueueinfo 297
"""
_TIME: Final = """
    nanosleep 35, getitimer 36, alarm 37, setitimer 38, gettimeofday 96, time 201,
    restart_syscall 219, timer_create 222, timer_settime 223, timer_gettime 224,
    timer_getoverrun 225, timer_delete 226, clock_gettime 228, clock_getres 229,
    clock_nanosleep 230, timerfd_create 283, timerfd_settime 286, timerfd_gettime 287
"""
_SOCKETS: Final = """
    connect 42, accept 43, sendto 44, recvfrom 45, sendmsg 46, recvmsg 47, shutdown 48, bind 49,
    listen 50, getsockname 51, getpeername 52, socketpair 53, setsockopt 54, getsockopt 55,
    accept4 288, recvmmsg 299, sendmmsg 307
"""


def _numbers(*tables: str) -> dict[str, int]:
    pairs = (pair.split() for table in tables for pair in table.split(","))
    return {name: int(number) for name, number in pairs}


ALLOWED: Final = _numbers(_FILES, _MEMORY, _PROCESSES, _SIGNALS, _TIME, _SOCKETS)
"""System calls that are allowed whatever their arguments, and their numbers on x86-64. Beside them
`fcntl`, `ioctl`, `socket`, `clone`, `prctl` and `prlimit64` are, with some."""
ATTRIBUTES: Final = _numbers(_ATTRIBUTES)
"""Those that change modes, owners, times and extended attributes of files."""


def jail(
    families: Iterable[int],
    *,
    streams: bool,
    abort: bool,
    attributes: bool = True,
    truncation: bool = True,
) -> bytes:
    """The filter of a confined kernel on x86-64.

    families: AF_... of the sockets that may be made
    streams: unix sockets that are streams may be made: the services of a host listen on such, and
        a kernel itself needs one for its console's `port-helper` and an old switch alone
    abort: it can send SIGABRT
    attributes: it can change those of files, which Landlock does not bound: else its mounts must
    truncation: it can truncate files by their paths, which Landlock does not bound before Linux
        6.2; those that it has open for writing it can
    """
    allowed = ALLOWED | ATTRIBUTES if attributes else ALLOWED
    leaves = {number: [_ALLOW] for number in allowed.values()}
    leaves[16] = _unless(1, _TYPED_INPUT)
    leaves[41] = _sockets(families, streams=streams)
    leaves[56] = _unless_any(0, _NAMESPACES)
    if not truncation:
        leaves |= {number: [_REFUSE] for number in _TRUNCATE.values()}
        leaves[_OPENAT2] = [_UNKNOWN]
        leaves |= {number: _unless_any(flags, O_TRUNC) for number, flags in _OPEN.items()}
    # Who cannot be looked at can be given nothing, and nothing can be hidden from it any more.
    leaves[_PRCTL] = _unless(0, (_PR_SET_DUMPABLE,))
    # With these, what it only reads could be kept from those who write it.
    leaves[_FCNTL] = _unless(1, (F_SETLEASE,))
    # Of another process of its user's it could take the room to run.
    leaves[302] = [(_LOAD, 0, 0, _ARGUMENT[0]), (_JUMP_EQUAL, 0, 1, 0), _ALLOW, _REFUSE]
    if not abort:
        leaves[KILL_NUMBERS["x86_64"]] = _unless(1, (SIGABRT,))
    return _pack(
        [
            (_LOAD, 0, 0, _ARCHITECTURE),
            (_JUMP_EQUAL, 1, 0, _AUDIT_ARCH_X86_64),
            _UNKNOWN,
            (_LOAD, 0, 0, _NUMBER),
            *_tree(_spans(leaves)),
        ]
    )


def no_abort(machine: str) -> bytes:
    """A filter that lets everything be but SIGABRT by kill(2)."""
    return _pack(
        [
            (_LOAD, 0, 0, _NUMBER),
            (_JUMP_EQUAL, 1, 0, KILL_NUMBERS[machine]),
            _ALLOW,
            *_unless(1, (SIGABRT,)),
        ]
    )


def restrict(calls: CallList, program: bytes) -> None:
    """Have who makes these calls obey a filter; it can gain no privileges then."""
    refused = "cannot restrict the kernel by seccomp"
    calls.call(refused, _PRCTL, _PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    fprog = pack("=HxxxxxxQ", len(program) // 8, calls.place(program))
    calls.call(refused, _PRCTL, _PR_SET_SECCOMP, _FILTER, fprog, 0, 0)


def _unless(argument: int, values: Sequence[int]) -> list[_Instruction]:
    """Refuse a call whose argument is one of these values."""
    last = len(values) - 1
    return [
        (_LOAD, 0, 0, _ARGUMENT[argument]),
        *((_JUMP_EQUAL, last - index + 1, 0, value) for index, value in enumerate(values)),
        _ALLOW,
        _REFUSE,
    ]


def _unless_any(argument: int, bits: int) -> list[_Instruction]:
    """Refuse a call whose argument has any of these bits."""
    return [(_LOAD, 0, 0, _ARGUMENT[argument]), (_JUMP_ANY_BIT, 1, 0, bits), _ALLOW, _REFUSE]


def _sockets(families: Iterable[int], *, streams: bool) -> list[_Instruction]:
    allowed = sorted(set(families) - {AF_UNIX})
    found: list[_Instruction] = [(_LOAD, 0, 0, _ARGUMENT[0])]
    if AF_UNIX in families:
        found += [(_JUMP_EQUAL, len(allowed) + 2, 0, AF_UNIX)]
    for index, family in enumerate(allowed):
        found += [(_JUMP_EQUAL, len(allowed) - index, 0, family)]
    found += [_REFUSE, _ALLOW]
    if AF_UNIX in families:
        found += [
            (_LOAD, 0, 0, _ARGUMENT[1]),
            (_AND, 0, 0, 0xF),
            (_JUMP_EQUAL, 1, 0, _SOCK_STREAM),
            _ALLOW,
            _ALLOW if streams else _REFUSE,
        ]
    return found


def _spans(leaves: Mapping[int, list[_Instruction]]) -> list[tuple[int, list[_Instruction]]]:
    """What to do from which number on, up to the next one of the list."""
    spans: list[tuple[int, list[_Instruction]]] = []
    for number in sorted({0, *leaves, *(each + 1 for each in leaves), _LAST_OLD + 1}):
        found = leaves.get(number, [_REFUSE if number <= _LAST_OLD else _UNKNOWN])
        if not spans or spans[-1][1] != found:
            spans.append((number, found))
    return spans


def _tree(spans: Sequence[tuple[int, list[_Instruction]]]) -> list[_Instruction]:
    """Find the span of a number that is loaded, in as few steps as can be."""
    if len(spans) == 1:
        return spans[0][1]
    half = len(spans) // 2
    below, above = _tree(spans[:half]), _tree(spans[half:])
    if len(below) > 255:
        raise ValueError("a jump of the filter would be too long")
    return [(_JUMP_FROM, len(below), 0, spans[half][0]), *below, *above]


def _pack(instructions: Iterable[_Instruction]) -> bytes:
    return b"".join(pack("=HBBI", *each) for each in instructions)
