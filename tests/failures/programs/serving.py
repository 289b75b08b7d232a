"""What the scripts of the other servers have in common: their arguments, and the line that says where they listen.

Each is called as `NAME_server.py PROGRAM BIND SETTINGS`: a program of `adapter.PROGRAMS`, where to listen
(`HOST:PORT`, `:PORT` for every interface, `unix:PATH`), and a JSON object of settings by the names of our `Limits`.
"""

import json
import sys

from . import drain_protocols, end_protocols, loop_protocols, protocols


def arguments():
    """The program, where to listen, and the settings."""
    program, bind, settings = sys.argv[1:]
    return program, bind, json.loads(settings)


def program_class(name):
    """The class of PEP 3156 that is the program of that class name."""
    modules = (protocols, loop_protocols, end_protocols, drain_protocols)
    return next(getattr(module, name) for module in modules if hasattr(module, name))


def host_and_port(bind):
    """`HOST:PORT` in two; the host is None for every interface."""
    host, _, port = bind.rpartition(":")
    return host.strip("[]") or None, int(port)


def address(bind):
    """The same as the socket module takes it; a UNIX socket's is its path."""
    if bind.startswith("unix:"):
        return bind[5:]
    host, port = host_and_port(bind)
    return host or "", port


def describe(name):
    """What `getsockname` returns, in the words of `bind`."""
    if isinstance(name, str | bytes):
        return f"unix:{name if isinstance(name, str) else name.decode()}"
    return f"[{name[0]}]:{name[1]}" if ":" in name[0] else f"{name[0]}:{name[1]}"


def tell(*names):
    """Say that it listens, and where."""
    print("listening on", ", ".join(map(describe, names)), file=sys.stderr, flush=True)
