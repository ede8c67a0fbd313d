"""CloudWatch's operations over the store and the alarms, as its JSON 1.0 and CBOR protocols have them.

One operation, one short method. What a request must look like is data: botocore's model. Runs in the metrics process:
a long question holds up no event.
"""

import itertools
import zlib
from collections.abc import Callable, Sequence
from functools import cached_property, partial
from typing import Any

import msgspec

from headrace import cbor, shapes
from headrace.errors import UsageError
from headrace.metrics import alarms
from headrace.metrics.alarms import Query
from headrace.metrics.put import check_numbers, combination, invalid, put
from headrace.metrics.query import answers, grouped
from headrace.metrics.series import DAY_MINUTES, KEPT_DAYS, MINUTE_MS, NEWEST_MS, Series
from headrace.metrics.store import Store
from headrace.metrics.watch import Watch, arn
from headrace.sketch import statistic
from headrace.wire import WireError

BODY_BYTES_MAX = 16 * 1024 * 1024  # unpacked
REQUEST_VALUES_MAX = 500_000  # 1,000 metrics have, with 150 values, their counts, and 30 dimensions each
STATISTICS_MAX = 1440  # datapoints in an answer of GetMetricStatistics
DATAPOINTS_MAX = 100_800  # in an answer of GetMetricData
QUERIES_MAX = 500
LISTED_MAX = 500
ALARMS_MAX = 100
ACTIONS = ("OKActions", "AlarmActions", "InsufficientDataActions")
ACTIVE_MS = 3 * 3_600_000
KEPT_MS = KEPT_DAYS * DAY_MINUTES * MINUTE_MS


