"""`headrace metrics`: what is measured, as a table; one metric as a plot. Over CloudWatch's wire, so on AWS too."""

import math
import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import click

from headrace.cli.backend import Backend
from headrace.cli.options import json_option, with_system
from headrace.cli.output import print_json, table
from headrace.deployed import Deployed
from headrace.errors import NotFound, UsageError

STATISTICS = ("SampleCount", "Sum", "Minimum", "Maximum")
QUERIES_MAX = 500  # of one GetMetricData
PLOT_WIDTH, PLOT_HEIGHT = 60, 6
PLOTS_MAX = 10
_BLOCKS = " ▁▂▃▄▅▆▇█"
_UNITS = {"m": 60, "h": 3600, "d": 86_400}


class Metric(NamedTuple):
    """A metric with its dimensions, as ListMetrics answers it."""

    namespace: str
    name: str
    dimensions: tuple[tuple[str, str], ...]

    def asked(self) -> dict[str, Any]:
        """Return it as a request names it."""
        dimensions = [{"Name": name, "Value": value} for name, value in self.dimensions]
        return {"Namespace": self.namespace, "MetricName": self.name, "Dimensions": dimensions}


class Window(NamedTuple):
    """The time looked at, in equal periods."""

    start: datetime
    end: datetime
    period_s: int

    def starts(self) -> list[datetime]:
        """Return the periods' starts."""
        count = math.ceil((self.end - self.start).total_seconds() / self.period_s)
        return [self.start + timedelta(seconds=self.period_s * at) for at in range(count)]


@click.command("metrics")
@click.argument("name", required=False)
@click.option("--namespace", help="Only this namespace: Headrace, AWS/Lambda, AWS/Kinesis, AWS/DynamoDB or your own.")
@click.option("--last", "last", default="1h", show_default=True, help="How far to look back: 30m, 1h, 2d; at most 15d.")
@click.option("--stat", default="Average", show_default=True, help="What to plot: Sum, Maximum, p99, …")
@json_option
@with_system
def metrics_command(
    backend: Backend | Deployed, name: str | None, namespace: str | None, last: str, stat: str, as_json: bool
) -> None:
    """Show what is measured; with NAME, plot that metric.

    Without NAME a row a metric: how many values came in the time, their sum, average, least and greatest.
    """
    window = window_of(seconds(last), datetime.now(UTC))
    client = backend.client("cloudwatch")
    with backend.errors():
        found = [
            each for each in listed(client, name, namespace) if backend.owns_metric(each.namespace, each.dimensions)
        ]
        if (name or namespace) and not found:
            what = " ".join(each for each in (namespace, name) if each)
            raise NotFound(f"There is no metric {what!r}.", "`headrace metrics` lists all there are.")
        plotted = name is not None and not as_json
        series = read(client, found, [stat] if plotted else [*STATISTICS, *([stat] if name else [])], window)
    if as_json:
        print_json([_json(metric, series[metric]) for metric in found])
    elif plotted:
        _print_plots(found, series, stat, window)
    elif found:
        heads = ("namespace", "metric", "of", "values", "sum", "average", "least", "greatest")
        click.echo(table(heads, [_row(metric, series[metric]) for metric in found]))
    else:
        click.echo("no metrics yet")


def seconds(text: str) -> int:
    """Return a length of time; raises UsageError."""
    match = re.fullmatch(r"(\d{1,5})([mhd])", text)
    length = int(match[1]) * _UNITS[match[2]] if match else 0
    if not 60 <= length <= 15 * 86_400:
        raise UsageError(f"{text!r} is no length of time to look back.", "Write it like 30m, 1h or 2d; at most 15d.")
    return length


def window_of(length_s: int, now: datetime) -> Window:
    """Return the time up to now in at most `PLOT_WIDTH` periods of whole minutes."""
    period_s = max(60, math.ceil(length_s / PLOT_WIDTH / 60) * 60)
    end = math.ceil(now.timestamp() / period_s) * period_s
    count = math.ceil(length_s / period_s)
    return Window(datetime.fromtimestamp(end - count * period_s, UTC), datetime.fromtimestamp(end, UTC), period_s)


def listed(client: Any, name: str | None, namespace: str | None) -> Iterator[Metric]:
    """Yield the metrics of a name and a namespace, or all."""
    wanted = {key: value for key, value in (("MetricName", name), ("Namespace", namespace)) if value}
    for page in client.get_paginator("list_metrics").paginate(**wanted):
        for each in page["Metrics"]:
            dimensions = tuple((one["Name"], one["Value"]) for one in each["Dimensions"])
            yield Metric(each["Namespace"], each["MetricName"], dimensions)


