"""The journal of finished batch calls: what it tells of a record, how it is bounded, what it survives."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import pytest

from headrace.runtime.batch_journal import VERSION, BatchJournal, Entry, calls_with, entry_of, path_of
from headrace.runtime.kinesis_event import Source
from headrace.runtime.mapping import State
from headrace.runtime.messages import Reply, error_document


def entry(first: int, count: int = 10, stream: str = "s", shard: int = 0, attempt: int = 1) -> Entry:
    return Entry(VERSION, stream, shard, first, count, attempt, 1_000, 2.5, "success", f"id-{first}-{attempt}")


def write(folder: Path, *entries: Entry, rotate_bytes: int = 1 << 20) -> None:
    with ThreadPoolExecutor(1) as threads:
        journal = BatchJournal(folder, threads, rotate_bytes)
        for one in entries:
            journal.note("f", one)


def test_a_record_finds_the_calls_of_its_batches_in_their_order(tmp_path: Path) -> None:
    halves = (entry(10, 5), entry(15, 5))
    write(tmp_path, entry(0), entry(10), entry(10, attempt=2), *halves, entry(10, shard=1), entry(10, stream="t"))
    found = calls_with(tmp_path, "f", "s", 0, 12)
    assert [(one.first, one.count, one.attempt) for one in found] == [(10, 10, 1), (10, 10, 2), (10, 5, 1)]
    assert calls_with(tmp_path, "f", "s", 0, 20) == [] == calls_with(tmp_path, "other", "s", 0, 12)


def test_it_stays_within_two_files(tmp_path: Path) -> None:
    for first in range(0, 2000, 10):
        write(tmp_path, entry(first), rotate_bytes=1000)
    files = sorted(path.name for path in tmp_path.iterdir())
    assert files in (["f.ndjson", "f.ndjson.1"], ["f.ndjson.1"])
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) < 2200
    assert calls_with(tmp_path, "f", "s", 0, 1995) and not calls_with(tmp_path, "f", "s", 0, 5)


def test_a_torn_line_and_one_of_another_version_are_passed_over(tmp_path: Path) -> None:
    write(tmp_path, entry(0))
    with path_of(tmp_path, "f").open("ab") as file:
        file.write(b'[1,"s",0,10\n' + msgspec.json.encode(msgspec.structs.replace(entry(0), version=2)) + b"\n")
    write(tmp_path, entry(0, attempt=2))
    assert [one.attempt for one in calls_with(tmp_path, "f", "s", 0, 3)] == [1, 2]


def test_a_folder_that_cannot_be_written_loses_lines_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    write(tmp_path / "file", entry(0))
    assert calls_with(tmp_path / "file", "f", "s", 0, 3) == []


@pytest.mark.parametrize(
    ("reply", "result", "detail"),
    [
        (Reply(b"null"), "success", ""),
        (Reply(error_document("ValueError", "no" * 500), error=True), "failed", "ValueError: no"),
        (Reply(b"7", bad_answer="the answer has no batchItemFailures"), "failed", "the answer has no"),
        (Reply(b"{}", reported=105), "partial", "reported from place 5 of 8 on"),
        (Reply(b"{}", reported=100), "failed", "reported from place 0 of 8 on"),
    ],
)
def test_what_a_reply_says(reply: Reply, result: str, detail: str) -> None:
    made = entry_of(Source("s", 3, 0), State(start=0, next=100, count=8, calls=2), "id", 5, 1.5, reply)
    assert (made.stream, made.shard, made.first, made.count, made.attempt) == ("s", 3, 100, 8, 3)
    assert made.result == result and made.detail.startswith(detail) and len(made.detail) <= 200
