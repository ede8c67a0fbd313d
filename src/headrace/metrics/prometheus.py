"""Metrics in Prometheus' text format: a summary each, with quantiles of the last minute that is over.

`_sum` and `_count` are totals since the metrics process started, as Prometheus wants counters.
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
        lines.append(f"# HELP {name} {members[0].namespace} {members[0].name}, {store.series[members[0]].unit}")
        lines.append(f"# TYPE {name} summary")
        for series in members:
            labels = [f'{_name(key)}="{_escaped(value)}"' for key, value in series.dimensions]
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


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(value)


def _name(text: str) -> str:
    """Return a name in snake case, of letters, digits and underscores."""
    name = "_".join(word for word in _WORD_ENDS.split(text) if word).lower()
    return f"_{name}" if name[:1].isdigit() else name or "_"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _braces(labels: list[str]) -> str:
    return f"{{{','.join(labels)}}}" if labels else ""
