"""`python -m pyrunc`: the command line without the installed launcher."""

import sys

from pyrunc.cli import main

if __name__ == "__main__":
    sys.argv[:1] = ["-m", "pyrunc"]
    main()
