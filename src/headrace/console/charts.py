"""The charts' options, as ECharts takes them. The greys and the blue are such that they stand out on light and dark."""

from collections.abc import Mapping, Sequence
from typing import Any

_GREY, _LINE, _BLUE = "#8794a1", "rgba(135,148,161,0.25)", "#3f8cff"
_COLOURS = (_BLUE, "#2fa36b", "#c98a1b", "#c4574b", "#8a6fd1", "#3fa7b5")


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


def lines(series: Mapping[str, Sequence[tuple[int, float]]]) -> dict[str, Any]:
    """Return a chart of lines over time (UTC): name -> points (ms, value), in any order."""
    found = options(filled=False)
    (model,) = found["series"]
    found["series"] = [
        {
            **model,
            "name": name,
            "data": [list(point) for point in sorted(points)],
            "showSymbol": len(points) < 60,
            "itemStyle": {"color": _COLOURS[at % len(_COLOURS)]},
        }
        for at, (name, points) in enumerate(series.items())
    ]
    found["yAxis"]["scale"] = True
    return _with_legend(found)


def bars(names: Sequence[str], series: Mapping[str, Sequence[float | None]]) -> dict[str, Any]:
    """Return a chart of bars: a group a name, a bar a series."""
    found = options(filled=False)
    found["xAxis"] |= {"type": "category", "data": list(names)}
    found["series"] = [
        {"type": "bar", "name": name, "data": list(values), "itemStyle": {"color": _COLOURS[at % len(_COLOURS)]}}
        for at, (name, values) in enumerate(series.items())
    ]
    return _with_legend(found)


def _with_legend(chart: dict[str, Any]) -> dict[str, Any]:
    if len(chart["series"]) > 1:
        chart["legend"] = {"type": "scroll", "top": 0, "textStyle": {"color": _GREY}}
        chart["grid"]["top"] = 34
    return chart
