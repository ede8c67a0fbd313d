"""`up --enforce-limits` with tiny capacities: slower, and nothing else. Then another value, and all data is there."""

import time
from pathlib import Path
from typing import Any

from support.backend import ROOT, backend

WRITE_UNITS = 40
EVENTS = 200
RECORDS = 2600


def template(folder: Path) -> Path:
    """Return the built-in template, its archive's batching window shortened."""
    path = folder / "template.yaml"
    text = (ROOT / "template.yaml").read_text().replace("CodeUri: functions/", f"CodeUri: {ROOT / 'functions'}")
    path.write_text(text.replace("MaximumBatchingWindowInSeconds: 20", "MaximumBatchingWindowInSeconds: 1"))
    return path


def test_a_tiny_table_is_slow_and_loses_nothing_and_is_changed_by_a_parameter(tmp_path: Path) -> None:
    parameter = f"EventsTableWriteUnits={WRITE_UNITS}"
    with backend(tmp_path, template(tmp_path), "--enforce-limits", "--parameters", parameter) as running:
        kinesis = running.client("kinesis")
        sent = 0
        while not running.status()["table"]["throttled"]:  # what was saved up since the start is used first
            records = [
                {"Data": b'{"time":%d,"a":1}' % (sent + n), "PartitionKey": f"pump-{n % 7}"} for n in range(EVENTS)
            ]
            kinesis.put_records(StreamName="events", Records=records)
            sent += EVENTS
            status = running.settled(sent)
        assert status["functions"]["store"]["failed"] == 0
        verified = running.status(verify=True)
        assert verified["verified"], verified["differences"]
        assert verified["events"]["stored"] == sent
    with backend(
        tmp_path, template(tmp_path), "--enforce-limits", "--parameters", "EventsTableWriteUnits=4000"
    ) as running:
        assert f"changed  table events: write_units {WRITE_UNITS} → 4000" in running.output()
        more = [{"Data": b'{"time":%d,"a":1}' % n, "PartitionKey": "pump-8"} for n in range(EVENTS)]
        running.client("kinesis").put_records(StreamName="events", Records=more)
        status = running.settled(sent + EVENTS)
        assert status["table"]["throttled"] == 0
        verified = running.status(verify=True)
        assert verified["verified"], verified["differences"]
        assert verified["events"]["stored"] == sent + EVENTS


def test_one_provisioned_shard_takes_1_000_records_a_second_and_send_gets_all_of_them_in(tmp_path: Path) -> None:
    file = tmp_path / "fleet.csv"
    rows = "".join(f"pump-{number % 9},{number},{number % 50}\n" for number in range(RECORDS))
    file.write_text(f"device_id,time,a\n{rows}")
    provisioned = ("--parameters", "StreamMode=PROVISIONED", "--parameters", "ShardCount=1")
    with backend(tmp_path, template(tmp_path), "--enforce-limits", *provisioned) as running:
        began = time.monotonic()
        running.cli("send", str(file))
        assert time.monotonic() - began > 1.5
        running.settled(RECORDS)
        streams: dict[str, Any] = running.get("/_headrace/streams")
        assert streams["events"]["throttled"] > 0
        status = running.status(verify=True)
        assert status["verified"], status["differences"]
        assert (status["accepted"], status["events"]["stored"]) == (RECORDS, RECORDS)
