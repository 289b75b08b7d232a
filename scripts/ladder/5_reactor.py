"""Step 5 of the ladder: what every server needs, written once.

What step 4 could not do: keep the program apart from its sockets, and say no. It was an echo server in one line, and
spent the other forty on what every server needs. And it bounded nothing.

Here those forty lines are a package, `reactor`, and what is left is the program: a class that says what to do with
the bytes of one connection. Partial sends, half-closed connections, errors, limits, deadlines, a decent end at SIGTERM:
they are all under it, and the same for the next program.
"""

import argparse
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))  # runs from the repository as it lies there

from reactor import Protocol, Server  # importable from here on


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
