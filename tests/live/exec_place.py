"""Running `umlctl exec`, with its program and without."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pexpect
import pytest

import hatch_build
from tests.live.conftest import DEADLINE, heed_signals, processes_of
from tests.program import UMLCTL

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.live.conftest import House

ROOT = Path(hatch_build.HERE)


class Place:
    """Where `umlctl exec` is run from.

    Fields:
        house: of its guests
        source: the directory of the packages: with the program, or without
    """

    def __init__(self, house: House, source: Path) -> None:
        self.house = house
        self.source = source
        self.env = {**house.env, "PYTHONPATH": str(source)}

    def command(self, *words: str) -> list[str]:
        return [*UMLCTL, "exec", *words]

    def run(
        self, *words: str, stdin: bytes | None = None, cwd: str | None = None
    ) -> subprocess.CompletedProcess[bytes]:
        """Run `umlctl exec WORDS` to its end; nothing of it is left."""
        done = self.run_to_end(*words, stdin=stdin, cwd=cwd)
        assert self.left() == []
        return done

    def run_to_end(
        self, *words: str, stdin: bytes | None = None, cwd: str | None = None
    ) -> subprocess.CompletedProcess[bytes]:
        done: subprocess.CompletedProcess[bytes] = subprocess.run(
            self.command(*words),
            env=self.env,
            cwd=cwd,
            input=stdin or b"",
            capture_output=True,
            timeout=2 * DEADLINE,
            check=False,
        )
        return done

    @contextlib.contextmanager
    def begun(self, *words: str) -> Iterator[subprocess.Popen[bytes]]:
        """`umlctl exec WORDS`, which has written a line."""
        process = subprocess.Popen(
            self.command(*words),
            env=self.env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            preexec_fn=heed_signals,  # noqa: PLW1509
        )
        assert process.stdout is not None
        assert process.stderr is not None
        try:
            assert process.stdout.readline() == b"begun\n"
            yield process
        finally:
            process.kill()
            process.wait(DEADLINE)
            process.stdout.close()
            process.stderr.close()

    @contextlib.contextmanager
    def terminal(self, *words: str) -> Iterator[pexpect.spawn]:
        """`umlctl exec WORDS` in a terminal of 30 rows and 90 columns."""
        command = self.command(*words)
        process = pexpect.spawn(
            command[0],
            command[1:],
            env={**self.env, "TERM": "xterm", "PS1": "ready> "},
            dimensions=(30, 90),
            timeout=DEADLINE,
            encoding="utf-8",
            codec_errors="replace",
        )
        try:
            yield process
        finally:
            process.close(force=True)

    def left(self) -> list[str]:
        """What is left of guests."""
        places = ("u/run/g", "u/run/k", "u/run/x", "u/run-kept", "u/state/guests")
        found = [
            f"{place}/{name}"
            for place in places
            if os.path.isdir(f"{self.house.path}/{place}")
            for name in os.listdir(f"{self.house.path}/{place}")
        ]
        return found + [f"process {pid}" for pid in processes_of(f"uml_dir={self.house.run}/k")]


@contextlib.contextmanager
def packages() -> Iterator[Path]:
    """The packages without the program."""
    with tempfile.TemporaryDirectory(prefix="umlctl-", dir="/tmp") as place:
        for name in ("umlctl", "socketproto"):
            shutil.copytree(ROOT / name, f"{place}/{name}")
        with contextlib.suppress(FileNotFoundError):
            os.unlink(f"{place}/umlctl/guest/agent")
        os.chmod(place, 0o755)
        yield Path(place)


def have_program() -> None:
    """Have the program, or leave the test out."""
    if shutil.which("cc") is None and not os.path.exists(hatch_build.AGENT):
        pytest.skip("takes a compiler, which builds the program; `./dev test` of root installs one")
    source = max(path.stat().st_mtime for path in Path(hatch_build.SOURCE).parent.glob("*.[ch]"))
    built = os.path.exists(hatch_build.AGENT) and os.stat(hatch_build.AGENT).st_mtime >= source
    assert built or hatch_build.build(), "the program is of another source, and cannot be built"
