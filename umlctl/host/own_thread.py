"""Doing something in a thread of its own, so that what it sets of itself, and leaves to processes
that it starts, is no other thread's."""

from __future__ import annotations

import threading
from errno import EAGAIN
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

_T = TypeVar("_T")


def run(work: Callable[[], _T]) -> _T:
    """What `work` returns, called in a thread that ends with it.

    Raises: what `work` raises; OSError: there is no thread to be had
    """
    result: list[_T] = []
    failure: list[BaseException] = []

    def called() -> None:
        try:
            result.append(work())
        except BaseException as problem:  # noqa: BLE001 - raised again in the caller's thread
            failure.append(problem)

    thread = threading.Thread(target=called)
    try:
        thread.start()
    except RuntimeError as problem:
        raise OSError(EAGAIN, str(problem)) from None
    thread.join()
    if failure:
        raise failure[0]
    return result[0]
