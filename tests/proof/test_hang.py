"""A loop that never ends names its seed: the bound on calls stops it, or the alarm."""

import signal
import subprocess
import sys
import threading

import pytest

from reactor.connections.acceptor import Acceptor
from reactor.simulation.sockets import Faults
from scripts.proof import hang
from scripts.proof.scenarios import make
from scripts.proof.summary import explain_seed
from scripts.proof.world import World
from tests.support import ROOT


def spin():
    while True:
        pass


def test_a_loop_that_calls_the_kernel_for_ever_breaks_a_law(monkeypatch):
    def accept(acceptor, listener, events):
        while True:
            acceptor._poller.modify(listener.fd, 1, 0)
            acceptor._poller.modify(listener.fd, 0, 1)

    monkeypatch.setattr(Acceptor, "accept", accept)
    scenario = next(scenario for scenario in map(make, range(100)) if scenario.epoll and not scenario.signals)
    outcome = World(scenario._replace(faults=Faults())).run()
    assert (outcome.law, outcome.hung) == (8, False)
    assert "the phase dispatch does not come to an end" in outcome.text


def test_a_loop_that_nobody_sees_breaks_a_law_in_its_own_line(monkeypatch):
    monkeypatch.setattr(Acceptor, "accept", lambda *_: spin())
    monkeypatch.setattr(hang, "HANG_SECONDS", 0.05)
    handler = signal.getsignal(signal.SIGPROF)
    text = "\n".join(explain_seed(3))
    assert text.startswith("seed 3: ") and "there is no end, at test_hang.py, line" in text
    assert text.endswith("as long again.") and "as little as possible" not in text
    assert signal.getsignal(signal.SIGPROF) == handler
    assert signal.getitimer(signal.ITIMER_PROF) == (0.0, 0.0)


def test_what_catches_the_alarm_ends_with_the_process():
    program = (
        "from scripts.proof import hang\n"
        "def spin():\n"
        "    while True: pass\n"
        "with hang.alarm(77, 0.02):\n"
        "    while True:\n"
        "        try: spin()\n"
        "        except BaseException: pass\n"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=240)
    assert done.returncode == 1
    assert done.stderr.startswith("sim: seed 77 hangs, and cannot be stopped:")


def test_there_is_no_alarm_off_the_main_thread():
    timers = []

    def look():
        with hang.alarm(1, 10.0):
            timers.append(signal.getitimer(signal.ITIMER_PROF))

    thread = threading.Thread(target=look)
    thread.start()
    thread.join(10)
    assert timers == [(0.0, 0.0)]


def test_an_alarm_does_not_go_off_behind_its_block():
    with hang.alarm(1, 10.0):
        assert signal.getitimer(signal.ITIMER_PROF)[0] > 0
    with pytest.raises(hang.Hung), hang.alarm(1, 0.02):
        spin()
    assert signal.getitimer(signal.ITIMER_PROF) == (0.0, 0.0)