class CloudWatch:
    """Answers operations: JSON in, JSON out; or CBOR."""

    def __init__(self, store: Store, watch: Watch, now_ms: Callable[[], int]) -> None:
        self._store = store
        self._watch = watch
        self._now_ms = now_ms
        self._operations: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
            "DescribeAlarms": self._describe_alarms,
            "GetMetricData": self._get_metric_data,
            "GetMetricStatistics": self._get_metric_statistics,
            "ListMetrics": self._list_metrics,
            "PutMetricData": self._put_metric_data,
        }

    def answer(self, operation: str, body: bytes, packed: bool = False, *, in_cbor: bool = False) -> bytes:
        """Answer an operation; raises WireError. `packed` says that the body is gzip, as SDKs send large ones."""
        run = self._operations.get(operation)
        if run is None:
            if operation in self._model.operations:
                raise WireError("UnknownOperationException", f"{operation} is not built yet.", 501)
            raise WireError("UnknownOperationException", f"CloudWatch has no operation {operation!r}.")
        try:
            plain = _unpacked(body) if packed else body
            read = partial(cbor.decode, words=True) if in_cbor else shapes.from_json
            asked = read(plain, REQUEST_VALUES_MAX) if plain else {}
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            raise WireError(
                "SerializationException", f"The body is not {'CBOR' if in_cbor else 'JSON'}: {error}"
            ) from None
        if operation == "PutMetricData":
            check_numbers(asked)
        try:
            return (cbor.encode if in_cbor else msgspec.json.encode)(run(self._model.check(operation, asked)))
        except UsageError as error:
            raise invalid(f"{error.problem} {error.hint}".rstrip()) from None

    @cached_property
    def _model(self) -> shapes.Service:
        return shapes.Service("cloudwatch", tuple(self._operations), values_max=REQUEST_VALUES_MAX)

    def _put_metric_data(self, asked: dict[str, Any]) -> dict[str, Any]:
        put(self._store, asked, self._now_ms())
        return {}

    def _list_metrics(self, asked: dict[str, Any]) -> dict[str, Any]:
        wanted = [(each["Name"], each.get("Value")) for each in asked.get("Dimensions") or ()]
        since = self._now_ms() - (ACTIVE_MS if asked.get("RecentlyActive") else KEPT_MS)

        def fits(series: Series) -> bool:
            return (
                asked.get("Namespace", series.namespace) == series.namespace
                and asked.get("MetricName", series.name) == series.name
                and all(any(name == n and value in (None, v) for n, v in series.dimensions) for name, value in wanted)
                and self._store.series[series].last_minute * MINUTE_MS >= since
            )

        page, following = _page(sorted(filter(fits, self._store.series)), asked.get("NextToken"), LISTED_MAX)
        return {"Metrics": [_metric(series) for series in page], **following}

    def _get_metric_statistics(self, asked: dict[str, Any]) -> dict[str, Any]:
        start_ms, end_ms = self._range(asked)
        period_s = _period(asked["Period"])
        if (count := (asked["EndTime"] - asked["StartTime"]) / period_s) > STATISTICS_MAX:
            raise combination(
                f"You have requested up to {count:,.0f} datapoints, which exceeds the limit of {STATISTICS_MAX:,}. You "
                "may reduce the datapoints requested by increasing Period, or decreasing the time range."
            )
        plain, extended = asked.get("Statistics") or [], asked.get("ExtendedStatistics") or []
        if not plain and not extended:
            raise combination("At least one of the parameters Statistics and ExtendedStatistics must be specified.")
        series = _series(asked)
        info = self._store.series.get(series)
        unit = info.unit if info is not None else "None"
        first = start_ms // (period_s * 1000) * period_s * 1000
        points = self._store.points([series], first, end_ms)[series] if asked.get("Unit", unit) == unit else {}
        computed = {name: statistic(name) for name in (*plain, *extended)}
        datapoints = []
        for start, sketch in grouped(points, range(first, end_ms, period_s * 1000)).items():
            row: dict[str, Any] = {"Timestamp": start // 1000, "Unit": unit}
            row |= {name: computed[name](sketch) for name in plain}
            percentiles = {name: computed[name](sketch) for name in extended}
            if extended:
                row["ExtendedStatistics"] = {n: value for n, value in percentiles.items() if value is not None}
            datapoints.append(row)
        return {"Label": asked["MetricName"], "Datapoints": datapoints}

    def _get_metric_data(self, asked: dict[str, Any]) -> dict[str, Any]:
        start_ms, end_ms = self._range(asked)
        queries = _queries(asked["MetricDataQueries"])
        found = answers(self._store, queries, start_ms, end_ms)
        descending = asked.get("ScanBy", "TimestampDescending") == "TimestampDescending"
        rows = [
            (query, time, found[query.id][time])
            for query in queries
            if query.returned
            for time in sorted(found[query.id], reverse=descending)
        ]
        limit = asked.get("MaxDatapoints", DATAPOINTS_MAX)
        if limit < 1:
            raise invalid("The parameter MaxDatapoints must be greater than or equal to 1.")
        page, following = _page(rows, asked.get("NextToken"), min(limit, DATAPOINTS_MAX))
        by_query: dict[str, list[tuple[int, float]]] = {query.id: [] for query in queries if query.returned}
        for query, time, value in page:
            by_query[query.id].append((time, value))
        later = {query.id for query, *_ in rows[int(following["NextToken"]) :]} if following else set()
        results = [_result(query, by_query[query.id], query.id in later) for query in queries if query.returned]
        return {"MetricDataResults": results, "Messages": [], **following}

    def _describe_alarms(self, asked: dict[str, Any]) -> dict[str, Any]:
        names, prefix, state = asked.get("AlarmNames"), asked.get("AlarmNamePrefix", ""), asked.get("StateValue")
        if names and prefix:
            raise combination("The parameters AlarmNames and AlarmNamePrefix are mutually exclusive.")
        related = asked.keys() & {"ChildrenOfAlarmName", "ParentsOfAlarmName"}  # by composite alarms: there are none
        if related or "MetricAlarm" not in (asked.get("AlarmTypes") or ["MetricAlarm"]):
            return {"MetricAlarms": [], "CompositeAlarms": []}
        chosen = [
            name
            for name in sorted(self._watch.definitions)
            if (not names or name in names)
            and name.startswith(prefix)
            and state in (None, self._watch.conditions[name].state)
            and self._acts(name, asked.get("ActionPrefix", ""))
        ]
        page, following = _page(chosen, asked.get("NextToken"), asked.get("MaxRecords") or ALARMS_MAX)
        return {"MetricAlarms": [self._alarm(name) for name in page], "CompositeAlarms": [], **following}

    def _acts(self, name: str, prefix: str) -> bool:
        """Return whether an alarm has an action of a prefix, if one is asked for."""
        properties = self._watch.definitions[name].properties
        actions = (each for kind in ACTIONS for each in properties.get(kind) or ())
        return not prefix or any(str(action).startswith(prefix) for action in actions)

    def _range(self, asked: dict[str, Any]) -> tuple[int, int]:
        """Return the milliseconds asked about, cut to what is kept: to ask about all time costs no more than that."""
        start, end = asked["StartTime"], asked["EndTime"]
        if start >= end:
            raise invalid("The parameter StartTime must be less than the parameter EndTime.")
        now_ms = self._now_ms()
        oldest_ms = now_ms - KEPT_MS - DAY_MINUTES * MINUTE_MS  # whole days are kept
        return round(max(start * 1000, oldest_ms)), round(min(end * 1000, now_ms + NEWEST_MS))

    def _alarm(self, name: str) -> dict[str, Any]:
        definition, condition = self._watch.definitions[name], self._watch.conditions[name]
        told = {
            "ActionsEnabled": True,
            **{kind: [] for kind in ACTIONS},
            **definition.properties,
            "AlarmName": name,
            "AlarmArn": arn(name),
            "EvaluationPeriods": definition.periods,
            "Threshold": definition.threshold,
            "TreatMissingData": definition.missing,
            "StateValue": condition.state,
            "StateReason": condition.reason,
            "StateUpdatedTimestamp": condition.updated_ms / 1000,
            "StateTransitionedTimestamp": condition.since_ms / 1000,
        }
        if "MetricName" in definition.properties:
            told |= {"Period": definition.period_s, "Dimensions": definition.properties.get("Dimensions", [])}
        told.pop("Tags", None)
        return told


def _unpacked(body: bytes) -> bytes:
    unpacker = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
    try:
        found = unpacker.decompress(body, BODY_BYTES_MAX)
    except zlib.error as error:
        raise WireError("SerializationException", f"The body is not gzip: {error}") from None
    if unpacker.unconsumed_tail:
        raise WireError("RequestEntityTooLargeException", f"The body is over {BODY_BYTES_MAX:,} bytes unpacked.", 413)
    return found


def _period(period_s: int) -> int:
    if period_s % 60:
        raise invalid(f"The Period {period_s} is invalid: one-minute statistics are kept, so write a multiple of 60.")
    return period_s


def _series(asked: dict[str, Any]) -> Series:
    dimensions = ((each["Name"], each["Value"]) for each in asked.get("Dimensions") or ())
    return Series.of(asked["Namespace"], asked["MetricName"], dimensions)


def _queries(asked: Sequence[dict[str, Any]]) -> list[Query]:
    if len(asked) > QUERIES_MAX:
        raise invalid(f"The collection MetricDataQueries must not have a size greater than {QUERIES_MAX}.")
    queries = [alarms.query(each, each.get("ReturnData", True)) for each in asked]
    names = [query.id for query in queries]
    if len(set(names)) < len(names):
        raise invalid("The values for parameter id in MetricDataQueries are not unique.")
    for query in queries:
        if query.series is not None:
            _period(query.period_s)
    return queries


def _page(rows: Sequence[Any], token: str | None, limit: int) -> tuple[list[Any], dict[str, str]]:
    """Return the rows that a token (how many came before) means, and the next token if there are more."""
    if token is not None and not (token.isascii() and token.isdigit() and len(token) < 12):
        raise WireError("InvalidNextToken", "The NextToken is none that was answered here.")
    start = int(token or 0)
    page = list(itertools.islice(rows, start, start + limit))
    return page, {"NextToken": str(start + limit)} if len(rows) > start + limit else {}


def _metric(series: Series) -> dict[str, Any]:
    dimensions = [{"Name": name, "Value": value} for name, value in series.dimensions]
    return {"Namespace": series.namespace, "MetricName": series.name, "Dimensions": dimensions}


def _result(query: Query, rows: Sequence[tuple[int, float]], more: bool) -> dict[str, Any]:
    return {
        "Id": query.id,
        "Label": query.label or (query.series.name if query.series is not None else query.id),
        "Timestamps": [time // 1000 for time, _ in rows],
        "Values": [value for _, value in rows],
        "StatusCode": "PartialData" if more else "Complete",
    }
