"""Echo servers with one fault each, and the name that the clients must give to it.

They are plain blocking sockets with a thread for each connection: a tool that tests the reactor should not be tested
on the reactor alone.
"""

import contextlib
import socket
import struct
import threading

MESSAGES = 3  # of each client
DEADLINE_SECONDS = 120


class BadServer:
    """Calls `behave(connection, number, size)` for each connection, on a thread of its own."""

    def __init__(self, behave, size=64):
        self._behave = behave
        self._size = size
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._threads = [threading.Thread(target=self._accept)]
        self.port = self._listener.getsockname()[1]

    def _accept(self):
        number = 0
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                thread = threading.Thread(target=self._serve, args=[connection, number])
                self._threads.append(thread)
                thread.start()
                number += 1

    def _serve(self, connection, number):
        with connection, contextlib.suppress(ConnectionError):
            connection.settimeout(DEADLINE_SECONDS)
            self._behave(connection, number, self._size)
            while connection.recv(65536):  # the clients end it
                pass

    def __enter__(self):
        self._threads[0].start()
        return self

    def __exit__(self, *_):
        self._listener.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(DEADLINE_SECONDS)
            assert not thread.is_alive()
        self._listener.close()


class Gone(ConnectionError):
    """The client has left in the middle of a message."""


def receive(connection, size):
    data = bytearray()
    while len(data) < size:
        chunk = connection.recv(min(65536, size - len(data)))
        if not chunk:
            raise Gone
        data += chunk
    return bytes(data)


def echo(connection, _number, size):
    for _ in range(MESSAGES):
        connection.sendall(receive(connection, size))


def changing_the_last(change):
    """An echo that is correct except for the last message, which `change` changes."""

    def behave(connection, _number, size):
        for _ in range(MESSAGES - 1):
            connection.sendall(receive(connection, size))
        connection.sendall(change(receive(connection, size)))

    return behave


def answer_nothing(connection, _number, _size):
    pass


def say_hello(connection, _number, _size):
    connection.sendall(b"220 welcome\r\n")


def close_in_the_middle(connection, _number, size):
    connection.sendall(receive(connection, size)[: size // 2])
    connection.shutdown(socket.SHUT_WR)


def close_before_the_first(connection, _number, _size):
    connection.shutdown(socket.SHUT_WR)


def reset_in_the_middle(connection, _number, size):
    connection.sendall(receive(connection, size)[: size // 2])
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()
    raise Gone


def answer_with_the_message_before(connection, number, size):
    first = receive(connection, size)
    connection.sendall(first)
    receive(connection, size)
    connection.sendall(first)


def add_a_byte_when_the_client_has_finished(connection, number, size):
    echo(connection, number, size)
    assert connection.recv(1) == b""
    connection.sendall(b"\0")


def swapping_a_byte_of_two_clients():
    both_here = threading.Barrier(2, timeout=DEADLINE_SECONDS)
    messages = {}

    def behave(connection, number, size):
        messages[number] = receive(connection, size)
        both_here.wait()
        connection.sendall(messages[number][:-1] + messages[1 - number][-1:])

    return behave


BAD_SERVERS = {
    "a wrong byte": (changing_the_last(lambda data: data[:10] + bytes([data[10] ^ 1]) + data[11:]), "mismatched"),
    "a byte lost inside": (changing_the_last(lambda data: data[:10] + data[11:]), "mismatched"),
    "a byte doubled": (changing_the_last(lambda data: data[:10] + data[9:]), "mismatched"),
    "two bytes exchanged": (
        changing_the_last(lambda data: data[:10] + data[11:12] + data[10:11] + data[12:]), "mismatched",
    ),
    "a byte too many at the end": (changing_the_last(lambda data: data + b"\0"), "mismatched"),
    "a byte too many after the client's end": (add_a_byte_when_the_client_has_finished, "mismatched"),
    "the message before once more": (answer_with_the_message_before, "mismatched"),
    "a greeting": (say_hello, "mismatched"),
    "another client's byte": (swapping_a_byte_of_two_clients(), "mismatched"),
    "the last byte lost": (changing_the_last(lambda data: data[:-1]), "timed_out"),
    "no answer": (answer_nothing, "timed_out"),
    "an end in mid-message": (close_in_the_middle, "closed_early"),
    "an end at once": (close_before_the_first, "closed_early"),
    "a reset in mid-message": (reset_in_the_middle, "reset"),
}  # fmt: skip
