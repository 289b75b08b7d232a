"""The environment is made once, made again when something else is wanted, and never left half made.

Each test has its own directory with its own setup.cfg. To make an environment takes seconds, so only the first tests
do it, with wheels of a few bytes instead of a network. The tests below them use stand-ins for `venv` and `pip`, and
check what would be done.
"""

import os
import pathlib
import subprocess
import sys
import zipfile

import pytest

from scripts import environment

SCRIPT = pathlib.Path(__file__).resolve().parents[2] / "scripts" / "environment.py"
SETTINGS = "[options.extras_require]\ntest =\n    {test}\nlint =\n    {lint}\n"
DEADLINE_SECONDS = 240


@pytest.fixture
def directory(tmp_path):
    """An empty repository, and beside it the wheels of the packages alpha, beta and gamma."""
    for name in ("alpha", "beta", "gamma"):
        make_wheel(tmp_path / "wheels", name)
    repository = tmp_path / "repository"
    repository.mkdir()
    (repository / "setup.cfg").write_text(SETTINGS.format(test="alpha", lint="beta"))
    return repository


def make_wheel(directory: pathlib.Path, name: str) -> None:
    """Write the smallest wheel that pip accepts: one module, and the three files of PEP 427."""
    directory.mkdir(exist_ok=True)
    information = f"{name}-1.0.dist-info"
    files = {
        f"{name}.py": "",
        f"{information}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n",
        f"{information}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    files[f"{information}/RECORD"] = "".join(f"{path},,\n" for path in [*files, f"{information}/RECORD"])
    with zipfile.ZipFile(directory / f"{name}-1.0-py3-none-any.whl", "w") as wheel:
        for path, text in files.items():
            wheel.writestr(path, text)


def run_script(directory, *extras, **variables):
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PIP_")}
    environment |= {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(directory.parent / "wheels")} | variables
    command = [sys.executable, str(SCRIPT), *extras]
    return subprocess.run(
        command, cwd=directory, env=environment, capture_output=True, text=True, timeout=DEADLINE_SECONDS
    )


def can_import(directory, module):
    python = directory / ".venv" / "bin" / "python"
    return subprocess.run([python, "-c", f"import {module}"], capture_output=True).returncode == 0


def test_the_extras_asked_for_are_installed_and_others_added_when_wanted(directory):
    assert run_script(directory, "test").returncode == 0
    assert can_import(directory, "alpha")
    assert not can_import(directory, "beta")
    assert run_script(directory, "test").stderr == ""
    assert run_script(directory, "test", "lint").stderr == "installing beta\n"
    assert can_import(directory, "beta")


def test_a_colon_in_the_name_of_the_folder_is_no_obstacle(directory):
    with_colon = directory.rename(directory.with_name("a:b c"))
    assert run_script(with_colon, "test").returncode == 0
    assert can_import(with_colon, "alpha")
    assert run_script(with_colon, "test").stderr == ""


def test_where_pip_finds_no_package_one_line_says_so_and_nothing_is_left(directory):
    (directory.parent / "wheels" / "alpha-1.0-py3-none-any.whl").unlink()
    result = run_script(directory, "test")
    assert result.returncode == 1
    *progress, line = result.stderr.splitlines()
    assert [said.split()[0] for said in progress] == ["making", "installing"]
    assert line.startswith("cannot install alpha: ERROR: No matching distribution found for alpha;")
    assert "connect to a network" in line
    assert not (directory / ".venv").exists()


@pytest.mark.parametrize("module", ["venv", "ensurepip"])
def test_where_python_came_without_venv_one_line_says_what_to_install(directory, module):
    # None in sys.modules is Python's own mark for a module that must not be found.
    site = directory / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(f"import sys; sys.modules[{module!r}] = None")
    result = run_script(directory, "test", PYTHONPATH=str(site))
    assert result.returncode == 1
    assert result.stderr.count("\n") == 1
    assert f"has no {module} module; install it (Debian, Ubuntu: apt-get install python3." in result.stderr
    assert not (directory / ".venv").exists()


def test_an_extra_that_setup_cfg_does_not_have_is_refused(directory):
    result = run_script(directory, "tests")
    assert result.stderr == "setup.cfg has no extra 'tests'; it has test, lint\n"
    assert result.returncode == 1


class StandIn:
    """Replaces `environment.run`: notes each command, and makes the files that it would make."""

    def __init__(self):
        self.commands = []
        self.failing = None

    def __call__(self, command, failure, remedy):
        self.commands.append(command[2])
        if command[2] == "venv":
            environment.PYTHON.parent.mkdir(parents=True, exist_ok=True)
            environment.PYTHON.unlink(missing_ok=True)
            environment.PYTHON.symlink_to(sys.executable)
        if command[2] == self.failing:
            raise KeyboardInterrupt

    def commands_for(self, *extras):
        self.commands = []
        environment.main(list(extras))
        return self.commands


@pytest.fixture
def made(directory, monkeypatch):
    """An environment with the extra `test`, made by stand-ins; return these."""
    monkeypatch.chdir(directory)
    stand_in = StandIn()
    monkeypatch.setattr(environment, "run", stand_in)
    assert stand_in.commands_for("test") == ["venv", "pip"]
    return stand_in


def test_it_is_made_once(made):
    assert made.commands_for("test") == []
    assert made.commands_for("test", "lint") == ["pip"]
    assert made.commands_for("lint", "test") == []


def test_a_change_of_an_extra_in_setup_cfg_makes_it_anew(made, directory):
    (directory / "setup.cfg").write_text(SETTINGS.format(test="gamma", lint="beta"))
    assert made.commands_for("test") == ["venv", "pip"]


def test_a_change_of_setup_cfg_that_it_does_not_depend_on_changes_nothing(made, directory):
    (directory / "setup.cfg").write_text(SETTINGS.format(test="alpha", lint="gamma") + "[mypy]\nstrict = true\n")
    assert made.commands_for("test") == []


def test_another_version_of_python_makes_it_anew(made, monkeypatch):
    monkeypatch.setattr(environment, "VERSION", "3.99.0")
    assert made.commands_for("test") == ["venv", "pip"]


def test_an_environment_whose_python_was_removed_is_made_anew(made):
    environment.PYTHON.unlink()
    environment.PYTHON.symlink_to("/nowhere/python")
    assert made.commands_for("test") == ["venv", "pip"]


@pytest.mark.parametrize("stamp", [None, "", '{"python": "3.'])
def test_what_was_cut_short_is_made_anew(made, stamp):
    environment.STAMP.unlink()
    if stamp is not None:
        environment.STAMP.write_text(stamp)
    assert made.commands_for("test") == ["venv", "pip"]


@pytest.mark.parametrize("failing", ["venv", "pip"])
def test_an_interrupt_leaves_nothing_half_made(made, failing):
    environment.STAMP.unlink()
    made.failing = failing
    with pytest.raises(KeyboardInterrupt):
        environment.main(["test"])
    assert not environment.ENVIRONMENT.exists()


@pytest.mark.parametrize("failing", ["venv", "pip"])
def test_an_interrupt_while_it_is_made_anew_leaves_nothing_either(made, monkeypatch, failing):
    monkeypatch.setattr(environment, "VERSION", "3.99.0")
    made.failing = failing
    with pytest.raises(KeyboardInterrupt):
        environment.main(["test"])
    assert not environment.ENVIRONMENT.exists()


def test_an_extra_that_cannot_be_added_leaves_the_rest_in_use(made):
    made.failing = "pip"
    with pytest.raises(KeyboardInterrupt):
        environment.main(["test", "lint"])
    assert made.commands_for("test") == []
