import pytest

from headrace.errors import UsageError
from headrace.stream.shards import HASH_MAX, Router, even_ranges, hash_key, shard_of


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("", 0xD41D8CD98F00B204E9800998ECF8427E),
        ("a", 0x0CC175B9C0F1B6A831C399E269772661),
        ("device-1", 0xD111F50A599B0A9FE3EF9E1C6B68EC88),
        ("Zürich", 0x103A821A3A6A0B923C9F74A39662BB51),
    ],
)
def test_hash_key_is_the_md5_of_the_utf8_bytes(key: str, expected: int) -> None:
    assert hash_key(key) == expected


@pytest.mark.parametrize(
    ("count", "expected"),
    [
        (1, [(0, HASH_MAX)]),
        (2, [(0, 2**127 - 1), (2**127, HASH_MAX)]),
        # As AWS cuts three: each a third rounded down, the last one takes what is left.
        (
            3,
            [
                (0, 113427455640312821154458202477256070484),
                (113427455640312821154458202477256070485, 226854911280625642308916404954512140969),
                (226854911280625642308916404954512140970, HASH_MAX),
            ],
        ),
    ],
)
def test_even_ranges(count: int, expected: list[tuple[int, int]]) -> None:
    assert even_ranges(count) == expected


def test_a_range_includes_both_ends() -> None:
    ranges = dict(enumerate(even_ranges(3)))
    router = Router(ranges)
    for shard, (start, end) in ranges.items():
        for value in (start, start + 1, end - 1, end):
            assert shard_of(value, ranges) == router.by_hash(value) == shard


def test_a_router_knows_shards_by_their_own_numbers() -> None:
    """After a split the open shards are not numbered from 0, nor in the order of their ranges."""
    low, high = even_ranges(2)
    router = Router({7: high, 4: low})
    assert {router[f"key-{n}"] for n in range(50)} == {4, 7}
    assert all(router[f"key-{n}"] == (4 if hash_key(f"key-{n}") <= low[1] else 7) for n in range(50))


def test_a_router_keeps_a_bounded_number_of_keys() -> None:
    router = Router(dict(enumerate(even_ranges(4))), keys_max=10)
    first = [router[str(n)] for n in range(100)]
    assert len(router) <= 10
    assert [router[str(n)] for n in range(100)] == first


@pytest.mark.parametrize(
    "ranges",
    [
        {},
        {0: (0, HASH_MAX - 1)},
        {0: (1, HASH_MAX)},
        {0: (0, 10), 1: (12, HASH_MAX)},
        {0: (0, 10), 1: (10, HASH_MAX)},
    ],
    ids=["none", "end", "start", "hole", "overlap"],
)
def test_a_router_refuses_ranges_that_do_not_cover_every_hash_once(ranges: dict[int, tuple[int, int]]) -> None:
    with pytest.raises(UsageError):
        Router(ranges)


def test_a_hash_outside_every_range_is_told() -> None:
    with pytest.raises(UsageError, match="12"):
        shard_of(12, {0: (0, 11)})
