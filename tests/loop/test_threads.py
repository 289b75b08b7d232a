"""`run_in_thread`: what blocks is called on a thread, its outcome comes back once, and their number is bounded."""

import concurrent.futures
import gc
import os
import queue
import signal
import subprocess
import sys
import threading
import weakref

import pytest

from reactor import Limits, Reactor
from reactor.loop.loop import Loop
from reactor.loop.states import IDLE
from tests import rig
from tests.net.connecting import in_a_child
from tests.rig import break_down, leave, turn_until
from tests.support import package_environment, wait_until

MOST, MOST_WAITING = 2, 3


def ours():
    """The threads that make calls, of all loops."""
    return [thread for thread in threading.enumerate() if thread.name == "reactor run_in_thread"]


@pytest.fixture(autouse=True)
def threads_come_back():
    """The threads of each test end, and those of the tests before it have ended."""
    wait_until(lambda: not ours(), "the end of the threads of other tests")
    yield
    wait_until(lambda: not ours(), "the end of the threads")


@pytest.fixture
def loop(descriptors_come_back):
    with Loop(max_threads=MOST, max_thread_queue=MOST_WAITING) as loop:
        yield loop


class Gate:
    """A function that blocks until the test lets it go on."""

    def __init__(self):
        self.entered = threading.Semaphore(0)
        self._open = threading.Event()

    def __call__(self, value=None):
        self.entered.release()
        assert self._open.wait(rig.DEADLINE_SECONDS), "nobody has opened the gate"
        return value

    def wait_for(self, count=1):
        """Wait until it has been called `count` times more."""
        for _ in range(count):
            assert self.entered.acquire(timeout=rig.DEADLINE_SECONDS)

    def open(self):
        """Let all go on, those that come later too."""
        self._open.set()


@pytest.fixture
def gate():
    gate = Gate()
    yield gate
    gate.open()


@pytest.fixture
def futures():
    return []


def fill(loop, gate, futures):
    """Have every thread busy at `gate`, and return the handles."""
    handles = [loop.run_in_thread(gate, number, then=futures.append) for number in range(MOST)]
    gate.wait_for(MOST)
    return handles


# The outcome.


def test_the_result_comes_back_into_the_loop(loop, futures):
    def where(*arguments):
        return threading.current_thread(), arguments

    def note(future):
        futures.append((future, threading.current_thread()))

    loop.run_in_thread(where, 1, "two", then=note)
    assert not futures
    turn_until(loop, lambda: futures, "the answer")
    ((future, told_on),) = futures
    assert future.done() and isinstance(future, concurrent.futures.Future)
    called_on, arguments = future.result()
    assert arguments == (1, "two")
    assert told_on is threading.current_thread() and called_on is not told_on and called_on.daemon


@pytest.mark.parametrize("exception", [LookupError("on purpose"), SystemExit(3), KeyboardInterrupt()], ids=repr)
def test_whatever_the_function_raises_is_for_then_and_the_thread_goes_on(loop, futures, caplog, exception):
    def fail():
        raise exception

    for function in (fail, threading.current_thread):
        loop.run_in_thread(function, then=futures.append)
        turn_until(loop, lambda: futures, "the answer")
    assert futures[0].exception() is exception
    with pytest.raises(type(exception)):
        futures[0].result()
    turn_until(loop, lambda: len(futures) == 2, "the next answer")
    assert futures[1].result() in ours()
    assert not caplog.records and loop.counters.callback_errors == 0


class Unprintable(Exception):
    """An exception that cannot be printed."""

    def __str__(self):
        raise RuntimeError("on purpose")

    __repr__ = __str__


@pytest.mark.parametrize(
    "exception", [LookupError("on purpose"), SystemExit(3), Unprintable()], ids=["plain", "exit", "unprintable"]
)
def test_without_then_an_exception_is_logged_once_with_its_function_and_counted(loop, caplog, exception):
    def fail():
        raise exception

    loop.run_in_thread(fail)
    turn_until(loop, lambda: not loop.counters.thread_calls, "the end of the call")
    (record,) = caplog.records
    assert record.levelname == "ERROR" and "fail" in record.getMessage()
    assert record.exc_info[1] is exception and "in fail" in caplog.text, "with its traceback"
    assert loop.counters.callback_errors == 1


