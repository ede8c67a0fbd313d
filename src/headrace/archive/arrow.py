"""Rows of a batch as DuckDB reads them: Arrow's arrays over the batch's own buffers.

connection.register("rows", Arrow(batch, 0, batch.rows, typed))
"""

from collections.abc import Iterable
from typing import Any

from headrace.archive import columns, native
from headrace.archive.sorting import ROW_GROUP

_TYPES = {"VARCHAR": "string", "INTEGER": "int32", "BIGINT": "int64", "DOUBLE": "float64"}


class Arrow:
    """Some of a batch's rows, for whoever reads Arrow's streams, as often as they are asked for.

    `names` are their columns, of those that compacted files have with these `typed` readings; the others are the
    batch's constants, or null.
    """

    def __init__(self, batch: "native.Batch", start: int, end: int, typed: Iterable[str]) -> None:
        import nanoarrow

        starts = range(start, end, ROW_GROUP)
        chunks = [batch.columns(first, min(first + ROW_GROUP, end)) for first in starts]
        kinds = columns.schema(typed)
        types = {name: _type(nanoarrow, kinds[name]) for name in chunks[0]}
        self.names = tuple(types)
        self._schema = nanoarrow.c_schema(nanoarrow.struct(types))
        self._arrays = []
        for first, chunk in zip(starts, chunks, strict=True):
            rows = min(ROW_GROUP, end - first)
            of = [nanoarrow.c_array_from_buffers(types[name], rows, buffers) for name, buffers in chunk.items()]
            self._arrays.append(nanoarrow.c_array_from_buffers(self._schema, rows, [None], children=of))

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        from nanoarrow.c_array_stream import CArrayStream

        return CArrayStream.from_c_arrays(self._arrays, self._schema).__arrow_c_stream__()


def _type(nanoarrow: Any, kind: str) -> Any:
    return nanoarrow.timestamp("us") if kind == "TIMESTAMP" else getattr(nanoarrow, _TYPES[kind])()
