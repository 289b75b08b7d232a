"""The bench of the key-value server: it measures both servers in turn, and says in one line why it cannot."""

import os
import re
import shutil
import subprocess
import sys

import pytest

if not sys.platform.startswith("linux"):
    pytest.skip("the bench reads Linux's /proc", allow_module_level=True)

from tests.support import ROOT

SECONDS = 120


def bench(*arguments, **variables):
    command = [sys.executable, str(ROOT / "scripts" / "bench_kv.py"), *arguments]
    environment = {**os.environ, **variables}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=SECONDS)


@pytest.mark.skipif(
    not (shutil.which("redis-server") and shutil.which("redis-benchmark")), reason="Redis is not installed"
)
def test_it_shows_a_row_for_each_test_and_a_table_for_each_pipeline():
    done = bench("--rounds", "1", "--requests", "5000", "--tests", "get,lrange_100", "--pipeline", "1,8")
    assert (done.returncode, done.stderr) == (0, "")
    assert "50 clients, one request at a time from each, 5,000 requests a run, 1 round:" in done.stdout
    assert "50 clients, 8 requests at once from each" in done.stdout
    rows = re.findall(r"^\| (GET|LRANGE_100) +\| +([\d,]+) \| +([\d,]+) \| +([\d.]+) \|", done.stdout, re.MULTILINE)
    assert [name for name, *_ in rows] == ["GET", "LRANGE_100"] * 2
    for _, ours, theirs, ratio in rows:
        ours, theirs = (int(figure.replace(",", "")) for figure in (ours, theirs))
        assert float(ratio) == pytest.approx(ours / theirs, abs=0.02)


@pytest.mark.parametrize("arguments, mistake", [
    (["--tests", "get,nosuch"], "there is no test 'nosuch'"),
    (["--pipeline", "0"], "'0' is not a whole number from 1 up"),
    (["--rounds", "x"], "'x' is not a whole number from 1 up"),
])  # fmt: skip
def test_a_mistake_gets_one_line(arguments, mistake):
    done = bench(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("bench_kv: ") and mistake in done.stderr
    assert "(see make bench-kv ARGS=--help)" in done.stderr
    assert done.stderr.count("\n") == 1


def test_without_redis_it_says_what_to_install(tmp_path):
    done = bench(PATH=str(tmp_path))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("bench_kv: redis-server is not installed (")
