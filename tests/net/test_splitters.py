"""Frames come out of a stream as they went in, wherever the stream is cut. Cost and size are bounded."""

import itertools
import random
import sys

import pytest

from reactor.net import splitters
from reactor.net.splitters import DelimitedFrames, FrameTooLarge, PrefixedFrames

MOST = 64 * 1024
DELIMITERS = [b"\n", b"\r\n", b"\r\n\r\n", b"aa", b"aab"]  # some begin again inside themselves

with_every_delimiter = pytest.mark.parametrize("delimiter", DELIMITERS, ids=repr)


def delimited(frames, delimiter):
    return b"".join(frame + delimiter for frame in frames)


def prefixed(frames, prefix_bytes):
    return b"".join(len(frame).to_bytes(prefix_bytes) + frame for frame in frames)


def take(splitter):
    """All frames that are ready."""
    return list(iter(splitter.next_frame, None))


def split(splitter, segments):
    """The frames of a stream that comes in `segments`, and how many bytes are left."""
    frames = []
    for segment in segments:
        splitter.feed(segment)
        frames += take(splitter)
    return frames, splitter.waiting()


def every_cut(stream):
    """Every way to cut `stream` into segments: 2 ** (length - 1) ways."""
    for cuts in itertools.product([False, True], repeat=len(stream) - 1):
        places = [0, *(place for place, cut in enumerate(cuts, 1) if cut), len(stream)]
        yield [stream[start:end] for start, end in itertools.pairwise(places)]


def random_cut(stream, numbers, longest):
    place = 0
    while place < len(stream):
        size = numbers.randint(1, longest)
        yield stream[place : place + size]
        place += size


# Wherever the stream is cut.


@pytest.mark.parametrize(
    "delimiter, stream",
    [
        (b"\n", b"\n\nab\nc\n\nd"),
        (b"\r\n", b"\r\n\r\r\na\n\r\nb\r"),
        (b"aab", b"aaabaabbaaab"),
        (b"aa", b"aaabaaaabac"),
    ],
    ids=repr,
)
def test_delimited_frames_are_the_same_however_the_stream_is_cut(delimiter, stream):
    *frames, rest = stream.split(delimiter)
    for segments in every_cut(stream):
        assert split(DelimitedFrames(delimiter, MOST), segments) == (frames, len(rest)), segments


@pytest.mark.parametrize(
    "prefix_bytes, frames, rest",
    [(1, [b"", b"ab", b"\0", b"c"], b"\2\1"), (2, [b"", b"ab", b"\0"], b"\0"), (4, [b"", b"ab"], b"\0\0")],
)
def test_prefixed_frames_are_the_same_however_the_stream_is_cut(prefix_bytes, frames, rest):
    for segments in every_cut(prefixed(frames, prefix_bytes) + rest):
        assert split(PrefixedFrames(prefix_bytes, MOST), segments) == (frames, len(rest)), segments


@with_every_delimiter
@pytest.mark.parametrize("longest", [1, 3, 40, 5000])
def test_long_streams_of_delimited_frames_too(delimiter, longest):
    numbers = random.Random(longest)
    frames = []
    while len(frames) < 100:
        frame = bytes(numbers.choices(delimiter + b"xy", k=numbers.choice([0, 1, 5, 50])))
        if (frame + delimiter).find(delimiter) == len(frame):
            frames.append(frame)
    segments = list(random_cut(delimited(frames, delimiter), numbers, longest))
    assert split(DelimitedFrames(delimiter, MOST), segments) == (frames, 0)


@pytest.mark.parametrize("prefix_bytes", range(1, 9))
@pytest.mark.parametrize("longest", [1, 3, 40, 5000])
def test_long_streams_of_prefixed_frames_too(prefix_bytes, longest):
    numbers = random.Random(longest)
    frames = [numbers.randbytes(numbers.choice([0, 1, 5, 255])) for _ in range(100)]
    segments = list(random_cut(prefixed(frames, prefix_bytes), numbers, longest))
    assert split(PrefixedFrames(prefix_bytes, MOST), segments) == (frames, 0)


