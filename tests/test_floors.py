"""The house in README.md: a file imports only from lower floors, or from earlier files on its own floor."""

import ast
import json
import pathlib
import re
import subprocess
import sys

import pytest

import reactor

PACKAGE = pathlib.Path(reactor.__file__).parent
# From the ground up, and on each floor in reading order.
FLOORS = {
    "loop": "reports counters timers repeats threads poller wakeup signals fork states watches loop watchdog",
    "connections": "protocol states limits counters sockaddr buffers fields connection derived socket_options deadlines"
    " budgets access_log reaper dispatcher fast_path acceptor reactor",
    "net": "unix_paths addresses lookups connector splitters framing",
    "coroutines": "pausing scopes task waiting groups threads kept roots endings stream handlers opening program tree",
    "service": "stuck units lines sink log descriptors drain statistics_table server status",
    "apps": "kv.bounds kv.resp kv.replies kv.patterns kv.sorted_set kv.store kv.channels kv.client kv.table kv.strings"
    " kv.keys kv.lists kv.sets kv.hashes kv.sorted_sets kv.transactions kv.publishing kv.information kv.connection"
    " kv.commands kv.server kv chat proxy echo",
}
ORDER = [f"reactor.{floor}.{name}" for floor, names in FLOORS.items() for name in names.split()]
# What a program imports, and what the shell runs: these may use every floor.
ROOF = ["reactor", "reactor.__main__", "reactor.command_line"]
BESIDE = "reactor.simulation"  # for tests alone: it may import from the house; no file of the house may import it
# The two sides of one contract name each other, for type checking: the only circle.
CIRCLE = {"reactor.connections.protocol": "reactor.connections.connection"}
FILES = sorted(PACKAGE.rglob("*.py"))


def module_of(path):
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_of(path): path for path in FILES}
PACKAGES = {module for module, path in MODULES.items() if path.name == "__init__.py"}
FLOOR_PACKAGES = PACKAGES - set(ORDER)  # a program of several files is a package too, and has its place on its floor


def imports(tree, module):
    """The names of all modules that are imported, anywhere in the file and for type checking too."""
    nodes = list(tree.body)
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                package = module if module in PACKAGES else module.rpartition(".")[0]
                here = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*here, base] if base else here)
            for alias in node.names:
                yield f"{base}.{alias.name}" if f"{base}.{alias.name}" in MODULES else base
        else:
            nodes += ast.iter_child_nodes(node)


def imports_of(module):
    return set(imports(ast.parse(MODULES[module].read_text()), module))


def beside(module):
    return f"{module}.".startswith(f"{BESIDE}.")


def test_every_file_has_its_place_in_the_house():
    assert sorted(ORDER) == sorted(module for module in set(MODULES) - FLOOR_PACKAGES - set(ROOF) if not beside(module))
    assert {f"reactor.{floor}" for floor in FLOORS} >= FLOOR_PACKAGES - {"reactor", BESIDE}


@pytest.mark.parametrize("module", ROOF)
def test_the_roof_does_not_lean_on_what_is_beside_the_house(module):
    assert not any(map(beside, imports_of(module)))


@pytest.mark.parametrize("module", ORDER)
def test_a_file_leans_only_on_what_lies_below_it(module):
    ours = {name for name in imports_of(module) if name.split(".")[0] == "reactor"}
    assert ours - {CIRCLE.get(module)} <= set(ORDER[: ORDER.index(module)])


@pytest.mark.parametrize("module", sorted(FLOOR_PACKAGES - {"reactor"}))
def test_a_floor_itself_imports_nothing(module):
    assert imports_of(module) == set()


@pytest.mark.parametrize("module", sorted(MODULES))
def test_only_the_standard_library_is_needed(module):
    others = {name.split(".")[0] for name in imports_of(module)} - {"reactor"}
    assert others <= set(sys.stdlib_module_names)


@pytest.mark.parametrize("floor", ["loop", "connections"])
def test_a_floor_of_the_core_says_its_reading_order(floor):
    listed = re.findall(r"`(\w+)`", ast.get_docstring(ast.parse((PACKAGE / floor / "__init__.py").read_text())))
    assert listed == FLOORS[floor].split()


LOOK_ROUND = """
import gc, json, logging, os, signal, socket, sys, threading

def world():
    return {
        "threads": threading.active_count(),
        "descriptors": len(os.listdir("/dev/fd")),
        "signals": [repr(signal.getsignal(number)) for number in sorted(signal.valid_signals())],
        "wakeup": signal.set_wakeup_fd(-1),
        "sockets": sum(isinstance(thing, socket.socket) for thing in gc.get_objects()),
        "log handlers": len(logging.getLogger().handlers) + len(logging.getLogger("reactor").handlers),
        "log level": logging.getLogger("reactor").level,
        "hooks": [repr(sys.excepthook), repr(threading.excepthook)],
    }

before = world()
import importlib
for module in sys.argv[1:]:
    importlib.import_module(module)
print(json.dumps([before, world()]))
"""


def test_to_import_all_of_it_changes_nothing_else():
    command = [sys.executable, "-W", "error", "-c", LOOK_ROUND, *sorted(MODULES)]
    done = subprocess.run(command, cwd=PACKAGE.parent, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
    before, after = json.loads(done.stdout)
    assert before == after


@pytest.mark.parametrize(
    "module", sorted(name for name in MODULES if name.split(".")[1:2] in (["loop"], ["connections"], ["net"]))
)
def test_the_lower_floors_never_print(module):
    names = {node.id for node in ast.walk(ast.parse(MODULES[module].read_text())) if isinstance(node, ast.Name)}
    assert "print" not in names


@pytest.mark.parametrize("floor", ["loop", "connections", "net"])
@pytest.mark.parametrize("source", ["from ..service import server", "import reactor.apps.echo", "from .. import apps"])
def test_an_import_from_above_would_be_seen(floor, source):
    module = f"reactor.{floor}.file"
    for text in (
        source,
        f"def later():\n    {source}",
        f"try:\n    {source}\nexcept ImportError:\n    pass",
        f"if TYPE_CHECKING:\n    {source}",
    ):
        assert any(name.startswith(("reactor.service", "reactor.apps")) for name in imports(ast.parse(text), module))
