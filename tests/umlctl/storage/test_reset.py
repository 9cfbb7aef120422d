from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from tests.cows import KINDS, Made, make, read
from umlctl.errors import HostError
from umlctl.storage import reset
from umlctl.storage.cow_file import check_fits, open_backing, open_cow
from umlctl.storage.journal import interrupted, reset_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def empty(made: Made) -> int:
    with open_cow(made.cow, write=True, lock=True) as of, open_backing(of, lock=True) as backing:
        return reset.reset(of, backing)


def check_is_empty(made: Made) -> None:
    with open_cow(made.cow) as of, open_backing(of) as backing:
        check_fits(of, backing, made.backing)
        assert of.written() == 0
        assert not any(of.read(0, of.size))
    assert sorted(os.listdir(os.path.dirname(made.cow))) == ["a.cow", "base.img"]


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_left_of_what_was_written_in_the_same_file(tmp_path: Path, kind: str) -> None:
    made = make(str(tmp_path), 80, range(3, 40), kind=kind)
    inode = os.stat(made.cow).st_ino
    assert empty(made) == 37 * 512
    check_is_empty(made)
    assert os.stat(made.cow).st_ino == inode
    assert read(made.backing) == made.below
    assert empty(made) == 0


def test_cow_file_that_does_not_fit_is_left(tmp_path: Path) -> None:
    made = make(str(tmp_path), 8, [1])
    os.utime(made.backing, (1, 1))
    before = read(made.cow)
    with pytest.raises(HostError, match="does not fit"):
        empty(made)
    assert read(made.cow) == before


def test_reset_that_ends_anywhere_is_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = make(str(tmp_path), 80, range(3, 40))

    class Killed(BaseException):
        pass

    def dies(*_: object) -> None:
        raise Killed

    def finish(path: str) -> None:
        with open_cow(path, write=True) as of:
            reset.finish(of)

    work: Callable[[], object]
    for step, work in (("clear", lambda: empty(made)), ("forget", lambda: finish(made.cow))):
        with monkeypatch.context() as patch:
            patch.setattr(reset, step, dies)
            with pytest.raises(Killed):
                work()
        assert os.path.exists(reset_of(made.cow))
        assert interrupted(made.cow)
        with pytest.raises(HostError, match="`umlctl cow check"):
            empty(made)
    with open_cow(made.cow, write=True) as of:
        assert reset.finish(of)
        assert not reset.finish(of)
    check_is_empty(made)
