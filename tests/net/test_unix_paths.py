"""A UNIX socket's path: a stale one is replaced, a live one never, and only our own is removed (A7)."""

import errno
import fcntl
import os
import signal
import socket
import threading

import pytest

from reactor.connections.sockaddr import describe
from reactor.net import unix_paths
from reactor.net.addresses import bind, parse
from reactor.net.unix_paths import own_path
from tests import rig

pytestmark = pytest.mark.usefixtures("descriptors_come_back")


def connected(path):
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(path)
    return True


def leave_behind(path):
    """What a killed server leaves: a path on which no server listens."""
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(path)


def test_a_unix_path_is_bound(bound, path):
    (sock,) = bound(f"unix:{path}")
    sock.listen()
    assert connected(path)


def test_a_stale_unix_path_is_replaced(bound, path):
    leave_behind(path)
    (sock,) = bound(f"unix:{path}")
    sock.listen()
    assert connected(path)


@pytest.mark.parametrize("waiting", [0, 5])
def test_a_live_unix_path_is_in_use_and_its_server_is_not_disturbed(path, waiting, refused):
    with socket.socket(socket.AF_UNIX) as live:
        live.bind(path)
        live.listen(0 if waiting else 5)
        clients = []
        for _ in range(waiting):  # more than its queue holds: the server lives all the same
            client = socket.socket(socket.AF_UNIX)
            client.setblocking(False)
            clients.append(client)
            client.connect_ex(path)
        error = refused(f"unix:{path}")
        assert error.errno == errno.EADDRINUSE and error.strerror.endswith("address in use")
        for client in clients:
            client.close()
        if not waiting:
            assert connected(path)


def test_a_datagram_socket_at_the_path_is_not_ours_to_remove(path, refused):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other:
        other.bind(path)
        assert refused(f"unix:{path}").errno == errno.EADDRINUSE
        assert os.path.exists(path)


@pytest.mark.parametrize("kind", ["file", "directory", "link to a file"])
def test_what_is_not_a_socket_is_not_removed(path, kind, refused):
    if kind == "directory":
        os.mkdir(path)
    else:
        with open("a-file", "w") as file:
            file.write("precious")
        os.rename("a-file", path) if kind == "file" else os.symlink("a-file", path)
    assert refused(f"unix:{path}").errno == errno.EADDRINUSE
    assert os.path.exists(path)


def test_a_unix_path_that_cannot_be_is_refused(path, refused):
    assert refused("unix:no/such/folder").errno == errno.ENOENT
    assert "too long" in refused("unix:" + "x" * 200).strerror


def test_a_link_to_a_socket_is_not_ours_to_remove(refused, path):
    leave_behind("elsewhere")
    os.symlink("elsewhere", path)
    assert refused(f"unix:{path}").errno == errno.EADDRINUSE
    assert os.path.islink(path)


@pytest.mark.parametrize("stale", [False, True])
def test_a_path_may_be_as_long_as_the_kernel_takes(bound, path, stale):
    path = "x" * 107  # with its zero byte, this fills sun_path (unix(7))
    if stale:
        leave_behind(path)
    bound(f"unix:{path}")
    assert connected(path) and os.listdir() == [path]


# Two at a time.


def test_a_socket_listens_before_anyone_can_take_it_for_dead(bound, refused, path):
    bound(f"unix:{path}")
    assert refused(f"unix:{path}").errno == errno.EADDRINUSE


def test_of_two_that_find_the_same_stale_path_the_second_waits_and_is_refused(bound, path, monkeypatch):
    leave_behind(path)
    waits, second, is_stale = threading.Event(), [], unix_paths._is_stale

    def start_second():
        try:
            second.extend(bind(parse(f"unix:{path}")))
        except OSError as exc:
            second.append(exc.errno)

    thread = threading.Thread(target=start_second)

    def found_stale(path):
        answer = is_stale(path)
        if threading.current_thread() is not thread:
            thread.start()
            assert waits.wait(rig.DEADLINE_SECONDS) or second, "the second neither waits nor is done"
        return answer

    monkeypatch.setattr(unix_paths, "_is_stale", found_stale)
    monkeypatch.setattr(unix_paths.time, "sleep", lambda _: waits.set())
    bound(f"unix:{path}")
    thread.join(rig.DEADLINE_SECONDS)
    assert second == [errno.EADDRINUSE]
    assert connected(path)


