"""Builds the program that is process 1 of a guest of `umlctl exec`, umlctl/guest/agent.c.

It is built where there is a compiler for x86-64, and is in the wheel then; umlctl does with
umlctl/guest/exec.sh where it is not. `python hatch_build.py` builds it in a checkout.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from typing import Any

try:
    from hatchling.builders.hooks.plugin.interface import BuildHookInterface
except ImportError:  # run by itself
    BuildHookInterface = object

HERE = os.path.dirname(os.path.abspath(__file__))
SOURCE = f"{HERE}/umlctl/guest/agent.c"
AGENT = f"{HERE}/umlctl/guest/agent"
FLAGS = (
    *("-Os", "-s", "-ffreestanding", "-nostdlib", "-static", "-fno-pie", "-no-pie"),
    *("-fno-stack-protector", "-fno-asynchronous-unwind-tables", "-fcf-protection=none"),
    *("-Wall", "-Wextra", "-Wl,--build-id=none,-z,noseparate-code,-z,noexecstack"),
)
TAG = "py3-none-manylinux2014_x86_64"
"""The program needs no library, and Python nothing of a platform."""


def build() -> bool:
    """Build the program, whole or not at all; whether it is there."""
    compiler = shutil.which(os.environ.get("CC", "cc"))
    if compiler is None or platform.machine() != "x86_64":
        return False
    new = f"{AGENT}.{os.getpid()}"
    done = subprocess.run([compiler, *FLAGS, "-o", new, SOURCE], check=False)
    if done.returncode:
        return False
    os.replace(new, AGENT)
    return True


class Hook(BuildHookInterface):
    """What hatchling calls."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Have the program in the wheel."""
        if self.target_name == "wheel" and build():
            build_data["artifacts"].append("umlctl/guest/agent")
            if version != "editable":
                build_data["pure_python"] = False
                build_data["tag"] = TAG


if __name__ == "__main__":
    raise SystemExit(not build())
