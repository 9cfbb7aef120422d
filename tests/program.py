"""How tests run `umlctl` as users do: by its script. `python -m` takes longer to begin, and much
longer to end."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

SCRIPT: Final = Path(__file__).parent.parent / "scripts" / "umlctl"
UMLCTL: Final = (sys.executable, str(SCRIPT))
"""What stands before the words of a command."""