@pytest.mark.parametrize("make", [lambda: DelimitedFrames(b"\n", MOST), lambda: PrefixedFrames(1, MOST)])
def test_a_frame_is_bytes_that_nobody_changes_afterwards(make):
    splitter = make()
    stream = b"\x03ab\n" * 3  # three frames either way: a line of three bytes, or a length of 3 and three bytes
    frames = []
    for byte in range(len(stream)):
        splitter.feed(stream[byte : byte + 1])
        frames += take(splitter)
    assert all(type(frame) is bytes for frame in frames) and len(frames) == 3
    assert len(set(frames)) == 1


def test_segments_may_be_fed_before_frames_are_taken():
    for splitter, stream in [(DelimitedFrames(b"--", MOST), b"a--b--c--d"), (PrefixedFrames(1, MOST), b"\1a\1b\1c\1")]:
        for segment in random_cut(stream, random.Random(1), 2):
            splitter.feed(segment)
        assert splitter.next_frame() == b"a"
        splitter.feed(b"")
        assert take(splitter) == [b"b", b"c"]
        assert splitter.waiting() == 1


# Bounds.


@with_every_delimiter
@pytest.mark.parametrize("longest", [1, 7, 1000])
def test_a_delimited_frame_of_the_most_bytes_is_one_and_of_one_more_is_none(delimiter, longest):
    numbers = random.Random(longest)
    for size, fits in [(100, True), (101, False)]:
        frame = (delimiter[:-1] + b"x" * 101)[:size]
        for segments in (random_cut(frame + delimiter, numbers, longest) for _ in range(20)):
            splitter = DelimitedFrames(delimiter, 100)
            if fits:
                assert split(splitter, segments) == ([frame], 0)
            else:
                with pytest.raises(FrameTooLarge, match="longer than 100 bytes"):
                    split(splitter, segments)


@with_every_delimiter
def test_a_frame_without_an_end_is_refused_as_soon_as_it_cannot_end_in_time(delimiter):
    splitter = DelimitedFrames(delimiter, 100)
    with pytest.raises(FrameTooLarge):
        for _ in range(1000):
            splitter.feed(b"x")
            assert splitter.next_frame() is None
    assert splitter.waiting() == 100 + len(delimiter)  # a delimiter after the longest frame would be here by now


@pytest.mark.parametrize("prefix_bytes", [1, 2, 8])
def test_a_prefixed_frame_that_is_too_long_is_refused_at_its_length(prefix_bytes):
    assert split(PrefixedFrames(prefix_bytes, 100), [prefixed([bytes(100)], prefix_bytes)]) == ([bytes(100)], 0)
    splitter = PrefixedFrames(prefix_bytes, 100)
    for byte in (101).to_bytes(prefix_bytes):
        assert splitter.next_frame() is None
        splitter.feed(bytes([byte]))
    with pytest.raises(FrameTooLarge, match="a frame of 101 bytes is longer than 100 bytes"):
        splitter.next_frame()


@pytest.mark.parametrize("make", [lambda: DelimitedFrames(b"\n", 10), lambda: PrefixedFrames(1, 10)])
def test_the_frames_before_one_that_is_too_long_still_come(make):
    splitter = make()
    splitter.feed((b"a\nb\n" if isinstance(splitter, DelimitedFrames) else b"\1a\1b") + b"\x7f" * 50)
    assert [splitter.next_frame(), splitter.next_frame()] == [b"a", b"b"]
    for _ in range(3):  # each new call raises the same
        with pytest.raises(FrameTooLarge):
            splitter.next_frame()


def test_a_splitter_that_cannot_be_is_refused():
    with pytest.raises(ValueError, match="must have at least one byte"):
        DelimitedFrames(b"", 1)
    for prefix_bytes in (0, 9):
        with pytest.raises(ValueError, match=f"1 to 8 bytes, not {prefix_bytes}"):
            PrefixedFrames(prefix_bytes, 1)


