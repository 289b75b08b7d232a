"""Step 7 of the ladder: `async def` on the reactor.

Step 6 reads like step 2, and lacks what every server needs. Step 5 has all of that, and its program is a set of
callbacks. Here the program is one function again, called once for each client, and the reactor is below it.

What is between the two is small. A `Stream` is a `Protocol`, as `Echo` is in step 5. Its `data_received` resumes the
task that waits in `read`, as the loop of step 6 did. The tasks have what those of step 6 lacked:

- Deadlines. The limits of step 5 are for what the peer does. For what the program does there is `timeout`: the block
  of `with timeout(5):` raises TimeoutError if it is not done after 5 seconds.
- Cancelling. When a connection is lost, its task is cancelled. The `await` where it waits raises, so that
  each `finally` on the way out runs.
- Errors. A function that raises ends its own connection alone, with one entry in the log.
- Owners. A task belongs to a connection or to a `TaskGroup`, which does not end before its tasks have ended.

One thing stays as it was since step 3: all of it runs on one thread. A function that computes for a second, or makes a
call that blocks, holds up every client. `run_in_thread` is for such a call.
"""

import argparse
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))  # so that it runs from the checkout, not installed

from reactor import Server  # importable only after the line above


async def echo(stream):
    while data := await stream.read():
        await stream.write(data)


def main() -> None:
    parser = argparse.ArgumentParser(description="An echo server of coroutines, on the reactor.")
    parser.add_argument("host", nargs="?", default="127.0.0.1")
    parser.add_argument("port", nargs="?", default="65432")
    arguments = parser.parse_args()
    host = f"[{arguments.host}]" if ":" in arguments.host else arguments.host
    try:
        server = Server(echo, bind=f"{host}:{arguments.port}")
        addresses = server.listen()
    except (OSError, ValueError) as error:
        sys.exit(getattr(error, "strerror", None) or str(error))
    print(f"7_coroutines: listening on {addresses[0]}", file=sys.stderr)
    server.run()


if __name__ == "__main__":
    main()
