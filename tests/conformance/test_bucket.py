"""What every bucket promises."""

import os
import threading
from abc import abstractmethod
from pathlib import Path

import pytest

from headrace.archive.base import Bucket
from headrace.archive.local import LocalBucket
from headrace.archive.union import UnionBucket
from headrace.errors import NotFound, StorageError, UsageError
from support.memory import MemoryBucket


class BucketContract:
    """Subclassed by each implementation."""

    @abstractmethod
    @pytest.fixture
    def bucket(self) -> Bucket:
        raise NotImplementedError

    def test_what_was_put_is_got(self, bucket: Bucket) -> None:
        for key, body in {"a": b"", "b/c.d": b"\x00\xff" * 1000, "raw/dt=2026-07-25/hour=17/é ü+%41.zst": b"x"}.items():
            bucket.put(key, body)
            assert bucket.get(key) == body

    def test_a_put_replaces(self, bucket: Bucket) -> None:
        bucket.put("a/b", b"first, and longer")
        bucket.put("a/b", b"second")
        assert bucket.get("a/b") == b"second"
        assert [(info.key, info.size) for info in bucket.list()] == [("a/b", 6)]

    def test_what_is_missing_is_not_found(self, bucket: Bucket) -> None:
        bucket.put("a/b", b"")
        for key in ("x", "a", "a/b/c", "a/c"):
            with pytest.raises(NotFound):
                bucket.get(key)

    def test_delete(self, bucket: Bucket) -> None:
        bucket.put("a/b", b"1")
        bucket.put("a/c", b"2")
        for _ in range(2):
            bucket.delete("a/b")
        bucket.delete("x/y")
        bucket.delete("a")
        assert [info.key for info in bucket.list()] == ["a/c"]
        with pytest.raises(NotFound):
            bucket.get("a/b")

    def test_an_empty_bucket_lists_nothing(self, bucket: Bucket) -> None:
        assert list(bucket.list()) == list(bucket.list("a/")) == []

    def test_keys_are_listed_in_the_order_of_their_bytes(self, bucket: Bucket) -> None:
        keys = ["a", "b", "b.c/d", "c", "d-1", "d/1", "d/2/3", "d0", "é/x", "z/y", "￿", "😀", "A", "d!x/y", "d/1-"]
        keys.remove("b")
        for key in keys:
            bucket.put(key, key.encode())
        listed = list(bucket.list())
        assert [info.key for info in listed] == sorted(keys, key=str.encode)
        assert [info.size for info in listed] == [len(info.key.encode()) for info in listed]

    @pytest.mark.parametrize(
        ("prefix", "found"),
        [
            ("", ["raw/dt=1/a", "raw/dt=1/b", "raw/dt=10/a", "raw/dt=2/a", "rejected/x"]),
            ("r", ["raw/dt=1/a", "raw/dt=1/b", "raw/dt=10/a", "raw/dt=2/a", "rejected/x"]),
            ("raw/", ["raw/dt=1/a", "raw/dt=1/b", "raw/dt=10/a", "raw/dt=2/a"]),
            ("raw/dt=1", ["raw/dt=1/a", "raw/dt=1/b", "raw/dt=10/a"]),
            ("raw/dt=1/", ["raw/dt=1/a", "raw/dt=1/b"]),
            ("raw/dt=1/b", ["raw/dt=1/b"]),
            ("raw/dt=1/b/", []),
            ("x", []),
            ("../", []),
        ],
    )
    def test_a_prefix_is_text_not_a_folder(self, bucket: Bucket, prefix: str, found: list[str]) -> None:
        for key in ("rejected/x", "raw/dt=10/a", "raw/dt=2/a", "raw/dt=1/b", "raw/dt=1/a"):
            bucket.put(key, b"")
        assert [info.key for info in bucket.list(prefix)] == found


class TestMemoryBucket(BucketContract):
    @pytest.fixture
    def bucket(self) -> Bucket:
        return MemoryBucket()


