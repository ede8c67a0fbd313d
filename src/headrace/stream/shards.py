"""Which shard a partition key belongs to: MD5 of the key in ranges of 128-bit hash keys. Pure."""

from bisect import bisect_right
from collections.abc import Mapping
from hashlib import md5

from headrace.errors import UsageError

HASH_MAX = 2**128 - 1
CACHE_KEYS_MAX = 200_000  # about 25 MB of short keys; a key that is not cached costs an MD5 (1 µs)

Range = tuple[int, int]  # both ends belong to it


def hash_key(key: str) -> int:
    """Return a partition key's hash: the MD5 of its UTF-8 bytes as a 128-bit big-endian integer."""
    return int.from_bytes(md5(key.encode(), usedforsecurity=False).digest(), "big")


def even_ranges(count: int) -> list[Range]:
    """Return `count` ranges that cover all hash keys in equal parts, as AWS cuts them: the last takes the rest."""
    width = (HASH_MAX + 1) // count
    starts = [width * index for index in range(count)]
    return list(zip(starts, [start - 1 for start in starts[1:]] + [HASH_MAX], strict=True))


def shard_of(hash_value: int, ranges: Mapping[int, Range]) -> int:
    """Return the shard (a key of `ranges`) whose range holds `hash_value`."""
    for shard, (start, end) in ranges.items():
        if start <= hash_value <= end:
            return shard
    raise UsageError(f"No shard takes the hash key {hash_value}.", "The stream's shards must cover 0 to 2^128-1.")


class Router(dict[str, int]):
    """Partition key -> shard, as a dict that fills itself: `router[key]`. A known key costs one dict look-up.

    The ranges are those of the open shards. The cache is emptied when it has `keys_max` keys; make a new router when
    the open shards change.
    """

    def __init__(self, ranges: Mapping[int, Range], keys_max: int = CACHE_KEYS_MAX) -> None:
        super().__init__()
        ordered = sorted((start, end, shard) for shard, (start, end) in ranges.items())
        covered = [-1] + [end for _, end, _ in ordered]
        if (
            not ordered
            or covered[-1] != HASH_MAX
            or any(start != before + 1 for (start, _, _), before in zip(ordered, covered, strict=False))
        ):
            raise UsageError("The ranges leave out hash keys or overlap.", "Open shards cover 0 to 2^128-1 exactly.")
        self._starts = [start for start, _, _ in ordered]
        self._shards = [shard for _, _, shard in ordered]
        self._keys_max = keys_max

    def __missing__(self, key: str) -> int:
        if len(self) >= self._keys_max:
            self.clear()
        shard = self[key] = self.by_hash(hash_key(key))
        return shard

    def by_hash(self, hash_value: int) -> int:
        """Return the shard of a hash key (an ExplicitHashKey), 0 <= hash_value < 2^128."""
        return self._shards[bisect_right(self._starts, hash_value) - 1]
