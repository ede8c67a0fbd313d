"""The metrics in what functions print: EMF lines, read from their logs as these grow.

A log is followed by its inode: rotated away under `<name>.1`, its rest is read there first; emptied, it is read from
its start. Reading is cheap where there is nothing: one `stat` a file.
"""

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import msgspec

from headrace.metrics.series import VALUE_MAX, Series, acceptable
from headrace.metrics.store import Store

READ_BYTES = 1024 * 1024  # at once; a longer line is no EMF line
READ_BYTES_MAX = 32 * READ_BYTES  # of one file at a time
DIMENSIONS_MAX = 30
DIMENSION_CHARACTERS_MAX = 1024

_decode = msgspec.json.decode
_REFUSALS = (msgspec.MsgspecError, RecursionError, TypeError, ValueError, OverflowError)
# As CloudWatch takes them: what is stored must be something that can be asked for, and no service's own.
_Name = Annotated[str, msgspec.Meta(min_length=1, max_length=255)]
_Namespace = Annotated[str, msgspec.Meta(pattern="^(?!AWS/|:).", max_length=255)]


class _Metric(msgspec.Struct):
    Name: _Name
    Unit: str = "None"


class _Directive(msgspec.Struct):
    Namespace: _Namespace
    Metrics: list[_Metric]
    Dimensions: list[list[_Name]] | None = None


class _About(msgspec.Struct):
    """What an EMF line says of itself; its values are members beside this one."""

    Timestamp: float
    CloudWatchMetrics: list[_Directive]


class Logs:
    """The logs of all functions: `<folder>/<function>/<slot>.log`. `cursors` say how far each was read."""

    def __init__(self, folder: Path, cursors: dict[str, tuple[int, int]]) -> None:
        self._folder = folder
        self.cursors = dict(cursors)

    def read(self) -> Iterator[tuple[str, bytes]]:
        """Yield what came since: a function's name and a block of whole lines."""
        seen = set()
        for path in self._folder.glob("*/*.log"):
            key = f"{path.parent.name}/{path.name}"
            seen.add(key)
            try:
                yield from ((path.parent.name, block) for block in self._follow(key, path))
            except OSError:
                continue  # rotated or removed at this moment: the next time tells
        for key in self.cursors.keys() - seen:
            del self.cursors[key]

    def _follow(self, key: str, path: Path) -> Iterator[bytes]:
        inode, offset = self.cursors.get(key, (0, 0))
        now = path.stat()
        if now.st_ino != inode:
            old = path.with_name(path.name + ".1")
            if inode and old.exists() and old.stat().st_ino == inode:
                for block, at in _blocks(old, offset):
                    yield block
                    self.cursors[key] = inode, at
            inode, offset = now.st_ino, 0
        elif now.st_size < offset:
            offset = 0
        elif now.st_size == offset:
            return
        self.cursors[key] = inode, offset
        for block, at in _blocks(path, offset):
            yield block
            self.cursors[key] = inode, at


def _blocks(path: Path, offset: int) -> Iterator[tuple[bytes, int]]:
    """Yield whole lines from an offset, and the offset behind them."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        for _ in range(READ_BYTES_MAX // READ_BYTES):
            block = os.pread(fd, READ_BYTES, offset)
            whole = block.rfind(b"\n") + 1
            if not whole and len(block) < READ_BYTES:
                return
            offset += whole or len(block)
            yield block[:whole], offset
    finally:
        os.close(fd)


class Values:
    """Collects the values of many lines, so that the store is handed each series' once."""

    def __init__(self, now_ms: int) -> None:
        self._now_ms = now_ms
        self._found: dict[tuple[Series, int, str], list[float]] = {}
        self.refused: Counter[str] = Counter()  # by function: lines that look like EMF and are none, or are too old
        self.why: dict[str, str] = {}  # the last of them of each function

    def take(self, function: str, block: bytes) -> None:
        """Take every EMF line of a block that a function printed."""
        if b'"_aws"' in block:
            for line in block.splitlines():
                if line[:1] == b"{" and b'"_aws"' in line:
                    try:
                        self._take(_decode(line))
                    except _REFUSALS as error:
                        self.refused[function] += 1
                        self.why[function] = "A value is no number." if type(error) is TypeError else str(error)

    def into(self, store: Store) -> None:
        """Hand everything to the store."""
        for (series, minute_ms, unit), values in self._found.items():
            store.record(series, minute_ms, values, unit)
        self._found.clear()

    def _take(self, line: dict[str, Any]) -> None:
        if "_aws" not in line:
            return
        about = msgspec.convert(line["_aws"], _About)
        at_ms = int(about.Timestamp)
        if not acceptable(at_ms, self._now_ms):
            raise ValueError("Its Timestamp is not in milliseconds since 1970, or too far from now.")
        minute_ms = at_ms - at_ms % 60_000
        for directive in about.CloudWatchMetrics:
            for names in directive.Dimensions or [[]]:
                if len(names) > DIMENSIONS_MAX:
                    raise ValueError(f"It has more than {DIMENSIONS_MAX} dimensions.")
                dimensions = [(name, str(line[name])) for name in names if line.get(name) is not None]
                fit = [1 <= len(value) <= DIMENSION_CHARACTERS_MAX for _, value in dimensions]
                if len(fit) < len(names) or not all(fit):
                    raise ValueError(f"No member, or an empty or a long one, has the name of a dimension: {names}.")
                for metric in directive.Metrics:
                    value = line.get(metric.Name)
                    if value is None or value == []:
                        continue
                    values = value if isinstance(value, list) else [value]
                    if not -VALUE_MAX <= min(values) <= max(values) <= VALUE_MAX:  # raises for what is no number
                        raise ValueError(f"A value of {metric.Name!r} is not from -2^360 to 2^360.")
                    series = Series.of(directive.Namespace, metric.Name, dimensions)
                    key = series, minute_ms, metric.Unit
                    self._found.setdefault(key, []).extend(values)
