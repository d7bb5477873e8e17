"""``python -m skclean``: the command line."""

import sys

from skclean.cli import main

if __name__ == "__main__":
    sys.exit(main())
