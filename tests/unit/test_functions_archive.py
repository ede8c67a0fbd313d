import base64
import json
from collections.abc import Iterator
from typing import Any

import pytest
import zstandard

import archive
from headrace import connect
from headrace.archive import raw
from headrace.errors import StorageError
from support.memory import ARRIVAL_MS, Context, MemoryBucket, lambda_record, sequence

HOUR_MS = 3_600_000


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[MemoryBucket]:
    monkeypatch.setenv("ARCHIVE_BUCKET", "archive")
    made = MemoryBucket()
    connect.use(buckets={"archive": made})
    yield made
    connect.reset()


def call(*records: dict[str, Any]) -> None:
    assert archive.handler({"Records": list(records)}, Context("archive")) is None  # type: ignore[func-returns-value]


def texts(body: bytes) -> list[str]:
    text = zstandard.ZstdDecompressor().decompress(body).decode()
    assert text.endswith("\n")
    return text[:-1].split("\n")


def line(data: bytes, key: str = "key-1") -> Any:
    """Return the member that holds a record's data, as raw text."""
    ((_, body),) = raw.objects([lambda_record(data, key)])
    (text,) = texts(body)
    return text[text.index('"data') : -1]


def test_one_object_a_batch(bucket: MemoryBucket) -> None:
    call(*[lambda_record(f'{{"x":{n}}}', f"kéy-{n}", number=n, shard=3) for n in range(7)])
    ((key, body),) = bucket.objects.items()
    folder, _, name = key.rpartition("/")
    assert folder == "raw/dt=2026-07-25/hour=17"
    start = f"events-shardId-000000000003-{sequence(0, 3)}-{sequence(6, 3)}-7-"
    assert name.startswith(start) and name.endswith(".ndjson.zst")
    assert len(name) == len(start) + 16 + len(".ndjson.zst")
    assert [json.loads(text) for text in texts(body)] == [
        {
            "v": 1,
            "stream": "events",
            "shard": "shardId-000000000003",
            "seq": sequence(n, 3),
            "key": f"kéy-{n}",
            "arrived_us": ARRIVAL_MS * 1000,
            "data": {"x": n},
        }
        for n in range(7)
    ]
    assert list(json.loads(texts(body)[0])) == ["v", "stream", "shard", "seq", "key", "arrived_us", "data"]


def test_one_object_an_arrival_hour_and_shard(bucket: MemoryBucket) -> None:
    late = ARRIVAL_MS + HOUR_MS
    call(
        lambda_record("1", number=0),
        lambda_record("2", number=1),
        lambda_record("3", number=2, arrival_ms=late),
        lambda_record("4", number=0, shard=1),
    )
    assert [(key[:25], key.split("-")[-2]) for key in bucket.objects] == [
        ("raw/dt=2026-07-25/hour=17", "2"),
        ("raw/dt=2026-07-25/hour=18", "1"),
        ("raw/dt=2026-07-25/hour=17", "1"),
    ]
    assert f"-{sequence(2, 0, late)}-{sequence(2, 0, late)}-1-" in list(bucket.objects)[1]


def test_the_same_batch_makes_the_same_object(bucket: MemoryBucket) -> None:
    records = [lambda_record(f'{{"x":{n}}}', number=n) for n in range(100)]
    call(*records)
    before = dict(bucket.objects)
    call(*json.loads(json.dumps(records)))
    assert bucket.objects == before
    call(*records[:-1])
    assert len(bucket.objects) == 2


@pytest.mark.parametrize(
    "data",
    [
        b'{"x":7e-06,"y":1.0,"z":1e400,"n":123456789012345678901234567890}',
        b' { "a" : 1 , "a" : 2 } ',
        '{"é":"😀\u2028"}'.encode(),
        b'{"a":"\\u00e9\\n\\ud83d\\ude00"}',
        b'[{"x":1},5]',
        b"5",
        b'"text"',
        b"null",
        b'{"a":' * 400 + b"1" + b"}" * 400,
        b'{"a":"' + b"x" * 1_000_000 + b'"}',
    ],
)
def test_json_stands_in_the_line_as_it_was_sent(data: bytes) -> None:
    assert line(data).encode() == b'"data":' + data


def test_line_breaks_between_values_become_spaces() -> None:
    assert line(b'{\r\n  "a": [\n1,\r2],\n"b": "\\n"\n}\n') == '"data":{    "a": [ 1, 2], "b": "\\n" } '


@pytest.mark.parametrize(
    "data",
    [
        b"", b"hello", b'{"a":NaN}', b'{"a":', b'{"a":1}{"a":2}', b'{"a":"\xff"}', b'{"a":"\n"}', b'{"a":"\\ud800"}',
        b"\xef\xbb\xbf{}", b"\xf3\x89\x9a\xc2aggregate", b"\x00\xff" * 500, b"[" * 100_000 + b"]" * 100_000,
    ],
)  # fmt: skip
def test_anything_else_is_kept_in_base64(data: bytes) -> None:
    assert line(data) == f'"data_b64":"{base64.b64encode(data).decode()}"'


@pytest.mark.parametrize("key", ['a"b', "a\\b", "a\nb", "\x00\x7f", "é😀", "k" * 256])
def test_any_partition_key_can_be_read_back(key: str) -> None:
    ((_, body),) = raw.objects([lambda_record('{"x":1}', key)])
    (read,) = raw.lines(body)
    assert read.key == key


def test_lines_reads_what_objects_wrote() -> None:
    sent = [b'{"x": 7e-06}', b"\xff", b"5"]
    ((_, body),) = raw.objects([lambda_record(data, number=n) for n, data in enumerate(sent)])
    read = raw.lines(body)
    assert [(one.seq, one.arrived_us) for one in read] == [(sequence(n), ARRIVAL_MS * 1000) for n in range(3)]
    assert [bytes(one.data) for one in read] == [sent[0], b"", sent[2]]
    assert [one.data_b64 for one in read] == [None, "/w==", None]


def test_damage_is_noticed() -> None:
    ((_, body),) = raw.objects([lambda_record('{"x":1}')])
    for place in (len(body) // 2, len(body) - 1):
        with pytest.raises(zstandard.ZstdError):
            raw.lines(body[:place] + bytes([body[place] ^ 1]) + body[place + 1 :])


def test_a_bucket_that_fails_fails_the_batch(bucket: MemoryBucket) -> None:
    class Full(MemoryBucket):
        def put(self, key: str, body: bytes) -> None:
            raise StorageError("disk full")

    connect.use(buckets={"archive": Full()})
    with pytest.raises(StorageError):
        call(lambda_record("{}"))
