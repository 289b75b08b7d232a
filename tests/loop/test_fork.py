"""A fork's child copies everything but can use nothing of it, and the parent does not notice the child (L5).

The forks are real. A child reports through a pipe what it has seen, and always ends.
"""

import functools
import gc
import os
import signal
import socket
import threading
import traceback
import warnings
import weakref

import pytest

from reactor import Limits, Protocol, Reactor, Server, connect
from reactor.loop import fork
from reactor.service import server as server_module
from tests.rig import DEADLINE_SECONDS, Recorder, adopt, tcp_pair, turn_until, turn_until_idle
from tests.support import receive_all

CALLBACKS = ["connection_made", "data_received", "eof_received", "connection_lost", "pause_writing", "resume_writing"]


class Child:
    """The child process, as its parent sees it."""

    def __init__(self):
        self._reader, writer = os.pipe()
        self._stay, self._let_go = os.pipe()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # about forks beside threads, which are not ours
            self.pid = os.fork()
        self._writer = writer
        if self.pid:
            os.close(writer)
            os.close(self._stay)
        else:  # the child ends even if something goes wrong
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.alarm(int(2 * DEADLINE_SECONDS))

    def live(self, act):
        """In the child: call `act`, report its result, and stay until the parent lets go."""
        status = 1
        try:
            os.close(self._let_go)
            try:
                said = str(act())
            except BaseException as exc:
                said = f"{type(exc).__name__}: {exc}"
            os.write(self._writer, said.encode())
            os.close(self._writer)
            os.read(self._stay, 1)
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)

    def said(self):
        """Wait for its report, and return it."""
        words = b""
        while data := os.read(self._reader, 65536):
            words += data
        os.close(self._reader)
        return words.decode()

    def let_go(self):
        """Let it end, and check that it ends by itself."""
        os.close(self._let_go)
        assert os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1]) == 0


def ask_child(act):
    """What a child reports after `act`."""
    child = Child()
    if not child.pid:
        child.live(act)
    said = child.said()
    child.let_go()
    return said


def is_open(descriptor):
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True


def descriptors():
    """The numbers of all open descriptors, without the one that lists them: that one is closed again."""
    return {number for number in map(int, os.listdir("/dev/fd")) if is_open(number)}


USES = {
    "run": lambda reactor: reactor.run(),
    "run_once": lambda reactor: reactor.run_once(0),
    "call_soon": lambda reactor: reactor.call_soon(print),
    "call_soon_threadsafe": lambda reactor: reactor.call_soon_threadsafe(print),
    "call_every": lambda reactor: reactor.call_every(1.0, print),
    "run_in_thread": lambda reactor: reactor.run_in_thread(print),
    "listen": lambda reactor: reactor.listen(socket.socket(), Recorder),
    "connect": lambda reactor: connect(reactor, Recorder, "127.0.0.1:1", print),
}


@pytest.mark.parametrize("use", USES)
def test_every_use_in_the_child_is_refused_and_says_whose_reactor_it_is(reactor, use):
    words = ask_child(lambda: USES[use](reactor))
    assert words == f"RuntimeError: this loop is of process {os.getpid()}: make one after the fork"
    reactor.run_once(0)


def test_closing_and_leaving_it_in_the_child_does_nothing(reactor, pair):
    ours, theirs = pair
    echo = adopt(reactor, ours.dup(), Recorder(data_received=lambda recorder, data: recorder.connection.write(data)))
    ours.close()

    def leave():
        reactor.close()
        with reactor:
            pass

    assert ask_child(leave) == "None"
    theirs.sendall(b"hello")
    turn_until(reactor, lambda: echo._protocol.received, "the data")
    assert theirs.recv(100) == b"hello"


