"""A source of a kernel that is built in no time: its make writes a program that passes for a
kernel."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests import fake_kernel

if TYPE_CHECKING:
    from pathlib import Path

# `absent` has symbols that it does not know, `fails` is there where a file cannot be compiled, and
# `waits` where it is a FIFO at which make stands still until somebody writes.
MAKEFILE = """\
O ?= .
defconfig:
	@echo "defconfig $(ARCH)" >> made.log; mkdir -p $(O)
	@echo 'CONFIG_UML=y' > $(O)/.config
olddefconfig:
	@[ ! -e absent ] || grep -v -f absent $(O)/.config > $(O)/.new; \\
	[ ! -e absent ] || mv $(O)/.new $(O)/.config
all:
	@echo "all $(MAKEFLAGS)" >> made.log
	@echo '  CC      kernel/fork.o'
	@[ ! -e waits ] || read x < waits
	@echo '  CC [M]  fs/overlayfs/error.o'
	@echo 'kernel/x.c:1: warning: y'
	@[ ! -e fails ] || { echo "kernel/x.c:7:1: error: unknown type name 'itn'"; exit 1; }
	@echo '  LINK    linux'
	@cp made.kernel $(O)/linux
"""


def make(above: Path, title: str = "linux") -> Path:
    """A tree of such a source; its path."""
    tree = above / title
    (tree / "arch/um").mkdir(parents=True)
    (tree / "Makefile").write_text(MAKEFILE)
    (tree / "Kconfig").write_text("config KUNIT\n\tbool\n")
    (tree / "arch/um/Makefile").touch()
    fake_kernel.write(str(tree / "made.kernel"), "")
    return tree


def made(tree: Path) -> list[str]:
    """What its make was called for."""
    log = tree / "made.log"
    return log.read_text().splitlines() if log.exists() else []
