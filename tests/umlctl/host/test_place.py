from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

from umlctl.host import paths, place

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pytest

HOLD = "import sys; file = open(sys.argv[1], 'w'); print('held', flush=True); sys.stdin.read()"


def is_locked(directory: str) -> bool:
    """A cleaner would pass over it."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def test_cleaner_passes_over_the_place_as_long_as_somebody_needs_it(
    house: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(place, "_kept", {})
    shutil.rmtree(f"{house}/u")
    assert place.keep() == -1  # it is not there yet
    paths.make_run_dir()
    copy = os.dup(place.keep())  # as a process has it that outlives this one
    assert is_locked(f"{house}/u")
    os.close(place._kept.pop(f"{house}/u"))
    assert is_locked(f"{house}/u")
    os.close(copy)
    assert not is_locked(f"{house}/u")


def test_place_that_was_made_anew_is_kept_too(house: str) -> None:
    paths.make_run_dir()
    first = place.keep()
    assert place.keep() == first
    shutil.rmtree(f"{house}/u")
    paths.make_run_dir()
    place.keep()
    assert is_locked(f"{house}/u")


def test_place_that_is_being_cleaned_is_kept_later(house: str) -> None:
    paths.make_run_dir()
    cleaner = os.open(f"{house}/u", os.O_RDONLY)
    fcntl.flock(cleaner, fcntl.LOCK_EX)
    assert place.keep() == -1
    os.close(cleaner)
    assert place.keep() >= 0


@contextmanager
def opened(path: str) -> Iterator[int]:
    """Another process has a file open, and has not locked it; its pid."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        yield process.pid
        process.communicate()


def test_who_has_a_file_open_is_found_though_it_was_removed(house: str) -> None:
    path = f"{house}/lock"
    assert place.holder([path]) == 0
    with opened(path) as pid:
        assert place.holder([path]) == pid
        os.unlink(path)
        assert place.holder([f"{house}/other", path]) == pid
        assert place.holder([path], besides=pid) == 0
    assert place.holder([path]) == 0


def test_who_has_the_very_file_open_may_be_left_out(house: str) -> None:
    path = f"{house}/lock"
    with opened(path) as pid, open(path) as ours:
        assert place.holder([path], os.getpid(), but=ours.fileno()) == 0
        os.unlink(path)
        with open(path, "w") as another:
            assert place.holder([path], os.getpid(), but=another.fileno()) == pid


def test_own_descriptors_count(house: str) -> None:
    with open(f"{house}/lock", "w"):
        os.unlink(f"{house}/lock")
        assert place.holder([f"{house}/lock"]) == os.getpid()
