"""What a design costs a month under given traffic and assumptions, line by line. Pure.

A line is quantity × price. Money is a float: its inputs are known to two digits, and sums of some fifty lines differ
from exact ones by less than a billionth. A month has 30 days.
"""

import math
from collections.abc import Callable, Iterator

import msgspec

from headrace.cost.assumptions import DAYS, HOURS, SECONDS, Assumptions, Traffic
from headrace.cost.design import Design, Reader
from headrace.cost.prices import UNSOURCED, Prices
from headrace.plural import counted

SHARD_RECORDS_S, SHARD_BYTES_S = 1000, 2**20
PUT_UNIT_BYTES = 25 * 1024
WARM_METRICS = 10_000  # those that cost the first tier's price
STEPS_A_RUN = 15
DEVICE_ITEM_BYTES = 1024


class Line(msgspec.Struct, frozen=True):
    """One thing that is charged: `quantity` of `unit` at `price` dollars each."""

    component: str
    item: str
    quantity: float
    unit: str
    price: float
    amount: float
    sourced: bool


class Case(msgspec.Struct, frozen=True):
    """What is to be priced."""

    design: Design
    traffic: Traffic
    assumed: Assumptions
    prices: Prices

    def line(self, component: str, item: str, quantity: float, price: str) -> Line:
        """Return a line at one of the file's prices."""
        found = self.prices.prices[price]
        return Line(
            component, item, quantity, found.unit, found.price, quantity * found.price, found.source != UNSOURCED
        )

    @property
    def gb(self) -> float:
        """Return the events of a month in GB."""
        return self.traffic.events * self.traffic.bytes / self.assumed.gb_bytes

    @property
    def days(self) -> float:
        """Return for how many days there have been events at the end of the month priced."""
        return self.assumed.month * DAYS

    def kept(self, after: float, before: float) -> float:
        """Return the part of a month's events that is between two ages in days at the end; 0 is no limit."""
        return max(0.0, min(self.days, before or math.inf) - after) / DAYS


def lines(case: Case) -> list[Line]:
    """Return every line whose amount is not zero."""
    return [line for component in COMPONENTS for line in component(case) if line.amount > 0]


def shards_needed(traffic: Traffic, assumed: Assumptions) -> int:
    """Return the shards that a provisioned stream needs for this traffic."""
    load = max(traffic.records_s / SHARD_RECORDS_S, traffic.records_s * traffic.record_bytes / SHARD_BYTES_S)
    return max(1, math.ceil(assumed.shards_min), math.ceil(round(assumed.shard_headroom * load, 9)))


def shards_of(case: Case) -> float:
    """Return the shards that the stream has."""
    if not case.design.on_demand_stream:
        return case.design.shards
    return max(case.assumed.on_demand_shards_min, shards_needed(case.traffic, case.assumed))


def write_units_s(traffic: Traffic, assumed: Assumptions) -> float:
    """Return the write units a second that items of this traffic take, on average."""
    return traffic.events_s * math.ceil((traffic.bytes + assumed.item_extra_bytes) / 1024)


def write_units_needed(traffic: Traffic, assumed: Assumptions) -> int:
    """Return the write units to provision."""
    return max(1, math.ceil(round(assumed.write_headroom * write_units_s(traffic, assumed), 9)))


def stream(case: Case) -> Iterator[Line]:
    """Yield what Kinesis charges, and IoT Core where devices come through it."""
    traffic, design = case.traffic, case.design
    records, size = traffic.records_s * SECONDS, traffic.record_bytes
    retrieved = len(design.readers) * case.gb
    beyond_h = max(0.0, min(design.retention_h, 168) - 24)
    long_gb = case.gb * max(0.0, design.retention_h - 168) / HOURS
    if design.on_demand_stream:
        yield case.line("stream", "on demand", HOURS, "stream_on_demand_hour")
        yield case.line("stream", "in", records * math.ceil(size / 1024) / 2**20, "stream_on_demand_in_gb")
        readers = counted(len(design.readers), "reader")
        yield case.line("stream", f"out to {readers}", retrieved, "stream_on_demand_out_gb")
        yield case.line("stream", "retention", case.gb * beyond_h / HOURS, "stream_on_demand_kept_gb")
    else:
        yield case.line("stream", "shards", design.shards * HOURS, "stream_shard_hour")
        yield case.line("stream", "puts", records * math.ceil(size / PUT_UNIT_BYTES), "stream_put_unit")
        beyond = design.shards * HOURS if beyond_h else 0.0
        yield case.line("stream", "retention", beyond, "stream_shard_kept_hour")
    yield case.line("stream", "long retention", long_gb, "stream_long_kept_gb")
    if design.iot:
        yield case.line("stream", "IoT Core messages", records * math.ceil(size / 5120), "iot_message")
        yield case.line("stream", "IoT Core rule", records, "iot_rule")


