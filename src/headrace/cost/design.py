"""What a template decides about costs, read from its resources as they would be on AWS. Pure."""

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from headrace import schedule
from headrace.cost.assumptions import DAYS
from headrace.template.on_aws import Declared, Resource

FOREVER = 0.0  # of days: never
METRICS_OF_STORE = 3  # Events, Rejected, NonFiniteReadings
_MAPPING_TYPES = ("Kinesis",)
_MS_A_DAY = 86_400_000
_MONTH_START_MS = 1_767_225_600_000  # 2026-01-01: cron schedules are counted in the 30 days from here


class Reader(msgspec.Struct, frozen=True):
    """A function that reads the stream; `archives` where it writes objects to the archive."""

    name: str
    memory_mb: float
    batch: float
    window_s: float
    arm64: bool
    archives: bool = False


class Design(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that the model asks of a template. Days are counted from arrival or creation; 0 is never."""

    on_demand_stream: bool = True
    shards: float = 1
    retention_h: float = 24
    readers: tuple[Reader, ...] = ()
    fan_out_readers: int = 0
    device_api: Reader | None = None
    tables: bool = False
    write_units: float | None = None  # of the table of events; None is on demand
    read_units: float = 0
    utilisation: float = 0.0  # of write units, that autoscaling aims at; 0 where units stay as they are
    ttl_days: float = FOREVER
    recovery: bool = False
    readings: tuple[str, ...] = ()
    metrics: int = 0
    metrics_by_device: bool = False  # each reading of a device a metric of its own; no template of ours does that
    alarm_metrics: int = 0
    dashboards: int = 0
    log_days: float = FOREVER
    raw_days: float = FOREVER
    glacier_days: float = FOREVER
    deep_days: float = FOREVER
    expire_days: float = FOREVER
    job_runs: float = 0  # a month, each on a cluster of its own
    job_nodes: float = 0  # of a cluster, the primary one not counted
    primary_on_spot: bool = False
    warehouse_rpu: float = 0
    iot: bool = False


def design(declared: Declared) -> Design:
    """Return what a template's resources decide."""
    by_type: dict[str, list[Resource]] = {}
    for resource in declared.resources.values():
        by_type.setdefault(resource.type, []).append(resource)
    streams = by_type.get("AWS::Kinesis::Stream", [])
    stream = streams[0].properties if streams else {}
    names = _names(declared)
    readers, device_api = _readers(declared, names)
    table = _events_table(by_type)
    raw, events = _rules(by_type)
    variables = [each.properties.get("Environment", {}).get("Variables", {}) for each in _functions(declared).values()]
    readings = {name.strip() for text in variables for name in str(text.get("READINGS", "")).split(",")} - {""}
    throughput = table.get("ProvisionedThroughput", {})
    on_demand_table = table.get("BillingMode") == "PAY_PER_REQUEST" or not throughput
    return Design(
        on_demand_stream=stream.get("StreamModeDetails", {}).get("StreamMode") == "ON_DEMAND",
        shards=_number(stream.get("ShardCount"), 1),
        retention_h=_number(stream.get("RetentionPeriodHours"), 24),
        readers=readers,
        fan_out_readers=len(by_type.get("AWS::Kinesis::StreamConsumer", [])),
        device_api=device_api,
        tables=bool(by_type.get("AWS::DynamoDB::Table")),
        write_units=None if on_demand_table else _number(throughput.get("WriteCapacityUnits"), 0),
        read_units=_number(throughput.get("ReadCapacityUnits"), 0),
        utilisation=_utilisation(by_type),
        ttl_days=max((_number(each.get("EVENTS_TTL_DAYS"), FOREVER) for each in variables), default=FOREVER),
        recovery=_truth(table.get("PointInTimeRecoverySpecification", {}).get("PointInTimeRecoveryEnabled")),
        readings=tuple(sorted(readings)),
        metrics=len(readings) + METRICS_OF_STORE if readers else 0,
        alarm_metrics=sum(_alarm_metrics(each.properties) for each in by_type.get("AWS::CloudWatch::Alarm", [])),
        dashboards=len(by_type.get("AWS::CloudWatch::Dashboard", [])),
        log_days=_log_days(by_type),
        raw_days=raw,
        glacier_days=events["glacier_days"],
        deep_days=events["deep_days"],
        expire_days=events["expire_days"],
        **_jobs(declared, by_type),
        warehouse_rpu=sum(
            _number(each.properties.get("BaseCapacity"), 128)
            for each in by_type.get("AWS::RedshiftServerless::Workgroup", [])
        ),
        iot=bool(by_type.get("AWS::IoT::TopicRule")),
    )


def runs_a_month(expression: str) -> float:
    """Return how often a schedule is due in 30 days; 0 for one that can't be read."""
    try:
        parsed = schedule.parse(expression)
    except ValueError:
        return 0
    if isinstance(parsed, schedule.Rate):
        return DAYS * _MS_A_DAY / parsed.period_ms
    count, at, end = 0, _MONTH_START_MS - 1, _MONTH_START_MS + DAYS * _MS_A_DAY
    while (due := schedule.following(parsed, at, at)) is not None and due < end:
        count, at = count + 1, due
    return count


def _functions(declared: Declared) -> dict[str, Resource]:
    kinds = ("AWS::Serverless::Function", "AWS::Lambda::Function")
    return {name: each for name, each in declared.resources.items() if each.type in kinds}


def _names(declared: Declared) -> dict[str, str]:
    """Return logical ids by every name that a mapping may call a function by."""
    found = {}
    for logical_id, each in _functions(declared).items():
        found[logical_id] = logical_id
        found[str(each.properties.get("FunctionName", logical_id))] = logical_id
    return found


def _readers(declared: Declared, names: Mapping[str, str]) -> tuple[tuple[Reader, ...], Reader | None]:
    readers, device_api = [], None
    mappings: dict[str, list[dict[str, Any]]] = {}
    for each in declared.resources.values():
        if each.type == "AWS::Lambda::EventSourceMapping":
            name = str(each.properties.get("FunctionName", "")).rpartition(":")[2]
            mappings.setdefault(names.get(name, name), []).append(each.properties)
    for logical_id, each in _functions(declared).items():
        events = each.properties.get("Events", {})
        own = [event.get("Properties", {}) for event in events.values() if event.get("Type") in _MAPPING_TYPES]
        made = [_reader(logical_id, each, mapping) for mapping in [*own, *mappings.get(logical_id, [])]]
        readers += made
        if not made and device_api is None:
            device_api = _reader(logical_id, each, {})
    return tuple(readers), device_api


def _reader(logical_id: str, function: Resource, mapping: Mapping[str, Any]) -> Reader:
    return Reader(
        str(function.properties.get("FunctionName", logical_id)),
        _number(function.properties.get("MemorySize"), 128),
        _number(mapping.get("BatchSize"), 100),
        _number(mapping.get("MaximumBatchingWindowInSeconds"), 0),
        "arm64" in function.properties.get("Architectures", []),
        "ARCHIVE_BUCKET" in function.properties.get("Environment", {}).get("Variables", {}),
    )


def _events_table(by_type: Mapping[str, list[Resource]]) -> dict[str, Any]:
    """Return the properties of the table that events go to: the one with a TTL, else the first."""
    tables = [each.properties for each in by_type.get("AWS::DynamoDB::Table", [])]
    with_ttl = [each for each in tables if each.get("TimeToLiveSpecification")]
    return (with_ttl or tables or [{}])[0]


def _utilisation(by_type: Mapping[str, list[Resource]]) -> float:
    """Return which part of the write units autoscaling has used, from 0 to 1; 0 without it."""
    for policy in by_type.get("AWS::ApplicationAutoScaling::ScalingPolicy", []):
        target = policy.properties.get("TargetTrackingScalingPolicyConfiguration", {})
        metric = target.get("PredefinedMetricSpecification", {}).get("PredefinedMetricType")
        if metric == "DynamoDBWriteCapacityUtilization":
            return _number(target.get("TargetValue"), 0) / 100
    return 0.0


def _alarm_metrics(alarm: Mapping[str, Any]) -> int:
    return sum("MetricStat" in each for each in alarm.get("Metrics", [])) or 1


def _log_days(by_type: Mapping[str, list[Resource]]) -> float:
    groups = by_type.get("AWS::Logs::LogGroup", [])
    return max((_number(each.properties.get("RetentionInDays"), FOREVER) for each in groups), default=FOREVER)


def _rules(by_type: Mapping[str, list[Resource]]) -> tuple[float, dict[str, float]]:
    """Return after how many days raw objects expire, and the days of compacted files' transitions and expiration."""
    raw, events = FOREVER, {"glacier_days": FOREVER, "deep_days": FOREVER, "expire_days": FOREVER}
    for bucket in by_type.get("AWS::S3::Bucket", []):
        for rule in bucket.properties.get("LifecycleConfiguration", {}).get("Rules", []):
            prefix = str(rule.get("Prefix", ""))
            if rule.get("Status") != "Enabled":
                continue
            if prefix.startswith("raw"):
                raw = _number(rule.get("ExpirationInDays"), raw)
            elif prefix.startswith("events"):
                events["expire_days"] = _number(rule.get("ExpirationInDays"), FOREVER)
                for step in _transitions(rule):
                    name = {"GLACIER": "glacier_days", "DEEP_ARCHIVE": "deep_days"}.get(str(step.get("StorageClass")))
                    if name:
                        events[name] = _number(step.get("TransitionInDays"), FOREVER)
    return raw, events


def _transitions(rule: Mapping[str, Any]) -> list[dict[str, Any]]:
    one = rule.get("Transition")
    return [*rule.get("Transitions", []), *([one] if one else [])]


def _jobs(declared: Declared, by_type: Mapping[str, list[Resource]]) -> dict[str, Any]:
    """Return how often a month a cluster is started for jobs, and of how many nodes it is."""
    runs, nodes, spot = 0.0, 0.0, False
    for machine in by_type.get("AWS::Serverless::StateMachine", []):
        fleets = list(_fleets(machine.properties.get("Definition", {})))
        if not fleets:
            continue
        runs += sum(runs_a_month(text) for text in _enabled(machine.properties.get("Events", {})))
        for fleet in fleets:
            if fleet.get("InstanceFleetType") == "MASTER":
                spot = bool(_number(fleet.get("TargetSpotCapacity"), 0))
            else:
                nodes += _number(fleet.get("TargetSpotCapacity"), 0) + _number(fleet.get("TargetOnDemandCapacity"), 0)
    return {"job_runs": runs, "job_nodes": nodes, "primary_on_spot": spot}


def _enabled(events: Mapping[str, Any]) -> Iterator[str]:
    for event in events.values():
        properties = event.get("Properties", {})
        if event.get("Type") in ("Schedule", "ScheduleV2") and properties.get("State", "ENABLED") == "ENABLED":
            yield str(properties.get("ScheduleExpression", properties.get("Schedule", "")))


def _fleets(value: object) -> Iterator[Mapping[str, Any]]:
    """Yield every instance fleet that a state machine's definition holds."""
    if isinstance(value, dict):
        if "InstanceFleetType" in value:
            yield value
        for each in value.values():
            yield from _fleets(each)
    elif isinstance(value, list):
        for each in value:
            yield from _fleets(each)


def _truth(value: object) -> bool:
    """Return whether a property is set: CloudFormation takes texts for booleans."""
    return str(value).lower() == "true"


def _number(value: object, default: float) -> float:
    try:
        return float(value) if isinstance(value, str | int | float) else default
    except ValueError:
        return default
