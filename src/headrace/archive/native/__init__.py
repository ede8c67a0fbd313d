"""The ordinary lines of raw objects, decoded and sorted by native code, as far as that was compiled (`IS_COMPILED`).

Without it everything works, by `exact.py`, some ten times slower. `rows.pyx` decodes, `batch.pyx` sorts, `columns.pyx`
makes Arrow's columns; a line's JSON is in `scan.pxd`, an event's members in `event.pxd`, its time in `times.pxd`.
"""

try:
    from headrace.archive.native.batch import Batch
    from headrace.archive.native.rows import Rows
except ImportError:
    IS_COMPILED = False
else:
    IS_COMPILED = True

__all__ = ["IS_COMPILED", "Batch", "Rows"]
