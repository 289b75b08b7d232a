"""More ways in and out than an accepted TCP connection: addresses, and connections that we open ourselves."""
