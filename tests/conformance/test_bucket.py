"""What every bucket promises."""

import os
import threading
from abc import abstractmethod
from collections.abc import Iterator
from pathlib import Path

import pytest

from headrace import aws
from headrace.archive.aws import S3Bucket
from headrace.archive.base import Bucket
from headrace.archive.local import LocalBucket
from headrace.archive.union import UnionBucket
from headrace.errors import InvalidObjectState, NotFound, StorageError, UsageError
from support import moto
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
            for asked in (bucket.get, bucket.tags, bucket.location, lambda key: bucket.tag(key, {"a": "b"})):
                with pytest.raises(NotFound):
                    asked(key)

    def test_a_finished_file_is_put_and_gone(self, bucket: Bucket, tmp_path: Path) -> None:
        file = tmp_path / "finished"
        for body in (b"first, and longer", b"second"):
            file.write_bytes(body)
            bucket.put_file("a/b", file)
            assert bucket.get("a/b") == body
            assert not file.exists()
        assert [(info.key, info.size) for info in bucket.list()] == [("a/b", 6)]

    def test_tags_are_replaced_and_listed_on_request(self, bucket: Bucket) -> None:
        for key in ("a/1", "a/2", "b"):
            bucket.put(key, b"")
        assert bucket.tags("a/1") == {}
        bucket.tag("a/1", {"compacted": "false", "a b": "c=d+e@f"})
        bucket.tag("b", {"compacted": "true"})
        bucket.tag("a/1", {"compacted": "true"})
        assert bucket.tags("a/1") == bucket.tags("b") == {"compacted": "true"}
        listed = {info.key: dict(info.tags) for info in bucket.list(tags=True)}
        assert listed == {"a/1": {"compacted": "true"}, "a/2": {}, "b": {"compacted": "true"}}
        assert [dict(info.tags) for info in bucket.list("a/")] == [{}, {}]
        bucket.tag("b", {})
        assert bucket.tags("b") == {}

    def test_a_put_and_a_delete_take_the_tags_with_them(self, bucket: Bucket) -> None:
        bucket.put("a", b"1")
        bucket.tag("a", {"compacted": "true"})
        bucket.put("a", b"1")
        assert bucket.tags("a") == {}
        bucket.tag("a", {"compacted": "true"})
        bucket.delete("a")
        bucket.put("a", b"1")
        assert bucket.tags("a") == {}

    @pytest.mark.parametrize(
        "tags", [{"": "x"}, {"k" * 129: ""}, {"k": "v" * 257}, {str(n): "" for n in range(11)}, {"k": "&"}]
    )
    def test_tags_that_s3_refuses(self, bucket: Bucket, tags: dict[str, str]) -> None:
        bucket.put("a", b"")
        with pytest.raises(UsageError):
            bucket.tag("a", tags)
        assert bucket.tags("a") == {}

    def test_an_object_is_in_standard_until_a_rule_moves_it(self, bucket: Bucket) -> None:
        bucket.put("a", b"")
        assert [(info.storage_class, info.readable) for info in bucket.list()] == [("STANDARD", True)]

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