class TestUnionBucket(BucketContract):
    @pytest.fixture
    def bucket(self) -> Bucket:
        return UnionBucket([MemoryBucket(), MemoryBucket()])

    def test_objects_stay_where_they_are(self) -> None:
        first, second = MemoryBucket(), MemoryBucket()
        first.put("b", b"1")
        second.put("a", b"2")
        union = UnionBucket([first, second])
        assert [info.key for info in union.list()] == ["a", "b"]
        union.put("a", b"22")
        union.put("c", b"3")
        assert (second.get("a"), first.get("c")) == (b"22", b"3")
        assert [info.key for info in first.list()] == ["b", "c"]


class TestLocalBucket(BucketContract):
    @pytest.fixture
    def bucket(self, tmp_path: Path) -> Bucket:
        return LocalBucket(tmp_path / "s3" / "archive")

    @pytest.mark.parametrize(
        "key",
        ["", "/", "/a", "a/", "a//b", ".", "..", "a/./b", "a/../b", "../a", "a\0b", ".tmp-x", "a/.tmp-x/b",
         "k" * 256, "é" * 128, "/".join(["k" * 200] * 6), "\ud800"],
    )  # fmt: skip
    def test_keys_that_no_folder_can_hold(self, bucket: Bucket, key: str) -> None:
        for refused in (lambda: bucket.put(key, b""), lambda: bucket.get(key), lambda: bucket.delete(key)):
            with pytest.raises(UsageError):
                refused()

    def test_keys_at_the_limit(self, bucket: Bucket) -> None:
        for key in ("k" * 255, "/".join(["k" * 204] * 5), "a/..b/c..", ".hidden", "~", "a\\b", "a:b"):
            bucket.put(key, b"1")
            assert bucket.get(key) == b"1"

    def test_a_key_is_an_object_or_a_folder(self, bucket: Bucket) -> None:
        bucket.put("a", b"1")
        bucket.put("b/c", b"1")
        for key in ("a/b", "b"):
            with pytest.raises(UsageError):
                bucket.put(key, b"2")
        assert [info.key for info in bucket.list()] == ["a", "b/c"]

    def test_objects_are_plain_files_and_half_written_ones_are_not_objects(
        self, bucket: Bucket, tmp_path: Path
    ) -> None:
        bucket.put("raw/dt=1/x", b"body")
        folder = tmp_path / "s3" / "archive" / "raw" / "dt=1"
        assert (folder / "x").read_bytes() == b"body"
        (folder / ".tmp-abc").write_bytes(b"bo")
        assert [info.key for info in bucket.list()] == ["raw/dt=1/x"]
        assert [path.name for path in folder.iterdir() if path.name != ".tmp-abc"] == ["x"]

    def test_the_time_of_an_object_is_when_it_was_put(self, bucket: Bucket, tmp_path: Path) -> None:
        bucket.put("a", b"")
        os.utime(tmp_path / "s3" / "archive" / "a", ns=(0, 1_785_000_000_123_000_000))
        assert [info.modified_ms for info in bucket.list()] == [1_785_000_000_123]

    def test_a_listing_goes_on_while_objects_come_and_go(self, bucket: Bucket) -> None:
        for name in ("a/1", "a/2", "b/1", "c/1"):
            bucket.put(name, b"")
        listing = bucket.list()
        assert next(listing).key == "a/1"
        bucket.delete("a/2")
        bucket.delete("b/1")
        bucket.put("b/2", b"")
        assert [info.key for info in listing] == ["b/2", "c/1"]

    def test_a_disk_that_refuses_is_a_storage_error(self, tmp_path: Path) -> None:
        (tmp_path / "s3").symlink_to("/proc")  # no file can be made there, whoever asks
        with pytest.raises(StorageError):
            LocalBucket(tmp_path / "s3").put("a", b"")

    def test_a_reader_sees_the_old_object_or_the_new(self, bucket: Bucket) -> None:
        bodies = [bytes([value]) * 200_000 for value in range(20)]
        bucket.put("a", bodies[0])
        writer = threading.Thread(target=lambda: [bucket.put("a", body) for body in bodies])
        writer.start()
        while writer.is_alive():
            assert bucket.get("a") in bodies
        writer.join()
        assert bucket.get("a") == bodies[-1]
