from __future__ import annotations

import os
import signal
import subprocess
import sys

from umlctl.recovery import process_tree

LATER = """
import os, sys
def child(name):
    pid = os.fork()
    if not pid:
        with open("/proc/self/comm", "w") as file:
            file.write(name)
        os.write(1, b"%d\\n" % os.getpid())
        sys.stdin.read()
        os._exit(0)
    return pid
children = child("uml-userspace"), child("helps")
os.write(1, b"ready\\n")
sys.stdin.read()
"""


def test_process_of_a_guest_need_not_be_traced() -> None:
    with subprocess.Popen(
        [sys.executable, "-S", "-c", LATER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as kernel:
        assert kernel.stdout is not None
        said = {kernel.stdout.readline().strip() for _ in range(3)}
        found = process_tree.of_kernel(kernel.pid)
        assert {str(member.pid) for member in found[1:]} | {"ready"} == said
        assert [(member.role, member.name) for member in found[1:]] == [
            (process_tree.HELPER, "helps"),
            (process_tree.PROCESS, "uml-userspace"),
        ]
        assert (found[0].pid, found[0].role) == (kernel.pid, process_tree.KERNEL)


def test_kernel_that_is_gone_has_no_processes() -> None:
    assert process_tree.of_kernel(1 << 30) == []


def test_guest_that_nobody_knows_has_no_processes(house: str) -> None:
    assert process_tree.of_guest("nobody") == []


LEFT = """
import os, sys, time
if os.fork():
    os._exit(0)
os.write(1, b"%d\\n" % os.getpid())
time.sleep(600)
"""


def test_what_a_dead_kernel_has_left_is_found_and_nothing_else() -> None:
    words = ["umid=lost", "uml_dir=/nonexistent"]
    command = [sys.executable, "-S", "-c", LEFT, *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True) as kernel:
        assert kernel.stdout is not None
        pid = int(kernel.stdout.readline())
        try:
            kernel.wait()
            mine = [each for each in process_tree.orphans() if each.umid == "lost"]
            assert mine == [process_tree.Orphans(kernel.pid, "lost", (pid,))]
        finally:
            os.kill(pid, signal.SIGKILL)
    lives = [sys.executable, "-S", "-c", "import time; time.sleep(600)", *words]
    with subprocess.Popen(lives, start_new_session=True) as kernel:
        try:
            assert not any(each.group == kernel.pid for each in process_tree.orphans())
        finally:
            kernel.kill()