def test_without_then_a_result_is_dropped_in_silence(loop, caplog):
    called = []
    loop.run_in_thread(called.append, 1)
    turn_until(loop, lambda: not loop.counters.thread_calls, "the end of the call")
    assert called == [1] and not caplog.records and loop.counters.callback_errors == 0


def test_an_exception_of_then_is_logged_once_and_counted(loop, caplog):
    loop.run_in_thread(int, then=break_down)
    turn_until(loop, lambda: not loop.counters.thread_calls, "the answer")
    (record,) = caplog.records
    assert record.exc_info[0] is LookupError and "break_down" in record.getMessage()
    assert loop.counters.callback_errors == 1


def test_system_exit_in_then_leaves_run_and_the_next_run_goes_on(loop, futures):
    loop.run_in_thread(int, then=leave)
    with pytest.raises(SystemExit):
        loop.run()
    assert loop.state is IDLE and loop.counters.thread_calls == 0
    loop.run_in_thread(int, then=lambda future: (futures.append(future), loop.stop()))
    loop.run()
    assert futures[0].result() == 0


def test_what_ends_while_the_loop_does_not_run_is_told_by_the_next_run(loop, gate, futures):
    loop.run_in_thread(gate, "late", then=lambda future: (futures.append(future), loop.stop()))
    loop.call_soon(loop.stop)
    loop.run()
    assert not futures
    gate.open()
    wait_until(lambda: loop._foreign, "the end of the function")
    assert not futures
    loop.run()
    assert futures[0].result() == "late"


def test_a_sleeping_loop_wakes_for_an_answer(loop, gate, futures):
    loop.run_in_thread(gate, then=lambda future: (futures.append(future), loop.stop()))
    loop.call_soon(gate.open)
    loop.run()  # which would wait for ever
    assert futures


def test_an_exception_and_its_outcome_are_freed_when_then_has_returned(loop):
    class Big(Exception):
        pass

    freed = []

    def fail(big):
        freed.append(weakref.ref(big))
        raise Big

    def note(future):
        freed.append(weakref.ref(future))
        freed.append(weakref.ref(future.exception()))

    gc.disable()
    try:
        handle = loop.run_in_thread(fail, Big(), then=note)
        turn_until(loop, lambda: len(freed) == 3, "the answer")
        wait_until(lambda: [each() for each in freed] == [None] * 3, "the thread to be at its next call")
    finally:
        gc.enable()
    assert handle.cancelled()


# How many.


@pytest.mark.parametrize("threads", [1, 4])
def test_a_thousand_calls_of_one_callback_are_all_answered_once_in_the_order_in_which_they_end(
    descriptors_come_back, threads
):
    ended, told = [], []

    def work(number):
        ended.append(number)
        return number

    with Loop(max_threads=threads, max_thread_queue=1000) as loop:

        def ask():
            for number in range(1000):
                loop.run_in_thread(work, number, then=lambda future: told.append(future.result()))

        loop.call_soon(ask)
        turn_until(loop, lambda: len(told) == 1000, "all answers")
        assert len(ours()) == threads
    assert sorted(told) == list(range(1000))
    if threads == 1:
        assert told == ended == list(range(1000))


def test_threads_start_one_by_one_and_only_when_the_others_are_busy(loop, gate, futures):
    assert not ours()
    for _ in range(3):
        loop.run_in_thread(int, then=futures.append)
        turn_until(loop, lambda: futures, "the answer")
        futures.clear()
    assert len(ours()) == 1
    loop.run_in_thread(gate, then=futures.append)
    assert len(ours()) == 1
    loop.run_in_thread(gate, then=futures.append)
    gate.wait_for(2)
    assert len(ours()) == 2 == MOST
    loop.run_in_thread(gate, then=futures.append)
    assert len(ours()) == MOST
    gate.open()
    turn_until(loop, lambda: len(futures) == 3, "the answers")
    assert len(ours()) == MOST


