"""How a system on AWS fares: its stack, what came in, what its functions did, what is stored, which alarms are on.

AWS keeps no ledger: counts are CloudWatch's of the last hours, and sizes those that services tell now and then.
"""

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from headrace import clock
from headrace.deploy import state

if TYPE_CHECKING:
    from headrace.deployed import Deployed

HOURS = 24
FAILURES_MAX = 1000
_FUNCTION = "AWS::Lambda::Function"
_SUMS = ("Invocations", "Errors", "Throttles")


def status(system: "Deployed") -> dict[str, Any]:
    """Return the status; counts of the last 24 hours. None stands for what AWS does not tell."""
    stack = system.stack.must()
    functions = system.names(_FUNCTION)
    streams = system.names("AWS::Kinesis::Stream")
    queries = _queries(functions, streams, system)
    values = _values(system, queries)
    tables = {name: _table(system, name) for name in system.names("AWS::DynamoDB::Table")}
    failures = _failures(system)
    return {
        "platform": "aws",
        "stack": system.stack.name,
        "region": system.aws.region,
        "stack_status": stack["StackStatus"],
        "ready": stack["StackStatus"] in state.AT_REST,
        "hours": HOURS,
        "accepted": int(sum(values.get(f"in {name}", 0.0) or 0.0 for name in streams)),
        "functions": {
            name: {
                **{stat.lower(): int(values.get(f"{stat} {name}") or 0) for stat in _SUMS},
                "iterator_age_ms": values.get(f"age {name}"),
                "duration_ms": values.get(f"duration {name}"),
            }
            for name in functions
        },
        "tables": tables,
        "archive": {"objects": values.get("archive objects"), "bytes": values.get("archive bytes")},
        "failures": {"documents": failures, "at_least": failures is not None and failures >= FAILURES_MAX},
        "alarms": _alarms(system),
    }


def _queries(functions: list[str], streams: list[str], system: "Deployed") -> dict[str, tuple[Any, ...]]:
    """Return what to ask CloudWatch for: name -> (namespace, metric, dimensions, statistic, period)."""
    found: dict[str, tuple[Any, ...]] = {}
    for name in streams:
        found[f"in {name}"] = ("AWS/Kinesis", "IncomingRecords", {"StreamName": name}, "Sum", 3600)
    for name in functions:
        of = {"FunctionName": name}
        for metric in _SUMS:
            found[f"{metric} {name}"] = ("AWS/Lambda", metric, of, "Sum", 3600)
        found[f"age {name}"] = ("AWS/Lambda", "IteratorAge", of, "Maximum", 300)
        found[f"duration {name}"] = ("AWS/Lambda", "Duration", of, "Average", 3600)
    if "ArchiveBucketName" in system.outputs:
        bucket = system.outputs["ArchiveBucketName"]
        of_all = {"BucketName": bucket, "StorageType": "AllStorageTypes"}
        standard = {"BucketName": bucket, "StorageType": "StandardStorage"}
        found["archive objects"] = ("AWS/S3", "NumberOfObjects", of_all, "Average", 86_400)
        found["archive bytes"] = ("AWS/S3", "BucketSizeBytes", standard, "Average", 86_400)
    return found


def _values(system: "Deployed", queries: dict[str, tuple[Any, ...]]) -> dict[str, float | None]:
    """Return the sum of the last hours, or the newest value, of each; none where CloudWatch has none."""
    end = datetime.fromtimestamp(clock.now_ms() / 1000, UTC)
    names = list(queries)
    asked = [
        {
            "Id": f"q{at}",
            "MetricStat": {
                "Metric": {
                    "Namespace": space,
                    "MetricName": metric,
                    "Dimensions": [{"Name": key, "Value": value} for key, value in of.items()],
                },
                "Period": period,
                "Stat": stat,
            },
        }
        for at, (space, metric, of, stat, period) in enumerate(queries.values())
    ]
    found: dict[str, float | None] = {}
    window = {"StartTime": end - timedelta(hours=2 * HOURS), "EndTime": end}
    for first in range(0, len(asked), 500):
        some = asked[first : first + 500]
        for result in system.listed(
            "cloudwatch", "get_metric_data", "MetricDataResults", MetricDataQueries=some, **window
        ):
            name = names[int(result["Id"][1:])]
            values = sorted(zip(result["Timestamps"], result["Values"], strict=True))
            if queries[name][3] == "Sum":
                found[name] = sum(value for at, value in values if at.astimezone(UTC) >= end - timedelta(hours=HOURS))
            elif values:
                found[name] = values[-1][1]
    return found


def _table(system: "Deployed", name: str) -> dict[str, Any]:
    """Return what DynamoDB says of a table: its items and bytes are some six hours old."""
    client = system.client("dynamodb")
    with system.errors():
        found = client.describe_table(TableName=name)["Table"]
    mode = found.get("BillingModeSummary", {}).get("BillingMode", "PROVISIONED")
    return {"status": found["TableStatus"], "items": found["ItemCount"], "bytes": found["TableSizeBytes"], "mode": mode}


def _failures(system: "Deployed") -> int | None:
    from headrace.deployed import failures

    if "FailuresBucketName" not in system.outputs:
        return None
    return failures.count(system, FAILURES_MAX)


def _alarms(system: "Deployed") -> dict[str, str]:
    names = system.names("AWS::CloudWatch::Alarm")
    if not names:
        return {}
    found: dict[str, str] = {}
    for first in range(0, len(names), 100):
        some = names[first : first + 100]
        for alarm in system.listed("cloudwatch", "describe_alarms", "MetricAlarms", AlarmNames=some):
            found[alarm["AlarmName"]] = alarm["StateValue"]
    return found
