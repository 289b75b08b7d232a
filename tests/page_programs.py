"""The Python programs of the README pages, run as a reader runs them: saved to a file, and started.

A page gives a server a fixed port, which may be in use on the machine of the tests. So the addresses of a program are
replaced, and one line before it shows its log. Nothing else is changed.
"""

from __future__ import annotations

import contextlib
import pathlib
import re
import sys
from collections.abc import Iterator

from tests import support

ADDRESS, UPSTREAM_ADDRESS = '"127.0.0.1:9000"', '"127.0.0.1:8000"'
SHOW_LOG = 'import logging; logging.basicConfig(level="INFO", format="%(levelname)s %(message)s")\n'


def blocks(page: pathlib.Path) -> list[str]:
    """The Python blocks of a page."""
    return re.findall(r"^```python\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE)


def serves_for_ever(block: str) -> bool:
    """Whether it ends by running a server."""
    return block.endswith(".run()\n")


def name(block: str) -> str:
    """The class or function that its server serves."""
    found = re.search(r"^Server\((\w+),", block, re.MULTILINE)
    assert found, block
    return found[1]


def of_page(page: pathlib.Path, served: str) -> str:
    """The program of `page` whose server serves `served`."""
    (program,) = [block for block in blocks(page) if serves_for_ever(block) and name(block) == served]
    return program


@contextlib.contextmanager
def serving(
    block: str, folder: pathlib.Path, upstream: str = "", changes: dict[str, str] | None = None
) -> Iterator[support.ServerProcess]:
    """Save `block` in `folder` and run it, once it listens, until the block ends; `changes` are old and new texts."""
    assert ADDRESS in block
    for old, new in {ADDRESS: '"127.0.0.1:0"', UPSTREAM_ADDRESS: f'"{upstream}"', **(changes or {})}.items():
        assert old in block or old == UPSTREAM_ADDRESS
        block = block.replace(old, new)
    program = folder / "program.py"
    program.write_text(SHOW_LOG + block)
    with support.running([sys.executable, program], cwd=folder) as server:
        server.wait_until_listening()
        yield server
