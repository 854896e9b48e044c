"""`python -m metarl` is `metarl`."""

import sys

from metarl.cli import main

if __name__ == "__main__":
    sys.exit(main())
