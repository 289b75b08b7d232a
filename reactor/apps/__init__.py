"""Programs to serve and to read: what a program can do with `Protocol` alone."""
