"""`Kept`: bytes in order, and what it costs to keep them."""

import itertools
import sys

import pytest

from reactor.coroutines.kept import LINE_BYTES, SLACK_BYTES, Kept
from tests.rig import patterned

MANY = 60_000


def pieces(text, cuts):
    """`text`, cut at these places."""
    return [text[start:end] for start, end in itertools.pairwise([0, *cuts, len(text)])]


def kept_of(*chunks):
    kept = Kept(chunks[0])
    for chunk in chunks[1:]:
        kept.add(chunk)
    return kept


def take_split(kept):
    """The lines that were split off, in order. They are taken."""
    lines = kept.lines[::-1]
    kept.lines.clear()
    return lines


def split(kept, most):
    """So many lines, in order. They are taken."""
    assert kept.split(most, 1 << 20)
    return take_split(kept)


class Counting(bytes):
    """Bytes that count how many of them were copied or searched."""

    def __new__(cls, data, work):
        self = super().__new__(cls, data)
        self.work = work
        return self

    def __getitem__(self, where):
        piece = super().__getitem__(where)
        self.work[0] += len(piece)
        return Counting(piece, self.work)

    def find(self, what, start):
        position = super().find(what, start)
        self.work[0] += (len(self) if position < 0 else position + 1) - start
        return position


class CountingArray(bytearray):
    """The same for what was added to."""

    work = 0

    def __getitem__(self, where):
        piece = super().__getitem__(where)
        self.work += len(piece)
        return piece

    def find(self, what, start):
        position = super().find(what, start)
        self.work += (len(self) if position < 0 else position + 1) - start
        return position


@pytest.mark.parametrize("cuts", [(), (1,), (4,), (1, 2), (3, 5), tuple(range(1, 10))])
@pytest.mark.parametrize("taken", range(1, 11))
def test_what_is_taken_is_what_was_added_in_order(cuts, taken):
    text, kept, got = b"0123456789", Kept(), b""
    for piece in pieces(text, cuts):
        kept.add(piece)
        while len(kept) >= taken:
            got += kept.take(taken)
            assert len(kept) == len(kept._data) - kept._start
    assert got + kept.take(len(kept)) == text
    assert len(kept) == 0


def test_what_is_taken_are_bytes_also_after_more_was_added():
    kept = kept_of(b"ab", b"cd")
    assert type(kept.take(1)) is bytes and type(kept.take(3)) is bytes
    kept = kept_of(b"a\nb\n", b"c\nd\n")
    lines = split(kept, 3)
    assert lines == [b"a", b"b", b"c"] and {type(line) for line in lines} == {bytes}


@pytest.mark.parametrize("delimiter", [b"\n", b"\r\n", b"abab"])
@pytest.mark.parametrize("chunk", [1, 2, 3, 100])
def test_a_delimiter_is_found_however_it_is_cut(delimiter, chunk):
    text = b"x" * 5 + delimiter + b"\r" + delimiter + delimiter + b"rest"
    kept, lines = Kept(), []
    for start in range(0, len(text), chunk):
        kept.add(text[start : start + chunk])
        while count := kept.find(delimiter):
            lines.append(kept.take(count))
    assert lines == [line + delimiter for line in text.split(delimiter)[:-1]]
    assert kept.take(len(kept)) == text.split(delimiter)[-1]


def test_the_place_of_one_search_says_nothing_about_another_delimiter():
    kept = kept_of(b"a;b", b"c")
    assert kept.find(b"\n") == 0
    assert kept.find(b";") == 2
    kept.add(b"\n")
    assert kept.find(b"\n") == 5
    assert kept.find(b";") == 2


def test_a_place_that_was_found_is_found_again_until_it_is_taken():
    kept = kept_of(b"ab\n", b"cd\n")
    assert [kept.find(b"\n"), kept.find(b"\n")] == [3, 3]
    kept.take(1)
    assert kept.find(b"\n") == 2
    kept.take(2)
    assert kept.find(b"\n") == 3


