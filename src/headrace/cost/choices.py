"""Which of two ways is cheaper, and by how much; and the parameters that follow from it. Pure."""

import math
from collections.abc import Collection

import msgspec

from headrace.cost.assumptions import HOURS
from headrace.cost.model import (
    Case,
    files_a_month,
    lines,
    raw_objects,
    shards_needed,
    write_units_needed,
)
from headrace.plural import counted


class Option(msgspec.Struct, frozen=True):
    """One way of doing it, and what the whole system then costs a month."""

    name: str
    total: float


class Choice(msgspec.Struct, frozen=True):
    """A decision: its ways, which one the template takes, and what the cheaper one saves against the other."""

    subject: str
    options: tuple[Option, ...]
    chosen: str
    cheaper: str
    saves: float
    note: str


def total(case: Case) -> float:
    """Return what a case costs a month."""
    return math.fsum(line.amount for line in lines(case))


def changed(case: Case, **changes: object) -> Case:
    """Return the case with another design."""
    return msgspec.structs.replace(case, design=msgspec.structs.replace(case.design, **changes))


def with_stream(case: Case, on_demand: bool) -> Case:
    """Return the case with an on-demand stream, or one with as many shards as the traffic needs."""
    return changed(case, on_demand_stream=on_demand, shards=shards_needed(case.traffic, case.assumed))


def with_table(case: Case, on_demand: bool) -> Case:
    """Return the case with an on-demand table, or one with as many units as the traffic needs."""
    if on_demand:
        return changed(case, write_units=None)
    reads = read_units_needed(case)
    return changed(case, write_units=write_units_needed(case.traffic, case.assumed), read_units=reads)


def read_units_needed(case: Case) -> int:
    """Return the read units that devices' calls take, with the headroom of writes."""
    mean = case.traffic.devices * case.assumed.device_calls_per_day / 86_400 * case.assumed.device_call_reads
    return max(25, math.ceil(round(case.assumed.write_headroom * mean, 9)))


def naive(case: Case) -> float:
    """Return the cost of on demand everywhere and a metric for each device and reading."""
    return total(changed(on_demand(case), metrics_by_device=True))


def ways(case: Case) -> list[Option]:
    """Return the naive way, then this template on demand, sized, and as it is where that is neither."""
    best, _ = recommended(case)
    found = [
        Option("naive: on demand, a metric a device", naive(case)),
        Option("this template on demand", total(on_demand(case))),
        Option("this template, sized for this traffic", total(best)),
    ]
    own = total(case)
    if all(not math.isclose(own, way.total) for way in found[1:]):
        found.append(Option("this template with its parameters", own))
    return found


def on_demand(case: Case) -> Case:
    """Return the case with a stream and a table that follow the load: the template's own defaults."""
    return with_table(with_stream(case, True), True)


def recommended(case: Case) -> tuple[Case, dict[str, str]]:
    """Return the cheapest case of those that parameters choose, and these parameters."""
    values: dict[str, str] = {}
    streams = {mode: with_stream(case, mode) for mode in (True, False)}
    follows = total(streams[True]) <= total(streams[False])
    best = streams[follows]
    values["StreamMode"] = "ON_DEMAND" if follows else "PROVISIONED"
    if not follows:
        values["ShardCount"] = f"{best.design.shards:g}"
    if not case.design.tables:
        return best, values
    tables = {mode: with_table(best, mode) for mode in (True, False)}
    follows = total(tables[True]) <= total(tables[False])
    best = tables[follows]
    values["EventsTableWriteUnits"] = "0" if follows else f"{best.design.write_units:g}"
    if not follows:
        values["EventsTableReadUnits"] = f"{best.design.read_units:g}"
    return best, values


def capacity(case: Case, declared: Collection[str], given: Collection[str]) -> dict[str, str]:
    """Return the parameters that give a template the cheapest capacity for its traffic.

    Those given are not among them: what is named is meant; nor those that the template does not declare.
    """
    _, values = recommended(case)
    return {name: value for name, value in values.items() if name in declared and name not in given}


def choices(case: Case) -> list[Choice]:
    """Return every decision that makes a difference."""
    found = [_stream(case)]
    if case.design.tables:
        found += [_table(case), _grouping(case)]
    if case.design.metrics:
        found.append(_dimensions(case))
    if raw_objects(case):
        found.append(_compaction(case))
    return found


def _choice(subject: str, first: Option, second: Option, chosen: str, note: str) -> Choice:
    cheaper = min(first, second, key=lambda option: option.total)
    return Choice(subject, (first, second), chosen, cheaper.name, abs(first.total - second.total), note)


def _stream(case: Case) -> Choice:
    shards = shards_needed(case.traffic, case.assumed)
    chosen = "on demand" if case.design.on_demand_stream else "provisioned"
    return _choice(
        "stream",
        Option("on demand", total(with_stream(case, True))),
        Option("provisioned", total(with_stream(case, False))),
        chosen,
        f"provisioned with {counted(shards, 'shard')}; on demand follows peaks by itself",
    )


def _table(case: Case) -> Choice:
    units = write_units_needed(case.traffic, case.assumed)
    return _choice(
        "table",
        Option("on demand", total(with_table(case, True))),
        Option("provisioned", total(with_table(case, False))),
        "on demand" if case.design.write_units is None else "provisioned",
        f"provisioned with {units:,} write units; what comes above them is throttled, and tried again",
    )


def _grouping(case: Case) -> Choice:
    """Compare an item an event with an item a device-minute; grouping needs readings that arrive together."""
    return _choice(
        "items",
        Option("an item an event", total(case)),
        Option("an item a device-minute", total(case) - _writes(case) + _writes_grouped(case)),
        "an item an event",
        "not built: an identity is an event's; it pays only where a minute's events arrive together",
    )


def _writes(case: Case) -> float:
    return math.fsum(line.amount for line in lines(case) if line.component == "table" and "write" in line.item)


def _writes_grouped(case: Case) -> float:
    """Return what writes cost with one item for the events that a device sends within a minute."""
    traffic, assumed = case.traffic, case.assumed
    together = max(1.0, traffic.rate_s * 60)
    units_s = traffic.events_s / together * math.ceil((traffic.bytes * together + assumed.item_extra_bytes) / 1024)
    if case.design.write_units is None:
        return units_s * 2_592_000 * case.prices.of("table_write")
    return math.ceil(assumed.write_headroom * units_s) * HOURS * case.prices.of("table_write_hour")


def _dimensions(case: Case) -> Choice:
    return _choice(
        "metrics",
        Option("of the fleet", total(case)),
        Option("of each device", total(changed(case, metrics_by_device=True))),
        "of the fleet",
        "a device id as a dimension makes each device's readings metrics of their own",
    )


def _compaction(case: Case) -> Choice:
    """Compare moving compacted files to DEEP_ARCHIVE with moving every raw object."""
    price = case.prices.of("archive_to_deep_archive")
    compacted, raw = files_a_month(case) * price, raw_objects(case) * price
    return _choice(
        "transitions",
        Option("compact first", total(case)),
        Option("move raw objects", total(case) - compacted + raw),
        "compact first",
        f"{files_a_month(case):,.0f} compacted files a month instead of {raw_objects(case):,.0f} raw objects",
    )