def test_a_full_queue_refuses_the_next_call_and_says_which_limit(loop, gate, futures):
    fill(loop, gate, futures)
    for number in range(MOST_WAITING):
        loop.run_in_thread(int, number, then=futures.append)
    assert loop.counters.thread_calls == MOST + MOST_WAITING
    with pytest.raises(queue.Full) as caught:
        loop.run_in_thread(int)
    assert str(caught.value) == (
        "5 calls are not answered yet, as many as max_threads (2) and max_thread_queue (3) allow: try again later"
    )
    assert loop.counters.thread_calls == MOST + MOST_WAITING
    gate.open()
    turn_until(loop, lambda: len(futures) == MOST + MOST_WAITING, "all answers")
    assert loop.counters.thread_calls == 0
    loop.run_in_thread(int, then=futures.append)
    turn_until(loop, lambda: len(futures) == MOST + MOST_WAITING + 1, "the answer")


def test_outcomes_that_the_loop_has_not_told_yet_take_a_place_too(loop):
    ended = threading.Semaphore(0)
    for _ in range(MOST + MOST_WAITING):
        loop.run_in_thread(ended.release)
    for _ in range(MOST + MOST_WAITING):
        assert ended.acquire(timeout=rig.DEADLINE_SECONDS)
    with pytest.raises(queue.Full):  # or a callback that calls without end would fill the memory
        loop.run_in_thread(int)
    turn_until(loop, lambda: not loop.counters.thread_calls, "the answers")


def test_the_answer_to_a_call_has_given_its_place_back(loop, futures):
    def again(future):
        futures.append(loop.counters.thread_calls)
        if len(futures) < 3:
            loop.run_in_thread(int, then=again)

    loop.run_in_thread(int, then=again)
    turn_until(loop, lambda: len(futures) == 3, "the answers")
    assert futures == [0, 0, 0]


def test_a_reactor_takes_the_bounds_from_its_limits(gate, futures, descriptors_come_back):
    with Reactor(limits=Limits(max_threads=1, max_thread_queue=1)) as bounded:
        bounded.run_in_thread(gate, then=futures.append)
        bounded.run_in_thread(gate, then=futures.append)
        with pytest.raises(queue.Full, match=r"max_threads \(1\) and max_thread_queue \(1\)"):
            bounded.run_in_thread(gate)
        assert bounded.counters.snapshot()["thread_calls"] == 2
        gate.open()
        turn_until(bounded, lambda: len(futures) == 2, "both answers")
        assert bounded.counters.snapshot()["thread_calls"] == 0


@pytest.mark.parametrize("bounds", [(0, 5), (1, -1)])
def test_bounds_that_make_no_sense_are_refused(descriptors_come_back, bounds):
    with pytest.raises(ValueError, match=r"^there must be at least 1 thread and room for 0 calls, not"):
        Loop(max_threads=bounds[0], max_thread_queue=bounds[1])


@pytest.mark.parametrize("nonsense", [None, "print", 7])
def test_what_cannot_be_called_is_refused_at_once(loop, nonsense):
    kind = type(nonsense).__name__
    with pytest.raises(TypeError, match=f"^the function for a thread must be callable, not of type {kind}$"):
        loop.run_in_thread(nonsense, then=print)
    if nonsense is not None:
        with pytest.raises(TypeError, match=f"^a callback must be callable, not of type {kind}$"):
            loop.run_in_thread(int, then=nonsense)
    assert not ours() and loop.counters.thread_calls == 0


# A thread that cannot be started (P4).


@pytest.fixture
def no_thread(monkeypatch):
    """The system gives no thread while the test says so."""

    def refuse(thread):
        raise RuntimeError("can't start new thread")

    return lambda: monkeypatch.setattr(threading.Thread, "start", refuse)


