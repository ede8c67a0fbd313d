"""Stream records as Lambda's event, compared with the shape that AWS documents."""

import base64
import json

import pytest

from headrace.record import Record, parse_sequence_number
from headrace.runtime import kinesis_event
from headrace.runtime.kinesis_event import Source

SOURCE = Source("readings", 3, 1_700_000_000)
FIRST = 1_700_000_123_456


def test_the_documented_shape() -> None:
    event = kinesis_event.build([Record(3, 7, FIRST, "device-1", b'{"t": 1}')], SOURCE)
    (record,) = event["Records"]
    sequence = record["kinesis"]["sequenceNumber"]
    assert event == {
        "Records": [
            {
                "kinesis": {
                    "kinesisSchemaVersion": "1.0",
                    "partitionKey": "device-1",
                    "sequenceNumber": sequence,
                    "data": base64.b64encode(b'{"t": 1}').decode(),
                    "approximateArrivalTimestamp": 1_700_000_123.456,
                },
                "eventSource": "aws:kinesis",
                "eventVersion": "1.0",
                "eventID": f"shardId-000000000003:{sequence}",
                "eventName": "aws:kinesis:record",
                "invokeIdentityArn": "arn:aws:iam::000000000000:role/headrace",
                "awsRegion": "us-east-1",
                "eventSourceARN": "arn:aws:kinesis:us-east-1:000000000000:stream/readings",
            }
        ]
    }
    assert parse_sequence_number(sequence) == (1_700_000_000, 3, 7, 1_700_000_123)


def test_sequence_numbers_rise_over_arrivals_and_are_found_again() -> None:
    records = [Record(3, number, FIRST + 600 * number, f"k{number}", b"x" * number) for number in range(50)]
    rows = kinesis_event.build(records, SOURCE)["Records"]
    sequences = [row["kinesis"]["sequenceNumber"] for row in rows]
    assert sequences == sorted(sequences)
    assert {len(sequence) for sequence in sequences} == {56}
    assert [parse_sequence_number(sequence).number for sequence in sequences] == list(range(50))
    assert kinesis_event.number_of(records, SOURCE) == dict(zip(sequences, range(50), strict=True))
    assert [round(row["kinesis"]["approximateArrivalTimestamp"] * 1000) for row in rows] == [
        record.arrival_ms for record in records
    ]


@pytest.mark.parametrize("data", [b"", b"a", b"ab", b"abc", bytes(range(256)) * 40])
@pytest.mark.parametrize("key", ["k", "device-000000001", "schlüssel"])
def test_the_payload_bound_holds(key: str, data: bytes) -> None:
    record = Record(3, 2**33, FIRST, key, data)
    size = len(json.dumps(kinesis_event.build([record], SOURCE), separators=(",", ":"), ensure_ascii=False).encode())
    content = len(key.encode()) + len(data)
    bound = kinesis_event.record_bytes(SOURCE) + 4 + content * 4 // 3 + len('{"Records":[]}')
    assert size <= bound
