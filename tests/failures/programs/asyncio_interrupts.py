"""A script that runs an asyncio loop, and runs it again whenever Ctrl-C has left it."""

import asyncio
import logging
import sys

from tests.failures.programs.protocols import Echo

logging.basicConfig(format="%(message)s")
host, _, port = sys.argv[2].rpartition(":")
loop = asyncio.new_event_loop()
server = loop.run_until_complete(loop.create_server(Echo, host, int(port)))
print(f"listening on {host}:{server.sockets[0].getsockname()[1]}", file=sys.stderr, flush=True)
number = 0
while True:
    try:
        number += 1
        print("running", number, flush=True)
        loop.run_forever()
    except KeyboardInterrupt:
        pass
