"""A device erased from the archive: raw, compacted, cold, unchecked; the others are there once, and byte for byte."""

import json
from pathlib import Path
from typing import Any

import duckdb
import pytest

from headrace import clock, cold_folder
from headrace.archive import compaction, erasing, erasures, raw, restores, transitions
from headrace.archive.erasures import Erasure
from headrace.errors import Conflict, DataDirectoryError, InvalidObjectState
from headrace.operations import erase_failures
from headrace.operations.load import Sources
from support.archive import Archive, event, events, expected, of_version_2
from support.memory import ARRIVAL_MS, MemoryBucket, lambda_record

GONE = "pump-1"
LATER_MS = ARRIVAL_MS + 60_000
NOW_MS = 1_790_000_000_000


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    return Archive(tmp_path)


def erase(archive: Archive, device: str = GONE, before_ms: int = LATER_MS) -> erasing.Archived:
    """Do what an erase does to the archive."""
    erasure = erasures.begin(archive.bucket, device, before_ms * 1000)
    done = erasing.erase(archive.bucket, archive.folder, erasure, wait_s=0.1)
    erasures.write(archive.bucket, Erasure(device, before_ms * 1000, (*done.cold, *done.damaged), finished=True))
    return done


def others(*sent: dict[str, Any]) -> list[tuple[str, str, str]]:
    return expected(*[each for each in sent if each["device_id"] != GONE])


def test_raw_and_compacted_files_are_written_anew(archive: Archive) -> None:
    sent = [*events(range(9)), *events(range(6), day=2)]
    archive.put(*sent)
    archive.compact()
    (compacted,) = archive.files("raw/")
    more = events(range(20, 26))
    (pending,) = archive.put(json.dumps(more[:5]).encode(), more[5], shard=1)
    done = erase(archive)
    assert (done.raw_objects, done.raw_records, done.files, done.events) == (2, 7, 2, 5)
    assert done.cold == done.problems == []
    assert archive.identities() == others(*sent, *more)
    left = archive.files("raw/")
    assert len(left) == 2 and not {compacted, pending} & set(left)
    tags = [archive.bucket.tags(key) for key in left]
    assert tags == [{"compacted": "true"}, {}], "in the order of shards"
    for key in left:
        name = raw.parse_key(key)
        assert name is not None and raw.is_whole(name, archive.bucket.get(key))
        assert b"pump-1" not in archive.bucket.get(key)
        assert len(raw.lines(archive.bucket.get(key))) == name.records
    assert archive.compact().events == 4
    assert archive.identities() == others(*sent, *more)
    before = archive.files("")
    assert erase(archive).raw_objects == 0 and archive.files("") == before, "again there is nothing to do"


def test_bytes_and_default_ids_of_others_stay(archive: Archive) -> None:
    mixed = (
        b'[{"device_id":"pump-1","t":1}, {"device_id":"o","temperature":1.50,"n":NaN},{"device_id":"pump-1"},{"t":3}]'
    )
    archive.put(mixed)
    columns = "device_id, id, bytes, flags, readings, temperature"
    select = f"SELECT {columns} FROM events WHERE device_id <> 'pump-1' ORDER BY ALL"
    before = archive.read(select)
    assert len(before) == 2
    erase(archive)
    assert archive.read(select) == before
    archive.compact()
    assert archive.read(f"SELECT {columns} FROM events ORDER BY ALL") == before


def test_what_arrives_later_is_a_new_device(archive: Archive) -> None:
    archive.put(*events(range(6)))
    late = [event(number) | {"id": f"n-{number}"} for number in range(6)]
    archive.put(*late, arrival_ms=LATER_MS)
    archive.compact()
    archive.put(event(40), arrival_ms=LATER_MS)  # of pump-1
    erase(archive)
    assert archive.identities() == expected(*[e for e in events(range(6)) if e["device_id"] != GONE], *late, event(40))
    archive.put(*events(range(6)))  # an earlier record that comes late, or again
    assert archive.identities() == expected(*[e for e in events(range(6)) if e["device_id"] != GONE], *late, event(40))
    assert archive.compact().events == 1
    assert archive.identities() == expected(*[e for e in events(range(6)) if e["device_id"] != GONE], *late, event(40))