def read(
    client: Any, metrics: Sequence[Metric], statistics: Sequence[str], window: Window
) -> dict[Metric, dict[str, dict[datetime, float]]]:
    """Return each metric's statistics: by name, then by the period's start."""
    found: dict[Metric, dict[str, dict[datetime, float]]] = {
        metric: {name: {} for name in statistics} for metric in metrics
    }
    asked = [(metric, name) for metric in metrics for name in found[metric]]
    for first in range(0, len(asked), QUERIES_MAX):
        some = asked[first : first + QUERIES_MAX]
        queries = [_query(at, metric, name, window.period_s) for at, (metric, name) in enumerate(some)]
        pages = client.get_paginator("get_metric_data").paginate(
            MetricDataQueries=queries, StartTime=window.start, EndTime=window.end
        )
        for page in pages:
            for result in page["MetricDataResults"]:
                metric, name = some[int(result["Id"][1:])]
                times = (time.astimezone(UTC) for time in result["Timestamps"])
                found[metric][name].update(zip(times, result["Values"], strict=True))
    return found


def plot(values: Sequence[float | None], height: int = PLOT_HEIGHT) -> list[str]:
    """Return a plot's lines, the highest first: a column a value, labelled with the greatest and the least."""
    known = [value for value in values if value is not None]
    low, high = min(known), max(known)
    base = 0.0 if low >= 0 and low <= high / 2 else low  # what is near nothing stands on nothing
    span = (high - base) or 1.0
    steps = [None if value is None else 1 + round((value - base) / span * (height * 8 - 1)) for value in values]
    lines = []
    for row in reversed(range(height)):
        cells = [" " if step is None else _BLOCKS[max(0, min(8, step - row * 8))] for step in steps]
        label = number(high) if row == height - 1 else number(base) if row == 0 else ""
        lines.append(f"{label:>10} │{''.join(cells)}".rstrip())
    return lines


def number(value: float) -> str:
    """Return a number short enough for a table."""
    if value == int(value) and abs(value) < 1e15:
        return f"{int(value):,}"
    return f"{value:,.2f}" if 0.1 <= abs(value) < 1e9 else f"{value:.3g}"


def _query(at: int, metric: Metric, stat: str, period_s: int) -> dict[str, Any]:
    return {"Id": f"q{at}", "MetricStat": {"Metric": metric.asked(), "Period": period_s, "Stat": stat}}


def _print_plots(
    metrics: Sequence[Metric], series: dict[Metric, dict[str, dict[datetime, float]]], stat: str, window: Window
) -> None:
    starts = window.starts()
    moment = "%H:%M" if window.end - window.start < timedelta(days=1) else "%Y-%m-%d %H:%M"
    left, right = f"{window.start:{moment}}", f"{window.end:{moment}} UTC"
    for metric in metrics[:PLOTS_MAX]:
        values = [series[metric][stat].get(start) for start in starts]
        of = ", ".join(value for _, value in metric.dimensions)
        click.echo(
            f"{metric.namespace} {metric.name}{' of ' + of if of else ''}: {stat} by {window.period_s // 60} min"
        )
        if any(value is not None for value in values):
            click.echo("\n".join(plot(values)))
            click.echo(f"{'':>10} └{left.ljust(max(6, len(values) - len(right)), '─')}{right}\n")
        else:
            click.echo("           no values in this time\n")
    if len(metrics) > PLOTS_MAX:
        click.echo(f"… and {len(metrics) - PLOTS_MAX} more: narrow with --namespace, or see --json")


def _row(metric: Metric, statistics: dict[str, dict[datetime, float]]) -> list[object]:
    of = ", ".join(value for _, value in metric.dimensions)
    count, total = sum(statistics["SampleCount"].values()), sum(statistics["Sum"].values())
    if not count:
        return [metric.namespace, metric.name, of, 0, None, None, None, None]
    low, high = min(statistics["Minimum"].values()), max(statistics["Maximum"].values())
    return [metric.namespace, metric.name, of, int(count), *map(number, (total, total / count, low, high))]


def _json(metric: Metric, statistics: dict[str, dict[datetime, float]]) -> dict[str, Any]:
    times = sorted(set().union(*statistics.values()))
    return {
        "namespace": metric.namespace,
        "metric": metric.name,
        "dimensions": dict(metric.dimensions),
        "datapoints": [
            {"time": f"{time:%Y-%m-%dT%H:%M:%SZ}", **{name: values.get(time) for name, values in statistics.items()}}
            for time in times
        ],
    }
