"""`firehose.py HOST PORT`: writes without end while standard input is open. Each line there starts or stops it."""

import os
import select
import socket
import sys

DATA = b"x" * (1 << 20)

with socket.create_connection((sys.argv[1], int(sys.argv[2]))) as client:
    flowing = False
    while True:
        if not flowing or select.select([sys.stdin], [], [], 0)[0]:
            if not os.read(sys.stdin.fileno(), 1):
                break
            flowing = not flowing
            print("flowing" if flowing else "stopped", flush=True)
        if flowing:
            client.sendall(DATA)
