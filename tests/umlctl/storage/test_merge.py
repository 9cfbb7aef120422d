from __future__ import annotations

import errno
import filecmp
import os
import subprocess
import tempfile
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.cows import KINDS, MTIME, Made, make, read
from umlctl.errors import HostError
from umlctl.host.files import punch_hole
from umlctl.storage import cow, extents, journal, merge
from umlctl.storage.cow_file import check_fits, open_backing, open_cow

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


class Plan(NamedTuple):
    """A COW file to be made, and merged."""

    kind: str
    sectors: int
    written: list[int]
    discarded: list[int]
    more: int

    def make(self, directory: str) -> Made:
        return make(
            directory,
            self.sectors,
            self.written,
            kind=self.kind,
            discarded=self.discarded,
            more=self.more,
        )


@st.composite
def plans(draw: st.DrawFn, more: int = 511) -> Plan:
    sectors = draw(st.integers(1, 200))
    runs = draw(st.lists(st.tuples(st.integers(0, sectors), st.integers(1, 30)), max_size=6))
    written = [place for start, length in runs for place in range(start, start + length)]
    discarded = draw(st.lists(st.sampled_from(written), max_size=40)) if written else []
    kind = draw(st.sampled_from(list(KINDS)))
    return Plan(kind, sectors, written, discarded, draw(st.integers(0, more)))


def into_new(path: str, image: str, say: Callable[[int], object] = lambda _count: None) -> int:
    with open_cow(path, lock=True) as of, open_backing(of, lock=True) as backing:
        return merge.into_new(of, backing, image, say)


def into_backing(path: str, say: Callable[[int], object] = lambda _count: None) -> int:
    with (
        open_cow(path, write=True, lock=True) as of,
        open_backing(of, merge.backing_of(of), write=True, lock=True) as backing,
    ):
        return merge.into_backing(of, backing, say)


def check_is_empty(made: Made) -> None:
    """It fits its backing file, holds nothing, and a guest can go on with it."""
    with open_cow(made.cow) as of, open_backing(of) as backing:
        check_fits(of, backing, made.backing)
        assert of.written() == 0
        assert of.length == of.layout.data + of.header.size
        assert not any(of.read(0, of.size))
        assert of.header.mtime != MTIME


# Into a new file


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(plans())
def test_new_file_is_what_the_guest_read(plan: Plan) -> None:
    with tempfile.TemporaryDirectory() as directory:
        made = plan.make(directory)
        before = read(made.cow)
        said: list[int] = []
        size = into_new(made.cow, f"{directory}/image", said.append)
        assert read(f"{directory}/image") == made.disk
        assert size == len(made.disk)
        assert (read(made.backing), read(made.cow)) == (made.below, before)
        assert len(made.below) <= sum(said) <= plan.sectors * 512 + 512


@settings(suppress_health_check=[HealthCheck.too_slow], max_examples=20)
@given(plans(more=0).filter(lambda plan: plan.kind not in ("1", "2") or plan.sectors % 8 == 0))
def test_new_file_is_that_of_uml_moo(plan: Plan) -> None:
    with tempfile.TemporaryDirectory() as directory:
        made = plan.make(directory)
        into_new(made.cow, f"{directory}/ours")
        command = ["uml_moo", made.cow, f"{directory}/theirs"]
        subprocess.run(command, check=True, timeout=60, capture_output=True)
        assert filecmp.cmp(f"{directory}/ours", f"{directory}/theirs", shallow=False)


def test_holes_stay_holes(tmp_path: Path) -> None:
    base = f"{tmp_path}/base.img"
    with open(base, "wb") as file:
        file.truncate(1 << 40)
        file.seek(1 << 39)
        file.write(b"base")
    cow.create(f"{tmp_path}/a.cow", base)
    into_new(f"{tmp_path}/a.cow", f"{tmp_path}/image")
    status = os.stat(f"{tmp_path}/image")
    assert status.st_size == 1 << 40
    assert status.st_blocks * 512 < 1 << 20
    with open(f"{tmp_path}/image", "rb") as file:
        file.seek(1 << 39)
        assert file.read(4) == b"base"