def test_of_many_that_start_at_the_same_moment_one_gets_the_path(path):
    def start(number):
        barrier.wait(rig.DEADLINE_SECONDS)
        try:
            got[number] = bind(parse(f"unix:{path}"))
        except OSError as exc:
            refusals.append(exc.errno)

    for _ in range(50):
        leave_behind(path)
        barrier, got, refusals = threading.Barrier(4), {}, []
        threads = [threading.Thread(target=start, args=[number]) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(rig.DEADLINE_SECONDS)
        ((sock,),) = got.values()
        assert refusals == [errno.EADDRINUSE] * 3
        assert connected(path)
        sock.close()
        os.unlink(path)


def test_a_server_that_dies_before_it_listens_holds_up_no_other(bound, path):
    class Dying(socket.socket):
        def listen(self, *_):
            os.kill(os.getpid(), signal.SIGKILL)

    pid = os.fork()
    if not pid:
        try:
            bind(parse(f"unix:{path}"), Dying)
        finally:
            os._exit(1)
    assert os.WTERMSIG(os.waitpid(pid, 0)[1]) == signal.SIGKILL
    assert os.path.exists(path)
    bound(f"unix:{path}")
    assert connected(path)


def test_a_child_forked_while_the_folder_is_locked_does_not_keep_it_so(bound, path, monkeypatch):
    stay, let_go = os.pipe()
    children, is_stale = [], unix_paths._is_stale

    def fork_and_ask(path):
        if not children:
            children.append(os.fork())
            if not children[0]:
                os.close(let_go)
                os.read(stay, 1)
                os._exit(0)
        return is_stale(path)

    monkeypatch.setattr(unix_paths, "_is_stale", fork_and_ask)
    monkeypatch.setattr(unix_paths, "LOCK_SECONDS", 0.0)
    try:
        bound(f"unix:{path}")
        bound("unix:another.sock")
    finally:
        os.close(let_go)
        os.close(stay)
        os.waitpid(children[0], 0)


def test_a_folder_that_a_stranger_keeps_locked_is_not_waited_for_without_end(refused, path, monkeypatch):
    monkeypatch.setattr(unix_paths, "LOCK_SECONDS", 0.0)
    folder = os.open(".", os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        error = refused(f"unix:{path}")
        assert error.errno == errno.EBUSY and "locked" in error.strerror
        assert not os.path.exists(path)
    finally:
        os.close(folder)


def test_where_no_folder_can_be_locked_a_new_path_is_taken_and_none_replaced(bound, refused, path, monkeypatch):
    def flock(*_):
        raise OSError(errno.EBADF, os.strerror(errno.EBADF))

    monkeypatch.setattr(fcntl, "flock", flock)
    bound(f"unix:{path}")
    assert connected(path)
    leave_behind("stale.sock")
    error = refused("unix:stale.sock")
    assert error.errno == errno.EADDRINUSE and "the path exists" in error.strerror
    assert os.path.exists("stale.sock")


def test_a_socket_that_cannot_listen_leaves_no_path(refused, path):
    class Failing(socket.socket):
        def listen(self, *_):
            raise OSError(errno.ENOBUFS, os.strerror(errno.ENOBUFS))

    assert refused(f"unix:{path}", Failing).errno == errno.ENOBUFS
    assert not os.path.exists(path)


# An abstract address.

abstract = pytest.mark.skipif(not unix_paths.is_abstract("@x"), reason="abstract addresses are Linux's")


@abstract
def test_an_abstract_address_is_no_file_and_is_described_as_it_is_written(bound, refused, path):
    text = f"unix:@reactor-test-{os.getpid()}"
    (sock,) = bound(text)
    assert describe(sock.getsockname()) == text
    assert connected(unix_paths.unix_sockaddr(text[5:]))
    assert refused(text).errno == errno.EADDRINUSE
    assert own_path(text[5:]) is None
    assert os.listdir() == []
    sock.close()
    bound(text)


# The end.


def test_only_our_own_path_is_removed(bound, path):
    bound(f"unix:{path}")
    own = own_path(path)
    os.unlink(path)
    bound(f"unix:{path}")
    own.remove()
    assert os.path.exists(path), "it belongs to another by now"
    own_path(path).remove()
    assert not os.path.exists(path)
    own.remove()


def test_a_path_is_removed_though_the_directory_has_changed(bound, path):
    bound(f"unix:{path}")
    own, folder = own_path(path), os.getcwd()
    os.chdir("/")
    own.remove()
    assert not os.path.exists(os.path.join(folder, path))


def test_an_absolute_path_is_removed_though_the_directory_is_gone(bound, path):
    bound(f"unix:{path}")
    absolute = os.path.abspath(path)
    os.mkdir("start")
    os.chdir("start")
    os.rmdir("../start")
    with pytest.raises(FileNotFoundError):
        os.getcwd()
    own_path(absolute).remove()
    assert not os.path.exists(absolute)


def test_a_path_that_is_gone_already_is_not_ours(path):
    assert own_path(path) is None