def test_without_any_thread_the_call_is_refused_in_one_line_and_nothing_is_left(
    loop, futures, no_thread, monkeypatch
):
    no_thread()
    for _ in range(2 * (MOST + MOST_WAITING)):
        with pytest.raises(RuntimeError) as caught:
            loop.run_in_thread(int, then=futures.append)
    assert str(caught.value) == "there is no thread for the call: can't start new thread"
    assert loop.counters.thread_calls == 0 and not loop.threads.unanswered and not loop.threads._waiting.qsize()
    monkeypatch.undo()
    loop.run_in_thread(int, then=futures.append)
    turn_until(loop, lambda: futures, "the answer, now that there is a thread")


def test_without_another_thread_the_call_waits_for_one_that_runs(loop, gate, futures, no_thread, monkeypatch):
    loop.run_in_thread(gate, then=futures.append)
    gate.wait_for()
    no_thread()
    for _ in range(MOST + MOST_WAITING - 1):
        loop.run_in_thread(int, then=futures.append)
    assert len(ours()) == 1
    with pytest.raises(queue.Full):
        loop.run_in_thread(int, then=futures.append)
    gate.open()
    turn_until(loop, lambda: len(futures) == MOST + MOST_WAITING, "the answers")
    monkeypatch.undo()


# Cancelling.


def test_a_call_that_waits_can_be_taken_back_and_its_function_is_never_called(loop, gate, futures):
    fill(loop, gate, futures)
    called = []
    handle = loop.run_in_thread(called.append, 1, then=futures.append)
    loop.run_in_thread(called.append, 2, then=futures.append)
    assert not handle.cancelled()
    handle.cancel()
    handle.cancel()
    assert handle.cancelled()
    gate.open()
    turn_until(loop, lambda: len(futures) == MOST + 1, "the answers of the others")
    turn_until(loop, lambda: not loop.counters.thread_calls, "its place")
    assert called == [2] and len(futures) == MOST + 1


@pytest.mark.parametrize("then", [print, None])
def test_the_outcome_of_a_call_that_was_taken_back_while_it_ran_is_dropped(loop, gate, capsys, caplog, then):
    def fail():
        gate()
        break_down()

    handle = loop.run_in_thread(fail, then=then)
    gate.wait_for()
    handle.cancel()
    assert not loop.threads.unanswered and loop.counters.thread_calls == 1, "its thread is still busy"
    gate.open()
    turn_until(loop, lambda: not loop.counters.thread_calls, "the end of the function")
    assert not capsys.readouterr().out and not caplog.records and loop.counters.callback_errors == 0


def test_a_call_that_has_ended_can_be_taken_back_until_it_is_told(loop, futures):
    handle = loop.run_in_thread(int, then=futures.append)
    wait_until(lambda: loop._foreign, "the end of the function")
    handle.cancel()
    turn_until(loop, lambda: not loop.counters.thread_calls, "its place")
    assert not futures


def test_cancelling_after_the_answer_does_nothing(loop, futures):
    handle = loop.run_in_thread(int, then=futures.append)
    turn_until(loop, lambda: futures, "the answer")
    assert handle.cancelled()
    handle.cancel()
    loop.run_in_thread(int, then=futures.append)
    turn_until(loop, lambda: len(futures) == 2, "another answer")


def test_a_call_that_was_taken_back_frees_what_it_held(loop, gate, futures):
    class Big:
        def call(self):
            pass

    fill(loop, gate, futures)
    big, argument, told = Big(), Big(), Big()
    gone = [weakref.ref(each) for each in (big, argument, told)]
    handle = loop.run_in_thread(big.call, argument, then=told.call)
    handle.cancel()
    del big, argument, told
    gc.collect()
    assert [each() for each in gone] == [None] * 3


def test_calling_and_taking_back_without_end_is_bounded_too(loop, gate, futures):
    fill(loop, gate, futures)
    for _ in range(MOST_WAITING):
        loop.run_in_thread(int).cancel()
    with pytest.raises(queue.Full):
        loop.run_in_thread(int)
    gate.open()
    turn_until(loop, lambda: not loop.counters.thread_calls, "their places")


# The end.


