"""`python -m anaxon` is `anaxon`."""

import sys

from anaxon.cli import main

if __name__ == "__main__":
    sys.exit(main())
