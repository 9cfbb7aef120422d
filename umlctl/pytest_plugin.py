"""The plugin of pytest: guests as fixtures, and what a guest has said in the report of a test that
failed.

Every pytest that finds umlctl loads this module, so it imports nothing but pytest until a test asks
for a guest.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Final

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Unpack

    from umlctl.library.described import Options
    from umlctl.library.guest import Guest

KERNEL_OPTION: Final = "--uml-kernel"
KEEP_OPTION: Final = "--uml-keep-failed"
KERNEL_HELP: Final = "the UML kernel of guests for which a test names none"
KEEP_HELP: Final = "leave the guests of a test that failed; its report says their names"


class Guests:
    """What the fixture `uml` is: called, it starts a guest, which is removed after the test.

    Fields:
        failed: the test has
    """

    def __init__(self, kernel: str | None, *, keeps: bool) -> None:
        """kernel: of those for which a test names none
        keeps: those of a test that failed are left
        """
        self.failed = False
        self._kernel = kernel
        self._keeps = keeps
        self._started: list[Guest] = []
        self._stack = ExitStack()

    def __call__(
        self,
        name: str | None = None,
        *,
        arguments: Sequence[str] = (),
        **options: Unpack[Options],
    ) -> Guest:
        """Start a guest, as `umlctl.start` does."""
        import umlctl

        if self._kernel is not None:
            options.setdefault("kernel", self._kernel)
        guest = self._stack.enter_context(umlctl.start(name, arguments=arguments, **options))
        self._started.append(guest)
        return guest

    def sections(self) -> Iterator[tuple[str, str]]:
        """For a report: of each guest what became of it, and what its console has printed last."""
        for guest in self._started:
            kept = f"; it is kept for `umlctl logs {guest.name}` and more" if self._keeps else ""
            yield f"guest {guest.name}: {_state(guest)}{kept}", f"{guest.console_tail()}\n"

    def end(self) -> None:
        """Remove them, or leave them where they are to be kept."""
        if self.failed and self._keeps:
            for guest in self._started:
                guest.keep()
        self._stack.close()


def _state(guest: Guest) -> str:
    """What a guest does, or how it has ended."""
    from umlctl.errors import UmlctlError
    from umlctl.output import views

    try:
        status = guest.status()
    except UmlctlError as problem:
        return str(problem)
    if status.ending is not None:
        return views.ending_text(status.ending)
    panic = f", it panicked before: {status.last_panic}" if status.last_panic else ""
    return f"{status.state}{panic}"


_GUESTS: Final = pytest.StashKey[Guests]()


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("umlctl", "guests of User Mode Linux")
    group.addoption(KERNEL_OPTION, metavar="FILE", default=None, help=KERNEL_HELP)
    group.addoption(KEEP_OPTION, action="store_true", default=False, help=KEEP_HELP)


@pytest.fixture
def uml(request: pytest.FixtureRequest) -> Iterator[Guests]:
    """Starts guests, each as `umlctl.start` does: `uml(mem="64M")`. They are removed after the
    test."""
    config = request.config
    guests = Guests(config.getoption(KERNEL_OPTION), keeps=config.getoption(KEEP_OPTION))
    request.node.stash[_GUESTS] = guests
    yield guests
    guests.end()


@pytest.fixture
def guest(uml: Guests) -> Guest:
    """A guest on this machine's own files, which is removed after the test."""
    return uml()


# Not `wrapper`, which earlier versions of pytest do not have: they load this module, too.
@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Iterator[None]:
    """Have the report of a test that failed show its guests."""
    outcome = yield
    report: pytest.TestReport = outcome.get_result()  # type: ignore[attr-defined]
    guests = item.stash.get(_GUESTS, None)
    if guests is not None and report.failed:
        guests.failed = True
        report.sections.extend(guests.sections())