def calls_a_month(case: Case, reader: Reader) -> float:
    """Return how often a mapping calls its function: for full batches, or by its window, whichever is more often."""
    shards = shards_of(case)
    at_a_low_rate = shards * (1 / reader.window_s if reader.window_s else case.assumed.polls_per_shard_s)
    records = case.traffic.records_s
    return min(records, max(at_a_low_rate, records / reader.batch)) * SECONDS


def call_s(case: Case, reader: Reader, calls: float) -> float:
    """Return how long a call takes, in seconds."""
    if reader.archives:
        return case.assumed.archive_call_s
    records = case.traffic.records_s * SECONDS / calls
    return case.assumed.store_call_s * max(1.0, records / case.assumed.store_call_records)


def functions(case: Case) -> Iterator[Line]:
    """Yield what Lambda charges."""
    for reader in case.design.readers:
        calls = calls_a_month(case, reader)
        yield from _function(case, reader, calls, call_s(case, reader, calls))
    if case.design.device_api:
        calls = case.traffic.devices * case.assumed.device_calls_per_day * DAYS
        yield from _function(case, case.design.device_api, calls, case.assumed.device_call_s)


def _function(case: Case, reader: Reader, calls: float, seconds: float) -> Iterator[Line]:
    price = "function_gb_s_arm64" if reader.arm64 else "function_gb_s_x86_64"
    yield case.line("functions", f"{reader.name}, calls", calls, "function_call")
    yield case.line("functions", f"{reader.name}, time", calls * seconds * reader.memory_mb / 1024, price)


def tables(case: Case) -> Iterator[Line]:
    """Yield what DynamoDB charges: the table of events grows until its TTL holds it."""
    design, assumed, traffic = case.design, case.assumed, case.traffic
    if not design.tables:
        return
    reads = traffic.devices * assumed.device_calls_per_day * DAYS * assumed.device_call_reads
    if design.write_units is None:
        yield case.line("table", "writes on demand", write_units_s(traffic, assumed) * SECONDS, "table_write")
        yield case.line("table", "reads on demand", reads if design.device_api else 0, "table_read")
    else:
        units = design.write_units
        if design.utilisation:
            units = max(units, math.ceil(write_units_s(traffic, assumed) / design.utilisation))
        yield case.line("table", "write units", units * HOURS, "table_write_hour")
        yield case.line("table", "read units", design.read_units * HOURS, "table_read_hour")
    extra = assumed.item_extra_bytes + assumed.item_stored_extra_bytes
    stored = traffic.events * (traffic.bytes + extra) / assumed.gb_bytes * case.kept(0, design.ttl_days)
    devices = traffic.devices * DEVICE_ITEM_BYTES / assumed.gb_bytes
    yield case.line("table", "events kept", stored, "table_gb")
    yield case.line("table", "devices kept", devices, "table_gb")
    if design.recovery:
        yield case.line("table", "recovery", stored + devices, "table_recovery_gb")


def metrics(case: Case) -> Iterator[Line]:
    """Yield what CloudWatch charges: metrics, alarms, dashboards and logs."""
    design, assumed = case.design, case.assumed
    count = metrics_by_device(case) if design.metrics_by_device else design.metrics
    yield case.line("metrics", "metrics", min(count, WARM_METRICS), "metric")
    yield case.line("metrics", "metrics above 10,000", max(0.0, count - WARM_METRICS), "metric_beyond")
    yield case.line("metrics", "alarms", design.alarm_metrics, "alarm_metric")
    yield case.line("metrics", "dashboards", design.dashboards, "dashboard")
    calls = {reader.name: calls_a_month(case, reader) for reader in design.readers}
    storing = sum(count for reader, count in zip(design.readers, calls.values(), strict=True) if not reader.archives)
    all_calls = sum(calls.values())
    if design.device_api:
        all_calls += case.traffic.devices * assumed.device_calls_per_day * DAYS
    an_event = assumed.readings_per_event * assumed.emf_bytes_per_reading
    if design.metrics_by_device:  # a line has one set of dimensions
        an_event = assumed.emf_bytes_per_device_line
    readings = case.traffic.events * an_event if storing else 0.0
    taken = readings + storing * assumed.emf_bytes_per_call + all_calls * assumed.log_bytes_per_call
    yield case.line("metrics", "logs in", taken / assumed.gb_bytes, "log_gb")
    yield case.line("metrics", "logs kept", taken / assumed.gb_bytes * case.kept(0, design.log_days), "log_kept_gb")