def test_new_file_is_no_more_open_than_the_cow_file(tmp_path: Path) -> None:
    made = make(str(tmp_path), 8, [1])
    os.chmod(made.cow, 0o600)
    into_new(made.cow, f"{tmp_path}/image")
    assert os.stat(f"{tmp_path}/image").st_mode & 0o777 == 0o600


def test_image_that_is_there_is_not_replaced(tmp_path: Path) -> None:
    made = make(str(tmp_path), 8, [1])
    (tmp_path / "image").write_text("precious")
    with pytest.raises(FileExistsError):
        into_new(made.cow, f"{tmp_path}/image")
    assert (tmp_path / "image").read_text() == "precious"


def test_backing_file_that_does_not_fit_is_not_merged(tmp_path: Path) -> None:
    made = make(str(tmp_path), 8, [1])
    os.utime(made.backing, (1, 1))
    with pytest.raises(HostError, match="does not fit its backing file"):
        into_new(made.cow, f"{tmp_path}/image")
    with pytest.raises(HostError, match="does not fit its backing file"):
        into_backing(made.cow)
    assert sorted(os.listdir(tmp_path)) == ["a.cow", "base.img"]


# Into the backing file


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(plans())
def test_backing_file_is_what_the_guest_read(plan: Plan) -> None:
    with tempfile.TemporaryDirectory() as directory:
        made = plan.make(directory)
        said: list[int] = []
        merged = into_backing(made.cow, said.append)
        assert sum(said) == merged
        assert read(made.backing) == made.disk
        assert sorted(os.listdir(directory)) == ["a.cow", "base.img"]
        if merged:
            check_is_empty(made)
        else:
            assert os.stat(made.backing).st_mtime == MTIME


