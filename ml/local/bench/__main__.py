"""`python -m ml.local.bench [PART…]`."""

import sys

from ml.local.bench.command import main

if __name__ == "__main__":  # each part's process imports this file, too
    sys.exit(main())