def test_a_day_of_which_nothing_is_left_has_no_file(archive: Archive) -> None:
    archive.put(event(1), event(4))
    archive.compact()
    erase(archive)
    assert archive.identities() == [] and archive.catalogue.manifest("2026-07-01").files == ()
    archive.compact(now_ms=NOW_MS + 10**12)
    assert archive.files() == []


def test_a_cold_file_is_told_and_hidden_once_it_is_restored(archive: Archive, tmp_path: Path) -> None:
    cold_folder.choose(tmp_path / "s3", tmp_path / "cold")
    sent = [*events(range(9)), *events(range(6), day=2)]
    archive.put(*sent)
    archive.compact()
    key = archive.files()[0]
    transitions.transition(archive.bucket, archive.bucket.find(key), "GLACIER")
    done = erase(archive)
    assert done.cold == [key] and done.files == 1
    assert Sources(archive.bucket, archive.catalogue, None).cut == {key}, "the warehouse doesn't load it"
    with pytest.raises(InvalidObjectState):
        archive.identities()
    restored = restores.new("GLACIER", 1, "Standard", clock.now_ms() - restores.DAY_MS // 2)
    archive.bucket.restores.change({("archive", key): restored})
    assert transitions.bring_restored(archive.bucket, clock.now_ms()) == []
    assert archive.identities() == others(*sent), "it is there, and not shown"
    erasures.begin(archive.bucket, GONE, LATER_MS * 1000)  # again, and that is ended at once
    assert archive.identities() == others(*sent)
    archive.put(event(30))  # the day has a cold file: a new one is unchecked
    archive.compact()
    assert archive.identities() == others(*sent, event(30))
    done = erase(archive)
    assert done.cold == [] and done.files == 1 and done.events == 3
    assert Sources(archive.bucket, archive.catalogue, None).cut == set()
    assert archive.identities() == others(*sent, event(30))
    archive.compact(now_ms=NOW_MS + 10**12)
    assert (
        not (tmp_path / "cold" / "archive" / key).exists() and not archive.bucket.restores.path("archive", key).exists()
    )


@pytest.mark.parametrize("device", ["x'; DROP TABLE staged; --", 'q"\n/..\\', "nul\0", "é☃" * 400])
def test_devices_of_odd_names(archive: Archive, device: str) -> None:
    mine = [event(number, device_id=device) for number in (1, 2)]
    archive.put(*mine[:1], *events([3, 4]))
    archive.compact()
    archive.put(*mine[1:])
    erase(archive, device)
    assert archive.identities() == expected(*events([3, 4]))


@pytest.mark.parametrize("missing", [False, True])
def test_a_damaged_file_is_told_left_and_hidden(archive: Archive, *, missing: bool) -> None:
    sent = [*events(range(30)), *events(range(6), day=2)]
    archive.put(*sent)
    archive.compact()
    key = archive.files()[0]
    body = archive.flip(key)
    if missing:
        archive.bucket.delete(key)
    (problem,) = erase(archive).problems
    assert key in problem and "backup" in problem
    assert Sources(archive.bucket, archive.catalogue, None).cut == {key}, "the warehouse doesn't load it"
    archive.bucket.path(key).write_bytes(body)
    assert archive.identities() == others(*sent), "it is there, and not shown"
    done = erase(archive)
    assert (done.problems, done.files, done.events) == ([], 1, 10)
    assert Sources(archive.bucket, archive.catalogue, None).cut == set()
    assert archive.identities() == others(*sent)


def test_a_damaged_raw_object_is_told(archive: Archive, tmp_path: Path) -> None:
    (key,) = archive.put(*events(range(3)))
    (tmp_path / "s3" / "archive" / key).write_bytes(b"damaged")
    (problem,) = erase(archive).problems
    assert key in problem


def test_a_raw_object_of_a_later_version_is_told_and_left(archive: Archive) -> None:
    (key,) = archive.put(*events(range(3)))
    newer = of_version_2(archive, key)
    body = archive.bucket.get(newer)
    (problem,) = erase(archive).problems
    assert newer in problem and archive.bucket.get(newer) == body


def test_a_compaction_at_work_is_waited_for(archive: Archive) -> None:
    archive.put(*events(range(3)))
    archive.compact()
    with compaction.alone(archive.folder, "a test"), pytest.raises(Conflict):
        erase(archive)
    assert erase(archive).files == 1


def test_a_list_that_can_not_be_read_stops_readers(archive: Archive) -> None:
    archive.put(*events(range(3)))
    archive.bucket.put(erasures.KEY, b'{"version":2}')
    with pytest.raises(DataDirectoryError, match="has version 2"):
        archive.identities()


def test_a_report_loses_the_device_s_rows(archive: Archive, tmp_path: Path) -> None:
    for name, sql in {"mixed": f"SELECT unnest(['a', '{GONE}', NULL]) AS device_id, 1 AS n", "none": "SELECT 1 AS n",
                      "own": f"SELECT '{GONE}' AS device_id"}.items():  # fmt: skip
        duckdb.sql(f"COPY ({sql}) TO '{tmp_path}/{name}.parquet' (FORMAT parquet)")
        archive.bucket.put_file(f"reports/{name}/{name}.parquet", tmp_path / f"{name}.parquet")
    found = {}
    for name in ("mixed", "none", "own"):
        (key,) = erasing.report_keys(archive.bucket, name)
        found[name] = erasing.erase_report(archive.bucket, archive.folder, key, GONE)
    assert found == {"mixed": 1, "none": 0, "own": 1}
    assert erasing.report_keys(archive.bucket, "own") == []
    rows = duckdb.sql(f"SELECT device_id, n FROM '{archive.bucket.location('reports/mixed/mixed.parquet')}' ORDER BY 1")
    assert rows.fetchall() == [("a", 1), (None, 1)]


def test_failure_documents_are_emptied_and_stay() -> None:
    bucket = MemoryBucket()
    mine, theirs = lambda_record('{"time":"noon"}', GONE), lambda_record("[7]", "k", number=1)
    both = lambda_record('[{"device_id":"pump-1"},{"device_id":"o"},7]', "k", number=2)
    late = lambda_record("[7]", GONE, number=3, arrival_ms=LATER_MS)
    documents: dict[str, dict[str, Any]] = {
        "rejected/store/1": {"message": "noon", "partition_key": GONE, "payload": {"Records": [mine]}},
        "rejected/store/2": {"message": "7", "partition_key": "k", "payload": {"Records": [theirs]}},
        "rejected/store/3": {"message": "7", "partition_key": GONE, "payload": {"Records": [late]}},
        "aws/lambda/u/s/4": {"payload": json.dumps({"Records": [both, theirs]})},
        "async/device_api/5": {"requestPayload": {"device_id": GONE, "state": {}}, "responsePayload": {"a": GONE}},
        "async/other/6": {"requestPayload": [GONE]},
        "other/7": {"payload": {"Records": [mine]}},
    }
    for key, document in documents.items():
        bucket.put(key, json.dumps(document).encode())
    bucket.put("rejected/store/8", b"no JSON")
    assert erase_failures.erase(bucket, GONE, LATER_MS) == (3, [], ["rejected/store/8"])
    left = {key: json.loads(body) for key, body in bucket.objects.items() if key != "rejected/store/8"}
    changed = {key for key, document in left.items() if document != documents[key]}
    assert changed == {"rejected/store/1", "aws/lambda/u/s/4", "async/device_api/5"}
    assert all(left[key].pop("erased_at") for key in changed)
    (record,) = left["rejected/store/1"]["payload"]["Records"]
    assert record["kinesis"]["data"] == "W10=" and record["kinesis"]["partitionKey"] == "-"
    assert record["kinesis"]["sequenceNumber"] == mine["kinesis"]["sequenceNumber"]
    assert left["rejected/store/1"]["message"] == "(erased)" and left["rejected/store/1"]["partition_key"] == "-"
    records = json.loads(left["aws/lambda/u/s/4"]["payload"])["Records"]
    assert records[1] == theirs and records[0]["kinesis"]["partitionKey"] == "k"
    assert left["async/device_api/5"] == {"requestPayload": None}
    assert erase_failures.erase(bucket, GONE, LATER_MS).documents == 0
