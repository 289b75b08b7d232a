"""The table of commands, and how a request is answered.

A command is a function whose parameters are its arguments: `def get(client, key)` takes one, and
`def mget(client, key, *keys)` takes one or more. So the table reads from the function how many arguments are right, and
a command can never be called with others. It returns an encoded reply, or raises CommandError.
"""

from __future__ import annotations

import dataclasses
import enum
import inspect
import math
from collections.abc import Callable
from typing import TypeVar

from .client import Client
from .replies import NO_INTEGER, QUEUED, CommandError, error
from .resp import ARGUMENT_BYTES, whole_number

Function = TypeVar("Function", bound=Callable[..., bytes])

OUT_OF_MEMORY = "OOM command not allowed when used memory > 'maxmemory'."
SHOWN_BYTES = 128  # of a request that nobody knows, in the error


class Refused(CommandError):
    """A command is not run at all. If it belongs to a transaction, EXEC refuses all of it."""


class InTransaction(enum.Enum):
    """What becomes of a command between MULTI and EXEC."""

    QUEUE = enum.auto()
    RUN = enum.auto()
    REFUSE = enum.auto()


QUEUE, RUN, REFUSE = InTransaction


@dataclasses.dataclass(frozen=True, slots=True)
class Command:
    """One command."""

    name: str
    function: Callable[..., bytes]
    least: int  # arguments, with the name of the command
    most: float
    adds: bool  # it may take more memory, so it is refused when the store is full
    in_transaction: InTransaction
    subscribed: bool  # it is allowed to a client with subscriptions


COMMANDS: dict[bytes, Command] = {}  # by name, in small and in capital letters


def command(
    *, adds: bool = False, in_transaction: InTransaction = QUEUE, subscribed: bool = False
) -> Callable[[Function], Function]:
    """Enter a function into the table, under its name without underscores. The options are fields of `Command`."""

    def enter(function: Function) -> Function:
        parameters = list(inspect.signature(function).parameters.values())  # `client` stands for the command's name
        repeated = any(each.kind is each.VAR_POSITIONAL for each in parameters)
        least = sum(each.kind is not each.VAR_POSITIONAL and each.default is each.empty for each in parameters)
        name = function.__name__.strip("_")
        most = math.inf if repeated else len(parameters)
        entry = Command(name, function, least, most, adds, in_transaction, subscribed)
        COMMANDS[name.encode()] = COMMANDS[name.upper().encode()] = entry
        return function

    return enter


def answer(client: Client, request: list[bytes]) -> bytes:
    """The reply to `request`, which has at least one argument: the name of the command."""
    client.database.commands += 1
    try:
        found = find(request)
        if client.queue is not None and found.in_transaction is not RUN:
            return _queue(client, client.queue, found, request)
        if (client.channels or client.patterns) and not found.subscribed:
            raise CommandError(
                f"ERR Can't execute '{found.name}': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET"
                " are allowed in this context"
            )
        if found.adds and client.store.is_full():
            raise CommandError(OUT_OF_MEMORY)
        return found.function(client, *request[1:])
    except CommandError as exc:
        client.spoiled = client.spoiled or isinstance(exc, Refused)
        return error(str(exc))


def find(request: list[bytes]) -> Command:
    """The command that `request` names. Refused if there is none, or the number of arguments is wrong."""
    name = request[0]
    found = COMMANDS.get(name) or COMMANDS.get(name.lower())
    if found is None:
        raise Refused(_unknown(request))
    if not found.least <= len(request) <= found.most:
        raise wrong_number(found.name)
    return found


def wrong_number(name: str) -> Refused:
    """What a wrong number of arguments is answered with."""
    return Refused(f"ERR wrong number of arguments for '{name}' command")


def _unknown(request: list[bytes]) -> str:
    told = ""
    for argument in request[1:]:
        if len(told) >= SHOWN_BYTES:
            break
        told += f"'{argument[: SHOWN_BYTES - len(told)].decode('latin-1')}' "
    name = request[0][:SHOWN_BYTES].decode("latin-1")
    return f"ERR unknown command '{name}', with args beginning with: {told}"


def _queue(client: Client, queue: list[tuple[Command, list[bytes]]], found: Command, request: list[bytes]) -> bytes:
    """Keep `request` for EXEC. A transaction that EXEC will refuse needs no memory."""
    if found.in_transaction is REFUSE:
        raise Refused("ERR Command not allowed inside a transaction")
    if client.store.is_full():
        raise Refused(OUT_OF_MEMORY)
    if client.spoiled:
        queue.clear()
        client.count_queued(-client.queued_bytes)
        return QUEUED
    size = sum(map(len, request)) + ARGUMENT_BYTES * len(request)
    if len(queue) >= client.bounds.queued_commands or client.queued_bytes + size > client.bounds.queued_bytes:
        raise Refused("ERR too many commands are queued in one transaction")
    client.count_queued(size)
    queue.append((found, request))
    return QUEUED


def parse_integer(text: bytes) -> int:
    """The whole number that `text` is. CommandError if it is none, or has more than 64 bits."""
    value = whole_number(text)
    if value is None:
        raise CommandError(NO_INTEGER)
    return value
