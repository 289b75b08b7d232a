"""Messages: any piece of a stream can be had, no two messages are alike, and none is ever held whole."""

import itertools
import random
import struct

import pytest

from scripts.clients.messages import PIECE_BYTES, Messages


def stream(messages, connection, stop, at_most=PIECE_BYTES):
    data = bytearray()
    while len(data) < stop:
        data += messages.piece(connection, len(data), min(at_most, stop - len(data)))
    return bytes(data)


@pytest.mark.parametrize("size", [8, 9, 64, 65536, 65537, 200_000])
@pytest.mark.parametrize("at_most", [1000, 65535, lambda: random.Random(5).randint(1, 50)])
def test_a_stream_is_the_same_however_it_is_cut(size, at_most):
    messages, data = Messages(size), bytearray()
    stop = 3 * min(size, 70_000)
    whole = stream(messages, 7, stop)
    limits = itertools.repeat(at_most) if isinstance(at_most, int) else iter(at_most, None)
    while len(data) < stop:
        piece = messages.piece(7, len(data), min(next(limits), stop - len(data)))
        assert piece
        data += piece
    assert data == whole


def test_a_message_starts_with_its_connections_number_and_its_own():
    messages = Messages(20)
    assert stream(messages, 258, 60)[40:48] == struct.pack("!II", 258, 2)
    assert messages.piece(2**32 - 1, 20 * (2**32 - 1), 8) == b"\xff" * 8


def test_a_piece_ends_with_its_message():
    assert len(Messages(100).piece(0, 90, PIECE_BYTES)) == 10
    assert len(Messages(1 << 30).piece(0, (1 << 30) - 3, PIECE_BYTES)) == 3


def test_no_two_messages_are_alike_not_even_behind_their_numbers():
    messages = Messages(64)
    noise = {messages.piece(connection, number * 64, 64)[8:] for connection in range(50) for number in range(50)}
    assert len(noise) == 2500


def test_neighbours_differ_at_nearly_every_place():
    messages = Messages(4096)
    one = messages.piece(5, 5 * 4096, 4096)
    for connection, number in [(5, 6), (6, 5), (4, 6), (6, 6)]:
        other = messages.piece(connection, number * 4096, 4096)
        alike = sum(a == b for a, b in zip(one[8:], other[8:], strict=True))
        assert alike < 4096 / 64


def test_a_large_message_does_not_repeat_itself_from_one_piece_to_the_next():
    messages = Messages(1 << 20)
    assert len({messages.piece(0, place, 64) for place in range(0, 1 << 20, PIECE_BYTES)}) == 16


@pytest.mark.parametrize("size", [0, 7])
def test_a_size_without_room_for_the_two_numbers_is_refused(size):
    with pytest.raises(ValueError, match=f"at least 8 bytes.* not {size}"):
        Messages(size)
