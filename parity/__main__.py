"""`python -m pullback.parity` is `pullback parity`."""

import sys

from pullback.cli import main

sys.argv[1:1] = ["parity"]
main()