def test_close_drops_what_waits_and_what_runs_and_waits_for_nobody(gate, futures, descriptors_come_back):
    called = []
    with Loop(max_threads=MOST) as loop:
        fill(loop, gate, futures)
        for number in range(10):
            loop.run_in_thread(called.append, number, then=futures.append)
    assert loop.counters.thread_calls == 0
    assert len(ours()) == MOST
    gate.open()
    wait_until(lambda: not ours(), "the end of the threads")
    assert not called and not futures and not loop._foreign
    with pytest.raises(RuntimeError, match="this loop is closed"):
        loop.run_in_thread(int)


def test_close_ends_threads_that_have_nothing_to_do(gate, futures, descriptors_come_back):
    with Loop(max_threads=4) as loop:
        for _ in range(4):
            loop.run_in_thread(gate, then=futures.append)
        gate.open()
        turn_until(loop, lambda: len(futures) == 4, "the answers")
        assert len(ours()) == 4
    wait_until(lambda: not ours(), "the end of the threads")


def test_close_in_a_callback_drops_the_answers_that_have_not_come(loop, gate, futures):
    loop.run_in_thread(gate, then=futures.append)
    loop.call_soon(loop.close)
    loop.run()
    gate.open()
    wait_until(lambda: not ours(), "the end of the thread")
    assert not futures


def test_a_loop_that_is_closed_can_be_freed_once_its_calls_have_returned(gate):
    loop = Loop()
    loop.run_in_thread(gate)
    gate.wait_for()
    loop.close()
    gone = weakref.ref(loop)
    del loop
    gate.open()
    wait_until(lambda: not ours(), "the end of the thread")
    gc.collect()
    assert gone() is None


def test_a_call_that_never_returns_does_not_keep_the_process_from_ending():
    program = """
import threading
from reactor import Reactor

with Reactor() as reactor:
    begun = threading.Event()
    reactor.run_in_thread(lambda: (begun.set(), threading.Event().wait()))
    reactor.run_in_thread(print, "on a thread", then=lambda future: reactor.stop())
    reactor.run()
    begun.wait()
print("the end")
"""
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        env=package_environment(),
        capture_output=True,
        text=True,
        timeout=rig.DEADLINE_SECONDS,
    )
    assert (result.returncode, result.stdout, result.stderr) == (0, "on a thread\nthe end\n", "")


# Forks (L5).


def test_a_child_has_no_threads_and_answers_nothing_and_the_parent_goes_on(loop, gate, futures):
    fill(loop, gate, futures)
    loop.run_in_thread(int, then=futures.append)

    def is_free():
        gate.open()
        with Loop() as own:
            told = []
            own.run_in_thread(int, then=told.append)
            turn_until(own, lambda: told, "an answer in a loop of its own")
        with pytest.raises(RuntimeError, match="this loop is of process"):
            loop.run_in_thread(int)
        return not futures and loop.counters.thread_calls == 0 and not loop._foreign

    assert in_a_child(is_free)
    gate.open()
    turn_until(loop, lambda: len(futures) == MOST + 1, "the answers in the parent")


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")  # about forks beside threads, which are meant
def test_a_function_that_forks_lets_its_child_make_no_other_call(loop, futures, tmp_path):
    made = tmp_path / "made"

    def note():
        with made.open("a") as file:
            file.write(f"{os.getpid()}\n")

    def fork():
        pid = os.fork()
        if not pid:
            signal.alarm(int(rig.DEADLINE_SECONDS))  # the child ends even if something goes wrong
        return pid

    waits = Gate()
    loop.run_in_thread(waits, then=futures.append)
    waits.wait_for()
    loop.run_in_thread(fork, then=futures.append)
    for _ in range(MOST_WAITING):
        loop.run_in_thread(note)
    turn_until(loop, lambda: futures, "the answer of the fork")
    waits.open()
    turn_until(loop, lambda: not loop.counters.thread_calls, "all answers")
    assert os.waitstatus_to_exitcode(os.waitpid(futures[0].result(), 0)[1]) == 0, "it ends with its thread"
    assert made.read_text() == f"{os.getpid()}\n" * MOST_WAITING
