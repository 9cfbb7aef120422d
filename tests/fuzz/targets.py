"""What can be fuzzed: the names of the harnesses, and where each is.

A harness is a function that takes bytes and returns, whatever they are. What it asserts is a
property of the reader; any exception but those that the reader documents is a finding.

Its seeds are in corpus/TARGET, small files of any name. An input that was a finding once stays
there for good: tests/fuzz/test_corpus.py replays them all.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    Harness = Callable[[bytes], None]

CORPUS: Final = Path(__file__).parent / "corpus"
LONGEST: Final = 8192
"""Of an input, bytes: longer ones find little more, and slowly."""
MODULES: Final = {
    "wire": "protocol",
    "exchange": "protocol",
    "pieces": "protocol",
    "device": "devices",
    "device_name": "devices",
    "disk": "devices",
    "nic": "devices",
    "forward": "devices",
    "definition": "devices",
    "written": "devices",
    "xl": "forms",
    "libvirt": "forms",
    "vkernel": "forms",
    "linux": "forms",
    "guard": "words",
    "typed": "words",
    "completion": "words",
    "record": "state",
    "network": "state",
    "index": "state",
    "history": "state",
    "switch_options": "state",
    "pid_files": "state",
    "cow": "state",
    "cow_journal": "state",
    "archive": "state",
    "event": "answers",
    "status": "answers",
    "proc_file": "answers",
    "switch_request": "answers",
    "switch_answer": "answers",
    "ktap": "results",
    "known_failures": "results",
}
"""Each target, and the module beside this one that has a function of its name."""


def harness(target: str) -> Harness:
    """The function of a target. It is loaded only here: who fuzzes loads it with counters."""
    module = importlib.import_module(f"tests.fuzz.{MODULES[target]}")
    found: Harness = getattr(module, target)
    return found


def corpus(target: str) -> list[Path]:
    """The inputs that are kept of a target, by name."""
    return sorted((CORPUS / target).iterdir())
