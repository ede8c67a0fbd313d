"""Gate `metrics`: every metric that an alarm or a dashboard names is one that AWS or a function publishes.

Namespace, name and dimensions are checked, and that a dimension's value is a resource of the template; a dashboard's
body is valid, and its widgets lie on the grid.
"""

import json
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from headrace import emf
from headrace.template.document import did_you_mean
from headrace.template.gates.finding import Finding
from headrace.template.gates.model import FUNCTIONS, MACHINES, Model, Resource
from headrace.template.gates.needs import code_of

GATE = "metrics"
_STAT = re.compile(
    r"Average|Sum|Minimum|Maximum|SampleCount|IQM|p(100|\d{1,2}(\.\d+)?)|(tm|wm|tc|ts|pr)\d{1,2}(\.\d+)?|"
    r"(TM|WM|PR|TC|TS)\([\d.%]*:[\d.%]*\)"
)
_GRID = 24
_STORAGE = [
    f"{name}Storage"
    for name in (
        *("Standard", "StandardIA", "OneZoneIA", "IntelligentTieringFA"),
        *("GlacierInstantRetrieval", "Glacier", "DeepArchive"),
    )
]


class _Known(NamedTuple):
    """A namespace of AWS: its metrics, its dimension, what that names, and dimensions that may stand beside it."""

    metrics: str
    dimension: str
    types: tuple[str, ...]
    beside: tuple[str, ...] = ()


_KNOWN = {
    "AWS/Lambda": _Known(
        "Invocations Errors Throttles Duration IteratorAge ConcurrentExecutions UnreservedConcurrentExecutions "
        "DeadLetterErrors DestinationDeliveryFailures AsyncEventsReceived AsyncEventAge AsyncEventsDropped "
        "UrlRequestCount Url4xxCount Url5xxCount UrlRequestLatency OffsetLag PostRuntimeExtensionsDuration",
        "FunctionName", FUNCTIONS, ("Resource",),
    ),
    "AWS/Kinesis": _Known(
        "IncomingBytes IncomingRecords GetRecords.Bytes GetRecords.IteratorAgeMilliseconds GetRecords.Latency "
        "GetRecords.Records GetRecords.Success PutRecord.Bytes PutRecord.Latency PutRecord.Success PutRecords.Bytes "
        "PutRecords.Latency PutRecords.Success PutRecords.TotalRecords PutRecords.SuccessfulRecords "
        "PutRecords.FailedRecords PutRecords.ThrottledRecords ReadProvisionedThroughputExceeded "
        "WriteProvisionedThroughputExceeded SubscribeToShard.Success SubscribeToShardEvent.Success",
        "StreamName", ("AWS::Kinesis::Stream",), ("ShardId", "ConsumerName"),
    ),
    "AWS/DynamoDB": _Known(
        "ConsumedReadCapacityUnits ConsumedWriteCapacityUnits ProvisionedReadCapacityUnits ReadThrottleEvents "
        "ProvisionedWriteCapacityUnits WriteThrottleEvents ThrottledRequests SuccessfulRequestLatency SystemErrors "
        "UserErrors ConditionalCheckFailedRequests ReturnedItemCount TimeToLiveDeletedItemCount TransactionConflict",
        "TableName", ("AWS::DynamoDB::Table", "AWS::Serverless::SimpleTable"),
        ("Operation", "GlobalSecondaryIndexName"),
    ),
    "AWS/S3": _Known("BucketSizeBytes NumberOfObjects", "BucketName", ("AWS::S3::Bucket",), ("StorageType",)),
    "AWS/States": _Known(
        "ExecutionsStarted ExecutionsSucceeded ExecutionsFailed ExecutionsTimedOut ExecutionsAborted ExecutionTime "
        "ExecutionThrottled",
        "StateMachineArn", MACHINES,
    ),
    "AWS/Redshift-Serverless": _Known(
        "ComputeCapacity ComputeSeconds QueriesCompletedPerSecond QueryDuration QueriesRunning QueriesQueued "
        "DatabaseConnections QueryRuntimeBreakdown",
        "Workgroup", ("AWS::RedshiftServerless::Workgroup",), ("LatencyRange", "DatabaseName", "stage", "QueryType"),
    ),
    "AWS/SQS": _Known("ApproximateNumberOfMessagesVisible ApproximateAgeOfOldestMessage NumberOfMessagesSent "
                      "NumberOfMessagesReceived NumberOfMessagesDeleted", "QueueName", ("AWS::SQS::Queue",)),
    "AWS/SNS": _Known("NumberOfMessagesPublished NumberOfNotificationsDelivered NumberOfNotificationsFailed",
                      "TopicName", ("AWS::SNS::Topic",)),
    "AWS/IoT": _Known("RuleMessageThrottled RulesExecuted Success Failure TopicMatch ErrorActionSuccess "
                      "ErrorActionFailure ParseError", "RuleName", ("AWS::IoT::TopicRule",), ("ActionType",)),
}  # fmt: skip


class Metric(NamedTuple):
    """A metric that something looks at."""

    namespace: str
    name: str
    dimensions: dict[str, str]


