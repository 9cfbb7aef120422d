"""Device descriptions: parse and print what the kernel's `config` speaks; pure.

Here is what every family shares, and it stays light: one-shot commands load it.
"""

from __future__ import annotations

from umlctl.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

MAX_REQUEST_BYTES: Final = 511
"""Bytes of a request, `config` and all. Source: MCONSOLE_MAX_DATA in arch/um/drivers/mconsole.h"""


def check_request(text: str) -> None:
    """See that `config` can carry a device's text.

    Raises: UsageError
    """
    if "\0" in text:
        raise UsageError(f"the kernel reads a device up to the first NUL: take it out of {text!r}")
    try:
        size = len(f"config {text}".encode())
    except UnicodeEncodeError:
        raise UsageError(f"a device is described in UTF-8, not {text[:80]!r}") from None
    if size > MAX_REQUEST_BYTES:
        raise UsageError(
            f"`config` has {MAX_REQUEST_BYTES} bytes for a device, and this needs {size}: use "
            f"shorter paths, such as symbolic links: {text[:40]!r}..."
        )
