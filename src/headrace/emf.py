"""Metrics in CloudWatch's embedded metric format: JSON lines that a function prints.

No dimensions: a device id as one would make each device a metric of its own, and that is what metrics cost by.
"""

from collections.abc import Mapping, Sequence

import msgspec

NAMESPACE = "Headrace"
VALUES_MAX = 100  # of one metric in one line
METRICS_MAX = 100  # in one line


def lines(metrics: Mapping[str, Sequence[float]], timestamp_ms: int, namespace: str = NAMESPACE) -> list[str]:
    """Return the lines that carry all values of each metric (name -> values); one without values is left out."""
    names = [name for name, values in metrics.items() if values]
    made: list[str] = []
    for first in range(0, len(names), METRICS_MAX):
        together = names[first : first + METRICS_MAX]
        for start in range(0, max(len(metrics[name]) for name in together), VALUES_MAX):
            cut = {name: metrics[name][start : start + VALUES_MAX] for name in together}
            made.append(_line({name: values for name, values in cut.items() if values}, timestamp_ms, namespace))
    return made


def _line(metrics: dict[str, Sequence[float]], timestamp_ms: int, namespace: str) -> str:
    directive = {"Namespace": namespace, "Dimensions": [[]], "Metrics": [{"Name": name} for name in metrics]}
    metadata = {"Timestamp": timestamp_ms, "CloudWatchMetrics": [directive]}
    return msgspec.json.encode({"_aws": metadata, **metrics}).decode()
