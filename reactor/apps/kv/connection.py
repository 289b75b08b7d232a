"""The commands of a connection and of the server itself: what clients ask before and beside their work."""

from __future__ import annotations

from .client import Client
from .information import VERSION, information
from .replies import EMPTY, NIL, OK, PONG, SYNTAX, CommandError, array, bulk, bulks, number
from .table import COMMANDS, RUN, Refused, command, parse_integer, wrong_number

MOST_NAME_BYTES = 256  # that a client gives itself; Redis has no such bound


@command(subscribed=True)
def ping(client: Client, message: bytes | None = None) -> bytes:
    if client.channels or client.patterns:
        return array([bulk(b"pong"), bulk(message or b"")])
    return PONG if message is None else bulk(message)


@command()
def echo(client: Client, message: bytes) -> bytes:
    return bulk(message)


@command(in_transaction=RUN, subscribed=True)
def quit_(client: Client, *ignored: bytes) -> bytes:
    client.leaving = True
    return OK


@command(in_transaction=RUN, subscribed=True)
def reset(client: Client) -> bytes:
    """Make the connection as if it were new."""
    client.forget()
    client.name = b""
    return b"+RESET\r\n"


@command(in_transaction=RUN, subscribed=True)
def post(client: Client, *ignored: bytes) -> bytes:
    """A web page can make its reader's browser send an HTTP request here, with commands in its body (as Redis knows).

    So the first line of one ends the connection, without a reply. `Host:` is one too, for the other methods.
    """
    client.leaving = True
    return b""


COMMANDS[b"host:"] = COMMANDS[b"post"]


@command()
def select(client: Client, index: bytes) -> bytes:
    """There is one database, number 0."""
    if parse_integer(index) != 0:
        raise CommandError("ERR DB index is out of range")
    return OK


@command()
def hello(client: Client, *options: bytes) -> bytes:
    """RESP2 is what this server speaks. A client that asks for RESP3 is told so, and may go on in RESP2."""
    if options and options[0] != b"2":
        if not options[0].isdigit():
            raise CommandError("ERR Protocol version is not an integer or out of range")
        raise CommandError("NOPROTO unsupported protocol version")
    if len(options) > 1:
        raise CommandError(SYNTAX)
    facts = {
        b"server": bulk(b"reactor"),
        b"version": bulk(VERSION.encode()),
        b"proto": number(2),
        b"mode": bulk(b"standalone"),
        b"role": bulk(b"master"),
        b"modules": EMPTY,
    }
    return array([part for name, value in facts.items() for part in (bulk(name), value)])


@command()
def client_(client: Client, subcommand: bytes, *arguments: bytes) -> bytes:
    """SETNAME, GETNAME, SETINFO."""
    what = subcommand.lower()
    expected = {b"setname": 1, b"getname": 0, b"setinfo": 2}.get(what)
    if expected is None:
        raise _unknown(subcommand, "CLIENT")
    if len(arguments) != expected:
        raise wrong_number(f"client|{what.decode()}")
    if what == b"getname":
        return bulk(client.name) if client.name else NIL
    if what == b"setname":
        client.name = _checked(arguments[0])
    return OK  # the name and version of a client's library are of no use here


def _checked(name: bytes) -> bytes:
    if len(name) > MOST_NAME_BYTES or not all(33 <= byte <= 126 for byte in name):
        raise CommandError("ERR Client names cannot contain spaces, newlines or special characters.")
    return name


@command()
def command_(client: Client, subcommand: bytes = b"", *arguments: bytes) -> bytes:
    """COUNT. What else clients ask, so as to help a person type or to route by keys, is answered by an empty array."""
    what = subcommand.lower()
    if what == b"count":
        return number(len({entry.name for entry in COMMANDS.values()}))
    if what not in (b"", b"docs", b"info", b"list"):
        raise _unknown(subcommand, "COMMAND")
    return EMPTY


@command()
def config(client: Client, subcommand: bytes, *names: bytes) -> bytes:
    """GET. The settings that programs ask for: what is saved (nothing), and how much may be kept."""
    if subcommand.lower() != b"get":
        raise _unknown(subcommand, "CONFIG")
    if not names:
        raise wrong_number("config|get")
    settings = {
        b"save": b"",
        b"appendonly": b"no",
        b"maxmemory": b"%d" % client.store.max_bytes,
        b"maxmemory-policy": b"noeviction",
        b"databases": b"1",
    }
    asked = {name.lower() for name in names}
    return bulks([part for pair in settings.items() if pair[0] in asked for part in pair], client.bounds.reply_bytes)


@command()
def info(client: Client, *sections: bytes) -> bytes:
    names = {section.decode("latin-1").lower() for section in sections}
    return bulk(information(client.database, names).encode())


def _unknown(subcommand: bytes, name: str) -> Refused:
    return Refused(f"ERR unknown subcommand '{subcommand[:128].decode('latin-1')}'. Try {name} HELP.")