def test_another_cow_file_does_not_fit_any_more_even_within_one_second(tmp_path: Path) -> None:
    made = make(str(tmp_path), 8, [1])
    now = os.stat(made.backing).st_mtime_ns
    with open_cow(made.cow, write=True) as of:
        header = of.header._replace(mtime=now // 10**9)
        with pytest.MonkeyPatch.context() as patch:
            real = os.fsync

            def sync(descriptor: int) -> None:
                """As if all had been done in the second in which the COW file was made."""
                real(descriptor)
                if os.path.samestat(os.fstat(descriptor), os.stat(made.backing)):
                    patch.setattr(os, "fsync", real)
                    os.utime(made.backing, ns=(now, now))

            patch.setattr(os, "fsync", sync)
            with open_backing(of, write=True) as backing:
                merge.into_backing(of, backing, lambda _count: None)
    assert cow.mismatch(header, made.backing)
    check_is_empty(made)


# Whatever happens


class Killed(BaseException):
    """As if the process had ended here."""


CALLS = ("copy_file_range", "pwrite", "fsync", "ftruncate", "utime", "link", "unlink")


@contextmanager
def dies_after(count: int) -> Iterator[None]:
    """Whatever changes files: so many calls succeed, and of the next a part may."""
    left = count

    def counted(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **named: Any) -> Any:
            nonlocal left
            left -= 1
            if left < 0:
                if real is os_pwrite:
                    real(args[0], bytes(args[1])[: len(args[1]) // 2], args[2])
                raise Killed
            return real(*args, **named)

        return call

    with pytest.MonkeyPatch.context() as patch:
        os_pwrite = os.pwrite
        for name in CALLS:
            patch.setattr(os, name, counted(getattr(os, name)))
        patch.setattr(extents, "punch_hole", counted(punch_hole))
        yield


@settings(suppress_health_check=[HealthCheck.too_slow], max_examples=150)
@given(plans(), st.lists(st.integers(0, 25), min_size=1, max_size=4))
def test_merge_that_ends_anywhere_is_finished_by_doing_it_again(
    plan: Plan, deaths: list[int]
) -> None:
    with tempfile.TemporaryDirectory() as directory:
        made = plan.make(directory)
        for count in deaths:
            try:
                with dies_after(count):
                    into_backing(made.cow)
            except Killed:
                pass
        journal.interrupted(made.cow)
        into_backing(made.cow)
        assert read(made.backing) == made.disk
        assert sorted(os.listdir(directory)) == ["a.cow", "base.img"]
        with open_cow(made.cow) as of, open_backing(of) as backing:
            check_fits(of, backing, made.backing)
            assert of.written() == 0


@settings(suppress_health_check=[HealthCheck.too_slow], max_examples=120)
@given(plans(), st.integers(0, 25))
def test_merge_that_ends_anywhere_can_be_given_up_and_a_guest_sees_no_difference(
    plan: Plan, count: int
) -> None:
    with tempfile.TemporaryDirectory() as directory:
        made = plan.make(directory)
        try:
            with dies_after(count):
                into_backing(made.cow)
        except Killed:
            pass
        with (
            open_cow(made.cow, write=True, lock=True) as of,
            open_backing(of, merge.backing_of(of), write=True, lock=True) as backing,
        ):
            begun = bool(journal.interrupted(made.cow))
            assert merge.give_up(of, backing) is begun
        assert sorted(os.listdir(directory)) == ["a.cow", "base.img"]
        into_new(made.cow, f"{directory}/image")
        disk = read(f"{directory}/image")
        assert disk == made.disk.ljust(len(disk), b"\0")
        with open_cow(made.cow) as of:
            assert not begun or of.header.mtime != MTIME, "no other COW file fits any more"


@settings(suppress_health_check=[HealthCheck.too_slow], max_examples=60)
@given(plans(), st.integers(0, 25))
def test_new_file_is_whole_or_not_there(plan: Plan, count: int) -> None:
    with tempfile.TemporaryDirectory() as directory:
        made = plan.make(directory)
        before = read(made.cow)
        try:
            with dies_after(count):
                into_new(made.cow, f"{directory}/image")
        except Killed:
            pass
        if os.path.exists(f"{directory}/image"):
            assert read(f"{directory}/image") == made.disk
            os.unlink(f"{directory}/image")
        assert sorted(os.listdir(directory)) == ["a.cow", "base.img"]
        assert (read(made.backing), read(made.cow)) == (made.below, before)


def interrupt(made: Made) -> None:
    """Have a merge in place end before its first byte has arrived."""

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "copy_file_range", full)
        with pytest.raises(OSError, match="No space"):
            into_backing(made.cow)


def test_interrupted_merge_is_said_and_keeps_the_cow_file_from_other_merges(tmp_path: Path) -> None:
    made = make(str(tmp_path), 8, [1])
    assert journal.interrupted(made.cow) == ""
    interrupt(made)
    assert f"`umlctl cow check {made.cow}` finishes it" in journal.interrupted(made.cow)
    with pytest.raises(HostError, match="was interrupted, and nothing is lost"):
        into_new(made.cow, f"{tmp_path}/image")
    into_backing(made.cow)
    check_is_empty(made)
    assert read(made.backing) == made.disk


def test_what_a_guest_wrote_after_an_interrupted_merge_that_was_done_stays(tmp_path: Path) -> None:
    made = make(str(tmp_path), 8, [1])
    with dies_after(10**9), pytest.MonkeyPatch.context() as patch:
        patch.setattr(merge, "forget", lambda _path: None)
        into_backing(made.cow)
    with open(made.cow, "r+b") as file:
        file.seek(8192)
        file.write(b"\x10")
    assert into_backing(made.cow) == 0
    with open_cow(made.cow) as of:
        assert of.written() == 512
    assert not journal.interrupted(made.cow)


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"\xff", b'{"backing": 3}', b"[" * 10**5])
def test_journal_that_is_none_is_an_error_and_stays(tmp_path: Path, data: bytes) -> None:
    made = make(str(tmp_path), 8, [1])
    (tmp_path / "a.cow.merge").write_bytes(data)
    with pytest.raises(
        HostError, match=r"a\.cow\.merge is no journal of a merge; if it is not you"
    ):
        into_backing(made.cow)
    assert read(made.backing) == made.below


def test_journal_of_another_cow_file_is_an_error(tmp_path: Path) -> None:
    made = make(str(tmp_path), 8, [1])
    interrupt(made)
    with open_cow(made.cow, write=True) as of:
        cow.write(of.descriptor, cow.encode(of.header._replace(mtime=7)), 0)
    with pytest.raises(HostError, match="does not fit its backing file"):
        into_backing(made.cow)
    assert journal.interrupted(made.cow)
