from libc.stdint cimport uint32_t

from headrace.archive.native.rows cimport Rows
from headrace.archive.native.scan cimport Span

cdef extern from *:
    void prefetch "__builtin_prefetch"(const void*) nogil

cdef enum:
    FETCHED_AHEAD = 16  # rows

cdef dict columns_of(Rows of, Span* devices, uint32_t* order, Py_ssize_t count, dict constants)
