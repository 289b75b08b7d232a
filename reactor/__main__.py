"""`python -m reactor`: the command line."""

import sys

if __name__ == "__main__":
    try:
        from .command_line import main

        status = main()
    except KeyboardInterrupt:  # Ctrl-C while the command line is imported
        status = 130
    sys.exit(status)
