"""The charts' options, as ECharts takes them. The greys and the blue are such that they stand out on light and dark."""

from collections.abc import Sequence
from typing import Any

_GREY, _LINE, _BLUE = "#8794a1", "rgba(135,148,161,0.25)", "#3f8cff"


def options(unit: str = "", *, filled: bool) -> dict[str, Any]:
    """Return a chart of one line over time (UTC), without points yet."""
    series: dict[str, Any] = {
        "type": "line",
        "data": [],
        "showSymbol": False,
        "sampling": "lttb",
        "lineStyle": {"width": 1.8},
        "itemStyle": {"color": _BLUE},
    }
    if filled:
        series["areaStyle"] = {"color": _BLUE, "opacity": 0.15}
    axis = {"axisLabel": {"color": _GREY, "hideOverlap": True}, "axisLine": {"lineStyle": {"color": _LINE}}}
    return {
        "useUTC": True,
        "animation": False,
        "grid": {"left": 8, "right": 14, "top": 16, "bottom": 4, "containLabel": True},
        "tooltip": {"trigger": "axis"},
        "xAxis": {"type": "time", **axis, "splitLine": {"show": False}},
        "yAxis": {"type": "value", "name": unit, **axis, "splitLine": {"lineStyle": {"color": _LINE}}},
        "series": [series],
    }


def show(
    chart_options: dict[str, Any], points: Sequence[tuple[int, float]], start_ms: int, end_ms: int, *, from_zero: bool
) -> None:
    """Put points (ms, value) and the span of time into a chart's options."""
    chart_options["series"][0]["data"] = [list(point) for point in points]
    chart_options["series"][0]["showSymbol"] = len(points) < 60
    chart_options["xAxis"] |= {"min": start_ms, "max": end_ms}
    chart_options["yAxis"]["scale"] = not from_zero
