"""The output buffer gives back all bytes in order, in pieces of any size. Small pieces do not cost it extra memory."""

import random

import pytest

from reactor.connections.buffers import BLOCK_BYTES, OutputBuffer


def drain(buffer, step=None):
    """Take all bytes out, `step` at a time, or in whole blocks."""
    taken = bytearray()
    while buffer:
        with buffer.take() as head:
            piece = bytes(head[:step])
        taken += piece
        buffer.put_back(len(piece))
    return bytes(taken)


def filled(*pieces):
    buffer = OutputBuffer()
    for piece in pieces:
        buffer.append(piece)
    return buffer


def test_a_new_one_is_empty():
    assert not OutputBuffer()


def test_empty_data_adds_nothing():
    assert not filled(b"", b"")
    assert drain(filled(b"", b"a", b"", b"b", b"")) == b"ab"


@pytest.mark.parametrize("step", [1, 2, 7, None])
def test_what_comes_out_is_what_went_in_however_little_is_taken(step):
    pieces = [bytes([n]) * n for n in range(1, 60)]
    buffer = filled(*pieces)
    assert len(buffer) == sum(map(len, pieces))
    assert drain(buffer, step) == b"".join(pieces)
    assert len(buffer) == 0


def test_any_mixture_of_appends_and_consumes_keeps_the_order():
    numbers = random.Random(1)
    for _ in range(50):
        buffer, put, taken = OutputBuffer(), bytearray(), bytearray()
        for _ in range(30):
            size = numbers.choice([0, 1, 5, 1000, BLOCK_BYTES // 2 - 1, BLOCK_BYTES // 2, BLOCK_BYTES, BLOCK_BYTES + 1])
            data = numbers.randbytes(16)[:size].ljust(size, b".")
            buffer.append(data)
            put += data
            while buffer and numbers.random() < 0.6:
                with buffer.take() as head:
                    piece = bytes(head[: numbers.randint(1, len(head))])
                taken += piece
                buffer.put_back(len(piece))
            assert len(buffer) == len(put) - len(taken)
        assert taken + drain(buffer) == put


def test_a_head_is_never_empty_nor_longer_than_a_block():
    buffer = filled(b"x" * (3 * BLOCK_BYTES + 1), b"y" * 10)
    while buffer:
        with buffer.take() as head:
            assert 0 < len(head) <= BLOCK_BYTES
            count = len(head)
        buffer.put_back(count)


def test_small_pieces_share_a_block():
    buffer = filled(*[b"x"] * BLOCK_BYTES)
    assert len(buffer._blocks) == 1
    with buffer.take() as head:
        assert len(head) == BLOCK_BYTES


def test_a_large_piece_is_kept_and_not_copied():
    data = b"x" * BLOCK_BYTES
    with filled(data).take() as head:
        assert head.obj is data


def test_a_block_can_grow_behind_what_was_sent_of_it():
    buffer = filled(b"abc")
    buffer.take().release()
    buffer.put_back(2)
    buffer.append(b"def")
    assert drain(buffer) == b"cdef"


def test_what_was_sent_is_let_go():
    buffer = filled(*[b"x" * (BLOCK_BYTES // 2 - 1)] * 100)
    for _ in range(98):
        buffer.take().release()
        buffer.put_back(BLOCK_BYTES // 2 - 1)
    assert len(buffer._blocks) <= 2
