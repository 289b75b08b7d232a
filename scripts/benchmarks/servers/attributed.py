"""Our own echo server under `attribution.c`: the same command line, with callgrind told which function runs.

Usage: python attributed.py FOLDER_OF_THE_MODULE QUALNAME SKIP COUNT ARGUMENTS_OF_REACTOR...
"""

import sys

_, folder, qualname, skip, count, *arguments = sys.argv
sys.path.insert(0, folder)

import attribution  # noqa: E402  # built a moment ago, in that folder

from reactor import command_line  # noqa: E402

attribution.watch(qualname, int(skip), int(count))
sys.exit(command_line.main(arguments))
