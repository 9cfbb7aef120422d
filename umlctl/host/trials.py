"""What guests need to be let do, tried out by processes that end at once.

Whether a host allows something follows from no list of its settings: a filter of system calls, a
security module or a container may forbid it as well, and none says so. So it is tried.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
from errno import EPERM
from functools import partial
from typing import Final

from umlctl.host import call_list, confine

TRIAL_TIMEOUT: Final = 10.0
"""How long a trial may take on a busy host, seconds."""
_PTRACE_TRACEME: Final = 0
_PTRACE_SETOPTIONS: Final = 0x4200
_TRACESYSGOOD: Final = 1
_NOT_ALLOWED: Final = "Operation not permitted"


def ptrace() -> str:
    """Why a process here cannot trace its child, as a kernel does with the processes of its guest;
    empty if it can."""
    libc = ctypes.CDLL(None, use_errno=True)
    pid = os.fork()
    if not pid:
        failed = libc.ptrace(_PTRACE_TRACEME, 0, None, None)
        if failed:
            os._exit(ctypes.get_errno() or EPERM)
        os.kill(os.getpid(), signal.SIGSTOP)
        os._exit(0)
    status = os.waitpid(pid, os.WUNTRACED)[1]
    if os.WIFEXITED(status):
        return os.strerror(os.waitstatus_to_exitcode(status)) if status else _NOT_ALLOWED
    if os.WIFSIGNALED(status):
        return f"who tries is ended by signal {os.WTERMSIG(status)}"
    failed = libc.ptrace(_PTRACE_SETOPTIONS, pid, None, ctypes.c_void_p(_TRACESYSGOOD))
    problem = os.strerror(ctypes.get_errno()) if failed else ""
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return problem


def fixed_addresses() -> str:
    """Why a program cannot be started with addresses that are not random, as kernels are; empty if
    it can."""
    return _tried(["setarch", os.uname().machine, "-R", "true"])


def scope(options: str) -> str:
    """Why a kernel cannot have a scope, see `umlctl.host.confine.scopes`; empty if it can."""
    words = ["unshare", *options.split(), "--fork", "--kill-child", "true"]
    try:
        return confine.confined(partial(_tried, words))
    except OSError as problem:
        return problem.strerror or str(problem)


def calls() -> str:
    """Why a process cannot execute a program that is in memory, which confines kernels; empty if it
    can, or if no such program is made for this machine."""
    if os.uname().machine not in call_list.MACHINES:
        return ""
    try:
        call_list.run(call_list.CallList(), [], timeout=TRIAL_TIMEOUT)
    except OSError as problem:
        return problem.strerror or str(problem)
    return ""


def is_filtered() -> bool:
    """Whether a filter of system calls is on this process, and so on all that it starts."""
    with open("/proc/self/status") as file:
        return any(line.split() == ["Seccomp:", "2"] for line in file)


def _tried(words: list[str]) -> str:
    """What goes wrong with a command, in a line; empty if nothing does."""
    try:
        done = subprocess.run(
            words,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            timeout=TRIAL_TIMEOUT,
            check=False,
        )
    except FileNotFoundError:
        return f"there is no program {words[0]}"
    except subprocess.TimeoutExpired:
        return f"{words[0]} did not end within {TRIAL_TIMEOUT:g} s"
    except OSError as problem:
        return f"cannot run {words[0]}: {problem.strerror}"
    if not done.returncode:
        return ""
    said = done.stderr.decode("utf-8", "replace").strip().splitlines()
    return said[-1] if said else f"{words[0]} ended with status {done.returncode}"