@pytest.mark.parametrize("most", [1, 2, 3, 4, 256])
def test_lines_are_taken_up_to_so_many(most):
    kept = kept_of(b"1\n2", b"2\n\n4\nrest")
    assert split(kept, most) == [b"1", b"22", b"", b"4"][:most]
    assert kept.find(b"\n") == {1: 3, 2: 1, 3: 2}.get(most, 0)
    assert kept.split(most, 100) is (most < 4)


@pytest.mark.parametrize("most", [1, 256])
def test_a_line_that_is_too_long_is_not_split_off_and_those_before_it_are(most):
    kept = kept_of(b"1\n55555\n666666\n7\n")
    lines = []
    while kept.split(most, 5):
        lines += take_split(kept)
    assert lines == [b"1", b"55555"]
    assert len(kept) == 9 and kept.take(9) == b"666666\n7\n"


def test_lines_that_were_split_off_count_and_can_be_read_in_another_way():
    kept = Kept(b"one\ntwo\nthree")
    assert kept.split(256, 100) and len(kept) == 13
    assert kept.lines.pop() == b"one" and len(kept) == 9
    assert kept.take(2) == b"tw" and kept.lines == []
    kept.add(b"\nfour\n")
    assert split(kept, 256) == [b"o"] and split(kept, 256) == [b"three"] and len(kept) == 5


def test_a_long_line_is_taken_whole_and_leaves_the_others_behind():
    long = b"x" * (3 * LINE_BYTES)
    kept = Kept(long + b"\n" + long + b"\n")
    assert split(kept, 2) == [long]
    assert split(kept, 2) == [long]
    assert len(kept) == 0


def test_a_batch_holds_as_many_lines_of_usual_length_as_it_may():
    line = b"x" * (LINE_BYTES - 1) + b"\n"
    kept = Kept(line * 300)
    assert len(split(kept, 256)) == 256
    assert len(kept) == 44 * len(line)


# What it costs, in bytes that are copied or searched.


def test_a_long_line_that_comes_byte_by_byte_is_searched_once():
    kept = kept_of(b"x", b"x")
    kept._data = CountingArray(kept._data)
    for _ in range(MANY):
        kept.add(b"x")
        assert kept.find(b"\r\n") == 0
    assert type(kept._data) is CountingArray, "it is another object, so it was copied"
    assert kept._data.work <= 4 * MANY


@pytest.mark.parametrize("take", [
    lambda kept: kept.take(kept.find(b"\n")),
    lambda kept: split(kept, 1),
], ids=["take", "split"])  # fmt: skip
def test_many_lines_of_one_chunk_are_cut_off_without_moving_the_rest_each_time(take):
    work = [0]
    kept = Kept(Counting(b"x\n" * MANY, work))
    for _ in range(MANY):
        assert take(kept) in (b"x\n", [b"x"])
    assert len(kept) == 0
    assert work[0] <= 2 * MANY * LINE_BYTES


def test_batches_of_lines_are_taken_without_moving_the_rest_each_time():
    work = [0]
    kept = Kept(Counting(b"\n" * MANY, work))
    while len(kept):
        assert set(split(kept, 256)) == {b""}
    assert work[0] <= 2 * MANY * LINE_BYTES


def test_lines_that_are_taken_one_by_one_while_bytes_come_one_by_one_do_not_move_the_rest_each_time():
    kept = kept_of(b"\n" * MANY, b"\n")
    kept._data = CountingArray(kept._data)
    for _ in range(SLACK_BYTES):
        assert kept.take(kept.find(b"\n")) == b"\n"
        kept.add(b"\n")
    assert type(kept._data) is CountingArray, "it is another object, so it was copied"
    assert kept._data.work <= 4 * SLACK_BYTES


@pytest.mark.parametrize("chunks", [1, 3])
def test_what_was_taken_does_not_stay_in_memory(chunks):
    text = patterned(120_000)
    kept = kept_of(*pieces(text, range(40_000, 40_000 * chunks, 40_000)))
    for _ in range(len(text) - 1):
        kept.take(1)
    assert kept.take(0) == b"" and len(kept) == 1
    assert sys.getsizeof(kept._data) <= 2 * SLACK_BYTES + 100
    assert kept.take(1) == text[-1:]
    kept.add(b"new")
    assert sys.getsizeof(kept._data) < 100