def gate(model: Model) -> Iterator[Finding]:
    """Check every alarm and dashboard."""
    published = published_by_functions(model)
    for alarm in model.of("AWS::CloudWatch::Alarm"):
        for metric, period, stat in _of_alarm(alarm.properties):
            for problem, hint in _metric(model, metric, published):
                yield alarm.finding(GATE, problem, hint)
            if metric.namespace == "AWS/S3" and period < 86_400:
                yield alarm.finding(GATE, "S3 measures once a day.", "Write Period: 86400.")
            if not _STAT.fullmatch(str(stat)):
                yield alarm.finding(GATE, f"there is no statistic {stat}.", "Write Sum, Average, Maximum, p99 …")
        yield from _ids(alarm, alarm.properties.get("Metrics") or ())
        yield from _age(model, alarm)
    yield from _untold(model)
    for dashboard in model.of("AWS::CloudWatch::Dashboard"):
        for problem, hint in _dashboard(model, dashboard.properties.get("DashboardBody"), published):
            yield dashboard.finding(GATE, problem, hint)


def _age(model: Model, alarm: Resource) -> Iterator[Finding]:
    """Check that an alarm on the age of records, which is in milliseconds, bears one call as long as calls may be."""
    for metric, _, _ in _of_alarm(alarm.properties):
        function = model.named(metric.dimensions.get("FunctionName"), *FUNCTIONS)
        if metric.name == "IteratorAge" and function is not None:
            least = 1000 * int(function.properties.get("Timeout", 3))
            if float(alarm.properties.get("Threshold", least)) < least:
                problem = f"it is on once a call takes its time: {alarm.properties['Threshold']} milliseconds are less."
                yield alarm.finding(GATE, problem, f"Write a Threshold of more than {least}.")


def _untold(model: Model) -> Iterator[Finding]:
    """Check that either every alarm tells somebody, or none does."""
    alarms = list(model.of("AWS::CloudWatch::Alarm"))
    silent = [each for each in alarms if not each.properties.get("AlarmActions")]
    for alarm in silent if len(silent) < len(alarms) else ():
        yield alarm.finding(GATE, "it tells nobody, and other alarms do.", "Add AlarmActions.")
    for alarm in alarms:
        if str(alarm.properties.get("ActionsEnabled", True)).lower() == "false":
            yield alarm.finding(GATE, "its actions are not enabled.", "Take ActionsEnabled out.")


def published_by_functions(model: Model) -> dict[str, set[str]]:
    """Return the metrics that functions print, by namespace; all are without dimensions."""
    found: dict[str, set[str]] = {}
    for function in model.of(*FUNCTIONS):
        variables = (function.properties.get("Environment") or {}).get("Variables") or {}
        names = code_of(model, function).metrics
        if names:
            namespace = variables.get("METRICS_NAMESPACE", emf.NAMESPACE)
            found.setdefault(namespace, set(model.system.readings)).update(names)
    return found


def _of_alarm(properties: dict[str, Any]) -> Iterator[tuple[Metric, int, object]]:
    def of(found: dict[str, Any]) -> Metric:
        pairs = {str(each.get("Name")): str(each.get("Value")) for each in found.get("Dimensions") or ()}
        return Metric(str(found.get("Namespace")), str(found.get("MetricName")), pairs)

    if "MetricName" in properties:
        stat = properties.get("Statistic") or properties.get("ExtendedStatistic")
        yield of(properties), int(properties.get("Period", 60)), stat
    for each in properties.get("Metrics") or ():
        stat = each.get("MetricStat")
        if stat:
            yield of(stat.get("Metric") or {}), int(stat.get("Period", 60)), stat.get("Stat")


def _ids(alarm: Resource, metrics: Any) -> Iterator[Finding]:
    """Check that expressions name metrics that are there, and that one result is watched."""
    ids = [str(each.get("Id")) for each in metrics]
    for each in metrics:
        for name in re.findall(r"\b[a-z]\w*\b(?!\s*\()", str(each.get("Expression", ""))):
            if name not in ids:
                yield alarm.finding(GATE, f"the expression names {name}, which is no Id.", did_you_mean(name, ids))
        if ("Expression" in each) == ("MetricStat" in each):
            yield alarm.finding(
                GATE, f"{each.get('Id')} is neither a metric nor an expression.", "Write one of the two."
            )
    if metrics and sum(str(each.get("ReturnData", True)).lower() == "true" for each in metrics) != 1:
        yield alarm.finding(GATE, "an alarm watches one of its Metrics.", "Write ReturnData: false for the others.")


