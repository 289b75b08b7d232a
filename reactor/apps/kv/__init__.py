"""A key-value server that speaks RESP2, the protocol of Redis: `reactor serve kv`, and then `redis-cli -p 65432`.

It holds strings, lists, sets, hashes and sorted sets in memory, with expiry, counters, transactions, and publish and
subscribe. It is what an event loop is best at: the requests are small, there are many clients, and each command takes
microseconds. One thread runs all commands, so no command needs a lock, and a transaction is atomic because nothing can
come between.

What makes it a server and not a toy is what it refuses. Each of `Bounds` says how much one client may take. Each
malformed request ends its own connection with an error that names the mistake. A subscriber that does not read is ended
and holds up nobody.

Read it in this order: `resp` (from bytes to requests) and `replies` (back), `store`, `table` (how a request is
answered), one file of commands such as `strings`, `transactions` and `channels`, and `server`, where they meet the
network.

It keeps nothing on disk, has one database and no replication, and asks for no password: like Redis, it is for a trusted
network. It has about a third of the commands that Redis had in its first years.
"""

from .server import KeyValues, add_options, make_program

__all__ = ["KeyValues", "add_options", "make_program"]
