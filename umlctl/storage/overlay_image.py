"""The image that keeps what a guest writes over files of this host, see `umlctl.guest.overlay`."""

from __future__ import annotations

import os
from typing import Final

from umlctl.errors import HostError
from umlctl.guest.overlay import NAME

SIZE_BYTES: Final = 16 << 30
"""How much it can keep, bytes; the file has holes."""


def prepare(directory: str) -> str:
    """The image in a directory, made if it is not there.

    Raises: HostError
    """
    image = f"{directory}/{NAME}"
    if os.path.exists(image):
        return image
    import subprocess  # which nearly no command needs

    from umlctl.storage import ext4

    try:
        program = ext4.find_program("mke2fs")
    except HostError as problem:
        raise HostError(
            f"cannot make {image}, a file system for what is written: {problem}"
        ) from None
    new = f"{image}.{os.getpid()}"
    try:
        with open(new, "xb") as file:
            file.truncate(SIZE_BYTES)
        done = subprocess.run(
            [program, "-q", "-F", "-t", "ext4", new],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
        )
        if done.returncode:
            said = os.fsdecode(done.stderr).strip()
            raise HostError(f"cannot make {image}, a file system for what is written: {said}")
        os.rename(new, image)
    except OSError as problem:
        raise HostError(f"cannot make {image}: {problem.strerror}") from problem
    finally:
        if os.path.lexists(new):
            os.unlink(new)
    return image