def test_the_child_has_none_of_the_reactors_descriptors(pair):
    before = descriptors()
    ours, theirs = pair
    with Reactor() as reactor:
        reactor.listen(socket.create_server(("127.0.0.1", 0)), Recorder)
        adopt(reactor, ours.dup(), Recorder())
        ended = adopt(reactor, ours.dup(), Recorder())
        ended.abort()
        reactor.dispatcher.flush()  # it will be closed, but is still open
        assert reactor.dispatcher.reaper.doomed
        inherited = descriptors() - before
        assert len(inherited) >= 6, "two of the waker, one or two of the poller, a listener, two connections"
        assert ask_child(lambda: sorted(filter(is_open, inherited))) == "[]"


@pytest.mark.parametrize("callback", CALLBACKS)
def test_a_connection_that_the_parent_closes_is_closed_though_a_child_lives(reactor, callback):
    children = []

    def fork(recorder, *_):
        if not children:
            children.append(Child())
            if not children[0].pid:
                children[0].live(lambda: "alive")

    ours, theirs = tcp_pair()
    with theirs:
        protocol = Recorder(**{callback: fork})
        connection = adopt(reactor, ours, protocol)
        theirs.sendall(b"x")
        turn_until(reactor, lambda: protocol.received, "the data")
        connection.set_write_buffer_limits(high=0)
        connection.writelines([b"re", b"ply"])
        turn_until_idle(reactor)
        theirs.shutdown(socket.SHUT_WR)
        turn_until(reactor, lambda: protocol.lost, "the end")
        assert children[0].said() == "alive"
        assert receive_all(theirs) == b"reply"
        children[0].let_go()


def turned_in_both(reactor, child, condition, seen):
    """Turn the loop until `condition`. A child made inside the loop reports how its turn ended, and what `seen` is."""
    try:
        turn_until(reactor, condition, "a fork, and the service of its parent")
        if child and not child[0].pid:
            reactor.run_once(0)  # the child left the last phase; this is the next iteration
    except BaseException as exc:
        if child and not child[0].pid:
            child[0].live(functools.partial(str, f"{exc}; {seen()}"))
        raise


def refusal(seen):
    return f"this loop is of process {os.getpid()}: make one after the fork; {seen}"


@pytest.mark.parametrize("callback", CALLBACKS)
def test_a_child_that_returns_into_the_loop_gets_no_further(reactor, callback):
    child, later = [], []

    def fork(recorder, *_):
        if not child:
            child.append(Child())

    ours, theirs = tcp_pair()
    bystander, other = socket.socketpair()
    with theirs, other:
        protocol = Recorder(**{callback: fork})
        connection = adopt(reactor, ours, protocol) if callback != "connection_made" else None
        adopt(reactor, bystander, Recorder(data_received=lambda *_: later.append("the bystander")))

        def scene():
            nonlocal connection
            if connection is None:
                connection = adopt(reactor, ours, protocol)
            reactor.call_soon(later.append, "a call")
            theirs.sendall(b"x")
            other.sendall(b"x")  # in the same batch
            if callback in ("pause_writing", "resume_writing"):
                connection.set_write_buffer_limits(high=0)
                connection.writelines([b"re", b"ply"])
            elif callback != "data_received":
                theirs.shutdown(socket.SHUT_WR)

        reactor.call_soon(scene)
        turned_in_both(reactor, child, lambda: child and len(later) == 2, lambda: protocol.names[-1])
        assert child[0].said() == refusal(callback)
        child[0].let_go()
        assert sorted(later) == ["a call", "the bystander"]
        connection.abort()
        turn_until(reactor, lambda: protocol.lost, "the end")


def call_at_the_end_of_a_connection(reactor, call):
    ours, theirs = socket.socketpair()
    adopt(reactor, ours, Recorder(connection_lost=lambda *_: call())).abort()
    theirs.close()


ARRANGEMENTS = {
    "call_soon": lambda reactor, call: reactor.call_soon(call),
    "call_soon_threadsafe": lambda reactor, call: reactor.call_soon_threadsafe(call),
    "call_later": lambda reactor, call: reactor.call_later(0, call),
    "connection_lost": call_at_the_end_of_a_connection,
}


