"""Metrics in Prometheus' text format: a summary each, with quantiles of the last minute that is over.

`_sum` and `_count` are totals since the metrics process started, as Prometheus wants counters. It refuses a page on
which two lines name the same; so metrics whose names become one, as pumpLoad and pump_load do, or lose letters, have
their own in a label.
"""

import re

from headrace.metrics.series import MINUTE_MS, Series
from headrace.metrics.store import Store

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
QUANTILES = (0.5, 0.9, 0.99)
_WORD_ENDS = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|[^A-Za-z0-9]+")


def exposition(store: Store, now_ms: int) -> str:
    """Return all series, those of one name together."""
    end_ms = now_ms // MINUTE_MS * MINUTE_MS
    last = store.points(list(store.series), end_ms - MINUTE_MS, end_ms)
    by_name: dict[str, list[Series]] = {}
    for series in sorted(store.series):
        by_name.setdefault(_name(f"{series.namespace} {series.name}"), []).append(series)
    lines = []
    for name, members in by_name.items():
        about = f"{members[0].namespace} {members[0].name}, {store.series[members[0]].unit}"
        lines.append(f"# HELP {name} {_escaped(about)}")
        lines.append(f"# TYPE {name} summary")
        named = len({series[:2] for series in members}) > 1 or not about.isascii()
        for series in members:
            labels = _labels(series, named)
            for sketch in last[series].values():
                for quantile in QUANTILES:
                    value = sketch.percentile(quantile * 100)
                    if value is not None:
                        with_quantile = _braces([*labels, f'quantile="{quantile}"'])
                        lines.append(f"{name}{with_quantile} {_number(value)}")
            info = store.series[series]
            lines.append(f"{name}_sum{_braces(labels)} {_number(info.sum)}")
            lines.append(f"{name}_count{_braces(labels)} {_number(info.count)}")
    return "\n".join(lines) + "\n"


def _labels(series: Series, named: bool) -> list[str]:
    """Return a series' labels, no name twice; if wanted, with the metric's own name."""
    found: dict[str, str] = {"metric": f"{series.namespace} {series.name}"} if named else {}
    for key, value in series.dimensions:
        label = _name(key)
        while label in found or label == "quantile":
            label += "_"
        found[label] = value
    quoted = {label: _escaped(value).replace('"', '\\"') for label, value in found.items()}
    return [f'{label}="{value}"' for label, value in quoted.items()]


def _number(value: float) -> str:
    return repr(float(value)).removesuffix(".0")


def _name(text: str) -> str:
    """Return a name in snake case, of letters, digits and underscores."""
    name = "_".join(word for word in _WORD_ENDS.split(text) if word).lower()
    return f"_{name}" if name[:1].isdigit() else name or "_"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n")


def _braces(labels: list[str]) -> str:
    return f"{{{','.join(labels)}}}" if labels else ""
