"""A sorted set: members with scores, in the order of their scores.

It is a `dict` from member to score, and beside it all (score, member) in their order. The dictionary answers what score
a member has. The order answers which member is the lowest, and which have the ranks 10 to 20. Members of equal score
are in the order of their bytes, which is the order of tuples.

Redis uses a skip list here. In Python a sorted `list` and `bisect` are faster, as long as the list is short: to insert
in the middle moves all that follows. So the order is cut into blocks of at most 1,000. To find the block is one
bisection, to insert moves at most one block. A million members are about 1,500 blocks, and a change of one takes a few
microseconds. A rank is found by counting blocks.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from operator import itemgetter

Entry = tuple[float, bytes]

MOST_IN_A_BLOCK = 1_000
FIRST = itemgetter(0)


class SortedSet:
    """Members, which are `bytes`, by score. Scores are not NaN."""

    __slots__ = ("scores", "_blocks")

    def __init__(self) -> None:
        self.scores: dict[bytes, float] = {}  # to read; only the methods change it
        self._blocks: list[list[Entry]] = []  # the same, the lowest score first; no block is empty

    def __len__(self) -> int:
        return len(self.scores)

    def set(self, member: bytes, score: float) -> None:
        """Give `member` this score, new or not."""
        before = self.scores.get(member)
        if before == score:
            return
        if before is not None:
            self.remove(member)
        self.scores[member] = score
        if not self._blocks:
            self._blocks.append([])
        index = self._find((score, member))
        block = self._blocks[index]
        insort(block, (score, member))
        if len(block) > MOST_IN_A_BLOCK:
            middle = len(block) // 2
            self._blocks[index : index + 1] = [block[:middle], block[middle:]]

    def remove(self, member: bytes) -> None:
        """Remove `member`, which is in the set."""
        entry = (self.scores.pop(member), member)
        index = self._find(entry)
        block = self._blocks[index]
        del block[bisect_left(block, entry)]
        if not block:
            del self._blocks[index]

    def ranks(self, start: int, count: int) -> list[Entry]:
        """The `count` members from rank `start` on, or fewer if there are no more. The lowest has rank 0."""
        found: list[Entry] = []
        for block in self._blocks:
            if start < len(block):
                found += block[start : start + count - len(found)]
                if len(found) >= count:
                    break
            start = max(start - len(block), 0)
        return found

    def _find(self, entry: Entry) -> int:
        """The index of the block in which `entry` is, or belongs: the last that begins with it or with a lower one."""
        if len(self._blocks) == 1:
            return 0
        return max(bisect_right(self._blocks, entry, key=FIRST) - 1, 0)
