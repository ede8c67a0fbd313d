import re
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from headrace.cli import metrics
from headrace.errors import UsageError
from support.cloudwatch_server import CloudWatchServer
from support.command_line import run

NOW = datetime(2026, 7, 25, 12, 0, 30, tzinfo=UTC)


@pytest.mark.parametrize(("text", "length"), [("30m", 1800), ("1h", 3600), ("15d", 1_296_000)])
def test_lengths_of_time(text: str, length: int) -> None:
    assert metrics.seconds(text) == length


@pytest.mark.parametrize("text", ["", "1", "0m", "16d", "1w", "-1h", "1.5h"])
def test_no_lengths_of_time(text: str) -> None:
    with pytest.raises(UsageError):
        metrics.seconds(text)


@pytest.mark.parametrize(
    ("length", "period", "count"), [(1800, 60, 30), (3600, 60, 60), (7200, 120, 60), (86_400, 1440, 60)]
)
def test_a_window_fits_a_plot_and_holds_now(length: int, period: int, count: int) -> None:
    window = metrics.window_of(length, NOW)
    assert (window.period_s, len(window.starts())) == (period, count)
    assert window.start <= NOW < window.end
    assert window.end.timestamp() % period == 0


@pytest.mark.parametrize(
    ("values", "lines"),
    [
        ([0.0, 4.0, 10.0], ["        10 │  █", "         0 │▁▇█"]),
        ([70.0, None, 71.0], ["        71 │  █", "        70 │▁ █"]),
        ([5.0, 5.0], ["         5 │", "         5 │▁▁"]),
    ],
)
def test_plots(values: list[float | None], lines: list[str]) -> None:
    assert metrics.plot(values, 2) == lines


@pytest.mark.parametrize(
    ("value", "text"),
    [(1234567.0, "1,234,567"), (0.5, "0.50"), (0.00123, "0.00123"), (1e20, "1e+20"), (-3.25, "-3.25")],
)
def test_numbers(value: float, text: str) -> None:
    assert metrics.number(value) == text


def test_a_plot_of_days_names_them(tmp_path: Path) -> None:
    with CloudWatchServer(tmp_path) as server:
        server.now_ms = int(time.time() * 1000)
        server.client().put_metric_data(Namespace="Mine", MetricData=[{"MetricName": "load", "Value": 7}])
        for last, moment in (("2d", r"\d{4}-\d\d-\d\d \d\d:\d\d"), ("1h", r"\d\d:\d\d")):
            shown = run("metrics", "load", "--last", last, "--endpoint", server.url).stdout.splitlines()
            assert re.fullmatch(rf" +└{moment}─+{moment} UTC", shown[-2])
        refused = run("metrics", "--namespace", "Yours", "--endpoint", server.url)
        assert (refused.exit_code, refused.stderr.splitlines()[0]) == (1, "headrace: There is no metric 'Yours'.")