class TestS3Bucket(BucketContract):
    """Against moto, or with REMOTE=1 against S3."""

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def account(cls) -> Iterator[None]:
        with moto.account():
            yield

    @pytest.fixture
    def bucket(self) -> Iterator[Bucket]:
        with moto.empty_bucket() as name:
            yield S3Bucket.connect(name)

    @pytest.mark.skipif(moto.IS_REMOTE, reason="a restore takes hours")
    def test_a_cold_object_is_read_once_it_is_restored(self) -> None:
        with moto.empty_bucket() as name:
            bucket = S3Bucket.connect(name)
            client = aws.client("s3")
            for key, storage_class in (("a", "GLACIER"), ("b", "DEEP_ARCHIVE"), ("c", "STANDARD_IA")):
                client.put_object(Bucket=name, Key=key, Body=b"body", StorageClass=storage_class)
            described = [(info.key, info.storage_class, info.readable) for info in bucket.list()]
            assert described == [("a", "GLACIER", False), ("b", "DEEP_ARCHIVE", False), ("c", "STANDARD_IA", True)]
            for asked in (bucket.get, bucket.location):
                with pytest.raises(InvalidObjectState, match="archive restore a"):
                    asked("a")
            with pytest.raises(UsageError, match="can't be restored"):
                bucket.restore("c", 1)
            bucket.restore("a", 3, "Bulk")
            bucket.restore("a", 3, "Bulk")
            assert bucket.get("a") == b"body"
            assert bucket.location("a") == f"s3://{name}/a"

    @pytest.mark.parametrize("key", ["", "k" * 1025, "\ud800"])
    def test_keys_that_s3_refuses(self, bucket: Bucket, key: str) -> None:
        for refused in (bucket.get, bucket.delete, bucket.tags, lambda key: bucket.put(key, b"")):
            with pytest.raises(UsageError):
                refused(key)

    def test_a_bucket_that_is_not_there(self) -> None:
        bucket = S3Bucket.connect("headrace-test-not-there")
        for asked in (lambda: bucket.put("a", b""), lambda: bucket.get("a"), lambda: list(bucket.list())):
            with pytest.raises(NotFound, match="headrace-test-not-there"):
                asked()

    def test_a_listing_has_many_pages(self, bucket: S3Bucket) -> None:
        keys = [f"raw/{number:04}" for number in range(23)]
        for key in keys:
            bucket.put(key, b"")
        bucket.tag("raw/0022", {"compacted": "true"})
        paged = S3Bucket(bucket.name, aws.client("s3"), page_keys=5)
        assert [info.key for info in paged.list("raw/")] == keys
        assert [info.key for info in paged.list(tags=True) if info.tags] == ["raw/0022"]


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
         ".headrace", "a/.headrace/b", "k" * 256, "é" * 128, "/".join(["k" * 200] * 6), "\ud800"],
    )  # fmt: skip
    def test_keys_that_no_folder_can_hold(self, bucket: Bucket, key: str, tmp_path: Path) -> None:
        file = tmp_path / "finished"
        file.write_bytes(b"")
        calls = (bucket.get, bucket.delete, bucket.tags, bucket.location)
        changes = (
            lambda key: bucket.put(key, b""),
            lambda key: bucket.put_file(key, file),
            lambda key: bucket.tag(key, {}),
        )
        for refused in (*calls, *changes):
            with pytest.raises(UsageError):
                refused(key)

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

    def test_an_engine_reads_the_file_itself(self, bucket: Bucket, tmp_path: Path) -> None:
        bucket.put("a/b", b"body")
        assert bucket.location("a/b") == str(tmp_path / "s3" / "archive" / "a" / "b")

    def test_tags_are_there_for_other_processes_and_after_many_changes(self, bucket: Bucket, tmp_path: Path) -> None:
        other = LocalBucket(tmp_path / "s3" / "archive")
        for name in "ab":
            bucket.put(f"x/{name}", b"")
        for count in range(600):  # enough for the journal to be written anew in between
            bucket.tag("x/a", {"count": str(count)})
            assert other.tags("x/a") == {"count": str(count)}
        other.tag("x/b", {"from": "other"})
        assert [dict(info.tags) for info in bucket.list("x/", tags=True)] == [{"count": "599"}, {"from": "other"}]
        journal = tmp_path / "s3" / "archive" / "x" / ".headrace"
        assert len(journal.read_bytes().splitlines()) < 300

    def test_a_tag_may_have_any_letters(self, bucket: Bucket) -> None:
        bucket.put("a", b"")
        bucket.tag("a", {"über": "é漢"})
        assert bucket.tags("a") == {"über": "é漢"}

    def test_two_writers_lose_no_tag(self, bucket: Bucket, tmp_path: Path) -> None:
        keys = [f"x/{number:03d}" for number in range(60)]
        for key in keys:
            bucket.put(key, b"")

        def tag(mine: list[str]) -> None:
            writer = LocalBucket(tmp_path / "s3" / "archive")
            for count in range(10):
                for key in mine:
                    writer.tag(key, {"count": str(count)})

        threads = [threading.Thread(target=tag, args=(keys[start::3],)) for start in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert {info.key: info.tags["count"] for info in bucket.list(tags=True)} == dict.fromkeys(keys, "9")

    @pytest.mark.parametrize("cut", [1, 9, 30])
    def test_a_tag_that_a_crash_cut_off_was_never_set(self, bucket: Bucket, tmp_path: Path, cut: int) -> None:
        bucket.put("a", b"")
        bucket.tag("a", {"n": "1"})
        bucket.tag("a", {"n": "2"})
        journal = tmp_path / "s3" / "archive" / ".headrace"
        journal.write_bytes(journal.read_bytes()[:-cut])
        again = LocalBucket(tmp_path / "s3" / "archive")
        assert again.tags("a") == {"n": "1"}
        again.tag("a", {"n": "3"})
        assert again.tags("a") == bucket.tags("a") == {"n": "3"}

    def test_an_object_put_past_the_bucket_has_no_tags_of_the_one_before(self, bucket: Bucket, tmp_path: Path) -> None:
        bucket.put("a", b"1")
        bucket.tag("a", {"n": "1"})
        os.utime(tmp_path / "s3" / "archive" / "a", ns=(0, 1_785_000_000_123_000_000))
        assert bucket.tags("a") == {}

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
