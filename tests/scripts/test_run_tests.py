"""Several pytests side by side must report as much as one, and fail as surely."""

import subprocess
import sys

import pytest

from tests import support

RUN = "import sys; from scripts.run_tests import main; sys.exit(main(sys.argv[3:], [sys.argv[1:2], sys.argv[2:3]]))"


def run(tmp_path, first, second, *arguments):
    files = []
    for name, text in [("test_first.py", first), ("test_second.py", second)]:
        files.append(tmp_path / name)
        files[-1].write_text(text)
    command = [sys.executable, "-c", RUN, *files, *arguments]
    return subprocess.run(
        command, cwd=support.ROOT, env=support.package_environment(), capture_output=True, text=True, timeout=240
    )


PASSES = "def test_it():\n    pass\n"
FAILS = "def test_it():\n    assert not 'this'\n"


def test_when_both_parts_pass_so_does_the_whole_and_all_are_seen(tmp_path):
    result = run(tmp_path, PASSES, PASSES)
    assert result.returncode == 0
    assert result.stdout.count("1 passed") == 2


@pytest.mark.parametrize("parts", [(FAILS, PASSES), (PASSES, FAILS)])
def test_when_any_part_fails_so_does_the_whole_and_the_failure_is_seen(tmp_path, parts):
    result = run(tmp_path, *parts)
    assert result.returncode == 1
    assert "assert not 'this'" in result.stdout and "1 passed" in result.stdout


def test_a_part_without_tests_is_no_success(tmp_path):
    assert run(tmp_path, PASSES, "").returncode == 5


def test_arguments_go_to_one_pytest(tmp_path):
    result = run(tmp_path, PASSES, FAILS, str(tmp_path / "test_first.py"))
    assert result.returncode == 0
    assert result.stdout.count("1 passed") == 1
