"""What an estimate assumes beside the template: each assumption with its default, and why. Pure.

`headrace cost --assume NAME=VALUE` sets one, and the output lists them all.
"""

import math
from collections.abc import Mapping
from typing import Annotated

import msgspec

from headrace.errors import UsageError

DAYS, HOURS, SECONDS = 30, 720, 2_592_000  # of a month
RECORD_BYTES_MAX = 1_048_576
_VALUE_MAX = 1e12


class Traffic(msgspec.Struct, frozen=True):
    """What devices send: `rate_s` events a second each, of `bytes` each, `per_record` of them in a stream record."""

    devices: float
    rate_s: float
    bytes: float
    per_record: float = 1

    @property
    def events_s(self) -> float:
        """Return the events a second of all devices."""
        return self.devices * self.rate_s

    @property
    def events(self) -> float:
        """Return the events a month."""
        return self.events_s * SECONDS

    @property
    def records_s(self) -> float:
        """Return the stream records a second."""
        return self.events_s / self.per_record

    @property
    def record_bytes(self) -> float:
        """Return the size of a stream record."""
        return self.bytes * self.per_record


def traffic(devices: float, rate_s: float, size: float, per_record: float) -> Traffic:
    """Return checked traffic; raises UsageError with the option to mend."""
    for option, value, low, high in (
        ("--devices", devices, 1, 1e9),
        ("--rate", rate_s, 1e-8, 1e6),
        ("--bytes", size, 1, RECORD_BYTES_MAX),
        ("--events-per-record", per_record, 1, 10_000),
    ):
        if not (math.isfinite(value) and low <= value <= high):
            raise UsageError(f"{option} is {value:g}.", f"It may be {low:g} to {high:,.0f}.")
    if size * per_record > RECORD_BYTES_MAX:
        raise UsageError(
            f"A record of {per_record:g} events of {size:g} bytes has more than 1 MiB, which a stream takes.",
            "Lower --events-per-record or --bytes.",
        )
    found = Traffic(devices, rate_s, size, per_record)
    if found.events_s > 1e9:
        raise UsageError(f"That makes {found.events_s:,.0f} events a second.", "Lower --devices or --rate.")
    return found


N = Annotated[float, msgspec.Meta(ge=0, le=_VALUE_MAX)]


class Assumptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Every assumption; `MEANING` says what each is."""

    month: N = 12
    gb_bytes: N = 2**30
    shard_headroom: N = 1.5
    shards_min: N = 1
    on_demand_shards_min: N = 4
    write_headroom: N = 1.3
    item_extra_bytes: N = 125
    item_stored_extra_bytes: N = 100
    polls_per_shard_s: N = 1
    store_call_s: N = 0.15
    store_call_records: N = 500
    archive_call_s: N = 1.0
    device_calls_per_day: N = 24
    device_call_s: N = 0.05
    device_call_reads: N = 1
    readings_per_event: N = 1
    emf_bytes_per_reading: N = 7
    emf_bytes_per_call: N = 400
    emf_bytes_per_device_line: N = 220
    log_bytes_per_call: N = 300
    raw_fraction: N = 0.27
    compacted_fraction: N = 0.10
    compacted_file_bytes: N = 128 * 2**20
    job_run_h: N = 1.0
    job_spot_discount: N = 0.5
    warehouse_h_per_day: N = 1.0


MEANING = {
    "month": "the month since the start whose bill this is: tables and archive grow until TTL and lifecycle hold them",
    "gb_bytes": "bytes of a GB",
    "shard_headroom": "shards of a provisioned stream, of those that the mean rate fills",
    "shards_min": "shards of a provisioned stream at least",
    "on_demand_shards_min": "shards of an on-demand stream at least; above, as many as a provisioned one would have",
    "write_headroom": "provisioned write units, of the mean",
    "item_extra_bytes": "an item's bytes beside the event: number, arrival, names (measured: 123; with an id 45)",
    "item_stored_extra_bytes": "what DynamoDB adds to an item's size for storage",
    "polls_per_shard_s": "calls a second of a mapping without a batching window, on each shard, at a low rate",
    "store_call_s": "duration of a call of up to store_call_records; more records take proportionally longer",
    "store_call_records": "records that a call takes in store_call_s",
    "archive_call_s": "duration of a call of `archive`",
    "device_calls_per_day": "calls of device_api a device",
    "device_call_s": "duration of a call of device_api",
    "device_call_reads": "read units of a call of device_api",
    "readings_per_event": "readings of an event that are metrics",
    "emf_bytes_per_reading": "log of a reading that is a metric (measured: 6.7)",
    "emf_bytes_per_call": "log of a call's other metrics",
    "emf_bytes_per_device_line": "log of an event if each device has metrics: a line of its own (counted: 196 + 26)",
    "log_bytes_per_call": "log that Lambda writes for each call",
    "raw_fraction": "raw objects' bytes, of the events' (measured: 40 of 150)",
    "compacted_fraction": "Parquet's bytes, of the events' (measured: 11 to 15 of 150)",
    "compacted_file_bytes": "a day's events in one compacted file at most",
    "job_run_h": "hours that a run's cluster lives",
    "job_spot_discount": "what Spot saves of an instance's price; EMR's fee stays",
    "warehouse_h_per_day": "hours a day that the warehouse computes, loads and queries together",
}


def assumptions(given: Mapping[str, str]) -> Assumptions:
    """Return the assumptions with these set; raises UsageError."""
    values: dict[str, float] = {}
    for name, text in given.items():
        if name not in MEANING:
            raise UsageError(f"--assume {name}: there is no such assumption.", f"There are: {', '.join(MEANING)}.")
        try:
            values[name] = float(text)
        except ValueError:
            raise UsageError(f"--assume {name}: {text!r} is no number.", f"Like --assume {name}=1.5.") from None
    try:
        made = msgspec.convert(values, Assumptions)
    except msgspec.ValidationError as error:
        raise UsageError(f"--assume: {error}.", "An assumption is a number from 0 to 1e12.") from error
    for name in ("month", "gb_bytes", "store_call_records", "compacted_file_bytes", "polls_per_shard_s"):
        if getattr(made, name) <= 0:
            raise UsageError(f"--assume {name}: it has to be above 0.", f"It is: {MEANING[name]}.")
    if any(not math.isfinite(value) for value in values.values()):
        raise UsageError("--assume: a value is not finite.", "Give a number.")
    if made.job_spot_discount > 1:
        raise UsageError("--assume job_spot_discount: it is a part of the price.", "Give 0 to 1.")
    return made