@pytest.mark.parametrize("arrangement", ARRANGEMENTS)
def test_of_several_calls_that_were_due_the_child_makes_none(reactor, arrangement):
    child, calls = [], []
    arrange = ARRANGEMENTS[arrangement]
    arrange(reactor, lambda: child.append(Child()))
    for number in range(3):
        arrange(reactor, lambda number=number: calls.append(number))
    turned_in_both(reactor, child, lambda: len(calls) == 3, lambda: calls)
    assert child[0].said() == refusal([])
    child[0].let_go()


@pytest.mark.parametrize("callback", CALLBACKS)
def test_system_exit_from_a_callback_leaves_the_childs_loop_as_it_is(reactor, callback):
    child = []

    def fork(recorder, *_):
        if not child:
            child.append(Child())
            if not child[0].pid:
                raise SystemExit(7)

    protocol = Recorder(**{callback: fork})
    ours, theirs = tcp_pair()

    def scene():
        connection = adopt(reactor, ours, protocol)
        theirs.sendall(b"x")
        theirs.shutdown(socket.SHUT_WR)
        connection.set_write_buffer_limits(high=0)
        connection.writelines([b"re", b"ply"])

    def stop_at_the_end():
        reactor.stop() if protocol.lost else reactor.call_later(0.01, stop_at_the_end)

    with theirs:
        reactor.call_soon(scene)
        reactor.call_soon(stop_at_the_end)
        try:
            reactor.run()
        except BaseException as exc:
            if not child[0].pid:
                child[0].live(functools.partial(str, repr(exc)))
            raise
        assert child[0].said() == "SystemExit(7)"
        child[0].let_go()


def test_threads_still_wake_the_parent(reactor):
    assert ask_child(lambda: "alive") == "alive"
    thread = threading.Timer(0.01, reactor.call_soon_threadsafe, [reactor.stop])
    thread.start()
    reactor.run()
    thread.join()


def test_the_child_can_make_a_reactor_of_its_own(reactor, pair):
    ours, theirs = pair
    adopt(reactor, ours.dup(), Recorder(data_received=lambda recorder, data: recorder.connection.write(data)))
    ours.close()

    def serve():
        mine, peer = socket.socketpair()
        with Reactor() as own, peer:
            adopt(own, mine, Recorder(data_received=lambda recorder, data: recorder.connection.write(data)))
            peer.sendall(b"from the child")
            peer.settimeout(DEADLINE_SECONDS)
            turn_until_idle(own)
            return peer.recv(100).decode()

    assert ask_child(serve) == "from the child"
    theirs.sendall(b"in the parent")
    turn_until_idle(reactor)
    assert theirs.recv(100) == b"in the parent"


def test_the_child_has_the_signals_that_were_there_before(reactor):
    def handlers():
        return signal.getsignal(signal.SIGUSR1), signal.getsignal(signal.SIGINT), signal.set_wakeup_fd(-1)

    before = repr((signal.SIG_DFL, signal.default_int_handler, -1))
    reactor.add_signal_handler(signal.SIGUSR1, print)
    child = []

    def fork():
        child.append(Child())
        if not child[0].pid:
            child[0].live(handlers)
        reactor.stop()

    reactor.call_soon(fork)
    reactor.run()  # which takes SIGINT too, while it runs
    assert child[0].said() == before
    child[0].let_go()
    os.kill(os.getpid(), signal.SIGUSR1)  # the parent still handles it, or this would end us
    assert reactor.remove_signal_handler(signal.SIGUSR1)


