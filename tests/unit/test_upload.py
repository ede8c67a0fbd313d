"""What an upload decides: which of two items is newer, and what a day's catalogue is on AWS."""

from typing import Any

import pytest

from headrace.archive.catalogue import File, Manifest, Replaced
from headrace.operations.upload.items import There, compared
from headrace.operations.upload.manifests import joined, joined_erasures
from headrace.operations.upload.objects import MARK, Digest, digest_of, is_same
from headrace.table.base import Item


def item(sort: str, attributes: str) -> Item:
    return Item("d", sort, attributes.encode())


@pytest.mark.parametrize(
    ("sort", "local", "stored", "expected"),
    [
        ("event#1", "{}", None, There.MISSING),
        ("event#1", '{"a":1,"b":[1.50]}', '{"b":[1.50],"a":1}', There.SAME),
        ("event#1", '{"arrived_at":"2026-07-25T17:20:01Z"}', '{"arrived_at":"2026-07-25T17:20:00.9Z"}', There.OLDER),
        ("event#1", '{"arrived_at":"2026-07-25T17:20:00Z"}', '{"arrived_at":"2026-07-25T17:20:00.1Z"}', There.NEWER),
        (
            "event#1",
            '{"arrived_at":"2026-07-25T17:20:00Z","x":1}',
            '{"arrived_at":"2026-07-25T17:20:00Z"}',
            There.NEWER,
        ),
        ("event#1", '{"arrived_at":7}', '{"x":1}', There.NEWER),
        ("aggregate#hour#1#t", '{"count":7,"mean":1}', '{"count":6,"mean":2}', There.OLDER),
        ("aggregate#hour#1#t", '{"count":6,"mean":1}', '{"count":6,"mean":2}', There.NEWER),
        ("config", '{"version":3,"config":{}}', '{"version":2,"config":{}}', There.OLDER),
        ("config", '{"version":3,"config":{"a":1}}', '{"version":3,"config":{"a":2}}', There.NEWER),
        ("state", '{"version":10}', '{"version":9}', There.OLDER),
        ("info", '{"labels":{}}', '{"version":9}', There.NEWER),
    ],
)
def test_which_is_newer(sort: str, local: str, stored: str | None, expected: There) -> None:
    assert compared(item(sort, local), item(sort, stored) if stored else None) is expected


def file(name: str, **more: Any) -> File:
    return File(f"events/dt=2026-07-25/{name}.parquet", 1, 1, 1, 1, 1, 1, 1, "a", "a", (), **more)


def manifest(*names: str, replaced: tuple[str, ...] = ()) -> Manifest:
    gone = tuple(Replaced(file(name).key, 5) for name in replaced)
    return Manifest("2026-07-25", tuple(map(file, names)), gone)


def test_a_day_that_aws_does_not_have_is_as_it_is_here() -> None:
    assert joined(manifest("a", "b", replaced=("x",)), None, [], 9) == manifest("a", "b")


def test_a_day_that_both_have_has_all_files_and_ours_are_checked_against_theirs() -> None:
    found = joined(manifest("a"), manifest("other", replaced=("y",)), [], 9)
    assert found.files == (file("other"), file("a", unchecked=True))
    assert found.replaced == (Replaced(file("y").key, 5),)
    assert joined(manifest("a"), found, [file("a").key], 10) == found


def test_what_was_merged_here_since_takes_the_place_of_what_was_put_before() -> None:
    put_before = [file("a").key, file("b").key]
    found = joined(manifest("c"), manifest("a", "b", "other"), put_before, 9)
    assert found.files == (file("other"), file("c", unchecked=True))
    assert found.replaced == (Replaced(file("a").key, 9), Replaced(file("b").key, 9))
    assert joined(manifest("c"), manifest("a", "b"), put_before, 9).files == (file("c"),)


def test_what_aws_has_merged_since_does_not_come_back() -> None:
    theirs = manifest("merged", replaced=("a",))
    assert joined(manifest("a"), theirs, [file("a").key], 9) == theirs
    found = joined(manifest("a", "b"), theirs, [file("a").key], 9)
    assert found.files == (file("merged"), file("b", unchecked=True))


def test_of_erasures_what_erases_more_counts() -> None:
    def erased(device: str, before_us: int) -> dict[str, Any]:
        return {"device_id": device, "before_us": before_us}

    local = {"version": 1, "erasures": [erased("a", 5), erased("b", 5)]}
    theirs = {"version": 1, "erasures": [erased("b", 7), erased("c", 1)]}
    assert joined_erasures(local, None) == local
    assert joined_erasures(local, theirs)["erasures"] == [erased("b", 7), erased("c", 1), erased("a", 5)]


def test_an_object_is_the_same_by_what_s3_knows_of_it() -> None:
    digest = digest_of(b"body")
    etag = {"ContentLength": 4, "ETag": f'"{digest.md5}"'}
    assert is_same(etag, digest)
    assert not is_same({**etag, "ContentLength": 5}, digest)
    assert not is_same({**etag, "ETag": '"0"'}, digest)
    parts = {"ContentLength": 4, "ETag": '"abc-2"'}
    assert not is_same(parts, digest)
    assert is_same({**parts, "Metadata": {MARK: digest.sha256}}, digest)
    assert is_same({**etag, "Metadata": {MARK: digest.sha256}}, Digest(4, digest.sha256))
    checked = {**etag, "ChecksumSHA256": "AAAA"}
    assert not is_same(checked, digest)