def _metric(model: Model, metric: Metric, published: dict[str, set[str]]) -> Iterator[tuple[str, str]]:
    namespace, name, dimensions = metric
    if namespace in published:
        if name not in published[namespace]:
            hint = did_you_mean(name, sorted(published[namespace]))
            yield f"no function publishes the metric {name} in {namespace}.", hint
        if dimensions:
            yield f"{namespace} {name} has no dimensions, but {', '.join(dimensions)} is given.", "Take it out."
        return
    known = _KNOWN.get(namespace)
    if known is None:
        if not namespace.startswith("AWS/") or did_you_mean(namespace, _KNOWN).startswith("Did"):
            yield f"nothing publishes metrics in {namespace}.", did_you_mean(namespace, [*_KNOWN, *published])
        return
    if name not in known.metrics.split():
        yield f"{namespace} has no metric {name}.", did_you_mean(name, known.metrics.split())
    for key, value in dimensions.items():
        if key == known.dimension:
            found = model.at(value, *known.types) if key.endswith("Arn") else model.named(value, *known.types)
            if found is None:
                yield f"{key} is {value}, which is nothing of the template.", "Write !Ref of the resource."
            elif (missing := _not_measured(model, name, found)) is not None:
                yield f"{name} is not measured of {value}: {missing}.", "Name another function, or another metric."
        elif key not in known.beside:
            yield f"{namespace} has no dimension {key}.", did_you_mean(key, [known.dimension, *known.beside])
        elif key == "StorageType" and value not in _STORAGE:
            yield f"there is no StorageType {value}.", did_you_mean(value, _STORAGE)
    if known.dimension not in dimensions:
        yield f"{namespace} {name} is not limited to a resource.", f"Add the dimension {known.dimension}."
    if namespace == "AWS/S3" and "StorageType" not in dimensions:
        yield f"{name} has no StorageType.", "Add it."


def _not_measured(model: Model, name: str, resource: Resource) -> str | None:
    """Return why a resource has no such metric, though others of its type have."""
    properties = resource.properties
    is_mapped = any(each.function == model.name(resource.logical_id) for each in model.system.mappings)
    if resource.type in FUNCTIONS and name == "IteratorAge" and not is_mapped:
        return "it reads no stream"
    if resource.type in FUNCTIONS and name.startswith("Url") and not properties.get("FunctionUrlConfig"):
        return "it has no URL"
    if name.startswith("Provisioned") and "ProvisionedThroughput" not in properties:
        return "it is on demand"
    return None


def _dashboard(model: Model, body: object, published: dict[str, set[str]]) -> Iterator[tuple[str, str]]:
    try:
        found = json.loads(str(body))
        widgets = found["widgets"]
    except (ValueError, KeyError, TypeError) as error:
        yield f"its body is no dashboard: {error}.", 'Write JSON: {"widgets": […]}'
        return
    for widget in widgets:
        place = [widget.get(name, 0) for name in ("x", "y", "width", "height")]
        if not all(isinstance(each, int) and each >= 0 for each in place) or not 1 <= place[2] <= _GRID - place[0]:
            yield f"a widget lies at {place}: outside of the {_GRID} columns.", "Write x, y, width and height."
        properties = widget.get("properties", {})
        kind = widget.get("type")
        if kind not in ("metric", "text", "log", "alarm", "explorer", "custom"):
            yield f"there is no type of widget {kind}.", "Write metric."
        if kind != "metric":
            continue
        if not properties.get("region") or not properties.get("metrics"):
            yield f"the widget {properties.get('title')} has no region or no metrics.", "Add both."
        if not _STAT.fullmatch(str(properties.get("stat", "Average"))):
            yield f"there is no statistic {properties.get('stat')}.", "Write Sum, Average, Maximum, p99 …"
        if not isinstance(properties.get("period", 60), int) or properties.get("period", 60) % 60:
            yield f"period is {properties.get('period')}.", "Write a multiple of 60."
        for problem, hint in _rows(model, properties.get("metrics") or (), published):
            yield f"{properties.get('title', 'a widget')}: {problem}", hint


def _rows(model: Model, rows: Any, published: dict[str, set[str]]) -> Iterator[tuple[str, str]]:
    before: list[str] = []
    for row in rows:
        options = row[-1] if row and isinstance(row[-1], dict) else {}
        texts = [str(each) for each in row if not isinstance(each, dict)]
        if "expression" in options:
            yield from _search(str(options["expression"]), published)
            continue
        if texts and texts[0] == "...":
            texts = before[: len(before) - len(texts) + 1] + texts[1:]
        texts = [before[place] if each == "." and place < len(before) else each for place, each in enumerate(texts)]
        before = texts
        if len(texts) < 2 or len(texts) % 2:
            yield f"{row} is no metric.", "Write a namespace, a name, and dimensions with their values."
            continue
        yield from _metric(
            model, Metric(texts[0], texts[1], dict(zip(texts[2::2], texts[3::2], strict=True))), published
        )


def _search(expression: str, published: dict[str, set[str]]) -> Iterator[tuple[str, str]]:
    if not expression.startswith("SEARCH("):
        return
    found = re.fullmatch(r"SEARCH\('\{([^,}]+)(,[^}]*)?\}[^']*', '([^']+)'(, \d+)?\)", expression)
    if found is None:
        yield f"{expression} is no search.", "Write SEARCH('{Namespace,Dimension} text', 'Statistic', period)."
        return
    if found[1] not in published and found[1] not in _KNOWN:
        yield f"nothing publishes metrics in {found[1]}.", did_you_mean(found[1], [*_KNOWN, *published])
    if not _STAT.fullmatch(found[3]):
        yield f"there is no statistic {found[3]}.", "Write Sum, Average, Maximum, p99 …"
