r"""Patterns: the same names as in Redis, and no pattern that takes for ever."""

import random

import pytest

from reactor.apps.kv.patterns import compile_pattern
from tests.apps.kv.talking import Talker, needs_redis, redis_running


@pytest.mark.parametrize("pattern, names, others", [
    (b"abc", [b"abc"], [b"ab", b"abcd", b"", b"xabc"]),
    (b"*", [b"", b"a", b"a\nb"], []),
    (b"a*c", [b"ac", b"abc", b"abcc", b"a*c"], [b"acd", b"c", b"a"]),
    (b"a*b*c", [b"abc", b"axbxc", b"abbcc"], [b"acb", b"abcb"]),
    (b"**a", [b"a", b"ba"], [b"ab"]),
    (b"h?llo", [b"hello", b"h\nllo", b"h\xffllo"], [b"hllo", b"heello"]),
    (b"h[ae]llo", [b"hello", b"hallo"], [b"hillo", b"h[ae]llo"]),
    (b"h[^e]llo", [b"hallo", b"h^llo"], [b"hello", b"hllo"]),
    (b"[a-c]", [b"a", b"b", b"c"], [b"d", b"-"]),
    (b"[c-a]", [b"a", b"b", b"c"], [b"d"]),
    (b"[^a-c]", [b"d", b"-"], [b"a", b"c", b""]),
    (b"[a\\]b]", [b"a", b"]", b"b"], [b"\\"]),
    (b"[]", [], [b"", b"[]"]),
    (b"[^]", [b"a"], [b""]),
    (b"[ab", [b"a", b"b"], [b"[ab"]),
    (b"\\*\\?\\[\\\\", [b"*?[\\"], [b"xy[\\"]),
    (b"a\\", [b"a\\"], [b"a"]),
    (b"a.b+(c)|$^{2}#- &~", [b"a.b+(c)|$^{2}#- &~"], [b"axb"]),
    (b"[.|&~#^[]", [b".", b"|", b"&", b"~", b"#", b"^", b"["], [b"x"]),
    (b"", [b""], [b"a"]),
])  # fmt: skip
def test_a_pattern_matches_these_names_and_not_those(pattern, names, others):
    matches = compile_pattern(pattern).fullmatch
    assert [name for name in names if not matches(name)] == []
    assert [name for name in others if matches(name)] == []


@needs_redis
def test_redis_finds_the_same_names(tmp_path):
    rand = random.Random(1)
    letters = [b"a", b"b", b"c", b"*", b"?", b"[", b"]", b"-", b"^", b"\\"]
    names = sorted({b"".join(rand.choices(letters, k=rand.randint(1, 5))) for _ in range(300)})
    # Each part is well formed: what Redis makes of "[a-]" is nobody's intention.
    parts = [b"a", b"b", b"*", b"*", b"?", b"[ab]", b"[^ab]", b"[a-c]", b"[^c-b]", b"\\*", b"\\[", b"]", b"-", b"^"]
    with redis_running(tmp_path) as address, Talker(address) as talker:
        for name in names:
            talker.ask("SET", name, "x")
        for _ in range(500):
            pattern = b"".join(rand.choices(parts, k=rand.randint(1, 6)))
            matches = compile_pattern(pattern).fullmatch
            ours = sorted(name.decode() for name in names if matches(name))
            assert ours == sorted(talker.ask("KEYS", pattern)), pattern


def test_a_pattern_of_many_stars_takes_no_longer_than_others():
    # With a star that tries every length for every other, this would take longer than the universe is old.
    assert not compile_pattern(b"*a" * 60 + b"b").fullmatch(b"a" * 1000)