def metrics_by_device(case: Case) -> float:
    """Return how many metrics there are if a device is a dimension: one for each reading that a device sends."""
    return case.traffic.devices * max(1.0, case.assumed.readings_per_event)


def archive(case: Case) -> Iterator[Line]:
    """Yield what S3 charges: raw objects, and compacted files through their storage classes."""
    design, assumed = case.design, case.assumed
    if not (objects := raw_objects(case)):
        return
    yield case.line("archive", "puts and tags of raw objects", 2 * objects, "archive_put")
    yield case.line("archive", "gets of raw objects", objects, "archive_get")
    raw = case.gb * assumed.raw_fraction * case.kept(0, design.raw_days)
    yield case.line("archive", "raw objects kept", raw, "archive_standard_gb")
    compacted, last = case.gb * assumed.compacted_fraction, design.expire_days
    for item, after, before, price in _classes(design):
        kept = compacted * case.kept(after, min(before or math.inf, last or math.inf))
        yield case.line("archive", f"compacted files in {item}", kept, price)
    for days, price in (
        (design.glacier_days, "archive_to_glacier"),
        (design.deep_days, "archive_to_deep_archive"),
    ):
        moved = files_a_month(case) if 0 < days < case.days else 0
        yield case.line("archive", "transitions of compacted files", moved, price)


def _classes(design: Design) -> Iterator[tuple[str, float, float, str]]:
    """Yield each storage class with the ages in days from and until which compacted files are in it."""
    glacier, deep = design.glacier_days, design.deep_days
    first = min(glacier or math.inf, deep or math.inf)
    yield "STANDARD", 0, first, "archive_standard_gb"
    if glacier:
        yield "GLACIER", glacier, deep or math.inf, "archive_glacier_gb"
    if deep:
        yield "DEEP_ARCHIVE", deep, math.inf, "archive_deep_archive_gb"


def raw_objects(case: Case) -> float:
    """Return the raw objects of a month."""
    return sum(calls_a_month(case, reader) for reader in case.design.readers if reader.archives)


def files_a_month(case: Case) -> float:
    """Return the compacted files of a month: a day's events in as few as their size allows."""
    a_day = case.traffic.events / DAYS * case.traffic.bytes * case.assumed.compacted_fraction
    return DAYS * math.ceil(a_day / case.assumed.compacted_file_bytes)


def jobs(case: Case) -> Iterator[Line]:
    """Yield what EMR, EC2 and Step Functions charge."""
    design, assumed = case.design, case.assumed
    hours = design.job_runs * assumed.job_run_h
    spot = design.job_nodes + (1 if design.primary_on_spot else 0)
    full = 0 if design.primary_on_spot or not design.job_nodes else 1
    yield case.line("jobs", "on-demand nodes", hours * full, "job_node_hour")
    discounted = case.line("jobs", "Spot nodes", hours * spot, "job_node_hour")
    part = 1 - assumed.job_spot_discount
    yield msgspec.structs.replace(discounted, price=discounted.price * part, amount=discounted.amount * part)
    yield case.line("jobs", "EMR", hours * (spot + full), "job_fee_hour")
    yield case.line("jobs", "states", design.job_runs * STEPS_A_RUN, "job_step")


def warehouse(case: Case) -> Iterator[Line]:
    """Yield what Redshift Serverless charges."""
    rpu = case.design.warehouse_rpu
    yield case.line("warehouse", "computing", rpu * case.assumed.warehouse_h_per_day * DAYS, "warehouse_rpu_hour")
    kept = case.gb * case.assumed.compacted_fraction * case.kept(0, case.design.expire_days) if rpu else 0.0
    yield case.line("warehouse", "events kept", kept, "warehouse_gb")


COMPONENTS: tuple[Callable[[Case], Iterator[Line]], ...] = (
    stream,
    functions,
    tables,
    metrics,
    archive,
    jobs,
    warehouse,
)