# Cost: stand-ins for `bytes` and `bytearray` count the bytes that are searched or copied.


class Work:
    """The number of bytes that were searched or copied."""

    def __init__(self):
        self.bytes = 0


def counting(base, work):
    """A `base` that counts the work on its bytes."""

    class Counting(base):
        def __new__(cls, *arguments):
            made = super().__new__(cls, *arguments)
            work.bytes += len(made)
            return made

        def find(self, wanted, start=0):
            found = super().find(wanted, start)
            work.bytes += (len(self) if found < 0 else found + len(wanted)) - start
            return found

        def __getitem__(self, index):
            got = super().__getitem__(index)
            if isinstance(index, slice):
                work.bytes += len(got)
                return same_kind(got)
            return got

        if base is bytearray:

            def __init__(self, *arguments):
                super().__init__(*arguments)
                work.bytes += len(self)

            def __iadd__(self, data):
                work.bytes += len(data)
                return super().__iadd__(data)

            def __delitem__(self, index):
                super().__delitem__(index)
                work.bytes += len(self)  # as if the rest were moved to the front

    def same_kind(got):
        before = work.bytes
        got = Counting(got)
        work.bytes = before
        return got

    return Counting


@pytest.fixture
def work(monkeypatch):
    """The work of the splitters from now on; feed them `splitters.bytes`."""
    work = Work()
    monkeypatch.setattr(splitters, "bytes", counting(bytes, work), raising=False)
    monkeypatch.setattr(splitters, "bytearray", counting(bytearray, work), raising=False)
    return work


SIZE = 8 * 1024
STREAMS = {
    "one long line": (lambda: DelimitedFrames(b"\n", SIZE), b"x" * SIZE + b"\n", 1),
    "half a delimiter, again and again": (lambda: DelimitedFrames(b"\r\n", SIZE), b"\r" * (SIZE - 1) + b"\r\n", 1),
    "empty lines": (lambda: DelimitedFrames(b"\n", SIZE), b"\n" * SIZE, SIZE),
    "short lines": (lambda: DelimitedFrames(b"\r\n", SIZE), b"1234\r\n" * (SIZE // 6), SIZE // 6),
    "one long piece": (lambda: PrefixedFrames(4, SIZE), prefixed([b"x" * SIZE], 4), 1),
    "empty pieces": (lambda: PrefixedFrames(1, SIZE), bytes(SIZE), SIZE),
    "short pieces": (lambda: PrefixedFrames(2, SIZE), prefixed([b"1234"] * (SIZE // 6), 2), SIZE // 6),
}


@pytest.mark.parametrize("segment_bytes", [1, 7, 1000, 2 * SIZE])
@pytest.mark.parametrize("name", STREAMS)
def test_each_byte_is_looked_at_a_few_times_whatever_the_segments(work, name, segment_bytes):
    make, stream, count = STREAMS[name]
    splitter, frames = make(), 0
    for place in range(0, len(stream), segment_bytes):
        segment = splitters.bytes(stream[place : place + segment_bytes])
        work.bytes -= len(segment)  # the test's own work
        splitter.feed(segment)
        frames += len(take(splitter))
    assert frames == count
    assert 0 < work.bytes <= 12 * len(stream)  # the worst case: a prefix of 4 bytes, read again with each byte


@pytest.mark.parametrize("rest", [b"", b"\0", b"\0\5ab"], ids=["nothing", "a part", "more of it"])
@pytest.mark.parametrize("kind", ["delimited", "prefixed"])
def test_what_was_used_up_is_not_kept(kind, rest):
    """Otherwise an idle connection would keep its last segment, and no account would count it."""
    splitter = DelimitedFrames(b"\n", MOST) if kind == "delimited" else PrefixedFrames(2, MOST)
    frames = [b"x" * 1000] * 200
    splitter.feed((delimited(frames, b"\n") if kind == "delimited" else prefixed(frames, 2)) + rest)
    assert take(splitter) == frames
    assert splitter.waiting() == len(rest)
    assert sys.getsizeof(splitter._data) < 200
