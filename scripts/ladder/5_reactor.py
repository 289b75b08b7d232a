"""Step 5 of the ladder: what every server needs, written once.

Step 4 mixed the program with its sockets, and it had no limits. Only one line of it was about echo; some forty lines
did what every server needs.

Here those lines are in a package, `reactor`. What is left is the program: a class that says what to do with the bytes
of one connection. The package handles partial sends, half-closed connections, errors, limits, deadlines and an
orderly end at SIGTERM. The next program uses the same package.
"""

import argparse
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))  # so that it runs from the checkout, not installed

from reactor import Protocol, Server  # importable only after the line above


class Echo(Protocol):
    def connection_made(self, connection):
        self.connection = connection

    def data_received(self, data):
        self.connection.write(data)


def main() -> None:
    parser = argparse.ArgumentParser(description="An echo server on the reactor.")
    parser.add_argument("host", nargs="?", default="127.0.0.1")
    parser.add_argument("port", nargs="?", default="65432")
    arguments = parser.parse_args()
    host = f"[{arguments.host}]" if ":" in arguments.host else arguments.host
    try:
        server = Server(Echo, bind=f"{host}:{arguments.port}")
        addresses = server.listen()
    except (OSError, ValueError) as error:
        sys.exit(getattr(error, "strerror", None) or str(error))
    print(f"5_reactor: listening on {addresses[0]}", file=sys.stderr)
    server.run()


if __name__ == "__main__":
    main()
