"""A script that runs a reactor, and runs it again whenever Ctrl-C has left it."""

import logging
import socket
import sys

from reactor import Reactor
from tests.failures.programs.protocols import Echo

logging.basicConfig(format="%(message)s")
host, _, port = sys.argv[1].rpartition(":")
sock = socket.socket()
sock.bind((host, int(port)))
reactor = Reactor()
reactor.listen(sock, Echo)
print(f"listening on {host}:{sock.getsockname()[1]}", file=sys.stderr, flush=True)
number = 0
while True:
    try:
        number += 1
        print("running", number, flush=True)
        reactor.run()
    except KeyboardInterrupt:
        pass
