"""`python -m umlctl`."""

import sys

from umlctl.oneshot import main

sys.exit(main(sys.argv))
