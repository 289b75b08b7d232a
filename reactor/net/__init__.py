"""More ways in and out than accepted TCP connections: frames, addresses, UNIX paths, connections that we open."""
