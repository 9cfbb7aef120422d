"""`python -m tests.fuzz`: look for inputs that break what reads them, with atheris.

Each target runs in a process of its own for a while: libFuzzer ends the process it is in. What is
found is written to a file, and `--replay` shows it again, without atheris.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.fuzz.targets import LONGEST, MODULES, corpus, harness

if TYPE_CHECKING:
    from collections.abc import Sequence

SECONDS: Final = 20
SLOW: Final = 10
"""An input that takes so many seconds is a finding."""
MEMORY: Final = 2048
"""One that takes more is too, MiB."""
_WRITTEN: Final = re.compile(r"Test unit written to (.+)")
NEW: Final = "learned"
"""Where each target keeps what it has learned, below the directory of `--keep`."""


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.fuzz", description="Fuzz what reads what comes from outside."
    )
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"of {', '.join(MODULES)}")
    parser.add_argument(
        "--seconds",
        type=int,
        default=SECONDS,
        metavar="N",
        help=f"for each; {SECONDS} if not given",
    )
    parser.add_argument(
        "--keep",
        type=Path,
        default=Path("fuzz"),
        metavar="DIRECTORY",
        help="for findings, and for what is learned for the next run",
    )
    parser.add_argument("--replay", metavar="FILE", help="run one TARGET on a file, and no more")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(words)
    unknown = set(options.targets) - set(MODULES)
    if unknown:
        parser.error(f"there is no {', '.join(sorted(unknown))}; there is {', '.join(MODULES)}")
    if options.seconds < 1:
        parser.error("--seconds is 1 at least")
    if (options.replay or options.inside) and len(options.targets) != 1:
        parser.error("--replay takes one TARGET")
    if options.inside:
        return fuzz(options.targets[0], options.seconds, options.keep)
    with tempfile.TemporaryDirectory(prefix="u-", dir="/tmp") as home:
        set_home(home)
        if options.replay:
            return replay(options.targets[0], Path(options.replay))
        return fuzz_all(options.targets or list(MODULES), options.seconds, options.keep.absolute())


def fuzz_all(targets: Sequence[str], seconds: int, keep: Path) -> int:
    """Fuzz one target after the other, each in a process of its own; 1 if something was found."""
    try:
        import atheris  # noqa: F401 - to say it at once
    except ImportError:
        sys.exit(
            "fuzzing needs atheris, which has wheels for Python 3.11 to 3.14 on x86-64 only, and "
            f"this is Python {sys.version.split()[0]}: `./dev chaos` installs it; set PYTHON to "
            "another interpreter if need be. `--replay` does without"
        )
    return int(bool([target for target in targets if not fuzz_one(target, seconds, keep)]))


def set_home(home: str) -> None:
    """Have HOME and all else lead into a directory: nothing of the user's is read."""
    for name, place in (("HOME", "h"), ("UMLCTL_DIR", "u"), ("XDG_CACHE_HOME", "c")):
        os.mkdir(f"{home}/{place}", 0o700)
        os.environ[name] = f"{home}/{place}"


def replay(target: str, path: Path) -> int:
    """Run a harness on one file; 1 if that is a finding."""
    try:
        harness(target)(path.read_bytes())
    except Exception:  # noqa: BLE001 - any is a finding
        traceback.print_exc()
        print(f"{target}: {path} is a finding")
        return 1
    print(f"{target}: nothing is wrong with {path}")
    return 0


def fuzz(target: str, seconds: int, keep: Path) -> int:
    """Fuzz one target; does not return."""
    import atheris

    with atheris.instrument_imports(include=["socketproto", "umlctl"]):
        tested = harness(target)
    known = keep / NEW / target
    atheris.Setup(
        [
            "fuzz",
            f"-max_total_time={seconds}",
            f"-max_len={LONGEST}",
            f"-timeout={SLOW}",
            f"-rss_limit_mb={MEMORY}",
            f"-artifact_prefix={keep}/{target}-",
            "-print_final_stats=1",
            "-verbosity=0",
            str(known),
            str(corpus(target)[0].parent),
        ],
        tested,
    )
    atheris.Fuzz()
    return 0


def fuzz_one(target: str, seconds: int, keep: Path) -> bool:
    """Have one target fuzzed; nothing was found."""
    (keep / NEW / target).mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "tests.fuzz", "--inside", target]
    command += ["--seconds", str(seconds), "--keep", str(keep)]
    done = subprocess.run(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="backslashreplace",
        check=False,
    )
    if done.returncode == 0:
        print(f"{target}: {_count(done.stdout)} inputs, nothing found", flush=True)
        return True
    print(done.stdout)
    found = _WRITTEN.findall(done.stdout)
    for path in found:
        print(f"{target}: FOUND {path}; `python -m tests.fuzz {target} --replay {path}`")
    if not found:
        print(f"{target}: FAILED with {done.returncode}")
    sys.stdout.flush()
    return False


def _count(said: str) -> str:
    """How many inputs were tried, of libFuzzer's last words."""
    for line in said.splitlines():
        name, _, count = line.partition(":")
        if name == "stat" and "number_of_executed_units" in count:
            return count.split()[-1]
    return "?"


if __name__ == "__main__":
    sys.exit(main())
