"""Running a server: what it serves where, signals, the command line, the status line."""
