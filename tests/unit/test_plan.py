"""The difference of two Systems, in plain lines."""

from typing import Any

import msgspec
import pytest

from headrace.supervisor.plan import Change, changes, difference
from headrace.system import Alarm, AsyncInvoke, Bucket, Function, Mapping, Stream, System, Table

BEFORE = System(
    template="/a/template.yaml",
    parameters={"A": "1"},
    streams=(Stream(logical_id="Events", name="events", shards=4),),
    functions=(
        Function(logical_id="Store", name="store", handler="store.handler", code="/a", environment={"KEY": "secret"}),
    ),
    mappings=(Mapping(logical_id="StoreStream", uuid="u", function="store", stream="events"),),
    tables=(Table(logical_id="Table", name="events", partition_key="device_id"),),
    buckets=(Bucket(logical_id="Archive", name="archive"),),
    alarms=(Alarm(logical_id="Late", name="Late", properties={"Threshold": 1, "Period": 60}),),
)
KEPT = "removed resources keep their data, and find it again when they come back under the same name"


def changed(kind: str, **fields: Any) -> System:
    (part,) = getattr(BEFORE, kind)
    return msgspec.structs.replace(BEFORE, **{kind: (msgspec.structs.replace(part, **fields),)})


@pytest.mark.parametrize(
    ("after", "lines"),
    [
        (BEFORE, []),
        (msgspec.structs.replace(BEFORE, template="/b/template.yaml", parameters={"A": "2"}), []),
        (changed("functions", logical_id="Renamed"), []),
        (changed("functions", timeout_s=9), ["changed  function store: timeout_s 3 → 9"]),
        (
            changed("functions", timeout_s=9, url=True),
            ["changed  function store: timeout_s 3 → 9; url false → true"],
        ),
        (
            changed("functions", environment={"KEY": "other", "NEW": "x"}),
            ["changed  function store: environment (KEY, NEW)"],
        ),
        (
            changed("functions", environment={"EVENTS_TTL_DAYS": "30"}),
            [
                "changed  function store: environment (KEY, EVENTS_TTL_DAYS none → 30 for events stored from now on; "
                "those stored before keep their expiry)"
            ],
        ),
        (
            changed("functions", reserved_concurrency=2),
            ["changed  function store: reserved_concurrency none → 2"],
        ),
        (changed("functions", asynchronous=AsyncInvoke(retries=0)), ["changed  function store: asynchronous"]),
        (
            changed("streams", shards=8),
            ["changed  stream events: shards 4 → 8 (an existing stream keeps its shards)"],
        ),
        (changed("streams", retention_hours=48), ["changed  stream events: retention_hours 24 → 48"]),
        (changed("mappings", batch_size=5), ["changed  mapping events → store: batch_size 100 → 5"]),
        (
            changed("mappings", starting_position="LATEST"),
            [
                "changed  mapping events → store: starting_position TRIM_HORIZON → LATEST "
                "(a mapping that has started goes on from its checkpoint)"
            ],
        ),
        (
            changed("tables", ttl_attribute="expires_at", write_units=5),
            [
                "changed  table events: ttl_attribute none → expires_at (items stored before keep their expiry); "
                "write_units none → 5"
            ],
        ),
        (changed("buckets", lifecycle=({"Status": "Enabled"},)), ["changed  bucket archive: lifecycle"]),
        (changed("alarms", properties={"Threshold": 2, "Period": 60}), ["changed  alarm Late: properties (Threshold)"]),
        (
            msgspec.structs.replace(
                BEFORE, buckets=(*BEFORE.buckets, Bucket(logical_id="More", name="more")), alarms=()
            ),
            ["added    bucket more", "removed  alarm Late", KEPT],
        ),
        (
            changed("tables", name="other"),
            ["added    table other", "removed  table events", KEPT],
        ),
    ],
)
def test_difference(after: System, lines: list[str]) -> None:
    assert difference(BEFORE, after) == lines


def test_everything_is_removed() -> None:
    empty = System(template="/a/template.yaml", parameters={})
    assert [(change.what, change.kind) for change in changes(BEFORE, empty)] == [
        ("removed", kind) for kind in ("stream", "function", "mapping", "table", "bucket", "alarm")
    ]
    assert changes(empty, BEFORE)[0] == Change("added", "stream", "events")


def test_values_of_variables_are_not_shown() -> None:
    lines = difference(BEFORE, changed("functions", environment={"KEY": "another secret"}))
    assert "secret" not in "".join(lines)