def test_a_child_that_leaves_by_system_exit_takes_nothing_with_it(tmp_path):
    path, child = tmp_path / "socket", []

    class Forker(Protocol):
        def connection_made(self, connection):
            self.connection = connection

        def data_received(self, data):
            if not child:
                child.append(Child())
                if not child[0].pid:
                    raise SystemExit(7)
            self.connection.write(data)

    def use(server):
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(DEADLINE_SECONDS)
            client.connect(str(path))
            client.sendall(b"hello")
            assert client.recv(100) == b"hello"
            child_said.append(child[0].said())
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))  # the path is still there
        server.close()

    child_said = []
    server = Server(Forker, bind=f"unix:{path}", limits=Limits(blocked_seconds=0.01))
    server.listen()
    user = threading.Thread(target=use, args=[server])
    user.start()
    try:
        server.run()
    except SystemExit as left:
        if not child[0].pid:
            child[0].live(functools.partial(str, f"left with {left.code}"))
        raise
    user.join(DEADLINE_SECONDS)
    child[0].let_go()
    assert child_said == ["left with 7"]
    assert not path.exists()


def test_a_child_that_comes_out_of_run_takes_nothing_with_it(tmp_path, monkeypatch):
    path, child, said, stopped = tmp_path / "socket", [], [], []

    class Watchdog:
        """Only the parent has its thread, which may have held a lock at the moment of the fork."""

        def __init__(self, reactor, **_):
            self.stop = lambda: stopped.append(os.getpid())

    class Forker(Protocol):
        def connection_lost(self, exc):  # in the last phase, after which a stopped loop ends
            server.reactor.stop()
            child.append(Child())
            if child[0].pid:
                said.append(child[0].said())
                said.append(path.exists())

    monkeypatch.setattr(server_module, "Watchdog", Watchdog)
    server = Server(Forker, bind=f"unix:{path}")
    server.listen()
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
    cut = server.run()
    if not child[0].pid:
        child[0].live(lambda: f"{cut} cut, {len(stopped)} stopped")
    child[0].let_go()
    assert said == ["0 cut, 0 stopped", True]
    assert cut == 0 and stopped == [os.getpid()] and not path.exists()


def test_several_reactors_are_given_up(reactor):
    with Reactor() as other:
        for each in (reactor, other):
            assert ask_child(lambda each=each: each.run_once(0)).startswith("RuntimeError: this loop is of process")


@pytest.fixture
def renewals():
    """The renewals of a test are removed after it."""
    before = list(fork._renewals)
    yield
    fork._renewals[:] = before


def test_what_other_threads_had_is_made_anew_in_every_child_and_in_none_of_the_parents(renewals):
    places = threading.Semaphore(1)
    places.acquire()  # as by a thread that the child does not have

    def make_anew():
        nonlocal places
        places = threading.Semaphore(1)

    fork.renew(make_anew)
    for _ in range(2):
        assert ask_child(lambda: places.acquire(blocking=False)) == "True"
    assert not places.acquire(blocking=False)


def test_renewal_comes_after_all_reactors_were_given_up_in_the_order_asked_for(reactor, renewals):
    seen = []

    def note_whether_the_reactor_is_usable(name):
        with pytest.raises(RuntimeError):
            reactor.check_open()
        seen.append(name)

    fork.renew(lambda: note_whether_the_reactor_is_usable("first"))
    fork.renew(lambda: note_whether_the_reactor_is_usable("second"))
    assert ask_child(lambda: seen) == "['first', 'second']"


@pytest.mark.parametrize("which", range(3))
def test_what_fails_after_a_fork_keeps_nothing_else_from_being_done(renewals, caplog, monkeypatch, which):
    def fail():
        raise OSError("on purpose")

    with Reactor() as one, Reactor() as two, Reactor() as three:
        reactors = [one, two, three]
        monkeypatch.setattr(reactors.pop(which), "abandon", fail)
        seen = []
        fork.renew(fail)
        fork.renew(lambda: seen.append("renewed"))
        said = ask_child(lambda: (seen, [is_open(each._waker.fileno()) for each in reactors], len(caplog.records)))
    assert said == "(['renewed'], [False, False], 2)"


def test_the_fork_hook_keeps_no_reactor_alive():
    reactor = Reactor()
    gone = weakref.ref(reactor)
    reactor.close()
    del reactor
    gc.collect()
    assert gone() is None
