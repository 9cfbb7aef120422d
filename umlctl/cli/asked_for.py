"""The guest that a command line asks for: by its options, and by the file that defines it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import click
from click.core import ParameterSource

from umlctl.definitions import files, make
from umlctl.errors import UsageError
from umlctl.guest import definition as definitions
from umlctl.guest.options import OPTIONS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from umlctl.definitions.files import Written
    from umlctl.guest.definition import Definition
    from umlctl.guest.options import Option


class Asked(NamedTuple):
    """A guest as it is asked for.

    Fields:
        umid: its name; None: it has none yet
        options: of `umlctl.guest.options`, by their fields, and those of the command itself
        arguments: for its kernel
        written: the file that it is written down in, if there is one
    """

    umid: str | None
    options: dict[str, Any]
    arguments: tuple[str, ...]
    written: Written | None = None

    def definition(self) -> Definition:
        """Raises: UsageError, NoKernel"""
        assert self.umid is not None
        # Words for the kernel may have paths in them that nobody knows to be some.
        told = self.arguments or any(option.name == "append" for option in given_options())
        here = "" if told or self.written is None else self.written.directory
        return make.make(self.umid, self.options, self.arguments, here)


def asked_for(word: str | None, options: Mapping[str, Any], arguments: tuple[str, ...]) -> Asked:
    """What a command line asks for. What it says wins over what is written.

    word: the guest's name, or the path of a file

    Raises: UsageError, HostError
    """
    written = files.find(word) if word is not None else None
    if written is None:
        return Asked(*make.take_name(word, options, arguments))
    make.check(written)
    given = {option.field for option in given_options()}
    merged = dict(options)
    for option in OPTIONS:
        if option.name in written.values and option.field not in given:
            merged[option.field] = written.values[option.name].value
    umid, merged, arguments = make.take_name(written.umid, merged, arguments)
    return Asked(umid, merged, arguments, written)


def given_options() -> list[Option]:
    """The options that the command line has which runs."""
    context = click.get_current_context()
    return [
        option
        for option in OPTIONS
        if context.get_parameter_source(option.field) is ParameterSource.COMMANDLINE
    ]


def check_console(definition: Definition) -> None:
    """See that con0 is where a terminal can be attached to it.

    Raises: UsageError
    """
    elsewhere = definitions.given_to_kernel(definition).get("con0", "")
    if elsewhere:
        raise UsageError(
            f"--console is con0, and a kernel argument has it elsewhere: con0={elsewhere}; "
            "leave one of them out"
        )
