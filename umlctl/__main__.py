"""`python -m umlctl`."""

import sys

from umlctl.entry import main

sys.exit(main(sys.argv))
