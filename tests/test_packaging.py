"""`pip install .`: what a user of the package gets, in a new environment and away from the sources.

The sources are copied first, because pip builds inside them. The build needs setuptools. The one beside pytest is
used if it is there and new enough to work without `wheel`; otherwise pip downloads one, which is slower and needs a
network. Without either, the tests are skipped with pip's own last lines.
"""

import importlib.metadata
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import sysconfig

import pytest

from tests.support import ROOT, connect, exchange, running

INSTALL_SECONDS = 100
NOT_OUR_FAULT = re.compile(
    r"Could not find a version that satisfies the requirement (setuptools|wheel)"
    r"|No matching distribution found for (setuptools|wheel)"
    r"|No module named '?(setuptools|wheel|pip)"
    r"|Cannot import 'setuptools\.build_meta'"
    r"|invalid command 'bdist_wheel'"
)
pytestmark = pytest.mark.timeout(2 * INSTALL_SECONDS)


def run(*command, **options):
    return subprocess.run(command, capture_output=True, text=True, timeout=INSTALL_SECONDS, **options)


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    """A new environment with the package installed in it; its folder."""
    folder = tmp_path_factory.mktemp("packaging")
    sources, environment = folder / "sources", folder / "environment"
    sources.mkdir()
    for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, sources)
    shutil.copytree(ROOT / "reactor", sources / "reactor", ignore=shutil.ignore_patterns("__pycache__"))
    made = run(sys.executable, "-m", "venv", "--without-pip", environment)
    if made.returncode:
        pytest.skip(f"no environment can be made here: {(made.stdout + made.stderr).strip()}")
    install = [environment / "bin" / "python", "-m", "pip", "install", "--no-deps", "--retries=1"]
    borrowed = {**os.environ, "PYTHONPATH": sysconfig.get_path("purelib")}  # pip, and perhaps setuptools
    for how in (["--no-build-isolation"], []):
        installed = run(*install, *how, ".", cwd=sources, env=borrowed)
        if installed.returncode == 0:
            return environment
        said = installed.stdout + installed.stderr
        assert NOT_OUR_FAULT.search(said), said
    pytest.skip(f"pip cannot build here: {NOT_OUR_FAULT.search(said)[0]}")


@pytest.fixture(scope="module")
def installed(environment):
    """What Python finds of the package there."""
    question = "import json, reactor; print(json.dumps([reactor.__file__, sorted(reactor.__all__)]))"
    answer = run(environment / "bin" / "python", "-I", "-c", question, cwd=environment, check=True)
    return json.loads(answer.stdout)


def test_the_package_is_whole(environment, installed):
    package = pathlib.Path(installed[0]).parent
    assert environment in package.parents
    files = {path.relative_to(ROOT / "reactor") for path in (ROOT / "reactor").rglob("*.py")}
    assert {path.relative_to(package) for path in package.rglob("*.py")} == files


def test_its_names_can_be_imported(installed):
    import reactor

    assert installed[1] == sorted(reactor.__all__)


def test_it_says_that_it_is_typed(installed):
    assert pathlib.Path(installed[0]).with_name("py.typed").exists()


def test_it_needs_the_standard_library_alone_and_a_python_that_is_new_enough(environment):
    (folder,) = environment.glob("lib/python*/site-packages/reactor_server-*.dist-info")
    metadata = importlib.metadata.Distribution.at(folder)
    assert not [need for need in metadata.requires or [] if "extra ==" not in need]
    assert metadata.metadata["Requires-Python"] in (">= 3.11", ">=3.11")
    assert metadata.metadata["License"] == "MIT"
    assert (folder / "LICENSE").exists() or list(folder.rglob("LICENSE"))


def test_the_command_serves(environment, tmp_path):
    command = [environment / "bin" / "reactor", "serve", "echo", "--bind", "127.0.0.1:0"]
    with running(command, cwd=tmp_path, env={"PATH": "/nowhere"}) as server:
        server.wait_until_listening()
        with connect(server.address) as client:
            assert exchange(client, b"hello") == b"hello"
        assert server.terminate() == 0


def test_the_command_finds_a_program_in_the_current_folder(environment, tmp_path):
    (tmp_path / "mine.py").write_text("from reactor.apps.echo import Echo as Mine")
    command = [environment / "bin" / "reactor", "serve", "mine:Mine", "--bind", "127.0.0.1:0"]
    with running(command, cwd=tmp_path, env={"PATH": "/nowhere"}) as server:
        server.wait_until_listening()
        with connect(server.address) as client:
            assert exchange(client, b"hello") == b"hello"
