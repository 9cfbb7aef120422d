"""umlctl: the control plane and management shell for User Mode Linux.

What programs have of it (`umlctl.start`, `umlctl.Guest` and more, see docs/library.md) is imported
when it is first used: commands have this module, too, and want no more of it than it takes.
`__init__.pyi` has the types.
"""

__version__ = "0.1.0"

_LIBRARY = {
    "umlctl.library.guest": ("Guest", "attach", "start"),
    "umlctl.library.console": ("Console",),
    "umlctl.library.command": ("CommandFailed", "CommandTimedOut"),
    "umlctl.library.many": ("Runner",),
    "umlctl.testing.result": ("Result",),
    "umlctl.protocol.status": ("Device", "Ending", "Status"),
    "umlctl.errors": (
        *(
            "GuestEnded",
            "GuestInUse",
            "HostError",
            "InDoubt",
            "NeverStarted",
            "NoGuest",
            "NoKernel",
        ),
        *("NotExecuted", "NotOnBareKernel", "Refusal", "Refused", "TimedOut", "UmlctlError"),
        *("UnfitHost", "UsageError"),
    ),
}
"""Where the names are that a program may use."""


def __getattr__(name: str) -> object:
    for module, names in _LIBRARY.items():
        if name in names:
            from importlib import import_module

            found: object = getattr(import_module(module), name)
            globals()[name] = found
            return found
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *(name for names in _LIBRARY.values() for name in names)})
